"""`tasks`, `task`, `wait`, `cancel`."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import ExitCode, MapadminError, UsageError
from mapadmin.core.files import make_private_folder, write_atomic
from mapadmin.core.plan import Plan
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import human_bytes, one_line
from mapadmin.globus.attention import ORDER, OVER, How, Seen, TaskRow, row_of, seen_now
from mapadmin.globus.changes import CancelStep
from mapadmin.globus.commands._app import app
from mapadmin.globus.model import is_uuid
from mapadmin.globus.refusals import DeniedError, MissingError, NoCollectionError
from mapadmin.globus.session import Globus, open_globus
from mapadmin.globus.waiting import STALLED_AFTER, Ended, look, wait_for
from mapadmin.options import DryRun, Json, Yes

MOST_TASKS = 1000  # that a look goes through
STALLED, TIMEOUT = 6, 7  # exit codes of `wait`, beside those that all commands have
Number = Annotated[str, typer.Argument(metavar="ID", help="Or how it begins, as `tasks` has it.")]


@app.command("tasks")
def tasks(
    ctx: typer.Context,
    everybody: Annotated[
        bool, typer.Option("--all-users", help="Others' too, with the monitor's role.")
    ] = False,
    active: Annotated[bool, typer.Option("--active", help="Only what is not over.")] = False,
    most: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 100,
    as_json: Json = False,
) -> None:
    """Transfers and deletions, what needs somebody first.

    Failed, inactive (credentials or consent are gone), stalled (no bytes for an hour, or what
    globus.archive.stalled_hours says, and the newest event is an error), paused, queued, within 6
    hours of the deadline, then the rest.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    report = Report(as_json=as_json)
    rows = gather(globus, report, everybody=everybody, active=active, most=most)
    columns = [
        Column("how", lambda r: r.how.value, style=_style),
        Column("label", lambda r: r.label or r.type, fit=True),
        Column("to", lambda r: r.destination or r.source),
        Column("done", lambda r: human_bytes(r.bytes), right=True),
        Column("since (UTC)", lambda r: r.requested[5:16]),
        *([Column("owner", lambda r: r.owner)] if everybody else []),
        Column("id", lambda r: r.id[:8]),
    ]
    report.rows(rows, columns, empty="There are no tasks.")
    if not as_json:
        for row in rows:
            if row.why:
                report.say(f"{row.id}: {row.how.value}: {row.why}")


def gather(
    globus: Globus, report: Report, *, everybody: bool, active: bool, most: int
) -> list[TaskRow]:
    """Tasks in the order of need. Without the role for others' tasks: one's own, and that is said.

    Remembers the bytes of those that run, for the next look.
    """
    query = "status:ACTIVE,INACTIVE" if active else ""
    try:
        if not everybody:
            found = globus.service.tasks(query, most=most)
        else:
            found = _everybodys(globus, report, active=active, most=most)
    except DeniedError:
        report.say("Note: this login has no activity monitor's role; these are its own tasks.")
        found, everybody = globus.service.tasks(query, most=most), False
    memory = globus.state_folder / "globus-looks.json"
    before: dict[str, Seen] = {}
    with suppress(OSError, msgspec.DecodeError):
        before = msgspec.json.decode(memory.read_bytes(), type=dict[str, Seen])
    now = datetime.now(UTC)
    seen = {t["task_id"]: seen_now(t, before.get(t["task_id"]), now) for t in found}
    rows = [_row(globus, t, now - seen[t["task_id"]].since, managed=everybody) for t in found]
    kept = {row.id: seen[row.id] for row in rows if row.how not in OVER}
    if kept != before:
        with suppress(MapadminError):  # a look that is not remembered is not worth failing for
            make_private_folder(memory.parent)
            write_atomic(memory, msgspec.json.encode(kept).decode(), mode=0o600)
    return sorted(rows, key=lambda row: ORDER[row.how])


def _everybodys(
    globus: Globus, report: Report, *, active: bool, most: int
) -> list[dict[str, Any]]:  # fmt: skip
    """What is not over, anywhere; and all of the site's collections, as far as one may see them."""
    found = {str(task["task_id"]): task for task in globus.service.all_tasks(most=most)}
    for name, collection in globus.settings.collections.items() if not active else ():
        try:
            tasks = globus.service.all_tasks(collection=collection.id, most=most)
        except (DeniedError, MissingError, NoCollectionError):
            report.say(f"Note: no activity monitor's role on {name}: only its tasks under way.")
            continue
        found |= {str(task["task_id"]): task for task in tasks}
    newest = sorted(found.values(), key=lambda task: str(task["request_time"]), reverse=True)
    return newest[:most]


def _row(
    globus: Globus, task: dict[str, Any], unmoved: timedelta, *, managed: bool
) -> TaskRow:  # fmt: skip
    newest = None
    if task["status"] in ("ACTIVE", "INACTIVE") and task.get("faults"):
        with suppress(DeniedError, MissingError):
            events = globus.service.events(str(task["task_id"]), most=1, managed=managed)
            newest = events[0] if events else None
    hours = globus.settings.archive.stalled_hours
    return row_of(task, newest=newest, moves=unmoved < timedelta(hours=hours))


