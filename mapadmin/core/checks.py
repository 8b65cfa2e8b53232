"""A status is a list of independent checks, run side by side, each with its own time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from mapadmin.core.errors import MapadminError

DEFAULT_LIMIT = 10.0  # seconds


class State(StrEnum):
    """How a check came out; `unknown` means that it could not be carried out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Finding(msgspec.Struct, frozen=True):
    """What a check's function returns: a state, one line of detail, what to do about it."""

    state: State
    detail: str
    remedy: str = ""


def ok(detail: str) -> Finding:
    return Finding(State.OK, detail)


def warn(detail: str, remedy: str = "") -> Finding:
    return Finding(State.WARN, detail, remedy)


def fail(detail: str, remedy: str = "") -> Finding:
    return Finding(State.FAIL, detail, remedy)


def unknown(detail: str, remedy: str = "") -> Finding:
    return Finding(State.UNKNOWN, detail, remedy)


class Check(msgspec.Struct, frozen=True):
    """Something that can be looked at: `run` answers, within `limit` seconds."""

    name: str
    run: Callable[[], Finding]
    limit: float = DEFAULT_LIMIT


class CheckResult(msgspec.Struct, frozen=True):
    """A check's outcome, as it is shown, printed as JSON and kept as history."""

    name: str
    state: State
    detail: str
    remedy: str
    seconds: float


def run_checks(checks: Sequence[Check]) -> list[CheckResult]:
    """Run all checks at once; results come in the order of `checks`.

    A check that raises is `unknown` with its error; one that passes its limit is `unknown` too
    and is left behind in its (daemon) thread, so that it holds up neither the others nor the exit.
    """
    slots: list[CheckResult | None] = [None] * len(checks)
    begun = time.monotonic()

    def work(index: int) -> None:
        slots[index] = _run_one(checks[index])

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(checks))]
    for thread in threads:
        thread.start()
    results = []
    for index, (check, thread) in enumerate(zip(checks, threads, strict=True)):
        thread.join(max(0.0, begun + check.limit - time.monotonic()))
        late = CheckResult(
            check.name, State.UNKNOWN, f"no answer within {check.limit:g} s", "", check.limit
        )
        results.append(slots[index] or late)
    return results


def _run_one(check: Check) -> CheckResult:
    begun = time.monotonic()
    try:
        finding = check.run()
    except MapadminError as error:
        finding = unknown(error.message, error.remedy)
    except (Exception, SystemExit) as error:  # noqa: BLE001  a broken check hides no other
        finding = unknown(f"{type(error).__name__}: {error}")
    seconds = round(time.monotonic() - begun, 3)
    detail = " ".join(finding.detail.split())  # a driver's message may have several lines
    return CheckResult(check.name, finding.state, detail, finding.remedy, seconds)
