"""`apply`: who may use the hub, by people.toml."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import SettingsError
from mapadmin.core.files import make_private_folder
from mapadmin.core.lock import file_lock
from mapadmin.jupyterhub.allowed import (
    AllowStep,
    kind,
    plan_allowed,
    read_allowed,
    wanted_logins,
)
from mapadmin.jupyterhub.commands._app import app
from mapadmin.jupyterhub.session import shared_folder
from mapadmin.options import DryRun, Json


@app.command("apply")
def apply(
    ctx: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Even if nobody is left.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let the people of people.toml use the hub, and nobody else, from the next login on.

    By their `github` names, or their user names without one; not the locked and the expired.
    Somebody removed is thrown out within the hub's auth_refresh_age; the server goes on. The hub's
    configuration must use `only_allowed`; see the README. Runs on the hub's host.
    """
    admin = ctx.ensure_object(Admin)
    folder = shared_folder(admin)
    if not admin.site.has_people_file:
        raise SettingsError(
            f"There is no {admin.site.people_path}, which says who may use the hub."
        )
    wanted = wanted_logins(admin.site.people.people, datetime.now(UTC).date())
    mode = Mode(dry_run=dry_run, as_json=as_json)
    lock = make_private_folder(admin.site.state_folder) / "jupyterhub.lock"
    with file_lock(lock, command=admin.command):
        plan = plan_allowed(read_allowed(folder), wanted, force=force)
        admin.perform(plan, {AllowStep: kind(folder)}, mode)
