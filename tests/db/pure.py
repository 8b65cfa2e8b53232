"""Sites and servers as plain values, for tests that need neither files nor a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from mapadmin.db.grants import Account, AccountState, Flavour, GrantTables
from mapadmin.site import DatabaseSettings, People, Person, Site, SiteFile, SiteSettings

TODAY = date(2027, 6, 30)
OWN = Account("mapadmin")
EVERY = frozenset({"SELECT", "INSERT", "UPDATE", "REFERENCES", "EVENT"})

Roles = dict[str, dict[str, list[str]]]


def site_of(
    *,
    roles: Roles | None = None,
    people: Mapping[str, Person] | None = None,
    services: Mapping[str, Person] | None = None,
    require_tls: bool = False,
) -> Site:
    """A site with these roles and people, made without files."""
    database = DatabaseSettings(
        host="h", password="env:X", project_prefix="map", require_tls=require_tls, schema="madmin"
    )
    settings = SiteFile(site=SiteSettings(name="x"), database=database, roles=roles or {})
    return Site(
        Path("/site"), settings, People(people=dict(people or {}), services=dict(services or {}))
    )


def tables_of(
    *users: str,
    schemas: tuple[str, ...] = (),
    flavour: Flavour = Flavour.MYSQL,
    states: Mapping[Account, AccountState] | None = None,
) -> GrantTables:
    """A server with these accounts and schemas."""
    accounts = {Account(user): AccountState(Account(user)) for user in users}
    return GrantTables(
        flavour=flavour, version=(9, 7, 0), accounts={**accounts, **(states or {})},
        schemas=frozenset(schemas), database_privileges=EVERY,
    )  # fmt: skip
