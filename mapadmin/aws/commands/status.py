"""`mapadmin aws status`: everything at a glance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of
from mapadmin.aws.facts import Facts
from mapadmin.aws.health import aws_checks
from mapadmin.aws.session import Aws
from mapadmin.core.checks import CheckResult, State, run_checks
from mapadmin.core.errors import ExitCode, UsageError
from mapadmin.core.report import Report
from mapadmin.options import Json

_INTERVAL = 30.0  # seconds between two looks of --watch; CloudWatch has figures every 60 or 300


@app.command("status")
def status(
    ctx: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every SECONDS, until Ctrl-C.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Argument(min=1.0, help="For --watch; 30 if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The database, the server and the buckets at a glance; nothing is changed.

    All questions are asked at once. What is denied or does not answer is `unknown`, with the
    reason, and hides nothing else. Thresholds are in [aws.thresholds] of the site file. The exit
    code is 1 when a check fails.
    """
    if seconds is not None and not watch:
        raise UsageError("SECONDS are for --watch.", remedy="mapadmin aws status --watch 60")
    admin = ctx.ensure_object(Admin)
    aws = aws_of(ctx)
    report = Report(as_json=as_json)
    if watch:
        report.watch(
            lambda: (f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", _look(admin, aws)),
            report.check_columns(), seconds=seconds or _INTERVAL,
        )  # fmt: skip
        return
    results = _look(admin, aws)
    report.checks(results)
    failed = any(result.state is State.FAIL for result in results)
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


def _look(admin: Admin, aws: Aws) -> list[CheckResult]:
    """All results. Raises what keeps us from knowing who we are: then nothing else says more."""
    facts = Facts(aws, admin.site.state_folder / "cache")
    results = run_checks(aws_checks(facts))
    if results[0].state is not State.OK:
        aws.require_account()
    return results
