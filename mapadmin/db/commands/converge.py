"""`apply`: make the server as people.toml says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import SettingsError
from mapadmin.core.plan import Kind
from mapadmin.db.commands._app import app
from mapadmin.db.database import Database, changing
from mapadmin.db.ending import Ending, EndSessions, kept_access
from mapadmin.db.names import NameRules, check_host, off_limits
from mapadmin.db.offboarding.definers import definers
from mapadmin.db.passwords import Handover
from mapadmin.db.policy import Wanted
from mapadmin.db.reconcile import Reconciliation, prune_plan, reconcile
from mapadmin.db.sight import require_sight
from mapadmin.options import DryRun, Json, Yes


@app.command("apply")
def apply(
    ctx: typer.Context,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove managed accounts that left people.toml.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Let --prune remove more than database.prune_limit.")
    ] = False,
    password_file: Annotated[
        Path | None, typer.Option(help="New accounts' passwords go into this new file (0600).")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make the server as people.toml and the roles say.

    Creates, changes, and revokes what is too much, on the accounts that mapadmin manages and on no
    others. Everything is granted before anything is revoked.
    """
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    with changing(admin, mode) as database:
        found = survey(database)
        _check_new(database, found.created)
        handover = Handover(password_file)
        if found.created and not dry_run:
            handover.check(as_json=as_json)
            handover.check_files(database.unfinished(found.created), admin.site.database)
        plan = found.plan
        if prune:
            if found.leavers:
                require_sight(database.tables, database.own)
            plan += prune_plan(
                found.leavers, database.tables, database.state, managed=len(database.managed),
                limit=admin.site.database.prune_limit, force=force,
                definers=definers(database.server, found.leavers),
            )  # fmt: skip
        plan += kept_access(database.server, found.plan)
        ending = Ending(database.server, database.tables)
        database.perform(
            plan, mode, question="Remove these accounts?",
            after=database.hand_over(handover, found.created, found.changes),
            more_kinds={EndSessions: Kind(ending.end)},
        )  # fmt: skip


def survey(database: Database) -> Reconciliation:
    """People.toml against the server. Raises SettingsError when there is no people.toml."""
    site = database.site
    if not site.has_people_file:
        raise SettingsError(
            f"There is no {site.people_path}.",
            remedy="`mapadmin db import` writes one from the accounts on the server.",
        )
    return reconcile(
        database.wanted, database.tables, database.managed, database.differ,
        lambda user: off_limits(user, site, database.own),
    )  # fmt: skip


def _check_new(database: Database, created: Sequence[Wanted]) -> None:
    """Names that people.toml brings in: what was written there was meant, but must be possible."""
    rules = NameRules(database.site, database.tables, database.own)
    for one in created:
        if one.account not in database.tables.accounts:
            check_host(one.account.host)
            rules.check(
                one.account.user, service=one.service, allow_underscore=True, adopt_schemas=True
            )
