"""What a cascading delete takes with it: every table that hangs on the deleted rows, in any schema.

Counted by SQL, by an account that sees every schema: DataJoint itself sees only what its own
account may, and a scientist's table that it cannot see stops its delete half way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.text import count
from mapadmin.db.statements import identifier
from mapadmin.pipeline.names import TableName

if TYPE_CHECKING:
    from mapadmin.db.server import Server


class ForeignKey(msgspec.Struct, frozen=True):
    """The child's columns that refer to the parent's, in the same order."""

    child: TableName
    parent: TableName
    columns: tuple[str, ...]
    referenced: tuple[str, ...]


class Touched(msgspec.Struct, frozen=True):
    """A table of which rows would be deleted."""

    table: TableName
    rows: int

    @property
    def full_name(self) -> str:
        """As DataJoint calls it: `schema`.`table`."""
        return f"`{self.table.schema}`.`{self.table.table}`"


class Cascade(msgspec.Struct, frozen=True, kw_only=True):
    """What would be deleted: of the table itself first, then of those that hang on it."""

    target: TableName
    condition: str
    touched: tuple[Touched, ...]
    descendants: tuple[TableName, ...]
    """The target and every table that hangs on it, those without such rows included."""
    whole: int
    """Rows of the target, those included that stay."""

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.touched)


_KEYS = """SELECT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME,
REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_NAME IS NOT NULL
ORDER BY TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION"""

_PRIMARY = """SELECT COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE
WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND CONSTRAINT_NAME = 'PRIMARY'
ORDER BY ORDINAL_POSITION"""


def foreign_keys(server: Server) -> list[ForeignKey]:
    """All foreign keys of the server, of whatever schema; one query."""
    found: dict[tuple[str, str, str], ForeignKey] = {}
    for schema, table, name, column, to_schema, to_table, to_column in server.query(_KEYS):
        before = found.get((schema, table, name))
        found[schema, table, name] = ForeignKey(
            TableName(schema, table), TableName(to_schema, to_table),
            (*(before.columns if before else ()), column),
            (*(before.referenced if before else ()), to_column),
        )  # fmt: skip
    return list(found.values())


def find_table(server: Server, schema: str, name: str) -> TableName:
    """A table by its name on the server or by its class. MapadminError when it is not there."""
    rows = server.query(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s", [schema]
    )
    if not rows:
        raise MapadminError(
            f"There is no schema {schema!r}, or mapadmin's account may see nothing in it."
        )
    tables = [TableName(schema, str(row[0])) for row in rows if not str(row[0]).startswith("~")]
    if found := [table for table in tables if name in (table.table, table.class_name)]:
        return found[0]
    from difflib import get_close_matches

    near = get_close_matches(name, [table.class_name for table in tables], n=1)
    raise MapadminError(
        f"There is no table {name!r} in {schema}.",
        remedy=f"Did you mean {near[0]}?" if near else "",
    )


def primary_key(server: Server, table: TableName) -> list[str]:
    """The columns of a table's primary key. Raises MapadminError when it has none."""
    rows = server.query(_PRIMARY, [table.schema, table.table])
    if not rows:
        raise MapadminError(f"{table} has no primary key.")
    return [str(row[0]) for row in rows]


def preview(
    server: Server, keys: Sequence[ForeignKey], target: TableName, condition: str
) -> Cascade:
    """What deleting the rows of `target` for which `condition` holds would delete.

    The condition is SQL as an administrator wrote it: call this within `snapshot`.
    """
    order = _descendants(keys, target)
    parts = [f"t0 AS (SELECT * FROM {_sql(target)} WHERE ({condition}\n))"]
    for number, table in enumerate(order[1:], 1):
        parts.append(
            f"t{number} AS (SELECT * FROM {_sql(table)} WHERE {_hangs(keys, order, table)})"
        )
    counts = " UNION ALL ".join(f"SELECT {n}, COUNT(*) FROM t{n}" for n in range(len(order)))
    rows = dict(server.query(f"WITH {', '.join(parts)} {counts}", ()))
    ((whole,),) = server.query(f"SELECT COUNT(*) FROM {_sql(target)}", ())
    touched = tuple(Touched(table, int(rows[n])) for n, table in enumerate(order) if rows[n])
    return Cascade(
        target=target, condition=condition, touched=touched, descendants=tuple(order),
        whole=int(whole),
    )  # fmt: skip


def rows_to_delete(server: Server, cascade: Cascade, *, together: int) -> list[str]:
    """The rows that were counted, as conditions on their primary keys of `together` rows each: what
    is deleted is what was counted, whatever the condition would say by then.

    Call this within the `snapshot` of the `preview`. Raises MapadminError when there are more rows
    now nevertheless: the condition goes by the time, by chance, or by a table without transactions.
    """
    columns = primary_key(server, cascade.target)
    names = ", ".join(map(identifier, columns))
    rows = server.query(
        f"SELECT {names} FROM {_sql(cascade.target)} WHERE ({cascade.condition}\n)", ()
    )
    counted = cascade.touched[0].rows
    if len(rows) > counted:
        raise MapadminError(
            f"it matched {count(counted, 'row')} of {cascade.target}, and {len(rows)} a moment "
            "later.",
            remedy="Nothing was deleted. Have the rule depend on nothing that changes meanwhile.",
        )
    terms = [
        "("
        + " AND ".join(
            f"`{column}`={literal(value)}" for column, value in zip(columns, row, strict=True)
        )
        + ")"
        for row in rows
    ]
    return [" OR ".join(terms[n : n + together]) for n in range(0, len(terms), together)]


def literal(value: Any) -> str:
    """A value of a primary key in SQL."""
    from pymysql.converters import escape_item

    if isinstance(value, bytes | bytearray):
        return f"X'{bytes(value).hex()}'"
    return str(escape_item(value, "utf8mb4"))


@contextmanager
def snapshot(server: Server) -> Iterator[None]:
    """A transaction that sees one state only, and in which the server refuses every change."""
    server.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # of the next one alone
    server.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    try:
        yield
    finally:
        with suppress(MapadminError):
            server.query("ROLLBACK")


def _descendants(keys: Sequence[ForeignKey], target: TableName) -> list[TableName]:
    """The target and all that hangs on it, parents before children. MapadminError in a circle."""
    children: dict[TableName, set[TableName]] = {}
    for key in keys:
        if key.child != key.parent:
            children.setdefault(key.parent, set()).add(key.child)
    order: list[TableName] = []
    state: dict[TableName, bool] = {}  # False while it is being visited

    def visit(table: TableName) -> None:
        if state.get(table) is False:
            raise MapadminError(f"{table} refers to itself through other tables.")
        if table not in state:
            state[table] = False
            for child in sorted(children.get(table, ())):
                visit(child)
            state[table] = True
            order.append(table)

    visit(target)
    return order[::-1]


def _hangs(keys: Sequence[ForeignKey], order: Sequence[TableName], table: TableName) -> str:
    """The condition for rows of a table to refer to rows that are deleted."""
    numbers: Mapping[TableName, int] = {one: number for number, one in enumerate(order)}
    terms = []
    for key in keys:
        if key.child == table and key.parent in numbers and key.parent != table:
            mine = ", ".join(map(identifier, key.columns))
            theirs = ", ".join(map(identifier, key.referenced))
            terms.append(f"({mine}) IN (SELECT {theirs} FROM t{numbers[key.parent]})")
    return " OR ".join(terms)


def _sql(table: TableName) -> str:
    return f"{identifier(table.schema)}.{identifier(table.table)}"
