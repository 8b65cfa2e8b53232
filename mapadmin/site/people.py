"""people.toml: who there is, and what they may do."""

from __future__ import annotations

from datetime import date

import msgspec

from mapadmin.site.base import Settings


class Person(Settings, frozen=True, kw_only=True):
    """[people.<name>] or [services.<name>] in people.toml; the name is the user name."""

    role: str = ""
    """A role of mapadmin.toml; empty: none."""
    email: str = ""
    github: str = ""
    globus: str = ""
    expires: date | None = None
    """The account is locked from the day after on."""
    hosts: list[str] = msgspec.field(default_factory=lambda: ["%"])
    """From where they log in: host names, addresses, `%` patterns; in lower case, as servers do."""
    own_schemas: bool | None = None
    """Owns all schemas that start with `<name>_`; default: people do, services do not."""
    grants: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Privileges beyond the role's, by schema pattern, `schema.table` or `*.*`."""
    native_roles: list[str] = msgspec.field(default_factory=list)
    """Roles of the server's own that are left as they are."""
    locked: bool = False
    require_tls: bool | None = None
    """Overrides the site's `require_tls`."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "hosts", [host.lower() for host in self.hosts])


class People(Settings, frozen=True, kw_only=True):
    """people.toml"""

    people: dict[str, Person] = msgspec.field(default_factory=dict)
    services: dict[str, Person] = msgspec.field(default_factory=dict)
