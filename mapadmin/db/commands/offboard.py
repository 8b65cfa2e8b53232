"""`remove-user`: everything about somebody who leaves, in the order that cannot go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.db.archives.archive import Archive
from mapadmin.db.commands._app import app
from mapadmin.db.database import Database, changing
from mapadmin.db.ending import Ending, EndSessions
from mapadmin.db.grants import glob_to_pattern
from mapadmin.db.names import own_pattern
from mapadmin.db.offboarding.definers import defined_by
from mapadmin.db.offboarding.dependencies import foreign_keys, views_reading
from mapadmin.db.offboarding.guards import check_definers, check_foreign_keys
from mapadmin.db.offboarding.leaver import Fate, Leaver, find_leaver, own_schemas
from mapadmin.db.offboarding.offboard import removal_plan, schema_notes
from mapadmin.db.server import Server
from mapadmin.db.sight import require_sight
from mapadmin.options import DryRun, Json, Yes

_SIZES = """SELECT TABLE_SCHEMA, SUM(DATA_LENGTH + INDEX_LENGTH) FROM information_schema.TABLES
GROUP BY TABLE_SCHEMA"""


@app.command("remove-user")
def remove_user(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="User name.")],
    archive: Annotated[
        Path | None,
        typer.Option(help="Dump their schemas into this folder, verify the dumps, drop them."),
    ] = None,
    drop_schemas: Annotated[
        bool, typer.Option("--drop-schemas", help="Drop their schemas. Nothing is kept of them.")
    ] = False,
    host: Annotated[str | None, typer.Option(help="Only the account at this host.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if something that stays runs in their name.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove a person or a service: lock, end sessions, revoke, drop, forget.

    Their schemas (those whose names start with theirs) stay, unless --archive or --drop-schemas
    is given. An archive is loaded again and compared before anything is dropped. Cut short at any
    point, the same command finishes the work.
    """
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    if archive is not None and drop_schemas:
        raise UsageError("Choose one of --archive and --drop-schemas.")
    fate = Fate.ARCHIVE if archive else Fate.DROP if drop_schemas else Fate.KEEP
    with changing(admin, mode) as database:
        leaver = find_leaver(
            name, host, fate, admin.site, database.tables, database.managed, database.own
        )
        ending = Ending(database.server, database.tables)
        kinds: dict[type[Step], Kind] = {EndSessions: Kind(ending.end)}
        folder = archive.expanduser().absolute() if archive and leaver.schemas else None
        if folder is not None:
            archives = _archive(database, leaver, folder)
            kinds.update(archives.kinds)
        plan = _plan(database, leaver, folder, force=force)
        database.perform(plan, mode, question=_question(leaver), more_kinds=kinds)


def _archive(database: Database, leaver: Leaver, folder: Path) -> Archive:
    project = glob_to_pattern(f"{database.site.database.project_prefix}_*")
    archives = Archive(database, folder, [own_pattern(leaver.name), project])
    archives.check(leaver.schemas)
    return archives


def _plan(database: Database, leaver: Leaver, folder: Path | None, *, force: bool) -> Plan:
    """All guards, then the steps. Raises MapadminError naming what is in the way."""
    server, site, tables = database.server, database.site, database.tables
    if not (leaver.accounts or leaver.remembered or leaver.name in site.everyone()):
        return Plan(notes=tuple(_nobody(database, leaver)))
    require_sight(tables, database.own)
    users = {account.user for account in tables.accounts} | set(site.everyone())
    keys = foreign_keys(server) if leaver.schemas else []
    defined = defined_by(server, [state.account for state in leaver.accounts])
    notes = [
        *check_definers(leaver, defined, tables, database.own, force=force),
        *check_foreign_keys(leaver, keys, users),
        *schema_notes(leaver, _sizes(server), views_reading(server, leaver.dropped)),
    ]
    plan = removal_plan(leaver, site, database.state, keys, folder)
    return plan + Plan(notes=tuple(notes))


def _nobody(database: Database, leaver: Leaver) -> Iterator[str]:
    yield f"there is no account of {leaver.name}, and no entry in people.toml"
    left = own_schemas(leaver.name, database.site, database.tables, database.managed)
    if left:
        yield f"schemas that start with the name are still there: {', '.join(left)}"


def _sizes(server: Server) -> dict[str, int]:
    return {schema: int(size or 0) for schema, size in server.query(_SIZES)}


def _question(leaver: Leaver) -> str:
    if leaver.dropped:
        return f"Remove {leaver.name} and {len(leaver.dropped)} schemas?"
    return f"Remove {leaver.name}?"
