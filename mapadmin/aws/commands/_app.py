"""The group that all `mapadmin aws` commands belong to, and where each of them is."""

from __future__ import annotations

from typing import Annotated

import typer

from mapadmin.lazy import Commands, lazy_group

_HERE = "mapadmin.aws.commands"

COMMANDS: Commands = {
    "status": (f"{_HERE}.status", "The database, the server and the buckets at a glance."),
    "usage": (f"{_HERE}.usage", "What is stored, how it grows, when it is full."),
    "cost": (f"{_HERE}.cost", "Budgets; with --explorer, what each service costs."),
    "snapshots": (f"{_HERE}.snapshots", "The database's snapshots."),
    "snapshot": (f"{_HERE}.snapshots", "Make a snapshot of the database."),
    "snapshot-check": ("mapadmin.rds.snapshot_check", "Restore a snapshot, query it, delete that."),
    "delete-snapshot": (f"{_HERE}.snapshots", "Delete a manual snapshot."),
    "instance": (f"{_HERE}.instance", "Start, stop or reboot the EC2 server."),
    "uploads": (f"{_HERE}.uploads", "Multipart uploads left over."),
    "lifecycle": (f"{_HERE}.lifecycle", "A bucket's lifecycle rules."),
    "reports": (f"{_HERE}.reports", "Hand out files of the bucket of reports."),
    "policy": (f"{_HERE}.policy", "The least IAM policy that mapadmin needs here."),
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
