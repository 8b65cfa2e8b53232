"""Snapshots of the RDS instance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.aws import calls, snapshots
from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of, database_of, find_snapshot
from mapadmin.aws.execute import AwsStep, kind, run_tag
from mapadmin.core.plan import Plan
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.options import DryRun, Json, Yes

Id = Annotated[str, typer.Argument(help="As `mapadmin aws snapshots` shows it.")]


@app.command("snapshots")
def list_snapshots(ctx: typer.Context, as_json: Json = False) -> None:
    """The snapshots of the site's database, newest first."""
    aws = aws_of(ctx, changes=True)
    name = aws.settings.database
    found = aws.pages(calls.DB_SNAPSHOTS, "DBSnapshots", DBInstanceIdentifier=name)
    last = datetime.max.replace(tzinfo=UTC)
    rows = sorted(map(snapshots.snapshot_of, found), key=lambda s: s.made or last, reverse=True)
    Report(as_json=as_json).rows(rows, _COLUMNS, empty=f"There are no snapshots of {name}.")


_COLUMNS = [
    Column("snapshot", lambda s: s.id),
    Column("kind", lambda s: s.kind),
    Column("status", lambda s: s.status),
    Column("made (UTC)", lambda s: s.made and f"{s.made:%Y-%m-%d %H:%M}"),
    Column("GiB", lambda s: s.size, right=True),
    Column("engine", lambda s: s.engine),
    Column("encrypted", lambda s: s.encrypted),
]


@app.command("snapshot")
def snapshot(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name; default: the database and the time.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is available.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a snapshot of the site's database."""
    aws = aws_of(ctx, changes=True)
    plan = snapshots.create(database_of(aws), name, datetime.now(UTC), run_tag(), wait=wait)
    mode = Mode(dry_run=dry_run, as_json=as_json)
    ctx.ensure_object(Admin).perform(plan, {AwsStep: kind(aws)}, mode)
    if not as_json and not dry_run:
        Report().text(plan.steps[0].target)


@app.command("delete-snapshot")
def delete_snapshot(
    ctx: typer.Context, snapshot_id: Id, yes: Yes = False, dry_run: DryRun = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Delete a manual snapshot; automatic ones belong to RDS. Of one that is gone, says so."""
    aws = aws_of(ctx, changes=True)
    found = find_snapshot(aws, snapshot_id)
    plan = (
        Plan((), (f"there is no snapshot {snapshot_id!r}",)) if found is None
        else snapshots.delete(found, aws.settings.database)
    )  # fmt: skip
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    admin = ctx.ensure_object(Admin)
    admin.perform(plan, {AwsStep: kind(aws)}, mode, question=f"Delete {snapshot_id} for good?")
