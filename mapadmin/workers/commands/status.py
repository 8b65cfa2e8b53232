"""`workers status` and `workers logs`."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import ExitCode, MapadminError
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import human_seconds
from mapadmin.options import Json
from mapadmin.workers.commands._app import app
from mapadmin.workers.manager import Manager
from mapadmin.workers.plans import require_kind
from mapadmin.workers.reserved import view_database
from mapadmin.workers.status import DatabaseView, FleetStatus, WorkerStatus, join


@app.command("status")
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """What each worker is doing, and for how long; jobs that are reserved by nobody.

    Joins the engine's containers, the workers' heartbeats, their sessions on the database and the
    job tables. Exits with 1 when something is not well.
    """
    found = look(ctx.ensure_object(Admin))
    report = Report(as_json=as_json)
    if as_json:
        report.document(found)
    else:
        report.rows(found.workers, _columns(found), empty="There are no workers.")
        for generation, image in sorted({(w.generation, _image(w)) for w in found.workers}):
            report.say(f"g{generation}: {image}")
        for orphan in found.orphans:
            report.say(
                f"Nobody's: a job of {orphan.table}, reserved {human_seconds(orphan.seconds)} ago "
                f"by {orphan.host}, process {orphan.pid}"
            )
        for note in found.notes:
            report.say(f"Note: {note}.")
        for problem in found.problems:
            report.say(f"Not well: {problem}.")
    if not found.healthy:
        raise typer.Exit(ExitCode.FAILED)


def look(admin: Admin) -> FleetStatus:
    """All sides, the database at the same time as the engine."""
    manager = Manager(admin)
    views: list[DatabaseView] = []
    thread = threading.Thread(target=lambda: views.append(view_database(admin)), daemon=True)
    thread.start()
    crew = manager.crew()
    details = manager.engine.details(crew.workers)
    thread.join()
    counts = {name: kind.count for name, kind in manager.settings.kinds.items()}
    return join(
        manager.site.name, manager.settings.engine.value, crew.workers, crew.beats, details,
        views[0], counts,
    )  # fmt: skip


def _job(one: WorkerStatus) -> str:
    if one.job is None:
        return ""
    from mapadmin.pipeline.errors import key_text
    from mapadmin.pipeline.names import TableName

    key = key_text(one.job.key) if isinstance(one.job.key, dict) else ""
    return f"{TableName(one.job.schema, one.job.table).class_name} {key}".strip()


_STYLES = {
    "busy": "green", "hung": "bold red", "dead": "bold red", "restarting": "bold red",
    "draining": "yellow", "starting": "yellow",
}  # fmt: skip


def _image(one: WorkerStatus) -> str:
    commit = one.commit[:12]
    return one.image if not commit or commit in one.image else f"{one.image}, commit {commit}"


def _columns(found: FleetStatus) -> list[Column]:
    """Without restarts that never were, and nodes where there is one: 80 columns are few."""
    more = []
    if any(worker.restarts for worker in found.workers):
        more.append(Column("restarts", lambda w: w.restarts or "", right=True))
    if any(worker.node for worker in found.workers):
        more.append(Column("node", lambda w: w.node))
    return [*_COLUMNS, *more]


_COLUMNS = [
    Column("worker", lambda w: w.worker),
    Column("state", lambda w: w.state, style=lambda w: _STYLES.get(w.state, "")),
    Column("for", lambda w: human_seconds(w.seconds), right=True),
    Column("job", _job, fit=True),
    Column("up", lambda w: human_seconds(w.uptime), right=True),
]


@app.command("logs")
def logs(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Argument(help="Workers of this kind; else all.")] = None,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as they print more; Ctrl-C ends it.")
    ] = False,
    since: Annotated[str, typer.Option(help="Only what is newer: 10m, 2h, 2027-01-31T12:00.")] = "",
    tail: Annotated[int | None, typer.Option(min=0, help="Only the last lines of each.")] = None,
    as_json: Json = False,
) -> None:
    """What the workers print, each line behind the worker's name."""
    manager = Manager(ctx.ensure_object(Admin))
    workers = manager.engine.workers()
    if kind is not None:
        require_kind(sorted({*manager.settings.kinds, *(w.place.kind for w in workers)}), kind)
        workers = [worker for worker in workers if worker.place.kind == kind]
    if not workers:
        raise MapadminError("There are no workers.", remedy="`mapadmin workers up` starts them.")
    lines = manager.engine.logs(workers, follow_on=following, since=since, tail=tail)
    width = max(len(worker.name) for worker in workers)
    Report(as_json=as_json).stream(
        ({"worker": worker.name, "line": line} for worker, line in lines),
        lambda one: f"{one['worker']:{width}}  {one['line']}",
    )
