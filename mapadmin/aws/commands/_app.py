"""The group that all `mapadmin aws` commands belong to, and where each of them is."""

from __future__ import annotations

from typing import Annotated

import typer

from mapadmin.lazy import Commands, lazy_group

_HERE = "mapadmin.aws.commands"

COMMANDS: Commands = {
    "status": (f"{_HERE}.status", "The database, the server and the buckets at a glance."),
    "usage": (f"{_HERE}.usage", "What is stored, how it grows, when it is full."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The site's RDS instance, EC2 server and buckets.",
)


@app.callback()
def group(
    ctx: typer.Context,
    profile: Annotated[
        str, typer.Option(help="Profile of the AWS configuration; default: the site file's.")
    ] = "",
    region: Annotated[str, typer.Option(help="AWS region; default: the site file's.")] = "",
) -> None:
    """Options that all `mapadmin aws` commands share."""
    ctx.meta["mapadmin.aws"] = {"profile": profile, "region": region}
