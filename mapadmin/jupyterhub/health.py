"""Whether the hub is as it should be, as checks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

from mapadmin.core.checks import Check, Finding, fail, ok, warn
from mapadmin.core.text import count, human_seconds
from mapadmin.jupyterhub.changes import idle_seconds
from mapadmin.jupyterhub.hub import Hub
from mapadmin.jupyterhub.model import NEEDED_SCOPES, Server

OLDEST = (2, 0)  # the first with scopes
SLOW = 300.0  # seconds after which a server that is still starting or stopping is stuck
EVERYBODY = "DummyAuthenticator"  # takes any password


class Health:
    """The hub's answers, each asked for once."""

    def __init__(self, hub: Hub, now: datetime) -> None:
        self.hub, self.now = hub, now

    @cached_property
    def scopes(self) -> list[str]:
        return self.hub.scopes()

    def checks(self) -> list[Check]:
        """The first is the hub itself: without it the others say nothing more."""
        limit = self.hub.settings.timeout + 5
        return [
            Check("hub", self._hub, limit),
            Check("token", lambda: judge_scopes(self.scopes), limit),
            Check("login", self._login, limit),
            Check(
                "servers", lambda: judge_servers(self.hub.servers(kernels=False), self.now), limit
            ),
        ]

    def _hub(self) -> Finding:
        return judge_version(self.hub.version(), self.hub.settings.url)

    def _login(self) -> Finding:
        info = self.hub.info()
        return judge_login(
            str(info.get("authenticator", {}).get("class", "")),
            str(info.get("spawner", {}).get("class", "")),
        )


def judge_version(version: str, url: str) -> Finding:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        return fail(f"JupyterHub {version} has no scopes", "Upgrade it to 2.0 or newer.")
    if url.startswith("http:"):
        return ok(f"JupyterHub {version}, on this machine without TLS")
    return ok(f"JupyterHub {version}")


def judge_scopes(scopes: Sequence[str]) -> Finding:
    """The token should allow what mapadmin does, and not the keys of the house."""
    missing = [what for what, some in NEEDED_SCOPES.items() if not set(some) & set(scopes)]
    if missing:
        lacking = [NEEDED_SCOPES[what][0] for what in missing]
        return fail(
            f"the token may not {', '.join(missing)}",
            f"Add to the scopes of the service's role: {', '.join(lacking)}",
        )
    too_much = {"admin:users", "admin:servers", "admin-ui", "admin:groups", "inherit"}
    too_much |= {"access:servers"}  # a server is shown tokens that open it alone
    powers = too_much & set(scopes)
    if powers:
        return warn(
            f"the token may do more than mapadmin needs: {', '.join(sorted(powers))}",
            "Take that from the service's role.",
        )
    return ok(f"has the {count(len(NEEDED_SCOPES), 'right')} that mapadmin needs")


def judge_login(authenticator: str, spawner: str) -> Finding:
    detail = f"{authenticator.rpartition('.')[2]}, servers by {spawner.rpartition('.')[2]}"
    if authenticator.endswith(EVERYBODY):
        return fail(f"{detail}: anybody may log in", "Use another authenticator, such as GitHub's.")
    return ok(detail)


def judge_servers(servers: Sequence[Server], now: datetime) -> Finding:
    failed = sorted(one.label for one in servers if one.state == "failed")
    stuck = sorted(
        one.label for one in servers if one.pending and (idle_seconds(one, now) or 0) > SLOW
    )
    detail = f"{count(sum(not one.pending for one in servers), 'server')} ready"
    if failed or stuck:
        return warn(
            f"{detail}; in trouble: {', '.join(dict.fromkeys([*failed, *stuck]))} "
            f"(starting or stopping for more than {human_seconds(SLOW)}, or failed)",
            "Stop them: mapadmin jupyterhub stop-server NAME; the hub's log says more.",
        )
    return ok(detail)
