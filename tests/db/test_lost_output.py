"""Output that nobody gets, full disk or closed pipe: no password is lost, no error is hidden."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.lab import Lab, Ran
from tests.zygote import MAPADMIN


@contextmanager
def full() -> Iterator[int]:
    with Path("/dev/full").open("wb") as file:
        yield file.fileno()


@contextmanager
def closed() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


Sink = Callable[[], AbstractContextManager[int]]
SINKS = pytest.mark.parametrize("sink", [full, closed])


def run_into(lab: Lab, stdout: int, *args: str) -> Ran:
    """The command as a shell would start it, with Python's own buffers."""
    done = subprocess.run(
        [MAPADMIN, *args], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
        env=lab.environment, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return Ran(done.returncode, "", done.stderr)


@SINKS
def test_an_account_whose_password_was_not_shown_is_not_finished(sink: Sink, lab: Lab) -> None:
    lab.write_people("")
    with sink() as stdout:
        ran = run_into(lab, stdout, "db", "add-user", "anna", "--role", "reader")
    assert ran.code == 1
    assert ran.err.count("Cannot write the output") == 1
    assert lab.server.sql("SELECT state FROM mapadmin.account") == (("creating",),)
    again = lab.ok("db", "add-user", "anna", "--role", "reader")
    lab.login("anna", lab.password_of(again)).close()
    assert lab.server.sql("SELECT state FROM mapadmin.account") == (("managed",),)


@SINKS
def test_a_new_password_that_was_not_shown_is_an_error(sink: Sink, lab: Lab) -> None:
    lab.ok("db", "add-user", "anna", "--role", "reader")
    with sink() as stdout:
        ran = run_into(lab, stdout, "db", "set-password", "anna")
    assert (ran.code, ran.err.count("Cannot write the output")) == (1, 1)


def test_a_closed_pipe_hides_neither_errors_nor_exit_codes(lab: Lab) -> None:
    lab.write_people('[people.cleo]\nrole = "reader"\ngrants = {"nosuch.tab" = ["SELECT"]}\n')
    with closed() as stdout:
        failed = run_into(lab, stdout, "db", "apply")
        assert failed.code == 1
        assert "nosuch" in failed.err
        drift = run_into(lab, stdout, "db", "audit")
        assert drift.code == 5, drift.err
        assert "differences from people.toml" in drift.err
        users = run_into(lab, stdout, "db", "users")
        assert (users.code, users.err) == (0, "")


def test_a_full_disk_hides_no_exit_code(lab: Lab) -> None:
    lab.write_people('[people.cleo]\nrole = "reader"\n')
    with full() as stdout:
        drift = run_into(lab, stdout, "db", "audit", "--json")
        assert (drift.code, drift.err) == (
            5, "Error: Cannot write the output: No space left on device.\n"
        )  # fmt: skip
        users = run_into(lab, stdout, "db", "users")
        assert (users.code, users.err) == (
            1, "Error: Cannot write the output: No space left on device.\n"
        )  # fmt: skip


def test_both_streams_may_be_closed(lab: Lab) -> None:
    lab.write_people('[people.cleo]\nrole = "reader"\n')
    with closed() as nowhere:
        done = subprocess.run(
            [MAPADMIN, "db", "audit"], stdin=subprocess.DEVNULL, stdout=nowhere, stderr=nowhere,
            env=lab.environment, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 5
