"""`mapadmin aws policy`: what to give mapadmin's identity."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from mapadmin.admin import Admin
from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of, bucket_of
from mapadmin.aws.policy import names_of, policy
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
    links: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BUCKET", help="Also what `aws reports link` needs, for this bucket's objects."
        ),
    ] = None,
) -> None:
    """The least IAM policy for this site's use of mapadmin: read-only, or with changes.

    It is made from the table of the calls that mapadmin makes, for what the site file names: the
    instances and buckets of [aws], secrets (aws-secret:…), and stores on S3 that have no keys of
    their own. No call is made to print it.
    """
    aws = aws_of(ctx, quiet=True)
    file = ctx.ensure_object(Admin).site.settings
    names = msgspec.structs.replace(
        names_of(file, aws.settings, aws.region),
        links=tuple(bucket_of(aws, bucket) for bucket in links or ()),
    )
    Report(as_json=True).document(policy(names, changes=changes, costs=costs))
