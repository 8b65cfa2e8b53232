"""`mapadmin aws policy`: what to give mapadmin's identity."""

from __future__ import annotations

from typing import Annotated

import typer

from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of
from mapadmin.aws.policy import policy
from mapadmin.core.report import Report


@app.command("policy")
def policy_command(
    ctx: typer.Context,
    changes: Annotated[
        bool, typer.Option("--changes", help="Also what the changing commands need.")
    ] = False,
    costs: Annotated[
        bool, typer.Option("--explorer", help="Also what `aws cost --explorer` needs.")
    ] = False,
) -> None:
    """The least IAM policy for this site's use of mapadmin: read-only, or with changes.

    It is made from the table of the calls that mapadmin makes; a call that is not in the table
    cannot be made. No call is made to print it.
    """
    aws = aws_of(ctx, quiet=True)
    Report(as_json=True).document(policy(aws.settings, aws.region, changes=changes, costs=costs))
