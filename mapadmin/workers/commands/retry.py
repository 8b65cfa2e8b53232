"""`workers retry`: failed jobs are put back, so that the next worker takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.core.text import count
from mapadmin.db.database import Database, open_database
from mapadmin.options import DryRun, Json, Yes
from mapadmin.pipeline.archive import BY_HAND, TABLE, Archive, cleared_by
from mapadmin.pipeline.clearing import Selection, clear_errors, count_errors, moment
from mapadmin.pipeline.errors import failed_tables, key_columns, key_of
from mapadmin.pipeline.inventory import Inventory, project_schemas, take_inventory
from mapadmin.pipeline.layout import Layout
from mapadmin.pipeline.names import TableName, choose
from mapadmin.workers.commands._app import app
from mapadmin.workers.commands._options import Match, Table, pattern_of


class RetryStep(Step, frozen=True, kw_only=True):
    """The failed jobs of one table that are put back."""

    selection: Selection


@app.command("retry")
def retry(
    ctx: typer.Context,
    table: Table = None,
    match: Match = None,
    key: Annotated[
        str | None, typer.Option(help="Jobs with these values: subject_id=1,session=2; or JSON.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All failed jobs.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let failed jobs be tried again: by table, message or key.

    A copy of each, with its stack, is kept in mapadmin's own schema. Jobs that fail while this runs
    are left for the next time.
    """
    del yes  # nothing is destroyed: the copy says what the row said
    if not (table or match or key or everything):
        raise UsageError(
            "Say which jobs: by table, --match or --key.", remedy="For all of them: --all"
        )
    wanted = _parse(key) if key else {}
    database = open_database(ctx.ensure_object(Admin))
    plan = _plan(database, table, match, wanted)
    archive = Archive(database.server)
    if plan:
        plan = Plan(archive.setup_steps()) + plan

    def execute(steps: Sequence[RetryStep]) -> Iterator[None]:
        for step in steps:
            for _ in clear_errors(
                database.server, archive, step.selection, by=cleared_by(database.admin.command),
                reason=BY_HAND,
            ):  # fmt: skip
                pass
            yield

    mode = Mode(dry_run=dry_run, as_json=as_json)
    database.perform(plan, mode, more_kinds={RetryStep: Kind(execute)})


def _plan(database: Database, table: str | None, match: str | None, wanted: dict[str, str]) -> Plan:
    server = database.server
    inventory = take_inventory(server, project_schemas(database.site))
    failed = failed_tables(server, inventory)
    chosen = choose(failed, table) if failed else set()
    steps, total, notes = [], 0, []
    for one in inventory.jobs:
        names = sorted(name for name in chosen if name.schema == one.schema)
        for name in (name for name in names if _belongs(name, one.name)):
            selection = _select(database, inventory, one.name, name, match, wanted)
            number = count_errors(server, selection)
            if number and one.extra:
                notes.append(f"{one} {one.problem}")
            elif number:
                total += number
                steps.append(
                    RetryStep(
                        action="retry jobs", target=str(name), selection=selection,
                        detail=count(number, "failed job"),
                    )
                )  # fmt: skip
    if total:
        notes.append(
            f"{count(total, 'job')} to be tried again; copies go to "
            f"{server.settings.schema}.{TABLE}"
        )
    return Plan(tuple(steps), tuple(notes))


def _belongs(name: TableName, job_table: str) -> bool:
    return job_table in ("~jobs", f"~~{name.table}")


def _select(
    database: Database, inventory: Inventory, job_table: str, name: TableName,
    match: str | None, wanted: dict[str, str],
) -> Selection:  # fmt: skip
    (own,) = (one for one in inventory.jobs if (one.schema, one.name) == (name.schema, job_table))
    layout = Layout(own)
    like = () if match is None else (pattern_of(match),)
    selection = Selection(
        table=own, until=moment(database.server, layout), names=(name.table,), like=like
    )
    if not wanted:
        return selection
    rows = database.server.query(
        f"SELECT {layout.primary}, {key_columns(layout)} FROM {layout.sql} WHERE {selection.where}",
        selection.args,
    )
    width = len(own.primary)
    keys = frozenset(
        tuple(row[:width]) for row in rows if _has(key_of(layout, row[width:]), wanted)
    )
    return Selection(table=own, until=selection.until, names=selection.names, like=like, keys=keys)


def _has(key: dict[str, Any], wanted: dict[str, str]) -> bool:
    return all(name in key and str(key[name]) == value for name, value in wanted.items())


def _parse(text: str) -> dict[str, str]:
    """`a=1,b=x` or a JSON object, as the texts of the values. Raises UsageError."""
    if text.lstrip().startswith("{"):
        try:
            return {str(name): str(value) for name, value in json.loads(text).items()}
        except ValueError as error:
            raise UsageError(f"--key is not JSON: {error}.") from None
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not name.strip() or not equals for name, equals, _ in pairs):
        raise UsageError(f"--key {text!r} is not of the form subject_id=1,session=2.")
    return {name.strip(): value.strip() for name, _, value in pairs}
