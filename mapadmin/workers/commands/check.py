"""`mapadmin workers check`: whether workers could do their work."""

from __future__ import annotations

import typer

from mapadmin.admin import Admin
from mapadmin.core.checks import State, run_checks
from mapadmin.core.errors import ExitCode
from mapadmin.core.report import Report
from mapadmin.options import Json
from mapadmin.workers.checks import checks_of
from mapadmin.workers.commands._app import app
from mapadmin.workers.manager import Manager


@app.command("check")
def check(ctx: typer.Context, as_json: Json = False) -> None:
    """Image, DataJoint, connection, privileges, stores and modules, seen from inside.

    For each kind of workers a container of their image is started, with what they would have, which
    looks around and is removed. Exits with 1 when a check fails.
    """
    admin = ctx.ensure_object(Admin)
    manager = Manager(admin)
    manager.docker.require(engine=(19, 3))
    results = run_checks(checks_of(admin, manager))
    Report(as_json=as_json).checks(results)
    if any(result.state is State.FAIL for result in results):
        raise typer.Exit(ExitCode.FAILED)
