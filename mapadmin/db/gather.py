"""Grants and roles by account, as the rows of the grant tables come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from mapadmin.db.grants import GLOBAL, GRANT_OPTION, Account, Level, Privileges, Scope

Row = tuple[Any, ...]

# The SQL spelling where it is not the column's or the set member's own in capitals.
_SPELLING = {
    "GRANT": GRANT_OPTION,
    "CREATE TMP TABLE": "CREATE TEMPORARY TABLES",
    "SHOW DB": "SHOW DATABASES",
    "REPL SLAVE": "REPLICATION SLAVE",
    "REPL CLIENT": "REPLICATION CLIENT",
    "DELETE VERSIONING ROWS": "DELETE HISTORY",
}
_NO_ROLES: frozenset[Account] = frozenset()


class RoleFields(TypedDict):
    """The fields of an AccountState that speak of roles."""

    roles: frozenset[Account]
    admin_roles: frozenset[Account]
    default_roles: frozenset[Account]


class Flags(dict[str, Privileges]):
    """Strings like `YNNY`, one character for each column, to sets of privileges.

    Nearly all rows of a server hold one of a few such strings, so the sets are shared.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__()
        self._names = [of_column(column) for column in columns]

    def __missing__(self, text: str) -> Privileges:
        pairs = zip(self._names, text, strict=True)
        self[text] = frozenset(name for name, flag in pairs if flag == "Y")
        return self[text]


class Gathered:
    """What the tables say about accounts, before it is known which of them exist."""

    def __init__(self) -> None:
        self.scopes: dict[Account, dict[Scope, Privileges]] = {}
        self.dynamic: dict[Account, set[str]] = {}
        self.grantable: dict[Account, set[str]] = {}
        self._roles: dict[str, dict[Account, set[Account]]] = {
            "role": {},
            "admin": {},
            "default": {},
        }

    def add_databases(self, rows: Iterable[Row], columns: Sequence[str]) -> None:
        """Rows of user, host, schema pattern and flags."""
        flags = Flags(columns)
        scopes: dict[str, Scope] = {}
        for user, host, schema, text in rows:
            if schema not in scopes:
                scopes[schema] = Scope(Level.DATABASE, schema)
            self._add(Account(user, host), scopes[schema], flags[text])

    def add_objects(self, rows: Iterable[Row]) -> None:
        """Rows of level, user, host, schema, name, column and a set of privileges."""
        for kind, user, host, schema, name, column, text in rows:
            scope = Scope(Level[kind.replace(" ", "_")], schema, name, column)
            self._add(Account(user, host), scope, _of_set(text))

    def _add(self, account: Account, scope: Scope, privileges: Privileges) -> None:
        # A table's row without privileges is there for the sake of its columns' rows.
        if privileges:
            self.scopes.setdefault(account, {})[scope] = privileges

    def add_roles(self, rows: Iterable[Row]) -> None:
        """Rows of kind (role, default or dynamic), user, host, name, its host, option (Y or N)."""
        for kind, user, host, name, name_host, option in rows:
            account = Account(user, host)
            if kind == "dynamic":
                self.dynamic.setdefault(account, set()).add(name)
                if option == "Y":
                    self.grantable.setdefault(account, set()).add(name)
                continue
            role = Account(name, name_host)
            self._roles[kind].setdefault(account, set()).add(role)
            if option == "Y":
                self._roles["admin"].setdefault(account, set()).add(role)

    def grants_of(self, account: Account, everywhere: Privileges) -> Mapping[Scope, Privileges]:
        """All that an account holds, its global privileges first."""
        held = self.scopes.get(account, {})
        if account in self.dynamic:
            everywhere = everywhere | self.dynamic[account]
        return {GLOBAL: everywhere, **held} if everywhere else held

    def roles_of(self, account: Account, default: str = "") -> RoleFields:
        """The roles of an account; MariaDB keeps the name of the default one elsewhere."""
        found = {kind: frozenset(roles.get(account, ())) for kind, roles in self._roles.items()}
        defaults = frozenset({Account(default, "")}) if default else found["default"]
        return {
            "roles": found["role"],
            "admin_roles": found["admin"],
            "default_roles": defaults,
        }

    def granted_roles(self) -> frozenset[Account]:
        """Every account that is granted to another."""
        return _NO_ROLES.union(*self._roles["role"].values())


def of_column(column: str) -> str:
    """`Create_tmp_table_priv` to `CREATE TEMPORARY TABLES`."""
    return _spelled(column.removesuffix("_priv").replace("_", " "))


def _of_set(text: str) -> Privileges:
    """`Select,Show view` to SELECT and SHOW VIEW."""
    return frozenset(_spelled(word) for word in text.split(",") if word)


def _spelled(words: str) -> str:
    words = words.upper()
    return _SPELLING.get(words, words)
