"""Looks at a server for what a site's files must say, and proves that they would. Reads only."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable

import msgspec

from mapadmin.admin import Admin
from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.db.adoption.adopt import Adopter, Adoption
from mapadmin.db.adoption.site_entries import people_entries
from mapadmin.db.database import Database, open_database
from mapadmin.db.policy import Policy, Wanted
from mapadmin.people_file import preview
from mapadmin.site import PEOPLE_FILE, People, Site, SiteFile
from mapadmin.site_text import people_text, site_text, starter_roles


def look(database: Database, names: Collection[str] = (), *, as_written: bool = False) -> Adoption:
    """What can be taken over. Raises UsageError for a name that no account has."""
    existing = {account.user for account in database.tables.accounts}
    for name in names:
        if name not in existing:
            raise UsageError(
                f"There is no account of {name!r} on the server.",
                remedy="`mapadmin db users` lists the accounts.",
            )
    adopter = Adopter(
        database.site, database.tables, database.managed, database.own, database.today
    )
    return adopter.adopt(names, as_written=as_written)


def prove(database: Database, site_toml: str, people_toml: str, exact: Iterable[Wanted]) -> None:
    """Read a site's files as they would be, and make sure that they say what is to be said.

    What is written passes through TOML and its quoting; a name that does not survive it must not
    turn into an `apply` that changes somebody's access. Raises MapadminError.
    """
    settings = msgspec.convert(tomllib.loads(site_toml), SiteFile)
    people = msgspec.convert(tomllib.loads(people_toml), People)
    site = Site(database.site.folder, settings, people)
    everyone = Policy(site, database.tables, database.own, database.today).everyone()
    for one in exact:
        if everyone.get(one.account) != one:
            raise MapadminError(
                f"{one.account} would not come out of {PEOPLE_FILE} as it went in.",
                remedy="Please report this; the others can be imported by name.",
            )


def describe_server(admin: Admin) -> tuple[str, str, tuple[str, ...]]:
    """A mapadmin.toml and a people.toml for a server that is run by hand, and what to say of it."""
    database = open_database(admin)
    adoption = look(database)
    prefix = admin.site.database.project_prefix
    roles = adoption.roles or starter_roles(prefix)
    file = msgspec.structs.replace(admin.site.settings, roles=roles)
    people = preview(admin.site.people_path, people_entries(adoption), people_text(file))
    prove(database, site_text(file), people, adoption.exact)
    return site_text(file), people, adoption.notes()
