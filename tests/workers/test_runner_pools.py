"""Jobs on several processes: DataJoint's own, and those that a job starts."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from mapadmin.pipeline.threads import worker_name
from tests.workers.running import RUNNER, Laboratory, account_sees, all_is_well, counted

SESSIONS = [(number, 2.0) for number in range(6)]


def test_a_job_that_computes_on_several_cores(laboratory: Laboratory) -> None:
    """Its own pool's processes are ended as ever, before the signal and after it."""
    laboratory.sessions = [(number, 0.5) for number in range(6)]
    worker = laboratory.start(forks=True)
    worker.saw("end")
    worker.drain()
    assert worker.ended() == 0
    assert 1 <= all_is_well(laboratory, worker)["end"] < 6


def test_all_processes_of_a_pool_commit_their_jobs(with_pools: Laboratory) -> None:
    with_pools.sessions = SESSIONS
    worker = with_pools.start(options={"processes": 2})
    worker.saw("begin", 2)
    busy = worker.beat_when("two jobs", lambda beat: len(beat["jobs"]) == 2)
    pids = {pid for event, _, pid in worker.events() if event == "begin"}
    assert {job["pid"] for job in busy["jobs"]} == pids
    assert worker.pid not in pids
    names = [
        name for text in account_sees(with_pools.server).values() if (name := worker_name(text))
    ]
    assert pids <= {name.pid for name in names}  # as their reservations say

    worker.drain()
    assert worker.ended() == 0
    assert all_is_well(with_pools, worker)["end"] in (2, 3)  # one may just have begun


def test_a_pool_that_has_done_its_work_ends(with_pools: Laboratory) -> None:
    """Pool.terminate sends SIGTERM to processes that wait for more."""
    with_pools.sessions = [(number, 0.1) for number in range(4)]
    worker = with_pools.start("once", options={"processes": 2})
    assert worker.ended() == 0
    assert all_is_well(with_pools, worker)["end"] == 4


def test_a_failed_job_does_not_take_the_pools_other_jobs_with_it(with_pools: Laboratory) -> None:
    """Pool.terminate again: DataJoint would make an error row of the job at hand."""
    with_pools.sessions = [(0, -1.0), (1, 3.0)]
    worker = with_pools.start("once", options={"processes": 2, "suppress_errors": False})
    _, err = worker.process.communicate(timeout=60)
    assert worker.process.returncode == 1
    assert err.rstrip().endswith("ValueError: this session is broken")
    events = counted(worker)
    assert events["begin"] == events["end"] == with_pools.rows() == 1
    assert with_pools.jobs() == Counter(error=1)
    assert not worker.heartbeat()["draining"]


# On one processor, a child has not run yet when the signal comes: it is delivered before Python has
# noticed that it is a child, and Python forgets the signals that came before it did.
FORKS = """import multiprocessing, os, signal, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
ended = []
for turn in range(200):
    child = os.fork()
    if not child:
        time.sleep(3600)
    os.kill(child, signal.SIGTERM)
    end = time.monotonic() + 10
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            sys.exit("not ended by SIGTERM: child %d" % turn)
        time.sleep(0.001)
for turn in range(100):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, range(4)) == [0, 1, 2, 3]
print("all ended")
"""


def test_a_child_never_misses_its_sigterm(tmp_path: Path) -> None:
    """Pool.terminate sends it once, and waits for ever."""
    script = tmp_path / "script.py"
    script.write_text(FORKS)
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(script)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "all ended\n", "")
