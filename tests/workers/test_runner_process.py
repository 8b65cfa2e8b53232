"""The runner as a process: its exit code, its connections, what others can see of it."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from mapadmin.pipeline.threads import worker_name
from tests.workers.running import Laboratory, account_sees, all_is_well, wait_for


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
