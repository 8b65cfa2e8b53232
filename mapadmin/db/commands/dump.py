"""`dump`: accounts, roles and grants as SQL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.core import output
from mapadmin.core.errors import UsageError
from mapadmin.core.files import write_atomic
from mapadmin.core.report import Report
from mapadmin.db.account_details import read_details
from mapadmin.db.commands._app import app
from mapadmin.db.database import open_database
from mapadmin.db.export import choose, dump


@app.command("dump")
def dump_accounts(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Users; all of them when none is named.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file (0600), not to the terminal.")
    ] = None,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Print it, hashes and all, even to a terminal.")
    ] = False,
) -> None:
    """Accounts and grants as SQL that another server of the same flavour accepts.

    With roles, password hashes, TLS, limits, locks and proxies, so people log in there with the
    passwords they have. Whoever has a hash can try passwords on it: treat the output as a secret.
    The server's own accounts, mapadmin's own and root (unless named) are left out.
    """
    report = Report()
    if out is not None and stdout:
        raise UsageError("Choose one of --out and --stdout.")
    if out is None and not stdout and sys.stdout.isatty():
        raise UsageError(
            "The dump holds password hashes, which a terminal would show.",
            remedy="Name a file with --out, or add --stdout.",
        )
    database = open_database(ctx.ensure_object(Admin))
    tables = database.tables
    states = choose(names or [], tables, database.own)
    details = read_details(database.server)
    text = "".join(f"{line}\n" for line in dump(states, tables, details))
    if out is None:
        output.write(text)
    else:
        write_atomic(out, text, mode=0o600)
        report.say(f"{len(states)} accounts and roles (with hashes, mode 0600): {out}")
    lost = [state.account for state in states if details[state.account].factors > 1]
    if lost:
        report.say(f"Note: further factors are not dumped: {', '.join(map(str, lost))}")
    if not names and len(tables.orphans) > 0:
        orphans = ", ".join(map(str, sorted(tables.orphans)))
        report.say(f"Note: grants of accounts that do not exist are not dumped: {orphans}")
