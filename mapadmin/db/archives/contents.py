"""What a schema holds: every table's definition, rows and checksum, and all that is defined in it.

Taken of a schema before and after it is dumped, and of the copy that the dump makes, and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.db.archives.dumpfile import quoted
from mapadmin.db.grants import Flavour
from mapadmin.db.statements import identifier

if TYPE_CHECKING:
    from mapadmin.db.server import Server

_SCHEMA = """SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME
FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s"""
_TABLES = """SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES
WHERE TABLE_SCHEMA = %s"""
_CHARSETS = "CHARACTER_SET_CLIENT, COLLATION_CONNECTION"
# Schema, name, definer, then what makes the object what it is.
_OBJECTS = {
    "view": f"""SELECT TABLE_SCHEMA, TABLE_NAME, DEFINER, VIEW_DEFINITION, CHECK_OPTION,
SECURITY_TYPE, {_CHARSETS} FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s""",
    "routine": f"""SELECT ROUTINE_SCHEMA, CONCAT(LOWER(ROUTINE_TYPE), ' ', ROUTINE_NAME), DEFINER,
DTD_IDENTIFIER, ROUTINE_DEFINITION, IS_DETERMINISTIC, SQL_DATA_ACCESS, SECURITY_TYPE, SQL_MODE,
ROUTINE_COMMENT, DATABASE_COLLATION, {_CHARSETS} FROM information_schema.ROUTINES
WHERE ROUTINE_SCHEMA = %s""",
    "parameter": """SELECT SPECIFIC_SCHEMA, CONCAT(SPECIFIC_NAME, ' ', ORDINAL_POSITION), '',
ROUTINE_TYPE, PARAMETER_MODE, PARAMETER_NAME, DTD_IDENTIFIER FROM information_schema.PARAMETERS
WHERE SPECIFIC_SCHEMA = %s""",
    "trigger": f"""SELECT TRIGGER_SCHEMA, TRIGGER_NAME, DEFINER, EVENT_MANIPULATION,
EVENT_OBJECT_TABLE, ACTION_ORDER, ACTION_TIMING, ACTION_STATEMENT, SQL_MODE, DATABASE_COLLATION,
{_CHARSETS} FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s""",
    "event": f"""SELECT EVENT_SCHEMA, EVENT_NAME, DEFINER, TIME_ZONE, EVENT_DEFINITION, EVENT_TYPE,
EXECUTE_AT, INTERVAL_VALUE, INTERVAL_FIELD, SQL_MODE, STARTS, ENDS, ON_COMPLETION, EVENT_COMMENT,
DATABASE_COLLATION, {_CHARSETS} FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s""",
}
_LIBRARIES = """SELECT LIBRARY_SCHEMA, LIBRARY_NAME, '', LIBRARY_DEFINITION, LANGUAGE, SQL_MODE,
LIBRARY_COMMENT FROM information_schema.LIBRARIES WHERE LIBRARY_SCHEMA = %s"""
_PLURALS = {"library": "libraries"}
_ENABLED = """SELECT EVENT_SCHEMA, EVENT_NAME FROM information_schema.EVENTS
WHERE EVENT_SCHEMA = %s AND STATUS = 'ENABLED'"""


class Table(msgspec.Struct, frozen=True):
    """`definition` is what SHOW CREATE TABLE says, `checksum` what CHECKSUM TABLE says."""

    rows: int
    checksum: int
    definition: str


class Contents(msgspec.Struct, frozen=True):
    """A schema. `objects` are views, routines, triggers, events and (MySQL 9.2) libraries by kind
    and name, without their definers; `enabled` are the events that run."""

    charset: str
    collation: str
    tables: Mapping[str, Table]
    objects: Mapping[str, Mapping[str, tuple[str | None, ...]]]
    definers: tuple[str, ...]
    enabled: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all of it."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind there are."""
        named = {
            _PLURALS.get(kind, f"{kind}s"): len(held)
            for kind, held in self.objects.items()
            if kind != "parameter"
        }
        return {"tables": len(self.tables), **named}


