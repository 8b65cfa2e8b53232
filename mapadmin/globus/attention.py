"""Which tasks need somebody: a task's document and its newest event -> how it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

NEAR = timedelta(hours=6)  # before its deadline that a task that is not done counts as late


class How(StrEnum):
    """How a task is, what needs somebody most first."""

    FAILED = "failed"
    INACTIVE = "inactive"
    STALLED = "stalled"
    PAUSED = "paused"
    QUEUED = "queued"
    LATE = "near deadline"
    RETRYING = "retrying"
    RUNNING = "running"
    CANCELED = "canceled"
    SUCCEEDED = "succeeded"


ORDER = {how: number for number, how in enumerate(How)}
TROUBLE = frozenset({How.FAILED, How.INACTIVE, How.STALLED})
OVER = frozenset({How.FAILED, How.CANCELED, How.SUCCEEDED})


class Seen(msgspec.Struct, frozen=True):
    """The bytes that a task had at the last look, and since when (UTC) it has had them."""

    bytes: int
    since: datetime


def seen_now(task: Mapping[str, Any], before: Seen | None, now: datetime) -> Seen:
    """What to remember of a task; one that has moved nothing has had that since its beginning."""
    done = int(task.get("bytes_transferred") or 0)
    if before is not None and before.bytes == done:
        return before
    begun = datetime.fromisoformat(str(task["request_time"]))
    return Seen(done, now if done else begun if begun.tzinfo else begun.replace(tzinfo=UTC))


class TaskRow(msgspec.Struct, frozen=True):
    """One task. Times are UTC as Globus writes them, `bytes` those transferred so far."""

    id: str
    how: How
    type: str
    label: str
    source: str | None
    destination: str | None
    owner: str
    requested: str
    completed: str | None
    deadline: str | None
    bytes: int
    files: int
    files_done: int
    files_skipped: int
    faults: int
    why: str


def row_of(
    task: Mapping[str, Any],
    *,
    newest: Mapping[str, Any] | None = None,
    moves: bool = True,
    now: datetime | None = None,
) -> TaskRow:
    """A task's document as a row. `moves`: it had fewer bytes not long ago."""
    how = _how(task, newest, moves, now or datetime.now(UTC))
    return TaskRow(
        id=str(task["task_id"]), how=how, type=str(task["type"]).lower(),
        label=str(task.get("label") or ""), source=task.get("source_endpoint_display_name"),
        destination=task.get("destination_endpoint_display_name"),
        owner=str(task.get("owner_string") or task.get("owner_id") or ""),
        requested=str(task["request_time"]), completed=task.get("completion_time"),
        deadline=task.get("deadline"), bytes=int(task.get("bytes_transferred") or 0),
        files=int(task.get("files") or 0), files_done=int(task.get("files_transferred") or 0),
        files_skipped=int(task.get("files_skipped") or 0), faults=int(task.get("faults") or 0),
        why=_why(task, newest, how),
    )  # fmt: skip


def _how(
    task: Mapping[str, Any], newest: Mapping[str, Any] | None, moves: bool, now: datetime
) -> How:
    status = task["status"]
    if status in ("SUCCEEDED", "FAILED"):
        if status == "SUCCEEDED":
            return How.SUCCEEDED
        canceled = str((task.get("fatal_error") or {}).get("code", "")).startswith("CANCEL")
        return How.CANCELED if canceled else How.FAILED
    if status == "INACTIVE":
        return How.INACTIVE
    failing = newest is not None and bool(newest.get("is_error"))
    for how, so in (
        (How.PAUSED, bool(task.get("is_paused"))),
        (How.QUEUED, "queued" in str(task.get("nice_status") or "").lower()),
        (How.STALLED, failing and not moves),
        (How.LATE, _is_near(task.get("deadline"), now)),
        (How.RETRYING, failing),
    ):
        if so:
            return how
    return How.RUNNING


def _is_near(deadline: str | None, now: datetime) -> bool:
    if not deadline:
        return False
    found = datetime.fromisoformat(deadline)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)) - now < NEAR


def _why(task: Mapping[str, Any], newest: Mapping[str, Any] | None, how: How) -> str:
    """The reason for how a task is, when it is not simply well."""
    if how in (How.RUNNING, How.SUCCEEDED, How.CANCELED):
        return ""
    if how is How.LATE:
        return f"its deadline is {task['deadline']}"
    fatal = task.get("fatal_error") or {}
    event = newest or {}
    for text in (
        fatal.get("description"), event.get("description") if event.get("is_error") else None,
        task.get("nice_status_short_description"), task.get("nice_status"),
    ):  # fmt: skip
        if text:
            return " ".join(str(text).split())
    return ""
