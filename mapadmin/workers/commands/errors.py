"""`workers errors`: why jobs failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import count, one_line
from mapadmin.db.database import open_database
from mapadmin.options import Json
from mapadmin.pipeline.errors import ErrorGroup, failed_tables, group_errors, key_text
from mapadmin.pipeline.inventory import project_schemas, take_inventory
from mapadmin.pipeline.names import choose
from mapadmin.workers.commands._app import app
from mapadmin.workers.commands._options import Match, Table, pattern_of


@app.command("errors")
def errors(
    ctx: typer.Context,
    table: Table = None,
    match: Match = None,
    show: Annotated[
        bool, typer.Option("--show", help="Also the message and stack of each group's example.")
    ] = False,
    examples: Annotated[int, typer.Option(min=1, max=100, help="How many keys a group.")] = 1,
    as_json: Json = False,
) -> None:
    """Failed jobs by table and by what their messages mean; times are UTC.

    `generic` marks what the site's `[cleanup.jobs] errors` calls worth another try, which
    `mapadmin cleanup jobs` gives it.
    """
    admin = ctx.ensure_object(Admin)
    server = open_database(admin).server
    inventory = take_inventory(server, project_schemas(admin.site))
    report = Report(as_json=as_json)
    failed = failed_tables(server, inventory)
    groups = group_errors(
        server, inventory, choose(failed, table) if failed else set(),
        match=pattern_of(match), generic=admin.site.settings.cleanup.jobs.errors,
        examples=examples, stacks=show,
    )  # fmt: skip
    report.rows(groups, _COLUMNS, empty="No failed jobs.")
    if show and not as_json:
        _show(report, groups)


def _show(report: Report, groups: Sequence[ErrorGroup]) -> None:
    def line(text: str) -> None:
        report.text(one_line(text))  # what a job's code says is anybody's

    for group in groups:
        for example in group.examples:
            line("")
            line(f"{example.table}: {key_text(example.key)}")
            where = f"{example.user}, {example.host}, process {example.pid}"
            line(f"  {example.time:%Y-%m-%d %H:%M:%S} UTC, {where}")
            line(f"  {example.message}")
            for each in example.stack.rstrip().splitlines():
                line(f"  | {each}")
    report.say(f"{count(sum(group.count for group in groups), 'failed job')}.")


_COLUMNS = [
    Column("table", lambda g: g.table),
    Column("jobs", lambda g: g.count, right=True),
    Column("meaning", lambda g: g.meaning, fit=True),
    Column("generic", lambda g: "yes" if g.generic else ""),
    Column("first", lambda g: f"{g.first:%m-%d %H:%M}"),
    Column("last", lambda g: f"{g.last:%m-%d %H:%M}"),
    Column("example", lambda g: key_text(g.examples[0].key) if g.examples else ""),
]
