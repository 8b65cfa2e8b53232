"""The rows of tables with FLOAT columns as INSERT statements that give the same values back.

MySQL and MariaDB write a FLOAT as text with six digits, so a dump program's INSERT changes it. As a
DOUBLE the same value is written with all the digits that it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mapadmin.db.archives.contents import rows_of
from mapadmin.db.statements import identifier, literal

if TYPE_CHECKING:
    from mapadmin.db.server import Server

_COLUMNS = """SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, LOWER(DATA_TYPE), EXTRA
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s ORDER BY TABLE_NAME, ORDINAL_POSITION"""
_FLOATS = """SELECT c.TABLE_SCHEMA, c.TABLE_NAME FROM information_schema.COLUMNS c
JOIN information_schema.TABLES t USING (TABLE_SCHEMA, TABLE_NAME)
WHERE c.TABLE_SCHEMA = %s AND LOWER(c.DATA_TYPE) = 'float' AND t.TABLE_TYPE = 'BASE TABLE'"""
_BINARY = frozenset({
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bit", "vector",
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
})  # fmt: skip
_TEXT = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"})
_STATEMENT = 1_000_000  # characters after which a new INSERT begins


def exact_rows(server: Server, schema: str) -> dict[str, Callable[[], Iterator[bytes]]]:
    """For each table with a FLOAT column: a function that gives its rows as lines of a dump."""
    wanted = {str(name) for (name,) in rows_of(server, _FLOATS, schema)}
    columns: dict[str, list[tuple[str, str]]] = {name: [] for name in wanted}
    for table, column, kind, extra in rows_of(server, _COLUMNS, schema):
        # The server computes generated columns itself. (DEFAULT_GENERATED is an ordinary one.)
        if table in wanted and not _is_generated(str(extra or "")):
            columns[table].append((column, kind))

    def lines(table: str) -> Callable[[], Iterator[bytes]]:
        return lambda: _inserts(server, schema, table, columns[table])

    return {table: lines(table) for table in sorted(wanted)}


def _is_generated(extra: str) -> bool:
    return "GENERATED" in extra.upper().replace("DEFAULT_GENERATED", "")


def _inserts(
    server: Server, schema: str, table: str, columns: list[tuple[str, str]]
) -> Iterator[bytes]:
    listed = ", ".join(identifier(name) for name, _ in columns)
    head = f"INSERT INTO {identifier(table)} ({listed}) VALUES\n".replace("%%", "%")
    kinds = [kind for _, kind in columns]
    read = ", ".join(_expression(name, kind) for name, kind in columns)
    batch: list[str] = []
    size = 0
    with server.patient():
        for row in server.stream(f"SELECT {read} FROM {identifier(schema)}.{identifier(table)}"):
            batch.append("(" + ",".join(map(_literal, row, kinds)) + ")")
            size += len(batch[-1])
            if size > _STATEMENT:
                yield (head + ",\n".join(batch) + ";\n").encode()
                batch, size = [], 0
    if batch:
        yield (head + ",\n".join(batch) + ";\n").encode()


def _expression(column: str, kind: str) -> str:
    name = identifier(column)
    if kind == "float":
        return f"CAST({name} * 1e0 AS CHAR)"
    if kind in _BINARY:
        return f"HEX({name})"
    return name if kind in _TEXT else f"CAST({name} AS CHAR)"


def _literal(value: str | None, kind: str) -> str:
    if value is None:
        return "NULL"
    if kind in _BINARY:
        return f"0x{value}" if value else "''"
    if kind == "float":
        return value
    return literal(value)
