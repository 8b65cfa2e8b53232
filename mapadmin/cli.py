"""The command tree and the entry point.

A group is imported when one of its commands is used, never to print the list of groups. Adding a
subsystem is adding its folder and one line to `GROUPS`.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Annotated

import typer

from mapadmin import __version__
from mapadmin.admin import Admin, Queries, error_boundary
from mapadmin.core import interruption
from mapadmin.lazy import Commands, lazy_group

GROUPS: Commands = {
    "aws": ("mapadmin.aws.commands", "The RDS instance, the EC2 server and the buckets."),
    "cleanup": ("mapadmin.cleanup.commands", "Clear away what the pipeline leaves behind."),
    "db": ("mapadmin.db.commands", "Database accounts and grants."),
    "globus": ("mapadmin.globus.commands", "Archive on Globus: listing, transfers, checking."),
    "init": (
        "mapadmin.init_command",
        "Make a site folder, for a new site or one that runs already.",
    ),
    "jupyterhub": ("mapadmin.jupyterhub.commands", "Users of JupyterHub and their servers."),
    "journal": ("mapadmin.journal_command", "Who changed what, when."),
    "sandbox": ("mapadmin.sandbox.commands", "A whole site on this machine, to try things on."),
    "workers": ("mapadmin.workers.commands", "The pipeline's workers and their jobs."),
}


app = typer.Typer(
    cls=lazy_group(GROUPS),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Administer a DataJoint pipeline. Every change is planned, shown and journalled.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mapadmin {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    site: Annotated[
        str | None, typer.Option(help="Folder of the site; default: $MAPADMIN_SITE, or here.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options that every command shares."""
    del version
    admin = ctx.ensure_object(Admin)
    admin.site_option = site
    admin.debug = admin.debug or debug


def main() -> None:
    """The installed `mapadmin`. Exit codes: see `mapadmin.core.errors.ExitCode`."""
    _mend_streams()
    interruption.install()
    admin = Admin(
        command=shlex.join(["mapadmin", *sys.argv[1:]]), connect_database=_connect_database
    )
    if os.environ.get("MAPADMIN_DEBUG"):
        admin.debug = True
    with error_boundary(admin):
        app(obj=admin)


def _mend_streams() -> None:
    """Output that was closed (`>&-`) goes nowhere; a locale without é gets `\\xe9`, no error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8", closefd=False))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _connect_database(admin: Admin) -> Queries:
    """A connection for subsystems that only look into the database; closed at the end."""
    from mapadmin.db.database import open_database

    return open_database(admin).server
