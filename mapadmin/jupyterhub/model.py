"""What the hub says, as values: users, their servers, the kernels in these."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from mapadmin.site import Person

NEEDED_SCOPES: Mapping[str, tuple[str, ...]] = {
    "see users": ("list:users",),
    "see when users were active": ("read:users:activity",),
    "see servers": ("read:servers",),
    "stop servers": ("delete:servers", "servers"),
    "start servers": ("start:servers", "servers"),
    "ask servers for their kernels": ("tokens",),
    "see the hub's set-up": ("read:hub",),
}
"""What mapadmin does at the hub, and a scope that allows it; before JupyterHub 6, start:servers is
part of servers."""


class Kernels(msgspec.Struct, frozen=True):
    """How many kernels a server has, how many of them compute, and how many terminals are open."""

    total: int
    busy: int
    terminals: int = 0


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A user's server. `name` is empty but for servers that have one of their own.

    `pending` is what it is about to do (spawn, stop), empty when it is ready. `kernels` is None
    when it was not asked, or does not answer.
    """

    user: str
    name: str
    started: datetime | None
    last_activity: datetime | None
    pending: str
    path: str
    kernels: Kernels | None = None

    @property
    def label(self) -> str:
        return f"{self.user}/{self.name}" if self.name else self.user

    @property
    def state(self) -> str:
        return self.pending or "ready"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user of the hub; `last_activity` is None for one who has never been there."""

    name: str
    admin: bool
    last_activity: datetime | None
    servers: tuple[Server, ...]


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A user of the hub and an entry of people.toml that belong together; one may be missing."""

    name: str
    user: User | None
    person: str
    role: str


def parse_user(data: Mapping[str, Any]) -> User:
    """A user as the REST API describes it."""
    servers = data.get("servers") or {}
    return User(
        name=str(data["name"]),
        admin=bool(data.get("admin")),
        last_activity=parse_time(data.get("last_activity")),
        servers=tuple(
            parse_server(str(data["name"]), server)
            for _, server in sorted(servers.items())
            if not server.get("stopped")
        ),
    )


def parse_server(user: str, data: Mapping[str, Any]) -> Server:
    """A server as the REST API describes it."""
    return Server(
        user=user,
        name=str(data.get("name") or ""),
        started=parse_time(data.get("started")),
        last_activity=parse_time(data.get("last_activity")),
        # Neither ready nor pending is what is left of one that has just failed to start.
        pending=str(data.get("pending") or ("" if data.get("ready") else "failed")),
        path=str(data.get("url") or ""),
    )


def parse_kernels(kernels: object, terminals: object) -> Kernels:
    """The answers of a server's `/api/kernels` and `/api/terminals`; TypeError for anything else.

    A kernel that is starting counts as busy; a server without terminals gives none.
    """
    if not isinstance(kernels, list):
        raise TypeError("not a list of kernels")
    states = [str(kernel.get("execution_state")) for kernel in kernels]
    busy = sum(state not in ("idle", "dead") for state in states)
    return Kernels(len(states), busy, len(terminals) if isinstance(terminals, list) else 0)


def parse_time(text: object) -> datetime | None:
    """A time with its zone; before JupyterHub 2 the zone was left out, and was UTC."""
    if not text:
        return None
    moment = datetime.fromisoformat(str(text))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def login_of(name: str, person: Person) -> str:
    """The hub's name of a person: the GitHub login, or the user name where people.toml has none.

    The hub writes either in lower case.
    """
    return (person.github or name).lower()


def join_people(users: list[User], people: Mapping[str, Person]) -> list[Known]:
    """Users of the hub and people.toml side by side, by name."""
    by_login = {login_of(name, person): name for name, person in people.items()}
    found = {user.name.lower(): user for user in users}
    rows = []
    for login in sorted(found.keys() | by_login.keys()):
        user, name = found.get(login), by_login.get(login, "")
        role = people[name].role if name else ""
        rows.append(Known(name=user.name if user else login, user=user, person=name, role=role))
    return rows
