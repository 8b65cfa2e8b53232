"""`workers progress`: how much is computed, as the pipeline's own DataJoint counts it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from mapadmin.admin import Admin
from mapadmin.core.errors import ExitCode, UsageError
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.db.database import open_database
from mapadmin.options import Json
from mapadmin.pipeline.inventory import project_schemas, schemas_like
from mapadmin.pipeline.names import TableName
from mapadmin.pipeline.remote import run_helper
from mapadmin.workers.commands._app import app


class TableProgress(msgspec.Struct, kw_only=True):
    """One computed table; `error` is why it could not be counted."""

    schema: str
    table: str
    name: str
    done: int | None = None
    total: int | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def percent(self) -> str:
        """Rounded down: 100 % is all."""
        if self.total is None or self.done is None:
            return "?"
        return f"{100 * self.done // self.total} %" if self.total else "-"


@app.command("progress")
def progress(
    ctx: typer.Context,
    table: Annotated[
        str | None, typer.Argument(help="UnitStat, map_ephys.UnitStat, map_ephys.*; else all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """How much of each computed table is done: of the keys that its key_source has.

    Counted by DataJoint itself, in the environment that `[pipeline] command` names. Nothing is
    changed or made there: the server is told to refuse it. Without `[pipeline] modules`, a table's
    own key_source is not known, and its parents' keys are counted instead.
    """
    admin = ctx.ensure_object(Admin)
    report = Report(as_json=as_json)
    patterns = project_schemas(admin.site)
    schemas = schemas_like(open_database(admin).server, patterns)
    request = {
        "do": "progress", "schemas": schemas, "patterns": patterns, "pattern": table,
        "modules": admin.site.settings.pipeline.modules,
    }  # fmt: skip
    rows: list[TableProgress] = []
    problems: list[str] = []
    with report.progress("Counting", unit="tables") as bar:
        for answer in run_helper(admin.site, request):
            if answer["event"] == "tables":
                bar.total = answer["count"]
            elif answer["event"] == "problem":
                problems.append(f"{answer['what']}: {answer['message']}")
            elif answer["event"] == "table":
                rows.append(_row(answer))
                bar.advance(note=rows[-1].name)
    if table is not None and not rows and not problems:
        raise UsageError(f"No computed table is called {table!r}.")
    report.rows(rows, _COLUMNS, empty="No computed tables.")
    problems += [f"{row.name}: {row.error}" for row in rows if row.error]
    for problem in problems:
        report.say(f"Error: {problem}")
    if problems:
        raise typer.Exit(ExitCode.FAILED)


def _row(answer: dict[str, Any]) -> TableProgress:
    total, remaining = answer.get("total"), answer.get("remaining")
    return TableProgress(
        schema=answer["schema"], table=answer["table"],
        name=str(TableName(answer["schema"], answer["table"])),
        total=total, done=None if total is None else total - remaining,
        seconds=answer["seconds"], error=answer.get("error", ""),
    )  # fmt: skip


_COLUMNS = [
    Column("table", lambda row: row.name),
    Column("done", lambda row: row.done, right=True),
    Column("total", lambda row: row.total, right=True),
    Column("", lambda row: row.percent, right=True),
]
