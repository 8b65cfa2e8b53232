"""Waiting for a task, and telling apart how it can end."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from mapadmin.globus.attention import How, TaskRow, row_of

if TYPE_CHECKING:
    from mapadmin.globus.service import Service

FIRST, LONGEST = 0.5, 10.0  # seconds between looks: short at first
STALLED_AFTER = 600.0


class Ended(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STALLED = "stalled"
    TIMEOUT = "is not done yet"


class End(msgspec.Struct, frozen=True):
    how: Ended
    why: str
    row: TaskRow


def wait_for(
    service: Service,
    number: str,
    *,
    seconds: float | None = None,
    stalled_after: float = STALLED_AFTER,
    seen: Callable[[TaskRow], None] | None = None,
) -> End:
    """Look until a task is over, `seconds` have passed, or it gets nowhere for `stalled_after`.

    Getting nowhere is to be inactive, paused, or stalled. `seen` is told each look.
    """
    begun = moved = time.monotonic()
    before: int | None = None
    pause = FIRST
    while True:
        row = look(service, number, before)
        if seen is not None:
            seen(row)
        if row.how is How.SUCCEEDED:
            return End(Ended.SUCCEEDED, "", row)
        if row.how in (How.FAILED, How.CANCELED):
            return End(Ended.FAILED, row.why or row.how.value, row)
        now = time.monotonic()
        if row.how not in (How.INACTIVE, How.PAUSED, How.STALLED):
            moved = now
        if now - moved >= stalled_after:
            return End(Ended.STALLED, f"{row.how.value}, {row.why}".strip(", "), row)
        if seconds is not None and now - begun >= seconds:
            return End(Ended.TIMEOUT, f"it is {row.how.value}", row)
        before = row.bytes
        left = seconds - (now - begun) if seconds is not None else LONGEST
        time.sleep(max(0.0, min(pause, left, max(0.1, stalled_after - (now - moved)))))
        pause = min(pause * 1.5, LONGEST)


def look(service: Service, number: str, bytes_before: int | None = None) -> TaskRow:
    """One look at a task; at its newest event only if something went wrong."""
    task = service.task(number)
    newest = None
    if task["status"] in ("ACTIVE", "INACTIVE") and task.get("faults"):
        events = service.events(number, most=1)
        newest = events[0] if events else None
    moves = int(task.get("bytes_transferred") or 0) != (bytes_before or 0)
    return row_of(task, newest=newest, moves=moves)
