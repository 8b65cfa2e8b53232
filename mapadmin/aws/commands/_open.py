"""How the commands get at AWS."""

from __future__ import annotations

import typer

from mapadmin.admin import Admin
from mapadmin.aws.session import Aws, Options, open_aws
from mapadmin.core.report import Report


def aws_of(ctx: typer.Context, *, changes: bool = False, quiet: bool = False) -> Aws:
    """AWS for this command line; `changes` makes sure of the account first.

    An endpoint that is not AWS's own is told on stderr, unless `quiet`.
    """
    aws = open_aws(ctx.ensure_object(Admin), Options(**ctx.meta.get("mapadmin.aws", {})))
    if aws.elsewhere and not quiet:
        Report().say(f"Note: not AWS itself, but {', '.join(aws.elsewhere)}")
    if changes:
        aws.require_account()
    return aws
