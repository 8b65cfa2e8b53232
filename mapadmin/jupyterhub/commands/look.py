"""`status`, `users`, `servers`: what there is; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from mapadmin.admin import Admin
from mapadmin.core.checks import State, run_checks
from mapadmin.core.errors import ExitCode
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import human_seconds
from mapadmin.jupyterhub.commands._app import app
from mapadmin.jupyterhub.health import Health
from mapadmin.jupyterhub.model import Known, Server, join_people
from mapadmin.jupyterhub.session import open_hub
from mapadmin.options import Json


@app.command("status")
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """The hub, what the token may do, who may log in, the servers; nothing is changed.

    Exits with 1 when a check fails; when there is no hub, with 4, or 3 when the settings are wrong.
    """
    hub = open_hub(ctx.ensure_object(Admin))
    results = run_checks(Health(hub, datetime.now(UTC)).checks())
    # Raise what keeps us from asking at all.
    if results[0].state is State.UNKNOWN:
        hub.version()
    if results[1].state is State.UNKNOWN:
        hub.scopes()
    Report(as_json=as_json).checks(results)
    failed = any(result.state is State.FAIL for result in results)
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


@app.command("users")
def users(
    ctx: typer.Context,
    everybody: Annotated[
        bool, typer.Option("--all", help="Also people of people.toml who were never there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The hub's users: who they are in people.toml, and when they were last active.

    A user who is not in people.toml has a `-` for a role.
    """
    admin = ctx.ensure_object(Admin)
    rows = join_people(open_hub(admin).users(), admin.site.people.people)
    if not everybody:
        rows = [row for row in rows if row.user is not None]
    Report(as_json=as_json).rows(rows, _user_columns(datetime.now(UTC)), empty="Nobody, so far.")


@app.command("servers")
def servers(ctx: typer.Context, as_json: Json = False) -> None:
    """The servers that run: whose, since when, when last active, and how many kernels compute.

    A `?` stands for a server that does not tell its kernels.
    """
    hub = open_hub(ctx.ensure_object(Admin))
    rows = hub.servers()
    columns = server_columns(datetime.now(UTC))
    Report(as_json=as_json).rows(rows, columns, empty="No server runs.")


def server_columns(now: datetime) -> list[Column]:
    ago = _ago(now)
    return [
        Column("server", lambda s: s.label),
        Column("state", lambda s: s.state, style=_state_style),
        Column("started", lambda s: ago(s.started), right=True),
        Column("last active", lambda s: ago(s.last_activity), right=True),
        Column("kernels", lambda s: s.kernels.total if s.kernels else "?", right=True),
        Column("busy", lambda s: s.kernels.busy if s.kernels else "?", right=True),
        Column("terminals", lambda s: s.kernels.terminals if s.kernels else "?", right=True),
    ]


def _user_columns(now: datetime) -> list[Column]:
    ago = _ago(now)

    def of_user(value: Callable[[Any], object]) -> Callable[[Known], object]:
        return lambda row: value(row.user) if row.user else None

    return [
        Column("user", lambda row: row.name),
        Column("person", lambda row: row.person),
        Column("role", lambda row: row.role),
        Column("admin", of_user(lambda user: "yes" if user.admin else None)),
        Column("last active", of_user(lambda user: ago(user.last_activity)), right=True),
        Column("servers", of_user(lambda user: len(user.servers)), right=True),
    ]


def _ago(now: datetime) -> Callable[[datetime | None], str]:
    return lambda moment: (
        f"{human_seconds(max(0.0, (now - moment).total_seconds()))} ago" if moment else "never"
    )


def _state_style(server: Server) -> str:
    return {"ready": "green", "failed": "bold red"}.get(server.state, "yellow")
