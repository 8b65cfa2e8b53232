"""`start-server`, `stop-server`, `stop-idle`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Plan
from mapadmin.core.progress import Progress
from mapadmin.core.text import count, parse_seconds
from mapadmin.jupyterhub.changes import (
    ServerStep,
    kind,
    plan_start,
    plan_stop,
    plan_stop_idle,
)
from mapadmin.jupyterhub.commands._app import app
from mapadmin.jupyterhub.hub import Hub
from mapadmin.jupyterhub.session import open_hub
from mapadmin.options import DryRun, Json, Yes

User = Annotated[str, typer.Argument(help="A user of the hub.")]
Name = Annotated[str, typer.Option("--name", help="One of the user's named servers.")]


@app.command("start-server")
def start_server(
    ctx: typer.Context, user: User, name: Name = "", dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Start a user's server, and wait until it is ready."""
    admin = ctx.ensure_object(Admin)
    hub = open_hub(admin)
    found = [one for one in hub.user(user).servers if one.name == name]
    plan = Plan() if any(one.state == "ready" for one in found) else plan_start(user, name)
    _perform(admin, hub, plan, Mode(dry_run=dry_run, as_json=as_json))


@app.command("stop-server")
def stop_server(
    ctx: typer.Context,
    user: User,
    name: Name = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stop a user's server, and wait until it is gone; files stay, kernels end.

    Asks first when the server has kernels or terminals, or does not say.
    """
    admin = ctx.ensure_object(Admin)
    hub = open_hub(admin)
    found = [one for one in hub.user(user).servers if one.name == name]
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    _perform(admin, hub, plan_stop(hub.with_kernels(found)), mode)


@app.command("stop-idle")
def stop_idle(
    ctx: typer.Context,
    longer_than: Annotated[
        str, typer.Option(metavar="TIME", help="Not active for so long: 90m, 2h, 1d.")
    ],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stop all servers that were not active for some time. One with a busy kernel is spared.

    So is one that does not tell. Each is looked at once more before it is stopped. Asks first when
    kernels or terminals end with them, which in cron is answered by --yes.
    """
    try:
        seconds = parse_seconds(longer_than)
    except ValueError as error:
        raise UsageError(f"--longer-than: {error}.", remedy="Write it as 90m, 2h or 1d.") from None
    admin = ctx.ensure_object(Admin)
    hub = open_hub(admin)
    plan = plan_stop_idle(hub.servers(), datetime.now(UTC), seconds)
    _perform(admin, hub, plan, Mode(dry_run=dry_run, yes=yes, as_json=as_json))


def _perform(admin: Admin, hub: Hub, plan: Plan, mode: Mode) -> None:
    stopped = sum(step.destroys for step in plan.steps)
    with Progress("Servers", total=len(plan.steps)) as progress:
        progress_of = kind(hub, lambda target: progress.advance(1, note=target))
        admin.perform(
            plan, {ServerStep: progress_of}, mode,
            question=f"End what runs on {count(stopped, 'server')}?",
        )  # fmt: skip
