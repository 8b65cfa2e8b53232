"""`workers jobs`: what waits, what is being computed, what failed."""

from __future__ import annotations

from typing import Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import ExitCode
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import human_seconds
from mapadmin.db.database import open_database
from mapadmin.options import Json
from mapadmin.pipeline.inventory import project_schemas, take_inventory
from mapadmin.pipeline.jobs import JobCounts, count_jobs
from mapadmin.pipeline.names import TableName, choose
from mapadmin.workers.commands._app import app


@app.command("jobs")
def jobs(
    ctx: typer.Context,
    table: Annotated[
        str | None, typer.Argument(help="UnitStat, map_ephys.UnitStat, map_ephys.*; else all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Jobs of each table: reserved, failed, waiting; of DataJoint 0.12 to 2.x.

    0.12 to 0.14 keep no list of what waits, only of what is reserved or failed. `oldest` is the
    oldest reservation. Exits with 1 when a job table could not be read.
    """
    admin = ctx.ensure_object(Admin)
    server = open_database(admin).server
    counted = count_jobs(server, take_inventory(server, project_schemas(admin.site)))
    names = {TableName(row.schema, row.table): row for row in counted.jobs}
    chosen = choose(names, table) if table is not None else set(names)
    report = Report(as_json=as_json)
    report.rows(
        [row for name, row in names.items() if name in chosen], _columns(), empty="No jobs."
    )
    for problem in counted.problems:
        report.say(f"Note: {problem}")
    if any("is not read" in problem for problem in counted.problems):
        raise typer.Exit(ExitCode.FAILED)


def _columns() -> list[Column]:
    def number(header: str, field: str, style: str = "") -> Column:
        return Column(
            header,
            lambda row: getattr(row, field) or "",
            right=True,
            style=lambda row: style if getattr(row, field) else "",
        )

    return [
        Column("table", lambda row: row.name),
        number("reserved", "reserved"),
        number("error", "error", "bold red"),
        number("pending", "pending"),
        number("ignored", "ignored"),
        Column("oldest", _oldest, right=True),
    ]


def _oldest(row: JobCounts) -> str:
    return human_seconds(row.oldest_reserved)
