"""The rows that `mapadmin db users`, `schemas`, `roles` and `grants` show.

The number of queries behind them does not depend on how many accounts or schemas there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING

import msgspec

from mapadmin.db.activity import Activity, activity
from mapadmin.db.grants import Account, AccountState, GrantTables
from mapadmin.db.names import is_system
from mapadmin.db.ownership import Owners
from mapadmin.db.processes import Session
from mapadmin.db.rights.effective import PUBLIC
from mapadmin.db.state import Managed, Stage
from mapadmin.db.usage import Usage, usage
from mapadmin.site import Person

if TYPE_CHECKING:
    from mapadmin.db.database import Database


class UserRow(msgspec.Struct, frozen=True):
    """One account.

    `role` and `expires` (a date) are those of people.toml, else what mapadmin remembers. `own`: it
    is the one that mapadmin uses. `unfinished`: being created, nobody has its password. `schemas`,
    `bytes`, `growth_bytes` since `growth_days` ago and `newest_change` (UTC) are those of all
    schemas with the user's prefix; the growth is null before the first look of an earlier day.
    `logins` since `logins_since` (UTC) is null where the server does not count them; `sessions` are
    open now.
    """

    user: str
    host: str
    role: str
    service: bool
    own: bool
    managed: bool
    unfinished: bool
    locked: bool
    password_expired: bool
    expires: date | None
    tls_required: bool
    schemas: int
    bytes: int
    growth_bytes: int | None
    growth_days: int | None
    newest_change: datetime | None
    sessions: int
    logins: int | None
    logins_since: datetime
    native_roles: tuple[str, ...]


class SchemaRow(msgspec.Struct, frozen=True):
    """One schema; `owner_kind` is user, project, mapadmin, system or nobody.

    `bytes` are data and indexes; `newest_change` is UTC; the growth is null before the first look
    of an earlier day.
    """

    schema: str
    owner: str
    owner_kind: str
    tables: int
    bytes: int
    growth_bytes: int | None
    growth_days: int | None
    newest_change: datetime | None


class RoleRow(msgspec.Struct, frozen=True):
    """One grant of a role: of the site's (with user names), or a native one (with accounts)."""

    role: str
    native: bool
    on: str
    privileges: tuple[str, ...]
    members: tuple[str, ...]


class GrantRow(msgspec.Struct, frozen=True):
    """One grant as it is stored. `holder` is account, role, or `gone`: no such account exists.

    At level `role`, `on` is a native role and `privileges` at the most ADMIN OPTION.
    """

    user: str
    host: str
    holder: str
    level: str
    on: str
    privileges: tuple[str, ...]


