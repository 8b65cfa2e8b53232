"""`mapadmin sandbox …`: a whole site on this machine, with nothing configured."""

from __future__ import annotations

import shlex
import shutil
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mapadmin.core.errors import ExitCode
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import human_bytes
from mapadmin.options import Json
from mapadmin.sandbox.sandbox import Sandbox, SandboxStatus, default_folder

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A whole site on this machine, to try things on.",
)


class FlavourChoice(StrEnum):
    MYSQL = "mysql"
    MARIADB = "mariadb"


Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]",
        help="Its folder; default: mapadmin/sandbox in the user's state folder.",
        readable=False,  # what is wrong with it, we say ourselves
    ),
]


@app.command("up")
def up(
    folder: Folder = None,
    flavour: Annotated[
        FlavourChoice | None, typer.Option(help="The database server; default: what is found.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a whole site on this machine, or start it again.

    A private database server on a free port of 127.0.0.1, a site folder, a small DataJoint
    pipeline with a few people and services, emulators of Globus and (in memory) of an AWS account.
    No root, no network, nothing outside DIR. Made once, the contents are yours: a later `up` starts
    the servers and leaves them as you left them; only the AWS account begins anew.
    """
    report = Report(as_json=as_json)
    sandbox = Sandbox(folder or default_folder())
    changed = sandbox.up(report.say, flavour=flavour)
    status = sandbox.status()
    if as_json:
        report.document(status)
        return
    report.text("The sandbox is up." if changed else "The sandbox is up already.")
    _print_parts(report, status)
    report.text(_how_to_go_on(status, folder))


@app.command("down")
def down(
    folder: Folder = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete DIR with everything in it, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop what `up` started, and nothing else.

    `up` starts it again, with everything as it was left.
    """
    report = Report(as_json=as_json)
    sandbox = Sandbox(folder or default_folder())
    existed = sandbox.exists()
    changed = sandbox.down(delete=delete)
    if as_json:
        report.document(sandbox.status())
    elif not existed:
        report.text(f"There is no sandbox in {sandbox.folder}.")
    elif delete:
        report.text("The sandbox is down, and all its files are deleted.")
    else:
        report.text("The sandbox is down." if changed else "The sandbox was down already.")


@app.command("status")
def status(folder: Folder = None, as_json: Json = False) -> None:
    """What runs where. The exit code is 1 unless everything is up."""
    report = Report(as_json=as_json)
    found = Sandbox(folder or default_folder()).status()
    if as_json:
        report.document(found)
    elif not found.exists:
        report.text(f"There is no sandbox in {found.folder}.")
    else:
        report.text(f"folder  {found.folder}\nsite    {found.site}")
        _print_parts(report, found)
    if not found.up:
        raise typer.Exit(ExitCode.FAILED)


def _print_parts(report: Report, status: SandboxStatus) -> None:
    report.print_table(
        status.parts,
        [
            Column("part", lambda p: p.name),
            Column("state", lambda p: p.state.value),
            Column("what", lambda p: p.detail),
            Column("port", lambda p: p.port, right=True),
            Column("pid", lambda p: p.pid, right=True),
            Column("since (UTC)", lambda p: p.since and p.since[:16].replace("T", " ")),
            Column("size", lambda p: human_bytes(p.size), right=True),
        ],
    )


def _how_to_go_on(status: SandboxStatus, folder: Path | None) -> str:
    program = "mapadmin" if shutil.which("mapadmin") else _this_program()
    where = f" {as_typed(status.folder)}" if folder else ""
    return f"""
Go on with:
  export MAPADMIN_SITE={as_typed(status.site)}
  {program} db users
  {program} db show-user alice
  {program} db audit
  {program} globus ls archive:/
  {program} aws status

Stop it (and be rid of it, with --delete):
  {program} sandbox down{where}"""


def _this_program() -> str:
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return f"{as_typed(sys.executable)} -m mapadmin"
    return as_typed(path.absolute())


def as_typed(path: str | Path) -> str:
    """A path as a person would type it in a shell: quoted where it must be, the home as `~`."""
    text = str(path)
    with suppress(RuntimeError):  # nobody's home is known
        home = f"{Path.home()}/"
        if text.startswith(home):
            return f"~/{shlex.quote(text.removeprefix(home))}"
    return shlex.quote(text)
