"""Jobs on several processes: DataJoint's own, and those that a job starts."""

from __future__ import annotations

from collections import Counter

import pytest

from mapadmin.pipeline.threads import worker_name
from tests.workers.running import Laboratory, account_sees, all_is_well, counted

# Once, with 2.x, a job's own pool did not end while the worker drained, and nobody knows yet why.
pytestmark = pytest.mark.soak

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
    names = [name for text in account_sees(with_pools.server) if (name := worker_name(text))]
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
