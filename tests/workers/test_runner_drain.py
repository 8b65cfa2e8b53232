"""A worker that is told to stop ends its job, begins no other, and leaves; with every DataJoint."""

from __future__ import annotations

import signal

from tests.workers.running import Laboratory, all_is_well

SESSIONS = [(number, 2.0) for number in range(6)]


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


def test_without_reservations(laboratory: Laboratory) -> None:
    """0.12 has no place between two jobs then: it goes on to the end of the call of populate()."""
    laboratory.sessions = [(number, 1.0) for number in range(3)]
    worker = laboratory.start(options={"reserve_jobs": False})
    worker.saw("begin")
    worker.drain()
    assert worker.ended() == 0
    events = all_is_well(laboratory, worker)
    assert events["populated"] == 0
    assert (events["end"] == 3) if laboratory.generation == 12 else (events["end"] < 3)


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


def test_a_drain_is_taken_back(laboratory: Laboratory) -> None:
    """The busy worker that was to leave goes on with its other jobs."""
    laboratory.sessions = [(number, 1.5) for number in range(3)]
    worker = laboratory.start(pause=1)
    worker.saw("begin")
    worker.drain()
    worker.beat_when("draining", lambda beat: bool(beat["draining"]))
    worker.drain(signal.SIGUSR2)
    worker.beat_when("not draining", lambda beat: not beat["draining"])
    worker.saw("end", 3)
    worker.drain()
    assert worker.ended() == 0
    assert all_is_well(laboratory, worker)["end"] == laboratory.rows() == 3
