"""Starting and stopping users' servers: what shall be done, and how it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.core.text import count, human_seconds
from mapadmin.jupyterhub.hub import Hub
from mapadmin.jupyterhub.model import Server


class ServerStep(Step, frozen=True, kw_only=True):
    """A server that is started or stopped.

    With `idle`, one is left alone that computes, or was active within so many seconds.
    """

    user: str
    name: str
    start: bool = False
    idle: float | None = None


def plan_stop(servers: Sequence[Server]) -> Plan:
    """Stop these whatever they do."""
    return Plan(tuple(_stop(server) for server in servers))


def plan_start(user: str, name: str) -> Plan:
    """Start one."""
    label = f"{user}/{name}" if name else user
    return Plan(
        (ServerStep(action="start server", target=label, user=user, name=name, start=True),)
    )


def plan_stop_idle(servers: Sequence[Server], now: datetime, seconds: float) -> Plan:
    """Stop those that were not active for so long; busy and unclear ones are spared, and named."""
    steps, notes = [], []
    for server in servers:
        idle = idle_seconds(server, now)
        if idle is None or idle < seconds:
            continue
        why = _why_spared(server)
        if why:
            notes.append(f"{server.label} is left alone: {why}")
        else:
            detail = f"idle for {human_seconds(idle)}"
            steps.append(_stop(server, idle=seconds, detail=detail))
    return Plan(tuple(steps), tuple(notes))


def idle_seconds(server: Server, now: datetime) -> float | None:
    """Since its last activity or its start, whichever was later; None when neither is known."""
    moments = [moment for moment in (server.last_activity, server.started) if moment]
    return (now - max(moments)).total_seconds() if moments else None


def _why_spared(server: Server) -> str:
    if server.pending:
        return f"it is about to {server.pending}"
    if server.kernels is None:
        return "it does not say whether its kernels are busy"
    return f"{count(server.kernels.busy, 'busy kernel')}" if server.kernels.busy else ""


def _stop(server: Server, *, idle: float | None = None, detail: str = "") -> ServerStep:
    lost = _lost(server)
    return ServerStep(
        action="stop server", target=server.label, user=server.user, name=server.name, idle=idle,
        detail="; ".join(filter(None, [detail, lost or "no kernels"])), destroys=bool(lost),
    )  # fmt: skip


def _lost(server: Server) -> str:
    """What ends with a server; empty for nothing."""
    kernels = server.kernels
    if kernels is None:
        return "its kernels are not known"
    parts = []
    if kernels.total:
        busy = f" ({kernels.busy} busy)" if kernels.busy else ""
        parts.append(f"{count(kernels.total, 'kernel')}{busy}")
    if kernels.terminals:
        parts.append(count(kernels.terminals, "terminal"))
    return f"ends {', '.join(parts)}" if parts else ""


def kind(hub: Hub, changed: Callable[[str], None] = lambda _: None) -> Kind:
    """How a ServerStep is carried out; `changed` is told of each."""

    def execute(steps: Sequence[ServerStep]) -> Iterator[None]:
        for step in steps:
            changed(step.target)
            if step.start:
                hub.start(step.user, step.name)
            else:
                if step.idle is not None:
                    _require_idle(hub, step, step.idle)
                hub.stop(step.user, step.name)
            yield

    return Kind(execute)


def _require_idle(hub: Hub, step: ServerStep, seconds: float) -> None:
    """The plan may have waited for an answer: its users have not."""
    servers = [one for one in hub.user(step.user).servers if one.name == step.name]
    for server in hub.with_kernels(servers):
        idle = idle_seconds(server, datetime.now(UTC))
        why = _why_spared(server)
        if not why and (idle is None or idle < seconds):
            why = "somebody uses it"
        if why:
            raise MapadminError(f"{server.label} is left alone: by now, {why}.")
