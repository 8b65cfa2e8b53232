"""Whose a schema is. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from mapadmin.db.grants import GrantTables, Level, Scope
from mapadmin.db.names import SYSTEM_SCHEMAS, is_project_schema, own_scope
from mapadmin.site import Site


class OwnerKind(StrEnum):
    """`user`: somebody whose prefix the schema has."""

    USER = "user"
    PROJECT = "project"
    MAPADMIN = "mapadmin"
    SYSTEM = "system"
    NOBODY = "nobody"


class Owner(msgspec.Struct, frozen=True):
    """`name` is the user name of a `user`, and empty otherwise."""

    kind: OwnerKind
    name: str = ""

    def __str__(self) -> str:
        return self.name or f"({self.kind})"


class Owners:
    """Knows whose a schema is, from the site and from who holds grants on their own prefix."""

    def __init__(self, site: Site, tables: GrantTables) -> None:
        self._site = site
        self._folds = tables.folds
        names = {name for name in site.everyone() if site.owns_schemas(name)}
        for account, state in tables.accounts.items():
            if (
                account.user
                and not state.is_role
                and _own_scopes(account.user, tables) & state.grants.keys()
            ):
                names.add(account.user)
        self._names = {self._fold(name): name for name in sorted(names)}

    def owner(self, schema: str) -> Owner:
        """Whose this schema is, existing or not."""
        lower = schema.lower()
        if lower in SYSTEM_SCHEMAS:
            return Owner(OwnerKind.SYSTEM)
        if lower == self._site.database.schema.lower():
            return Owner(OwnerKind.MAPADMIN)
        if is_project_schema(schema, self._site):
            return Owner(OwnerKind.PROJECT)
        name = self._longest_prefix(self._fold(schema))
        return Owner(OwnerKind.USER, name) if name else Owner(OwnerKind.NOBODY)

    def schemas_by_user(self, schemas: Iterable[str]) -> dict[str, list[str]]:
        """Of these schemas, those of each user, sorted."""
        out: dict[str, list[str]] = {}
        for schema in sorted(schemas):
            if name := self.owner(schema).name:
                out.setdefault(name, []).append(schema)
        return out

    def _longest_prefix(self, schema: str) -> str:
        """The user of the longest name that stands before an underscore."""
        end = schema.rfind("_")
        while end > 0 and schema[:end] not in self._names:
            end = schema.rfind("_", 0, end)
        return self._names[schema[:end]] if end > 0 else ""

    def _fold(self, name: str) -> str:
        return name.lower() if self._folds else name


def _own_scopes(user: str, tables: GrantTables) -> set[Scope]:
    r"""`alice\_%`, and the same without the backslash as people write it by hand."""
    return {own_scope(user, tables), tables.stored(Scope(Level.DATABASE, f"{user}_%"))}
