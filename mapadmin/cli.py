"""The command tree and the entry point.

A group is imported when one of its commands is used, never to print the list of groups. Adding a
subsystem is adding its folder and one line to `GROUPS`.
"""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from mapadmin import __version__
from mapadmin.admin import Admin, error_boundary
from mapadmin.core.errors import Interrupted

GROUPS = {
    "db": ("mapadmin.db.commands", "Database accounts and grants."),
    "init": (
        "mapadmin.init_command",
        "Make a site folder, for a new site or one that runs already.",
    ),
    "journal": ("mapadmin.journal_command", "Who changed what, when."),
    "sandbox": ("mapadmin.sandbox.commands", "A whole site on this machine, to try things on."),
}


class LazyGroup(TyperGroup):
    """Knows its commands' names and help; the rest of a command is imported when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What help needs: a name and a sentence."""
        del ctx
        if cmd_name not in GROUPS:
            return None
        return TyperCommand(cmd_name, help=GROUPS[cmd_name][1], short_help=GROUPS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """What running or completing needs: the command itself."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in GROUPS:
            command = get_command(importlib.import_module(GROUPS[name][0]).app)
            command.name = name
        return name, command, rest


app = typer.Typer(
    cls=LazyGroup, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Administer a DataJoint pipeline: database, and soon everything around it.",
)  # fmt: skip


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
    admin.debug = debug


def main() -> None:
    """The installed `mapadmin`. Exit codes: see `mapadmin.core.errors.ExitCode`."""
    # What an init system or `timeout` sends is an interruption like Ctrl-C: it is reported.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    admin = Admin(command=shlex.join(["mapadmin", *sys.argv[1:]]))
    if os.environ.get("MAPADMIN_DEBUG"):
        admin.debug = True
    with error_boundary(admin):
        app(obj=admin)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted
