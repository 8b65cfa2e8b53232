"""Grant tables by hand: patterns and privileges as short strings, `*` for everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mapadmin.db.grants import (
    GLOBAL,
    Account,
    AccountState,
    Flavour,
    Grants,
    GrantTables,
    Level,
    Scope,
)
from mapadmin.db.rights.effective import Session, effective

MYSQL, MARIADB = Flavour.MYSQL, Flavour.MARIADB
KNOWN = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "DROP"})
ALICE, LOCAL = Account("alice"), Account("alice", "localhost")


def on(pattern: str) -> Scope:
    return GLOBAL if pattern == "*" else Scope(Level.DATABASE, pattern)


def grants(held: Mapping[str, str]) -> Grants:
    return {on(pattern): frozenset(names.split()) for pattern, names in held.items()}


def account(name: Account, held: Mapping[str, str] | None = None, **fields: Any) -> AccountState:
    for key in ("roles", "default_roles"):
        fields[key] = frozenset(fields.get(key, ()))
    return AccountState(name, grants(held or {}), **fields)


def tables(flavour: Flavour, *states: AccountState, **fields: Any) -> GrantTables:
    accounts = {state.account: state for state in states}
    version = (9, 7, 0) if flavour is MYSQL else (10, 11, 6)
    fields.setdefault("database_privileges", KNOWN)
    return GrantTables(flavour, version, accounts, **fields)


def role(name: str, flavour: Flavour) -> Account:
    return Account(name, "%" if flavour is MYSQL else "")


def names(found: Iterable[str]) -> str:
    return " ".join(sorted(found))


def have(state: GrantTables, session: Session, schema: str = "map_lab") -> str:
    return names(effective(state, session, schema))
