"""Every table of DataJoint's own in the project's schemas, by one query of information_schema.

DataJoint itself is not asked: `schema.jobs` and `schema.external[...]` create the tables that they
do not find. A table is known by its name and by its columns, since DataJoint never alters a table
that an older version has made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from mapadmin.db.statements import identifier

if TYPE_CHECKING:
    from mapadmin.db.server import Server
    from mapadmin.site import Site

EXTERNAL = "~external_"


class TableKind(StrEnum):
    """What a table whose name starts with `~` is for."""

    JOBS = "jobs"  # `~jobs` of 0.12 to 0.14: the jobs of all tables of its schema
    JOBS_2 = "jobs 2.x"  # `~~table` of 2.x: the jobs of one table
    STORE = "store"  # `~external_<store>` of 0.12 to 0.14
    LOG = "log"  # of DataJoint or datajoint-utilities: `~log`, `~lineage`, `~worker_log`, ...
    UNKNOWN = "unknown"  # none of these, or not with the columns that it should have


class Column(msgspec.Struct, frozen=True):
    """A column as information_schema tells it; `type` is the full one (`binary(16)`)."""

    name: str
    type: str
    primary: bool = False


class OwnTable(msgspec.Struct, frozen=True):
    """One `~` table. `problem` says what is not as DataJoint makes it, for the reader."""

    schema: str
    name: str
    kind: TableKind
    columns: Mapping[str, Column]
    problem: str = ""
    extra: tuple[str, ...] = ()
    """Columns that no known DataJoint makes: such a table is read, but nothing in it changed."""

    @property
    def sql(self) -> str:
        """Quoted and qualified, for statements with driver parameters."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def store(self) -> str:
        """The name of the store that a STORE table tracks."""
        return self.name.removeprefix(EXTERNAL)

    @property
    def primary(self) -> tuple[str, ...]:
        """The columns of the primary key, in the table's order."""
        return tuple(column.name for column in self.columns.values() if column.primary)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class Inventory(msgspec.Struct, frozen=True):
    """All `~` tables of the project's schemas, by schema and name."""

    tables: tuple[OwnTable, ...] = ()

    def of(self, *kinds: TableKind) -> tuple[OwnTable, ...]:
        """The tables of these kinds."""
        return tuple(table for table in self.tables if table.kind in kinds)

    @property
    def jobs(self) -> tuple[OwnTable, ...]:
        """The job tables of both layouts."""
        return self.of(TableKind.JOBS, TableKind.JOBS_2)

    @property
    def stores(self) -> tuple[OwnTable, ...]:
        """The tracking tables of external stores."""
        return self.of(TableKind.STORE)

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each job or store table that is not as it should be."""
        return tuple(f"{table} {table.problem}" for table in self.tables if table.problem)


_JOBS = {
    "table_name", "key_hash", "status", "key", "error_message", "error_stack", "user", "host",
    "pid", "connection_id", "timestamp",
}  # fmt: skip
_JOBS_2 = {
    "status", "created_time", "reserved_time", "completed_time", "error_message",
    "error_stack", "user", "host", "pid", "connection_id",
}  # fmt: skip
_JOBS_2_OPTIONAL = {"priority", "scheduled_time", "duration", "version", "_singleton"}
_STORE = {"hash", "size", "attachment_name", "filepath", "contents_hash", "timestamp"}
_LOGS = {"~log", "~lineage", "~worker_log", "~error_log"}

# One row a column: 200 schemas have some ten thousand. `~%` is doubled for the driver.
_QUERY = """SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, COLUMN_KEY
FROM information_schema.COLUMNS
WHERE TABLE_NAME LIKE '~%%' AND ({where})
ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"""


def take_inventory(server: Server, patterns: Sequence[str]) -> Inventory:
    """All `~` tables of the schemas that fit one of `patterns` (`*` any text, `?` any character).

    One query. An account sees the tables that it has a privilege on, and no others.
    """
    where = " OR ".join(["TABLE_SCHEMA LIKE %s"] * len(patterns)) or "FALSE"
    rows = server.query(_QUERY.format(where=where), [like(pattern) for pattern in patterns])
    return Inventory(
        tuple(
            classify(schema, name, [Column(r[2], _text(r[3]), r[4] == "PRI") for r in group])
            for (schema, name), group in groupby(rows, key=lambda row: (row[0], row[1]))
        )
    )


def project_schemas(site: Site) -> list[str]:
    """The patterns of the schemas that hold the project's pipeline."""
    return list(site.settings.pipeline.schemas) or [f"{site.database.project_prefix}_*"]


def schemas_like(server: Server, patterns: Sequence[str]) -> list[str]:
    """The names of the schemas that fit one of `patterns`, sorted."""
    where = " OR ".join(["SCHEMA_NAME LIKE %s"] * len(patterns)) or "FALSE"
    rows = server.query(
        f"SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE {where} ORDER BY SCHEMA_NAME",
        [like(pattern) for pattern in patterns],
    )
    return [str(name) for (name,) in rows]


def like(pattern: str) -> str:
    """A schema pattern as LIKE takes it: `map_*` is `map\\_%`."""
    out = pattern.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
    return out.replace("*", "%").replace("?", "_")


def classify(schema: str, name: str, columns: Iterable[Column]) -> OwnTable:
    """What a table is, by its name and its columns."""
    known = {column.name: column for column in columns}

    def table(kind: TableKind, needed: set[str], optional: set[str]) -> OwnTable:
        if missing := sorted(needed - known.keys()):
            problem = f"is not read: it lacks the column{_s(missing)} {', '.join(missing)}."
            return OwnTable(schema, name, TableKind.UNKNOWN, known, problem)
        extra = tuple(sorted(set(known) - needed - optional))
        problem = (
            f"is never changed: no DataJoint that mapadmin knows makes its column{_s(extra)} "
            f"{', '.join(extra)}."
            if extra
            else ""
        )
        return OwnTable(schema, name, kind, known, problem, extra)

    if name == "~jobs":
        return table(TableKind.JOBS, _JOBS, set())
    if name.startswith("~~"):
        keys = {column.name for column in known.values() if column.primary}
        return table(TableKind.JOBS_2, _JOBS_2, _JOBS_2_OPTIONAL | keys)
    if name.startswith(EXTERNAL):
        return table(TableKind.STORE, _STORE, set())
    kind = TableKind.LOG if name in _LOGS else TableKind.UNKNOWN
    return OwnTable(schema, name, kind, known)


def _text(value: str | bytes) -> str:
    """MySQL 8 gives COLUMN_TYPE as bytes to some clients."""
    return value.decode() if isinstance(value, bytes) else value


def _s(names: Sequence[str]) -> str:
    return "s" if len(names) != 1 else ""