class Overview:
    """Accounts and schemas with everything that the server knows of their use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.usage: Usage = usage(database)
        self.activity: Activity = activity(database.server, database.tables)
        owners = Owners(database.site, database.tables)
        self.owners = owners
        self._owned = owners.schemas_by_user(self.usage.uses)
        self._gone = owners.schemas_by_user(self.usage.looks.keys() - self.usage.uses.keys())

    def users(self) -> list[UserRow]:
        """All accounts of people and services; neither the server's own nor native roles."""
        return [
            self._user(account, state)
            for account, state in sorted(self._database.tables.accounts.items(), key=_account_of)
            if not state.is_role and not is_system(account.user)
        ]

    def schemas(self, names: Iterable[str] | None = None) -> list[SchemaRow]:
        """These schemas, or all."""
        return [self._schema(name) for name in sorted(self.usage.uses if names is None else names)]

    def owned(self, user: str) -> list[SchemaRow]:
        """The schemas with a user's prefix."""
        return self.schemas(self._owned.get(user, ()))

    def sessions(self, account: Account) -> list[Session]:
        return self.activity.sessions.get(account, [])

    def _user(self, account: Account, state: AccountState) -> UserRow:
        known = self._database.managed.get(account)
        terms = self._person(account) or known
        owned = self._owned.get(account.user, [])
        uses = [self.usage.uses[name] for name in owned]
        gone = self._gone.get(account.user, [])
        growth = self.usage.growth_of(owned, gone) if owned or gone else None
        logins = self.activity.logins
        return UserRow(
            user=account.user,
            host=account.host,
            role=terms.role if terms else "",
            service=self._is_service(account.user, known),
            own=account == self._database.own,
            managed=known is not None,
            unfinished=known is not None and known.stage is Stage.CREATING,
            locked=state.locked,
            password_expired=state.expired,
            expires=terms.expires if terms else None,
            tls_required=state.tls,
            schemas=len(owned),
            bytes=sum(use.bytes for use in uses),
            growth_bytes=growth.bytes if growth else None,
            growth_days=growth.days if growth else None,
            newest_change=max((u.newest_change for u in uses if u.newest_change), default=None),
            sessions=len(self.sessions(account)),
            logins=None if logins is None else logins.get(account, 0),
            logins_since=self.activity.since,
            native_roles=tuple(sorted(map(str, state.roles))),
        )

    def _person(self, account: Account) -> Person | None:
        """The entry of people.toml that this account belongs to."""
        person = self._database.site.everyone().get(account.user)
        return person if person is not None and account.host in person.hosts else None

    def _is_service(self, user: str, known: Managed | None) -> bool:
        site = self._database.site
        if user in site.everyone():
            return user in site.people.services
        return known is not None and known.service

    def _schema(self, name: str) -> SchemaRow:
        use, growth = self.usage.uses[name], self.usage.growth(name)
        owner = self.owners.owner(name)
        return SchemaRow(
            name, owner.name, owner.kind.value, use.tables, use.bytes,
            growth.bytes if growth else None, growth.days if growth else None, use.newest_change,
        )  # fmt: skip


def _account_of(item: tuple[Account, AccountState]) -> Account:
    return item[0]


# --- roles and grants --------------------------------------------------------------------------


def role_rows(database: Database) -> list[RoleRow]:
    """The site's roles, then those of the server."""
    members = _site_members(database)
    site = [
        RoleRow(role, False, on, tuple(p.upper() for p in privileges), tuple(members.get(role, ())))
        for role, grants in database.site.settings.roles.items()
        for on, privileges in grants.items()
    ]
    return [*site, *_native_roles(database.tables)]


def _site_members(database: Database) -> dict[str, list[str]]:
    roles = {one.account.user: one.role for one in database.managed.values()}
    roles |= {name: person.role for name, person in database.site.everyone().items()}
    out: dict[str, list[str]] = {}
    for name, role in sorted(roles.items()):
        out.setdefault(role, []).append(name)
    return out


def _native_roles(tables: GrantTables) -> Iterator[RoleRow]:
    members: dict[Account, list[str]] = {}
    for account, state in sorted(tables.accounts.items(), key=_account_of):
        for role in state.roles:
            members.setdefault(role, []).append(str(account))
    for role, state in sorted(tables.accounts.items(), key=_account_of):
        if not state.is_role:
            continue
        everybody = role == PUBLIC or role in tables.mandatory_roles
        who = (*members.get(role, ()), *(["everybody"] if everybody else []))
        grants = [grant for grant in _stored(role, state) if grant.privileges]
        for grant in grants or [GrantRow(role.user, role.host, "role", "", "", ())]:
            yield RoleRow(str(role), True, grant.on, grant.privileges, who)


def grant_rows(tables: GrantTables) -> list[GrantRow]:
    """All grants of all accounts and roles, also of accounts that do not exist."""
    out = [row for account, state in tables.accounts.items() for row in _stored(account, state)]
    for account, grants in tables.orphans.items():
        out += _stored(account, AccountState(account, grants), holder="gone")
    return sorted(out, key=lambda row: (row.user, row.host))


def _stored(account: Account, state: AccountState, holder: str = "") -> Iterator[GrantRow]:
    holder = holder or ("role" if state.is_role else "account")
    for scope, privileges in sorted(state.grants.items()):
        level = scope.level.name.lower().replace("_", " ")
        held = tuple(sorted(privileges))
        yield GrantRow(account.user, account.host, holder, level, str(scope), held)
    for role in sorted(state.roles):
        option = ("ADMIN OPTION",) if role in state.admin_roles else ()
        yield GrantRow(account.user, account.host, holder, "role", f"role {role}", option)
