"""Accounts, roles and grants as SQL that another server of the same flavour accepts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from mapadmin.core.errors import UsageError
from mapadmin.db.account_details import Details
from mapadmin.db.grants import (
    GLOBAL,
    GRANT_OPTION,
    Account,
    AccountState,
    Flavour,
    GrantTables,
    Level,
    Privileges,
    Scope,
)
from mapadmin.db.names import is_system
from mapadmin.db.privileges import STATIC_PRIVILEGES
from mapadmin.db.statements import Sql, grant, identifier, literal, revoke

# The server's own administrators: every server has its own, so only when named.
_ADMINISTRATORS = frozenset({"root", "mysql", "debian-sys-maint"})
_PUBLIC = Account("PUBLIC", "")  # MariaDB: what everybody may


def choose(names: Collection[str], tables: GrantTables, own: Account) -> list[AccountState]:
    """The accounts to dump, roles first: those of these names with their roles, or all.

    Not those of the server or RDS, nor mapadmin's own. Raises UsageError for a name without an
    account.
    """
    states = {
        account: state
        for account, state in tables.accounts.items()
        if not is_system(account.user) and account.user != own.user
    }
    if _PUBLIC in tables.orphans:
        states[_PUBLIC] = AccountState(_PUBLIC, tables.orphans[_PUBLIC], is_role=True)
    known = {account.user for account in states}
    for name in names:
        if name == own.user or is_system(name):
            raise UsageError(f"{name} is mapadmin's or the server's own account: not dumped.")
        if name not in known:
            raise UsageError(
                f"There is no account of {name}.", remedy="`mapadmin db users` lists them."
            )
    wanted = [
        account
        for account in states
        if (account.user in names if names else account.user not in _ADMINISTRATORS)
    ]
    chosen: set[Account] = set()
    while wanted:
        account = wanted.pop()
        if account in states and account not in chosen:
            chosen.add(account)
            wanted += states[account].roles
    return [
        states[account]
        for account in sorted(chosen, key=lambda one: (not states[one].is_role, one))
    ]


def dump(
    states: Collection[AccountState], tables: GrantTables, details: Mapping[Account, Details]
) -> Iterator[str]:
    """The lines of a dump: settings, then accounts, then what each holds."""
    flavour = tables.flavour
    mode = "NO_AUTO_CREATE_USER" if flavour is Flavour.MARIADB else ""
    yield f"-- Accounts and grants of {flavour.value} {'.'.join(map(str, tables.version))}."
    yield "-- Load the schemas first: grants on tables and routines need them to be there."
    if any(state.restrictions for state in states):
        yield "-- This needs a server with partial_revokes = ON."
    yield "SET NAMES utf8mb4;"
    yield f"SET SESSION sql_mode = {literal(mode)};"
    names = {state.account for state in states}
    writer = _Writer(flavour)
    for state in states:
        if state.account != _PUBLIC:
            about = details.get(state.account, Details())
            yield from writer.create(state, about)
    for state in states:
        yield from writer.held(state, names)


class _Writer:
    """The statements of one flavour."""

    def __init__(self, flavour: Flavour) -> None:
        self._mariadb = flavour is Flavour.MARIADB

    # --- accounts -------------------------------------------------------------------------------

    def create(self, state: AccountState, about: Details) -> Iterator[str]:
        name = self._name(state.account)
        if state.is_role and (self._mariadb or (state.expired and about == Details())):
            yield f"CREATE ROLE IF NOT EXISTS {name};"
            return
        identified = self._identified(state, state.auth)
        options = [*_tls(about), *_limits(about), *_password(about)]
        if state.locked:
            options.append("ACCOUNT LOCK")
        if about.attribute:
            options.append(f"ATTRIBUTE {literal(about.attribute)}")
        yield " ".join([f"CREATE USER IF NOT EXISTS {name} {identified}", *options]) + ";"
        if about.second_auth:  # the same again if it is loaded twice
            yield f"ALTER USER {name} {self._identified(state, about.second_auth)};"
            yield f"ALTER USER {name} {identified} RETAIN CURRENT PASSWORD;"
        if state.expired:
            yield f"ALTER USER {name} PASSWORD EXPIRE;"

    def _identified(self, state: AccountState, auth: str) -> str:
        if not self._mariadb:
            # Hashes hold bytes that are no text.
            return f"IDENTIFIED WITH {literal(state.plugin)} AS " + (f"0x{auth}" if auth else "''")
        ways = [(state.plugin, auth), *state.other_auth]
        return "IDENTIFIED VIA " + " OR ".join(
            f"{_identifier(plugin)} USING {literal(bytes.fromhex(stored).decode())}"
            for plugin, stored in ways
        )

    def _name(self, account: Account) -> str:
        if account == _PUBLIC:
            return "PUBLIC"
        if self._mariadb and not account.host:
            return _identifier(account.user)
        return f"{literal(account.user)}@{literal(account.host)}"

    # --- what they hold -------------------------------------------------------------------------

    def held(self, state: AccountState, names: Collection[Account]) -> Iterator[str]:
        name = self._name(state.account)
        for role in sorted(state.roles):
            if role in names:
                tail = " WITH ADMIN OPTION" if role in state.admin_roles else ""
                yield f"GRANT {self._name(role)} TO {name}{tail};"
        for scope, privileges in sorted(state.grants.items()):
            for part in _parts(scope, privileges, state.grantable, mariadb=self._mariadb):
                yield self._filled(grant(state.account, scope, part), state.account)
        for schema, privileges in sorted(state.restrictions.items()):
            sql = revoke(state.account, Scope(Level.DATABASE, schema), privileges)
            yield self._filled(sql, state.account)
        defaults = [self._name(role) for role in sorted(state.default_roles) if role in names]
        if defaults and self._mariadb:
            yield f"SET DEFAULT ROLE {defaults[0]} FOR {name};"
        elif defaults:
            yield f"ALTER USER {name} DEFAULT ROLE {', '.join(defaults)};"

    def _filled(self, sql: Sql, account: Account) -> str:
        """A statement with its literals in place; who it is about stands last in it."""
        before, _, after = sql.text.rpartition("%s@%s")
        values = tuple(literal(str(value)) for value in sql.args[:-2])
        return f"{before % values}{self._name(account)}{after};"


def _parts(
    scope: Scope, privileges: Privileges, grantable: Privileges, *, mariadb: bool
) -> list[Privileges]:
    """What must be granted in statements of its own: WITH GRANT OPTION is about all in one.

    MySQL keeps it for each of its dynamic privileges by itself.
    """
    if mariadb or scope != GLOBAL:
        return [privileges]
    static = privileges & STATIC_PRIVILEGES
    dynamic = privileges - static
    passed_on = dynamic & grantable
    parts = [static, dynamic - passed_on]
    if passed_on:
        parts.append(passed_on | {GRANT_OPTION})
    return [part for part in parts if part]


def _identifier(name: str) -> str:
    return identifier(name).replace("%%", "%")


def _tls(about: Details) -> list[str]:
    if about.tls == "NONE":
        return []
    if about.tls != "SPECIFIED":
        return [f"REQUIRE {about.tls}"]
    parts = {"SUBJECT": about.subject, "ISSUER": about.issuer, "CIPHER": about.cipher}
    return [
        "REQUIRE "
        + " AND ".join(f"{key} {literal(value)}" for key, value in parts.items() if value)
    ]


def _limits(about: Details) -> list[str]:
    listed = [f"{name} {value:g}" for name, value in about.limits.items()]
    return ["WITH", *listed] if listed else []


def _password(about: Details) -> list[str]:
    out = []
    if about.lifetime is not None:
        days = f"INTERVAL {about.lifetime} DAY" if about.lifetime else "NEVER"
        out.append(f"PASSWORD EXPIRE {days}")
    if about.history is not None:
        out.append(f"PASSWORD HISTORY {about.history}")
    if about.reuse_days is not None:
        out.append(f"PASSWORD REUSE INTERVAL {about.reuse_days} DAY")
    if about.require_current is not None:
        out.append(f"PASSWORD REQUIRE CURRENT{'' if about.require_current else ' OPTIONAL'}")
    if about.failed_logins or about.lock_days:
        out.append(f"FAILED_LOGIN_ATTEMPTS {about.failed_logins}")
        out.append(f"PASSWORD_LOCK_TIME {about.lock_days if about.lock_days >= 0 else 'UNBOUNDED'}")
    return out
