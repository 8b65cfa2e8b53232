"""A worker that is told to stop ends its job, begins no other, and leaves; with every DataJoint."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapadmin.pipeline.threads import worker_name
from tests.workers.running import Laboratory, Worker, account_sees, wait_for

SESSIONS = [(number, 2.0) for number in range(6)]
GENERATIONS = {"0.12": 12, "0.13": 13, "0.14": 0, "2.x": 2}


def _laboratory(
    request: pytest.FixtureRequest, folder: Path, generation: int
) -> Iterator[Laboratory]:
    server = request.getfixturevalue("mysql" if generation == 2 else "mariadb")
    one = Laboratory(server, folder / "worker", generation)
    yield one
    one.stop()


@pytest.fixture(params=GENERATIONS)
def laboratory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laboratory]:
    """For each DataJoint; 2.x on MySQL, as it does not support MariaDB."""
    yield from _laboratory(request, tmp_path, GENERATIONS[request.param])


@pytest.fixture(params=["0.13", "0.14", "2.x"])
def with_pools(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laboratory]:
    """Those whose populate() can use several processes."""
    yield from _laboratory(request, tmp_path, GENERATIONS[request.param])


@pytest.fixture
def newest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laboratory]:
    """For what does not depend on the DataJoint: 0.14."""
    yield from _laboratory(request, tmp_path, 0)


def counted(*workers: Worker) -> Counter[str]:
    return Counter(event for worker in workers for event, _, _ in worker.events())


def all_is_well(laboratory: Laboratory, *workers: Worker) -> Counter[str]:
    """Every make() that began also ended, and no row was left; what happened how often."""
    events = counted(*workers)
    assert events["begin"] == events["end"], events
    assert events["begin inner"] == events["end inner"], events
    assert laboratory.jobs() == Counter()
    return events


def test_a_busy_worker_commits_its_job_and_begins_no_other(laboratory: Laboratory) -> None:
    laboratory.sessions = SESSIONS
    worker = laboratory.start()
    worker.saw("begin")
    busy = worker.beat_when("busy", lambda beat: beat["state"] == "busy")
    (job,) = busy["jobs"]
    assert (job["schema"], job["table"]) == ("map_runner", "__spikes")
    assert job["key"] == {"session": worker.events()[-1][1]}
    assert busy["started"] <= job["since"] <= busy["beat"]
    assert (job["pid"], busy["pid"], busy["draining"]) == (worker.pid, worker.pid, False)

    worker.drain()
    worker.drain()  # again: mapadmin repeats it until the heartbeat says so
    worker.beat_when("draining", lambda beat: bool(beat["draining"]))
    assert worker.ended() == 0
    events = all_is_well(laboratory, worker)
    assert (events["begin"], events["populated"], laboratory.rows()) == (1, 0, 1)
    last = worker.heartbeat()
    assert (last["state"], last["exit_code"], last["jobs"]) == ("ended", 0, [])


def test_an_idle_worker_leaves_at_once(laboratory: Laboratory) -> None:
    """Its script would have slept for ten minutes."""
    worker = laboratory.start()
    worker.saw("populated")
    worker.beat_when("idle", lambda beat: beat["state"] == "idle")
    worker.drain()
    assert worker.ended() == 0


def test_sigterm_drains_as_well_and_the_last_key_is_followed_by_nothing(
    laboratory: Laboratory,
) -> None:
    """DataJoint's own handler would have made it an error row."""
    laboratory.sessions = [(1, 2.0)]
    worker = laboratory.start()
    worker.saw("begin")
    worker.drain(signal.SIGTERM)
    assert worker.ended() == 0
    events = all_is_well(laboratory, worker)
    assert (events["end"], events["populated"]) == (1, 0)


def test_a_job_that_computes_another_table_is_one_job(laboratory: Laboratory) -> None:
    """The inner table's jobs begin after the signal, and belong to the outer one."""
    laboratory.sessions = SESSIONS
    worker = laboratory.start(nested=True, inner={"reserve_jobs": True})
    worker.saw("begin")
    worker.drain()
    assert worker.ended() == 0
    events = all_is_well(laboratory, worker)
    assert (events["begin"], events["begin inner"]) == (1, 1)
    assert laboratory.rows("__outer") == laboratory.rows("__inner") == 1


def test_a_script_that_swallows_every_exception_ends(laboratory: Laboratory) -> None:
    laboratory.sessions = SESSIONS
    worker = laboratory.start("swallow")
    worker.saw("begin")
    worker.drain()
    assert worker.ended() == 0
    events = all_is_well(laboratory, worker)
    assert (events["end"], events["swallowed SystemExit"]) == (1, 3)
    assert worker.heartbeat()["state"] == "ended"


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


