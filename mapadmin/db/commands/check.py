"""`mapadmin db check`: whether mapadmin can do its work on this server."""

from __future__ import annotations

import typer

from mapadmin.admin import Admin
from mapadmin.core.checks import State, run_checks
from mapadmin.core.errors import ExitCode
from mapadmin.core.report import Report
from mapadmin.db.commands._app import app
from mapadmin.db.health import Probe, checks_of
from mapadmin.options import Json


@app.command("check")
def check(ctx: typer.Context, as_json: Json = False) -> None:
    """Connection, TLS, version, privileges, clocks, settings that matter; nothing is changed.

    Exits with 1 when a check fails; when there is no connection, with 4, or 3 if it was refused.
    """
    admin = ctx.ensure_object(Admin)
    probe = Probe(admin)
    results = run_checks(checks_of(probe, admin))
    Report(as_json=as_json).checks(results)
    if results[0].state is State.OK:
        failed = any(result.state is State.FAIL for result in results)
        raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)
    raise typer.Exit(probe.failure.exit_code if probe.failure else ExitCode.UNREACHABLE)
