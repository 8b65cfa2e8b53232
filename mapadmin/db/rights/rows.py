"""The rows of `mysql.db`, indexed for the question which of them the server finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

import msgspec

from mapadmin.db.grants import Account, Grants, GrantTables, Level, Privileges, Scope
from mapadmin.db.rights.matching import Client, Rank, host_matches, matches, row_rank


class Source(msgspec.Struct, frozen=True, order=True):
    """Where a privilege comes from: on what it is held, and who holds it.

    `via` is the account itself, a role, PUBLIC, or another account whose rows reach the session.
    """

    scope: Scope
    via: Account


Effective = Mapping[str, frozenset[Source]]


class Row(msgspec.Struct, frozen=True):
    """A row, or several of one pattern that the server merges into one."""

    holder: Account
    pattern: str  # as the server compares it: in lower case where it folds names
    rank: Rank
    rights: Effective


class Rows:
    """All rows, also those of accounts that do not exist: the server finds them by name."""

    def __init__(self, tables: GrantTables) -> None:
        self._tables = tables
        self._grants: dict[str, list[tuple[Account, Scope, Privileges]]] = {}
        self._sorted: dict[str, list[Row]] = {}
        for account, state in tables.accounts.items():
            self._index(account, state.grants)
        for account, grants in tables.orphans.items():
            self._index(account, grants)

    def _index(self, account: Account, grants: Grants) -> None:
        for scope, privileges in grants.items():
            if scope.level is Level.DATABASE and scope.schema and privileges:
                self._grants.setdefault(account.user, []).append((account, scope, privileges))

    def of_user(self, user: str) -> list[Row]:
        """The rows of a user name and of the anonymous user, in the server's search order."""
        lists = [rows for name in dict.fromkeys((user, "")) if (rows := self._of_name(name))]
        return lists[0] if len(lists) == 1 else sorted(chain(*lists), key=_rank)

    def of_role(self, role: Account, merged: Iterable[Account]) -> list[Row]:
        """The rows that MariaDB searches for a role which unites several.

        It looks the role up like a user without a host, so the rows of a user with the role's
        name at host `%` are found too.
        """
        rows = [row for row in self.of_user(role.user) if row.holder.host]
        for pattern, rights in self.by_pattern(merged).items():
            rows.append(Row(role, pattern, self._rank(role, pattern), rights))
        return sorted(rows, key=_rank)

    def by_pattern(self, holders: Iterable[Account]) -> dict[str, Effective]:
        """The rows of exactly these accounts, united where they say the same pattern."""
        found: dict[str, list[Effective]] = {}
        for holder in holders:
            for row in self._of_name(holder.user):
                if row.holder.host.lower() == holder.host.lower():
                    found.setdefault(row.pattern, []).append(row.rights)
        return {pattern: united(rights) for pattern, rights in found.items()}

    def first(self, rows: Iterable[Row], client: Client, schema: str) -> list[Effective]:
        """The row that the server finds first, or those among which only it knows.

        `schema` is in lower case where the server folds names. Nothing found is nothing held.
        """
        found: list[Row] = []
        for row in rows:
            if found and row.rank != found[0].rank:
                break
            if self.matches(row.pattern, schema) and host_matches(
                self._tables.flavour, row.holder.host, client
            ):
                found.append(row)
        return [row.rights for row in found] or [{}]

    def matches(self, pattern: str, schema: str) -> bool:
        """Whether a row's pattern matches: with `partial_revokes` MySQL takes it literally."""
        if self._tables.partial_revokes:
            return pattern == schema
        return matches(self._tables.flavour, pattern, schema)

    def _of_name(self, user: str) -> list[Row]:
        if user not in self._sorted:
            self._sorted[user] = sorted(map(self._row, self._grants.get(user, ())), key=_rank)
        return self._sorted[user]

    def _row(self, grant: tuple[Account, Scope, Privileges]) -> Row:
        holder, scope, privileges = grant
        folds = self._tables.lower_case_table_names
        pattern = scope.schema.lower() if folds else scope.schema
        return Row(holder, pattern, self._rank(holder, pattern), rights(privileges, scope, holder))

    def _rank(self, holder: Account, pattern: str) -> Rank:
        return row_rank(self._tables.flavour, holder.user, holder.host, pattern)


def has_wildcard_character(pattern: str) -> bool:
    """MySQL's test where roles are active: an escaped `_` counts as well."""
    return "_" in pattern or "%" in pattern


def rights(privileges: Privileges, scope: Scope, via: Account) -> Effective:
    """Privileges with one source."""
    return dict.fromkeys(privileges, frozenset((Source(scope, via),)))


def united(parts: Iterable[Effective]) -> Effective:
    """Privileges of several parts, each with all its sources."""
    out: dict[str, frozenset[Source]] = {}
    for part in parts:
        for privilege, sources in part.items():
            out[privilege] = out.get(privilege, frozenset()) | sources
    return out


def _rank(row: Row) -> Rank:
    return row.rank