def test_connections_say_whose_they_are_also_after_a_reconnect(laboratory: Laboratory) -> None:
    laboratory.sessions = [(1, 0.0)]
    worker = laboratory.start(pause=1)
    worker.saw("populated")

    def named() -> set[str]:
        return {
            text
            for text in account_sees(laboratory.server)
            if (name := worker_name(text)) and name.pid == worker.pid
        }

    (before,) = wait_for("a named session", named)
    name = worker_name(before)
    assert name is not None and name.started is not None
    assert name.host == worker.heartbeat()["host"]
    assert abs(name.started - worker.heartbeat()["started"]) < 1
    ((number,),) = laboratory.server.sql(
        "SELECT id FROM information_schema.processlist WHERE user = 'worker'"
    )
    laboratory.server.sql(f"KILL {number}")
    worker.saw("populated", len([e for e in worker.events() if e[0] == "populated"]) + 2)
    assert named() == {before}
    worker.drain()
    assert worker.ended() == 0


def test_a_signal_that_comes_too_early_for_process_number_1_is_repeated(newest: Laboratory) -> None:
    """In a container, what has no handler yet is lost. So mapadmin asks until it is answered."""
    newest.sessions = [(1, 0.0)]
    holder = newest.start("loop", "unshare", "--pid", "--fork", "--kill-child")
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")

    def inner() -> int:
        text = children.read_text().split()
        return int(text[0]) if text else 0

    first = wait_for("process number 1", inner)
    signals = 0
    while holder.process.poll() is None and not holder.heartbeat().get("draining"):
        subprocess.run(["kill", "-USR1", str(first)], check=False, stderr=subprocess.DEVNULL)
        signals += 1
        time.sleep(0.01)
    assert signals > 1
    assert holder.ended() == 0
    assert all_is_well(newest, holder)["begin"] == 0
    assert re.fullmatch(r"1", str(holder.heartbeat()["pid"]))


@pytest.mark.parametrize(
    ("do", "code", "expected"), [("exit", 7, 7), ("exit", 0, 0), ("exit", "it is broken", 1)]
)
def test_the_scripts_exit_code_is_passed_on(
    newest: Laboratory, do: str, code: object, expected: int
) -> None:
    worker = newest.start(do, code=code)
    assert worker.ended() == expected
    assert worker.heartbeat()["exit_code"] == expected


def test_a_script_that_fails_is_a_failure(newest: Laboratory) -> None:
    worker = newest.start("fail")
    _, err = worker.process.communicate(timeout=60)
    assert worker.process.returncode == 1
    assert err.rstrip().endswith("ValueError: the pipeline is broken")
    assert worker.heartbeat()["exit_code"] == 1


def test_the_password_is_not_in_what_others_can_see(newest: Laboratory) -> None:
    worker = newest.start()
    worker.saw("populated")
    for what in ("environ", "cmdline"):
        assert b"with" not in Path(f"/proc/{worker.pid}/{what}").read_bytes().split(b"\0")
        assert newest.password.encode() not in Path(f"/proc/{worker.pid}/{what}").read_bytes()
    assert newest.password not in worker.beat.read_text()


def drained_at_random(laboratory: Laboratory, rounds: int) -> dict[str, int]:
    """Workers that are drained at any moment of their lives, two at a time; what was counted."""
    laboratory.sessions = [(number, random.choice([0, 0.1, 0.4])) for number in range(1000)]
    workers: list[Worker] = []
    signals = 0
    for turn in range(rounds):
        pair = [laboratory.start(pause=random.choice([0.01, 6])) for _ in range(2)]
        for worker in pair:
            worker.saw("ready")
        time.sleep(random.uniform(0, 2))
        number = random.choice([signal.SIGUSR1, signal.SIGTERM])
        for worker in pair:
            for _ in range(random.randrange(1, 4)):
                worker.drain(number)
                signals += 1
                time.sleep(random.choice([0, 0.001, 0.05]))
        for worker in pair:
            assert worker.ended() == 0, turn
        workers += pair
    events = counted(*workers)
    left = laboratory.jobs()
    ends = Counter(n for w in workers for event, n, _ in w.events() if event == "end")
    return {
        "signals": signals, "workers": len(workers), "began": events["begin"],
        "lost": events["begin"] - events["end"], "twice": sum(n - 1 for n in ends.values()),
        "reserved": left["reserved"], "errors": left["error"],
    }  # fmt: skip


def nothing_lost(counts: dict[str, int]) -> bool:
    return not any(counts[name] for name in ("lost", "twice", "reserved", "errors"))


def test_signals_at_random(laboratory: Laboratory) -> None:
    counts = drained_at_random(laboratory, 1)
    assert counts["began"] > 0
    assert nothing_lost(counts), counts


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_signals_at_random(laboratory: Laboratory) -> None:
    counts = drained_at_random(laboratory, 40)
    sys.stdout.write(f"\ndatajoint generation {laboratory.generation}: {counts}\n")
    assert nothing_lost(counts), counts
