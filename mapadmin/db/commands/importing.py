"""`import`: accounts that exist already, into people.toml and mapadmin's care, as they are."""

from __future__ import annotations

from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.plan import Plan
from mapadmin.db.adoption.adopting import look, prove
from mapadmin.db.adoption.site_entries import (
    WRITE_ENTRIES,
    entry_steps,
    people_entries,
    role_entries,
)
from mapadmin.db.commands._app import app
from mapadmin.db.database import changing
from mapadmin.db.state import Stage
from mapadmin.options import DryRun, Json
from mapadmin.people_file import preview
from mapadmin.site import SITE_FILE


@app.command("import")
def import_accounts(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="User names; default: all accounts.")
    ] = None,
    as_written: Annotated[
        bool,
        typer.Option(
            "--as-written",
            help="Also take over accounts that people.toml describes otherwise: `apply` then "
            "changes them.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take over accounts that exist already.

    Writes people.toml and the roles that people seem to have, and remembers the accounts as
    managed. Nothing about the accounts themselves is changed, and `apply` right afterwards has
    nothing to do. What cannot be described exactly stays as it is, and is listed with the reason.
    """
    admin = ctx.ensure_object(Admin)
    mode = Mode(dry_run=dry_run, as_json=as_json)
    with changing(admin, mode) as database:
        adoption = look(database, names or (), as_written=as_written)
        texts = (
            preview(admin.site.folder / SITE_FILE, role_entries(adoption)),
            preview(admin.site.people_path, people_entries(adoption)),
        )
        prove(database, *texts, adoption.exact)
        marks = [database.differ.mark(one, Stage.MANAGED) for one in adoption.marks]
        plan = Plan((*entry_steps(admin.site, adoption), *marks), adoption.notes())
        database.perform(plan, mode, more_kinds=WRITE_ENTRIES)
