"""`mapadmin workers rotate-password`."""

from __future__ import annotations

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.options import DryRun, Json
from mapadmin.workers.commands._app import app
from mapadmin.workers.commands._manage import Timeout, seconds_of
from mapadmin.workers.manager import Manager
from mapadmin.workers.rotation import Rotation


@app.command("rotate-password")
def rotate_password(
    ctx: typer.Context, timeout: Timeout = None, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Give the workers' account a new password, and replace the workers, each after its job.

    On MySQL the old password works until all have been replaced, and is discarded then; MariaDB has
    one password only. A run that was cut short is finished by the next one. The site file's
    password must be a file: reference; the new one is written there and shown nowhere.
    """
    admin = ctx.ensure_object(Admin)
    manager = Manager(admin)
    mode, limit = Mode(dry_run=dry_run, as_json=as_json), seconds_of(timeout)
    rotation = Rotation(admin, manager)
    with manager.changing(mode) as crew:
        plan = rotation.plan(crew)
        manager.perform(plan, mode, timeout=limit, more_kinds=rotation.kinds)
