"""Clearing rows of job tables: each is copied first, in the transaction that clears it.

0.12 to 0.14 keep no row of a job that waits, so theirs are deleted; 2.x's go back to `pending`.
Transactions are short: workers wait for none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.db.statements import identifier
from mapadmin.pipeline.archive import Archive
from mapadmin.pipeline.inventory import OwnTable
from mapadmin.pipeline.layout import Layout

if TYPE_CHECKING:
    from mapadmin.db.server import Server

BATCH = 200  # rows in one transaction: some tens of milliseconds

# As DataJoint 2.x's `refresh` makes them, but where they stand in the queue.
_PENDING = (
    "status = 'pending', reserved_time = NULL, completed_time = NULL, error_message = '', "
    "error_stack = NULL, user = '', host = '', pid = 0, connection_id = 0"
)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Failed jobs of one job table, as they were at `until`: newer ones are not meant.

    `names` are what the table calls the tables of its schema (none: all of them), `like` patterns
    of the message (none: any), `keys` primary keys (None: all).
    """

    table: OwnTable
    until: str
    names: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    keys: frozenset[tuple[Any, ...]] | None = None

    @property
    def layout(self) -> Layout:
        return Layout(self.table)

    @property
    def where(self) -> str:
        """The condition; `args` are its parameters."""
        terms = ["status = 'error'", f"{self.layout.failed_at} <= %s"]
        if self.names and self.layout.legacy:
            terms.append(f"table_name IN ({', '.join(['%s'] * len(self.names))})")
        if self.like:
            terms.append(f"({' OR '.join(['error_message LIKE %s'] * len(self.like))})")
        return " AND ".join(terms)

    @property
    def args(self) -> list[str]:
        return [self.until, *(self.names if self.layout.legacy else ()), *self.like]

    @property
    def of_keys(self) -> Selection:
        """The same, for rows that are given by their keys: a name would mislead the optimizer."""
        return msgspec.structs.replace(self, names=())


def moment(server: Server, layout: Layout) -> str:
    """Now, in the words of a table's own times."""
    return str(server.query(f"SELECT CAST({layout.now} AS CHAR)", ())[0][0])


def count_errors(server: Server, selection: Selection) -> int:
    """How many failed jobs are selected."""
    if selection.keys is not None:
        return sum(len(page) for page in _pages(server, selection))
    sql = f"SELECT COUNT(*) FROM {selection.layout.sql} WHERE {selection.where}"
    return int(server.query(sql, selection.args)[0][0])


def count_selected(
    server: Server, selection: Selection, *, skip: Callable[[str, str], bool]
) -> Counter[str]:
    """How many jobs `clear_errors` would clear, by table."""
    found: Counter[str] = Counter()
    for page in _pages(server, selection):
        found.update(name for name, key_hash, _ in page if not skip(name, key_hash))
    return found


def clear_errors(
    server: Server,
    archive: Archive,
    selection: Selection,
    *,
    by: str,
    reason: str,
    skip: Callable[[str, str], bool] = lambda table, key_hash: False,
    limit: int | None = None,
) -> Iterator[int]:
    """Clear the selected jobs, in batches; yields how many each batch has cleared.

    `skip` is asked about each by table and key hash. No more than `limit` are cleared. What is
    yielded is committed: whoever stops here loses nothing.
    """
    layout = selection.layout
    left = limit
    for page in _pages(server, selection):
        keys = [key for name, key_hash, key in page if not skip(name, key_hash)]
        keys = keys if left is None else keys[:left]
        if not keys:
            continue
        chosen = " OR ".join([f"({layout.primary_is()})"] * len(keys))
        where = f"({chosen}) AND {selection.of_keys.where}"
        args = [value for key in keys for value in key] + selection.of_keys.args
        with _transaction(server):
            server.query(archive.copy(layout, where), [by, reason, *args])
            cleared = _clear(server, layout, where, args)
        yield cleared
        if left is not None:
            left -= len(keys)
            if left <= 0:
                return


def clear_row(
    server: Server, archive: Archive, layout: Layout, row: dict[str, Any], *, by: str, reason: str
) -> bool:
    """Clear one row if it still is exactly what it was; whether it was.

    `row` is all of its columns but floating-point ones, which do not compare.
    """
    where = " AND ".join(f"{identifier(name)} <=> %s" for name in row)
    args = list(row.values())
    with _transaction(server):
        server.query(archive.copy(layout, where), [by, reason, *args])
        return _clear(server, layout, where, args) == 1


def _clear(server: Server, layout: Layout, where: str, args: Sequence[Any]) -> int:
    if layout.legacy:
        server.query(f"DELETE FROM {layout.sql} WHERE {where}", args)
    else:
        extra = [
            f", {identifier(name)} = {value}"
            for name, value in (("duration", "NULL"), ("version", "''"))
            if name in layout.own.columns
        ]
        server.query(f"UPDATE {layout.sql} SET {_PENDING}{''.join(extra)} WHERE {where}", args)
    return int(server.query("SELECT ROW_COUNT()")[0][0])


def _pages(
    server: Server, selection: Selection
) -> Iterator[list[tuple[str, str, tuple[Any, ...]]]]:
    """(table, key hash, primary key) of the selected jobs, by primary key and BATCH at a time."""
    layout = selection.layout
    columns = [identifier(name) for name in layout.own.primary]
    last: tuple[Any, ...] | None = None
    while True:
        where, args = selection.where, list(selection.args)
        if last is not None:
            where += f" AND ({_behind(columns)})"
            args += [value for n in range(len(last)) for value in last[: n + 1]]
        rows = server.query(
            f"SELECT {layout.name}, {layout.key_hash}, {layout.primary} FROM {layout.sql} "
            f"WHERE {where} ORDER BY {layout.primary} LIMIT {BATCH}",
            args,
        )
        page = [(str(name), str(key_hash), tuple(key)) for name, key_hash, *key in rows]
        if selection.keys is not None:
            yield [one for one in page if one[2] in selection.keys]
        else:
            yield page
        if len(page) < BATCH:
            return
        last = page[-1][2]


def _behind(columns: Sequence[str]) -> str:
    """What comes behind a key in the order of its columns, in the form that uses the index."""
    return " OR ".join(
        "(" + " AND ".join([*(f"{same} = %s" for same in columns[:n]), f"{columns[n]} > %s"]) + ")"
        for n in range(len(columns))
    )


@contextmanager
def _transaction(server: Server) -> Iterator[None]:
    """READ COMMITTED, so that only the rows themselves are locked, and no gap between them."""
    server.query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    server.query("START TRANSACTION")
    try:
        yield
        server.query("COMMIT")
    except BaseException:
        with suppress(MapadminError):
            server.query("ROLLBACK")
        raise
