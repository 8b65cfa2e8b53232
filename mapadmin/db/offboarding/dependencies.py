"""What hangs together across schemas: foreign keys, and views that read other schemas."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from mapadmin.db.server import Server

# The names are compared as bytes: their collation would take `a_X` and `a_x` for one schema.
_FOREIGN_KEYS = """SELECT CONSTRAINT_SCHEMA, TABLE_NAME, UNIQUE_CONSTRAINT_SCHEMA,
REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
WHERE BINARY CONSTRAINT_SCHEMA <> BINARY UNIQUE_CONSTRAINT_SCHEMA
ORDER BY CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME"""
_VIEWS = "SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS"


class ForeignKey(msgspec.Struct, frozen=True, order=True):
    """A table of one schema that refers to a table of another."""

    schema: str
    table: str
    to_schema: str
    to_table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table} (to {self.to_schema}.{self.to_table})"


def foreign_keys(server: Server) -> list[ForeignKey]:
    """All foreign keys between different schemas of a server, in one query."""
    rows = server.query(_FOREIGN_KEYS)
    return list(dict.fromkeys(ForeignKey(*row) for row in rows))


def into(keys: Iterable[ForeignKey], schemas: Collection[str]) -> list[ForeignKey]:
    """Those of other schemas that refer to one of these: they keep them from being dropped."""
    return [key for key in keys if key.to_schema in schemas and key.schema not in schemas]


def out_of(keys: Iterable[ForeignKey], schemas: Collection[str]) -> list[ForeignKey]:
    """Those of these schemas that refer to others: they keep rows there from being deleted."""
    return [key for key in keys if key.schema in schemas and key.to_schema not in schemas]


def drop_order(keys: Iterable[ForeignKey], schemas: Collection[str]) -> tuple[list[str], list[str]]:
    """Schemas in an order in which each can be dropped, and those that refer to each other.

    A server does not drop a schema that another one refers to, so whoever refers goes first. For
    those in a circle there is no such order.
    """
    waiting = {schema: set[str]() for schema in sorted(schemas)}
    for key in keys:
        if key.schema in waiting and key.to_schema in waiting:
            waiting[key.to_schema].add(key.schema)
    order: list[str] = []
    while free := [schema for schema, before in waiting.items() if not before]:
        order += free
        for schema in free:
            del waiting[schema]
        for before in waiting.values():
            before.difference_update(free)
    return order, list(waiting)


def views_reading(server: Server, schemas: Collection[str]) -> list[tuple[str, str]]:
    """Views of other schemas that read one of these, as (view, schema read), in one query."""
    if not schemas:
        return []
    return [
        (f"{place}.{name}", schema)
        for place, name, definition in sorted(server.query(_VIEWS))
        for schema in sorted(schemas)
        if place not in schemas and f"`{schema.replace('`', '``')}`." in (definition or "")
    ]
