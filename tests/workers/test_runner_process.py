"""The runner as a process: its exit code, its connections, what others can see of it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from mapadmin.pipeline.liveness import Verdict
from mapadmin.pipeline.threads import worker_name
from tests.workers.running import (
    Laboratory,
    Worker,
    all_is_well,
    counted,
    sessions_of,
    verdicts,
    wait_for,
)  # fmt: skip


def kill(laboratory: Laboratory, numbers: Iterable[int]) -> None:
    for number in numbers:
        laboratory.server.sql(f"KILL {number}")


def both_sessions(laboratory: Laboratory, worker: Worker) -> dict[int, str]:
    """The one that it works with, and the one that is there to be seen."""

    def look() -> dict[int, str]:
        found = sessions_of(laboratory, worker)
        return found if len(found) == 2 else {}

    return wait_for("two sessions", look)


def test_connections_say_whose_they_are_also_after_a_reconnect(laboratory: Laboratory) -> None:
    laboratory.sessions = [(1, 0.0)]
    worker = laboratory.start(pause=1)
    worker.saw("populated")
    before = both_sessions(laboratory, worker)
    (text,) = set(before.values())
    name = worker_name(text)
    assert name is not None and name.started is not None
    assert name.host == worker.heartbeat()["host"]
    assert abs(name.started - worker.heartbeat()["started"]) < 1
    kill(laboratory, before)
    worker.saw("populated", len([e for e in worker.events() if e[0] == "populated"]) + 2)
    after = both_sessions(laboratory, worker)
    assert set(after.values()) == {text}
    assert not set(after) & set(before)
    worker.drain()
    assert worker.ended() == 0


def test_a_worker_that_has_lost_its_connection_is_still_seen_to_be_alive(
    laboratory: Laboratory,
) -> None:
    """All its sessions are killed while it computes; what it computes without does not notice."""
    laboratory.sessions = [(1, 12.0)]
    worker = laboratory.start("once")
    worker.saw("begin")
    before = both_sessions(laboratory, worker)
    kill(laboratory, before)
    after = wait_for("a session again", lambda: sessions_of(laboratory, worker), 10)
    assert not set(after) & set(before)
    assert counted(worker)["end"] == 0  # still at it
    assert verdicts(laboratory) == [Verdict.NAMED]
    # Without a connection it cannot be committed: DataJoint makes an error of it, or knows nothing.
    worker.process.communicate(timeout=60)
    assert laboratory.rows() == 0


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