def read_contents(server: Server, schema: str, *, as_name: str = "") -> Contents:
    """A schema as it is now. Reads all its rows, which takes as long as they are many.

    `as_name`: where the text of a definition names the schema, this name is put instead. Raises
    MapadminError.
    """

    def named(value: object) -> str | None:
        text = None if value is None else str(value)
        if text is not None and as_name:
            text = text.replace(quoted(schema), quoted(as_name))
        return text

    about = rows_of(server, _SCHEMA, schema)
    if not about:
        raise MapadminError(f"There is no schema {schema} (any more).")
    sources = dict(_OBJECTS)
    if server.flavour is Flavour.MYSQL and server.version >= (9, 2):
        sources["library"] = _LIBRARIES
    objects = {kind: rows_of(server, sql, schema) for kind, sql in sources.items()}
    with server.patient():
        tables = {name: _table(server, schema, name, named) for name in _tables(server, schema)}
    return Contents(
        charset=str(about[0][0]),
        collation=str(about[0][1]),
        tables=tables,
        objects={
            kind: {str(name): tuple(map(named, rest)) for name, _, *rest in rows}
            for kind, rows in objects.items()
        },
        definers=tuple(sorted(str(row[1]) for rows in objects.values() for row in rows if row[1])),
        enabled=tuple(sorted(str(name) for (name,) in rows_of(server, _ENABLED, schema))),
    )


def rows_of(server: Server, sql: str, schema: str) -> list[tuple[Any, ...]]:
    """Rows of a query whose first column is the schema, without that column.

    information_schema compares names without regard to case; they may differ in nothing else.
    """
    return [row[1:] for row in server.query(sql, [schema]) if row[0] == schema]


def _tables(server: Server, schema: str) -> list[str]:
    found = rows_of(server, _TABLES, schema)
    for name, kind in found:
        if kind == "SYSTEM VERSIONED":
            raise MapadminError(
                f"{schema}.{name} is a system-versioned table, whose history a dump does not hold.",
                remedy="Save its history by hand, then drop the table.",
            )
    return sorted(str(name) for name, kind in found if kind in ("BASE TABLE", "SEQUENCE"))


def _table(server: Server, schema: str, name: str, named: Callable[[object], str | None]) -> Table:
    table = f"{identifier(schema)}.{identifier(name)}"
    ((_, definition, *_rest),) = server.query(f"SHOW CREATE TABLE {table}", [])
    ((rows,),) = server.query(f"SELECT COUNT(*) FROM {table}", [])
    ((_, checksum),) = server.query(f"CHECKSUM TABLE {table}", [])
    if checksum is None:
        raise MapadminError(f"The table {schema}.{name} cannot be read: it has no checksum.")
    return Table(int(rows), int(checksum), named(definition) or "")


def differences(before: Contents, after: Contents) -> list[str]:
    """In what two schemas differ, for a person; definers and enabled events are not compared."""
    out = []
    if (before.charset, before.collation) != (after.charset, after.collation):
        out.append("the default character set")
    out += _differing("table", before.tables, after.tables)
    for name in sorted(before.tables.keys() & after.tables.keys()):
        one, other = before.tables[name], after.tables[name]
        if one.rows != other.rows:
            out.append(f"table {name} ({one.rows} rows, then {other.rows})")
        elif one.checksum != other.checksum:
            out.append(f"table {name} (other content)")
        elif one.definition != other.definition:
            out.append(f"table {name} (other definition)")
    for kind in before.objects:
        ours, theirs = before.objects[kind], after.objects[kind]
        out += _differing(kind, ours, theirs)
        both = sorted(ours.keys() & theirs.keys())
        out += [f"{kind} {name}" for name in both if _loaded(ours[name]) != _loaded(theirs[name])]
    return out


def _loaded(definition: Iterable[str | None]) -> list[str | None]:
    """Client programs put a space behind each comment in the body of a routine."""
    return [text and text.replace("*/ ", "*/") for text in definition]


def _differing(kind: str, before: Iterable[str], after: Iterable[str]) -> list[str]:
    gone, new = set(before) - set(after), set(after) - set(before)
    return [f"{kind} {name} (gone)" for name in sorted(gone)] + [
        f"{kind} {name} (new)" for name in sorted(new)
    ]