def _whole(globus: Globus, number: str) -> str:
    """A task's id from how it begins. Raises UsageError when that is no one task's."""
    if is_uuid(number):
        return number
    found = [t["task_id"] for t in globus.service.tasks("", most=MOST_TASKS)]
    fitting = [str(whole) for whole in found if number and str(whole).startswith(number)]
    if len(fitting) != 1:
        raise UsageError(
            f"{len(fitting)} of your tasks have an id that begins with {number!r}.",
            remedy="`mapadmin globus tasks --json` has the whole ids.",
        )
    return fitting[0]


def _style(row: TaskRow) -> str:
    if row.how in (How.FAILED, How.INACTIVE, How.STALLED):
        return "bold red"
    return {How.SUCCEEDED: "green", How.RUNNING: "", How.CANCELED: "dim"}.get(row.how, "yellow")


@app.command("task")
def task(
    ctx: typer.Context,
    number: Number,
    files: Annotated[
        bool, typer.Option("--files", help="Also each file that was transferred.")
    ] = False,
    as_json: Json = False,
) -> None:
    """One task: how it is and why, its newest events, what was skipped.

    The files that it transferred are remembered by Globus for 30 days.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    service = globus.service
    number = _whole(globus, number)
    row = look(service, number)
    events = service.events(number, most=20)
    skipped = service.skipped(number) if row.type == "transfer" else []
    report = Report(as_json=as_json)
    if as_json:
        more = {"transferred": list(service.succeeded(number))} if files else {}
        report.document({"task": row, "events": events, "skipped": skipped, **more})
        return
    for label, value in _facts(row):
        report.text(f"{label:<12} {one_line(value)}")
    report.print_table(events, [
        Column("time (UTC)", lambda e: str(e["time"])[:19]),
        Column("event", lambda e: e["code"], style=lambda e: "bold red" if e["is_error"] else ""),
        Column("what", lambda e: e.get("description") or e.get("details")),
    ])  # fmt: skip
    if skipped:
        report.print_table(skipped, [
            Column("skipped", lambda s: s["source_path"]),
            Column("because", lambda s: s["error_code"]),
        ])  # fmt: skip
    if files:
        report.stream(service.succeeded(number), lambda s: str(s["destination_path"]))


def _facts(row: TaskRow) -> list[tuple[str, str]]:
    return [
        ("task", row.id), ("how", row.how.value + (f": {row.why}" if row.why else "")),
        ("label", row.label or "-"), ("owner", row.owner),
        ("from", row.source or "-"), ("to", row.destination or "-"),
        ("requested", row.requested), ("completed", row.completed or "-"),
        ("deadline", row.deadline or "-"),
        ("files", f"{row.files_done} transferred, {row.files_skipped} left as they were"),
        ("bytes", human_bytes(row.bytes)), ("faults", str(row.faults)),
    ]  # fmt: skip


@app.command("wait")
def wait(
    ctx: typer.Context,
    number: Number,
    seconds: Annotated[
        float | None, typer.Option("--timeout", min=0.0, help="Seconds; without: to the end.")
    ] = None,
    stalled_after: Annotated[
        float, typer.Option(min=0.0, help="Seconds without progress that count as stalled.")
    ] = STALLED_AFTER,
    as_json: Json = False,
) -> None:
    """Wait for a task to be over.

    Exits with 0 when it succeeded, 1 when it failed or was canceled, 6 when it has been stalled,
    paused or inactive for some time, 7 when it was not over in time.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    report = Report(as_json=as_json)
    number = _whole(globus, number)
    done = 0
    with report.progress("Waiting", unit="B") as progress:

        def seen(row: TaskRow) -> None:
            nonlocal done
            progress.advance(row.bytes - done, note=row.how.value)
            done = row.bytes

        end = wait_for(
            globus.service, number, seconds=seconds, stalled_after=stalled_after, seen=seen
        )
    if as_json:
        report.document({"result": end.how.name.lower(), "why": end.why, "task": end.row})
    else:
        why = f": {end.why}" if end.why else ""
        report.say(f"Task {number} {end.how.value}{why}.")
    codes = {Ended.FAILED: ExitCode.FAILED, Ended.STALLED: STALLED, Ended.TIMEOUT: TIMEOUT}
    raise typer.Exit(codes.get(end.how, ExitCode.OK))


@app.command("cancel")
def cancel(
    ctx: typer.Context,
    numbers: Annotated[list[str], typer.Argument(metavar="ID...", help="As `tasks` shows them.")],
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """End tasks; what they have copied stays. One that is over is as it should be."""
    globus = open_globus(ctx.ensure_object(Admin))
    whole = [_whole(globus, number) for number in numbers]
    rows = [look(globus.service, number) for number in dict.fromkeys(whole)]
    notes = tuple(f"task {row.id} is over: {row.how.value}" for row in rows if row.how in OVER)
    steps = tuple(
        CancelStep(action="cancel", target=row.id, detail=row.label or row.type, destroys=True,
                   task=row.id) for row in rows if row.how not in OVER
    )  # fmt: skip
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    globus.perform(Plan(steps, notes), mode, question="End these tasks?")
