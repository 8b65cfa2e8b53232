"""Checks run side by side; none of them hides or holds up another."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from mapadmin.core import checks
from mapadmin.core.checks import Check, CheckResult, Finding, State, run_checks
from mapadmin.core.errors import SettingsError
from tests.core.processes import run_python


def slow(seconds: float) -> Finding:
    time.sleep(seconds)
    return checks.ok("awake")


def broken(error: BaseException) -> Finding:
    raise error


def test_each_finding_becomes_a_result() -> None:
    results = run_checks(
        [
            Check("a", lambda: checks.ok("fine")),
            Check("b", lambda: checks.warn("hm", "look")),
            Check("c", lambda: checks.fail("bad", "mend")),
            Check("d", lambda: checks.unknown("who knows")),
        ]
    )
    assert [(r.name, r.state, r.detail, r.remedy) for r in results] == [
        ("a", State.OK, "fine", ""),
        ("b", State.WARN, "hm", "look"),
        ("c", State.FAIL, "bad", "mend"),
        ("d", State.UNKNOWN, "who knows", ""),
    ]
    assert run_checks([]) == []


def test_side_by_side_and_in_order() -> None:
    barrier = threading.Barrier(20)  # nobody passes it before all have come

    def meet() -> Finding:
        barrier.wait(5)
        return checks.ok("")

    results = run_checks([Check(str(i), meet) for i in range(20)])
    assert [r.name for r in results] == [str(i) for i in range(20)]
    assert {r.state for r in results} == {State.OK}


def test_one_past_its_limit() -> None:
    begun = time.monotonic()
    late, fine = run_checks(
        [Check("late", lambda: slow(5), limit=0.1), Check("x", lambda: slow(0))]
    )
    assert time.monotonic() - begun < 2
    assert late == CheckResult("late", State.UNKNOWN, "no answer within 0.1 s", "", 0.1)
    assert fine.state is State.OK


def test_limits_run_together() -> None:
    begun = time.monotonic()
    results = run_checks([Check(str(i), lambda: slow(5), limit=0.2) for i in range(10)])
    assert time.monotonic() - begun < 1
    assert {r.state for r in results} == {State.UNKNOWN}


ERRORS: list[tuple[BaseException, str, str]] = [
    (ValueError("odd"), "ValueError: odd", ""),
    (SettingsError("No key.", remedy="Add one."), "No key.", "Add one."),
    (SystemExit(3), "SystemExit: 3", ""),
    (OSError(2, "No such file"), "FileNotFoundError: [Errno 2] No such file", ""),
    (ValueError("two\n  lines"), "ValueError: two lines", ""),
]


@pytest.mark.parametrize(("error", "detail", "remedy"), ERRORS)
def test_one_breaking(error: BaseException, detail: str, remedy: str) -> None:
    bad, good = run_checks(
        [Check("bad", lambda: broken(error)), Check("good", lambda: checks.ok(""))]
    )
    assert (bad.state, bad.detail, bad.remedy) == (State.UNKNOWN, detail, remedy)
    assert bad.seconds < 1
    assert good.state is State.OK


def test_seconds() -> None:
    (result,) = run_checks([Check("x", lambda: slow(0.05))])
    assert 0.05 <= result.seconds < 1


def test_one_that_hangs_does_not_hold_up_the_exit() -> None:
    code = """
        import time
        from mapadmin.core.checks import Check, run_checks
        print(run_checks([Check("x", lambda: time.sleep(60), limit=0.1)])[0].detail)
    """
    begun = time.monotonic()
    done = run_python(code)
    assert (done.stdout, done.stderr, done.returncode) == ("no answer within 0.1 s\n", "", 0)
    assert time.monotonic() - begun < 10
    assert "pytest" in sys.modules
