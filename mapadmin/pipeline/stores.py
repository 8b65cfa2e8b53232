"""What hangs on the tracking tables of external stores, read from information_schema.

A file is in use when a column with a foreign key to its tracking table holds its hash. A column
that says so in its comment alone (`:filepath@report_store:`) counts as well: copies of a table that
were made without DataJoint lack the foreign keys, and the server would not keep the row for them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import ExitCode, MapadminError
from mapadmin.db.grants import Flavour
from mapadmin.db.statements import identifier
from mapadmin.pipeline.inventory import EXTERNAL, OwnTable

if TYPE_CHECKING:
    from mapadmin.db.server import Server


class Reference(msgspec.Struct, frozen=True, order=True):
    """A column that holds hashes of a tracking table. `guarded`: with a foreign key to it."""

    schema: str
    table: str
    column: str
    guarded: bool

    @property
    def sql(self) -> str:
        """The column's table, for statements with driver parameters."""
        return f"{identifier(self.schema)}.{identifier(self.table)}"

    @property
    def column_sql(self) -> str:
        return identifier(self.column)

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}.{self.column}"


class NewerColumn(msgspec.Struct, frozen=True, order=True):
    """A column of DataJoint 2.x that keeps files in a store, without a tracking table."""

    schema: str
    table: str
    column: str
    codec: str
    """`blob`, `attach`, `filepath`, `object`, …"""
    store: str
    """Empty: the default store of DataJoint's configuration, whichever that is."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}.{self.column}"


_FOREIGN_KEYS = """SELECT REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME,
    TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE
WHERE REFERENCED_TABLE_NAME LIKE %s AND REFERENCED_COLUMN_NAME = 'hash'"""

_COMMENTS = """SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE, c.COLUMN_COMMENT
FROM information_schema.COLUMNS c
JOIN information_schema.TABLES t
    ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME
WHERE t.TABLE_TYPE = 'BASE TABLE' AND c.COLUMN_COMMENT LIKE %s"""

_MARK = re.compile(r":(?:external-)?(?:blob|attach|filepath)@(?P<store>[a-z][\-\w]*):")
_NEWER_MARK = re.compile(r":<(?P<codec>[^@>]+)@(?P<store>[^>]*)>:")


def find_references(server: Server, tables: Iterable[OwnTable]) -> dict[str, tuple[Reference, ...]]:
    """The columns, in all schemas, that refer to each tracking table (by `str`); two queries.

    One without a foreign key may refer to each table of its store.
    """
    found: dict[str, dict[tuple[str, str, str], Reference]] = {}
    guarded: set[tuple[str, str, str]] = set()
    by_name = defaultdict(list)
    for table in tables:
        found[str(table)] = {}
        by_name[table.name].append(str(table))
    for parent_schema, parent, *place in server.query(_FOREIGN_KEYS, ["~external\\_%"]):
        schema, name, column = map(str, place)
        guarded.add((schema, name, column))
        if (columns := found.get(f"{parent_schema}.{parent}")) is not None:
            columns[schema, name, column] = Reference(schema, name, column, guarded=True)
    for schema, name, column, kind, comment in server.query(_COMMENTS, [":%@%:%"]):
        mark = _MARK.match(comment)
        store = mark["store"] if mark else ""
        if store and kind == "binary" and (schema, name, column) not in guarded:
            # A copy, maybe of a table in another schema: whose files it holds, nothing tells.
            reference = Reference(schema, name, column, guarded=False)
            for tracking in by_name.get(f"{EXTERNAL}{store}", ()):
                found[tracking][schema, name, column] = reference
    return {table: tuple(sorted(columns.values())) for table, columns in found.items()}


def find_newer(server: Server) -> dict[str, tuple[NewerColumn, ...]]:
    """Columns of DataJoint 2.x that keep files in a store, by the store's name."""
    found = defaultdict(list)
    for schema, name, column, _, comment in server.query(_COMMENTS, [":<%@%>:%"]):
        if mark := _NEWER_MARK.match(comment):
            found[mark["store"]].append(NewerColumn(schema, name, column, *mark.groups()))
    return {store: tuple(sorted(columns)) for store, columns in found.items()}


def refuse_hidden(server: Server, visible: Iterable[OwnTable]) -> None:
    """Make sure that there is no tracking table which this account cannot see.

    A file may be shared by the stores of two schemas; with the other one out of sight, nobody could
    tell. Raises MapadminError (exit code 3) naming such tables, or that PROCESS is missing.
    """
    name = "INNODB_SYS_TABLES" if server.flavour is Flavour.MARIADB else "INNODB_TABLES"
    rows = server.query(
        f"SELECT NAME FROM information_schema.{name} WHERE NAME LIKE %s OR NAME LIKE %s",
        ["%/~external\\_%", "%/@007eexternal\\_%"],
    )
    seen = {f"{table.schema}/{table.name}".lower() for table in visible}
    hidden = sorted({_decoded(row[0]) for row in rows if _decoded(row[0]).lower() not in seen})
    if hidden:
        shown = ", ".join(each.replace("/", ".") for each in hidden[:3])
        raise MapadminError(
            f"mapadmin's account cannot see every table that tracks stored files ({shown}): "
            "whether a file is in use there, nobody could tell. No file is removed.",
            remedy="Grant it SELECT on *.*, as an RDS master user has it.",
            exit_code=ExitCode.SETTINGS,
        )


def _decoded(name: str) -> str:
    """The server's name of a file in letters: `@007e` is `~`."""
    return re.sub(r"@([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), name)


def is_unused(references: Iterable[Reference], tracking: str) -> str:
    """A condition on a row of the tracking table `tracking` (an alias): nobody refers to it.

    EXISTS and not NOT IN, to which one NULL in a reference makes everything used. `= 0` and not
    NOT, from which MariaDB makes a list of all that is used, for a single row as well.
    """
    used = " OR ".join(
        f"EXISTS (SELECT 1 FROM {reference.sql} r{number} "
        f"WHERE r{number}.{reference.column_sql} = {tracking}.`hash`)"
        for number, reference in enumerate(references)
    )
    return f"({used or 'FALSE'}) = 0"


def by_store(tables: Iterable[OwnTable]) -> Mapping[str, tuple[OwnTable, ...]]:
    """Tracking tables by the name of their store."""
    found = defaultdict(list)
    for table in tables:
        found[table.store].append(table)
    return {store: tuple(group) for store, group in sorted(found.items())}
