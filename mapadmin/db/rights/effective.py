"""What a session may do on a schema, by the server's own rules, and where each privilege is from.

Pure functions of the grant tables. They answer for the schema as a whole: privileges on single
tables, columns and routines come on top. `information_schema` and `performance_schema` have
rules of their own in both servers and are not answered for.

The rules, each tested against both servers:

- Without roles MySQL takes one row of `mysql.db` alone: the first that matches user, client and
  schema in its search order (host before schema, the most specific first). It is found by the
  user's name and the client's host, so the rows of alice@% also reach a session of
  alice@localhost, and rows of a dropped account or of the anonymous user still count.
- With active roles MySQL gathers the rows of exactly the account and its roles. A name without
  wildcard characters that equals the schema wins; else the one matching pattern that comes first
  in byte order; rows of different holders unite only if they say the same pattern. (Releases
  before 8.0.30 or so united all matching patterns; they are not modelled.)
- MariaDB unites three answers: the user's first row, the role's and PUBLIC's. The roles granted
  to a role are merged into it, again pattern by pattern.
- `partial_revokes` (MySQL) makes every schema name literal, and restrictions subtract from the
  global privileges (with active roles: see `restrictions.py`).

Where the tables do not tell which of several rows the server finds first (patterns that it
thinks equally specific: it keeps the order of the GRANTs until it is restarted), `effective`
unites what it may choose and `Resolver.outcomes` lists the choices.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, product

import msgspec

from mapadmin.db.grants import GLOBAL, GRANT_OPTION, Account, AccountState, Flavour, GrantTables
from mapadmin.db.rights.matching import ROLE, Client, client_of, host_matches
from mapadmin.db.rights.restrictions import Holding, aggregate
from mapadmin.db.rights.rows import (
    Effective,
    Row,
    Rows,
    Source,
    has_wildcard_character,
    rights,
    united,
)

__all__ = ["PUBLIC", "Effective", "Resolver", "Session", "Source", "effective"]

PUBLIC = Account("PUBLIC", "")
_NOBODY = AccountState(PUBLIC)


class Session(msgspec.Struct, frozen=True):
    """A login: the account that the server chose, the client and the roles that are active.

    `client` is the client's address or host name; None stands for all that the account lets in.
    MariaDB has at most one active role; PUBLIC counts always and is left out here.
    """

    account: Account
    client: str | None = None
    roles: frozenset[Account] = frozenset()


def effective(tables: GrantTables, session: Session, schema: str) -> Effective:
    """Each privilege that a session has on a schema, with its sources; empty when it has none.

    For many sessions on the same tables use one `Resolver`.
    """
    return Resolver(tables).effective(session, schema)


class Resolver:
    """Answers for any number of sessions on one state of the grant tables.

    It indexes the rows by user once (linear in the number of rows); an answer then costs what
    the rows of one user name cost.
    """

    def __init__(self, tables: GrantTables) -> None:
        self._tables = tables
        self._known = tables.database_privileges | {GRANT_OPTION}
        self._rows = Rows(tables)
        self._roles: dict[Account, tuple[Effective, list[Row]]] = {}
        self._hosts: dict[str, list[Account]] = {}
        for account in tables.accounts:
            self._hosts.setdefault(account.user, []).append(account)

    # --- questions -----------------------------------------------------------------------------

    def default_session(self, account: Account, client: str | None = None) -> Session:
        """The session right after a login, with the roles that are active before any SET ROLE.

        A default role counts only while it is granted. MySQL grants its mandatory roles to
        everybody, and activates them with `activate_mandatory_roles` or, along with all others
        that are granted, with `activate_all_roles_on_login`.
        """
        state = self._state(account)
        if self._tables.flavour is Flavour.MARIADB:
            session = Session(account, client, state.default_roles)
            return session if self._lenders(session) else Session(account, client)
        mandatory = self._tables.mandatory_roles
        roles = state.roles | mandatory
        if not self._tables.activate_all_roles:
            roles &= state.default_roles
            if self._tables.activate_mandatory_roles:
                roles |= mandatory
        existing = frozenset(role for role in roles if role in self._tables.accounts)
        return Session(account, client, existing)

    def effective(self, session: Session, schema: str) -> Effective:
        """Each privilege that a session has on a schema, with its sources."""
        return united(chain.from_iterable(self._parts(session, schema)))

    def outcomes(self, session: Session, schema: str) -> list[Effective]:
        """What the session may turn out to have: nearly always one thing, which is `effective`.

        There are several where rows are equally specific to the server, or where MariaDB may
        take a role from several accounts of one user.
        """
        found: dict[frozenset[str], Effective] = {}
        for choice in product(*self._parts(session, schema)):
            outcome = united(choice)
            found.setdefault(frozenset(outcome), outcome)
        return list(found.values())

    # --- the two servers -----------------------------------------------------------------------

    def _parts(self, session: Session, schema: str) -> list[list[Effective]]:
        """The parts that add up to the answer, each with the alternatives for it."""
        name = schema.lower() if self._tables.lower_case_table_names else schema
        if self._tables.flavour is Flavour.MARIADB:
            return self._mariadb(session, name)
        if session.roles:
            return [[self._mysql_with_roles(session, name)]]
        rows = self._rows.of_user(session.account.user)
        return [
            [self._unrestricted(session.account, name)],
            self._rows.first(rows, self._client(session), name),
        ]

    def _mysql_with_roles(self, session: Session, schema: str) -> Effective:
        holders = [session.account, *self._closure(session.roles)]
        lost, literal = aggregate(map(self._holding, holders))
        patterns = self._rows.by_pattern(holders)
        named_exactly = schema in patterns and not has_wildcard_character(schema)
        row = patterns.get(schema if named_exactly else self._first_wild(patterns, schema), {})
        everywhere = [self._global(holder) for holder in holders]
        allowed = set(literal.get(schema, ()) if named_exactly else row).union(*everywhere)
        allowed -= lost.get(schema, frozenset())
        # Name those who hold a privilege without a restriction; the aggregate may leave one that
        # nobody holds so.
        named = united([*(self._unrestricted(holder, schema) for holder in holders), row])
        anyone = united([*everywhere, row])
        return {privilege: named.get(privilege) or anyone[privilege] for privilege in allowed}

    def _first_wild(self, patterns: Iterable[str], schema: str) -> str:
        """The wildcard pattern that counts; none is ''."""
        for pattern in sorted(filter(has_wildcard_character, patterns), key=str.encode):
            if self._rows.matches(pattern, schema) or (
                # Here, unlike without roles, the server ignores case.
                self._tables.partial_revokes and pattern.lower() == schema.lower()
            ):
                return pattern
        return ""

    def _mariadb(self, session: Session, schema: str) -> list[list[Effective]]:
        accounts = self._lenders(session) or [session.account]
        rows = self._rows.of_user(session.account.user)
        parts = [
            [self._global(account) for account in accounts],
            self._rows.first(rows, self._client(session), schema),
        ]
        for role in (*session.roles, PUBLIC):
            everywhere, rows = self._role(role)
            parts += [[everywhere], self._rows.first(rows, ROLE, schema)]
        return parts

    def _role(self, role: Account) -> tuple[Effective, list[Row]]:
        """What MariaDB merges into one role: the global privileges and the rows."""
        if role not in self._roles:
            merged = self._closure([role])
            everywhere = united(map(self._global, merged))
            self._roles[role] = everywhere, self._rows.of_role(role, merged)
        return self._roles[role]

    def _lenders(self, session: Session) -> list[Account]:
        """The accounts that MariaDB may take a session's role from.

        It looks for the role among all accounts of the user's name that match the client, and
        the session then has the global privileges of the one found, not its own.
        """
        if not session.roles:
            return []
        client = self._client(session)
        return [
            account
            for account in self._hosts.get(session.account.user, ())
            if session.roles <= self._state(account).roles
            and host_matches(self._tables.flavour, account.host, client)
        ]

    # --- accounts ------------------------------------------------------------------------------

    def _state(self, account: Account) -> AccountState:
        return self._tables.accounts.get(account, _NOBODY)

    def _client(self, session: Session) -> Client:
        resolved = not self._tables.skip_name_resolve
        return client_of(session.client, session.account.host, names_resolved=resolved)

    def _global(self, account: Account) -> Effective:
        """The global privileges that mean something on a schema."""
        held = self._state(account).grants.get(GLOBAL, frozenset())
        if self._tables.database_privileges:
            held = held & self._known
        return rights(held, GLOBAL, account)

    def _unrestricted(self, account: Account, schema: str) -> Effective:
        lost = self._state(account).restrictions.get(schema, frozenset())
        return {key: value for key, value in self._global(account).items() if key not in lost}

    def _holding(self, account: Account) -> Holding:
        rows = self._rows.by_pattern([account])
        literal = {
            pattern: frozenset(rows[pattern])
            for pattern in rows
            if not has_wildcard_character(pattern)
        }
        restrictions = self._state(account).restrictions
        return Holding(frozenset(self._global(account)), restrictions, literal)

    def _closure(self, roles: Iterable[Account]) -> list[Account]:
        """Roles and all that is granted to them, each once, the nearest first."""
        queue = sorted(roles)
        for role in queue:
            queue.extend(sorted(self._state(role).roles - set(queue)))
        return queue
