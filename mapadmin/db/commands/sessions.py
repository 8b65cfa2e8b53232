"""`processes` and `kill`: what runs on the server, and how to end it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Plan
from mapadmin.core.report import Report
from mapadmin.db.commands import _columns as columns
from mapadmin.db.commands._app import app
from mapadmin.db.database import open_database
from mapadmin.db.processes import Session, SessionKind, kill_steps, sessions
from mapadmin.db.server import Server
from mapadmin.options import DryRun, Json, Yes

_INTERVAL = 2.0  # seconds between two looks of --watch


@app.command("processes")
def processes(
    ctx: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every SECONDS, until Ctrl-C.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Argument(min=0.1, help="For --watch; 2 if not given.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also idle ones, and the server's own.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Who is doing what on the server, from where, for how long.

    A session that does nothing is left out unless it holds a transaction open. What may be a
    password in a statement is not shown. mapadmin's own session is left out.
    """
    if seconds is not None and not watch:
        raise UsageError("SECONDS are for --watch.", remedy="mapadmin db processes --watch 5")
    server = open_database(ctx.ensure_object(Admin)).server
    report = Report(as_json=as_json)
    if watch:
        report.watch(
            lambda: (_title(server), _shown(server, user, everything=everything)),
            columns.sessions(), seconds=seconds or _INTERVAL,
        )  # fmt: skip
        return
    rows = _shown(server, user, everything=everything)
    report.rows(rows, columns.sessions(), empty="Nobody is doing anything (see --all).")


def _title(server: Server) -> str:
    return f"{server.settings.host}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _shown(server: Server, user: str | None, *, everything: bool) -> list[Session]:
    return [
        session
        for session in sessions(server)
        if (everything or not session.idle) and user in (None, session.user)
    ]


@app.command("kill")
def kill(
    ctx: typer.Context,
    ids: Annotated[list[int] | None, typer.Argument(help="As `processes` shows them.")] = None,
    user: Annotated[str | None, typer.Option(help="All sessions of this user.")] = None,
    query: Annotated[
        bool, typer.Option("--query", help="End only what runs now; the session stays.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """End sessions, or what they run; the server undoes their open transactions.

    On RDS through its own procedures. One that has ended by itself is as it should be. mapadmin's
    own session, those of replicas and the server's threads are never ended.
    """
    if bool(ids) == bool(user):
        raise UsageError(
            "Say which sessions to end: either by their ids, or all of one user with --user.",
            remedy="`mapadmin db processes --all` lists them.",
        )
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    # Not `changing`: whoever holds the lock may be what is to be ended.
    database = open_database(ctx.ensure_object(Admin))
    server = database.server
    notes: list[str] = []
    if user:
        found = [session for session in sessions(server) if session.user == user]
    else:
        found = _by_id(server, ids or [], notes)
    _refuse(found)
    if query:
        found = [session for session in found if session.command != "Sleep"]
    steps = kill_steps(server, found, query=query)
    question = "End these statements?" if query else "End these sessions?"
    database.perform(Plan(steps, tuple(notes)), mode, question=question)


def _by_id(server: Server, ids: list[int], notes: list[str]) -> list[Session]:
    if server.connection_id in ids:
        raise UsageError(f"{server.connection_id} is this command's own session.")
    known = {session.id: session for session in sessions(server)}
    wanted = sorted(set(ids))
    notes += [
        f"there is no session {number} (any more)" for number in wanted if number not in known
    ]
    return [known[number] for number in wanted if number in known]


def _refuse(found: list[Session]) -> None:
    """Raises UsageError for a session that is not a client's."""
    why = {
        SessionKind.SYSTEM: "a thread of the server's own",
        SessionKind.REPLICATION: "a replica reading the binary log",
    }
    for session in found:
        if session.kind in why:
            raise UsageError(
                f"{session.id} ({session.user}) is {why[session.kind]}, which is never ended."
            )
