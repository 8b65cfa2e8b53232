"""Which files nobody uses: the tracking table page by page, and never the whole of it in memory."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from mapadmin.cleanup.figures.store import Store, Tracker, select
from mapadmin.pipeline.inventory import OwnTable
from mapadmin.pipeline.stores import Reference, is_unused
from mapadmin.pipeline.stores_layout import Tracked, key_of

if TYPE_CHECKING:
    from mapadmin.cleanup.parts import PartResult
    from mapadmin.db.server import Server

PAGE = 20_000  # rows that one statement looks at, more or less
HASH = 16  # bytes
_DIGITS = 20  # of a size
_ROW = HASH + _DIGITS
_ALL = 1 << (8 * HASH)


class Unused:
    """The files of one tracking table that nobody uses, as the hashes of their rows.

    At the most `keep` of them are kept, packed: a million take 24 MB. The rest is only counted.
    """

    def __init__(self, table: OwnTable, keep: int) -> None:
        self.table = table
        self.tracked = 0
        self.count = 0
        self.bytes = 0
        self._keep = keep
        self._hashes = bytearray()
        self._sizes = array("Q")

    def add(self, digest: bytes, size: int) -> None:
        self.count += 1
        self.bytes += size
        if len(self) < self._keep:
            self._hashes += digest
            self._sizes.append(size)

    def __len__(self) -> int:
        return len(self._hashes) // HASH

    @property
    def sizes(self) -> Sequence[int]:
        """Of the kept files, in bytes."""
        return self._sizes

    def bytes_after(self, number: int) -> int:
        """What the kept files behind the first `number` take together."""
        return sum(self._sizes[number:])

    def batches(self, number: int) -> Iterator[list[bytes]]:
        """The kept hashes, `number` at a time."""
        for start in range(0, len(self._hashes), number * HASH):
            some = self._hashes[start : start + number * HASH]
            yield [bytes(some[at : at + HASH]) for at in range(0, len(some), HASH)]


def oldest_moment(server: Server, grace: float) -> str:
    """Rows written before this moment (UTC, as SQL takes it) are old enough to be looked at.

    It is `grace` seconds ago, and before every transaction that is open now: one that began earlier
    than a row was written does not see the row, and may upload its file once more.
    """
    (row,) = server.query("SELECT CAST(UTC_TIMESTAMP(6) - INTERVAL %s MICROSECOND AS CHAR)", [
        int(grace * 1e6)
    ])  # fmt: skip
    (open_since,) = server.query(
        "SELECT CAST(MIN(CONVERT_TZ(trx_started, 'SYSTEM', '+00:00')) AS CHAR) "
        "FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id <> CONNECTION_ID()",
        [],
    )
    return min(str(moment) for moment in (row[0], open_since[0]) if moment is not None)


def find_unused(
    server: Server,
    store: Store,
    table: OwnTable,
    *,
    before: str,
    keep: int,
    stop: Callable[[], bool] = lambda: False,
) -> Unused:
    """The rows of a tracking table that nobody refers to, written before a moment.

    `stop` is asked before each page; then the answer is of the pages until there.

    The server hands out hashes, packed, and which of them are in use is found here: as rows, they
    take both sides ten times as long, and a join takes the server as long as all of this.
    """
    found = Unused(table, keep)
    ((found.tracked,),) = server.query(f"SELECT COUNT(*) FROM {table.sql}", [])
    references = store.references(table)
    waiting = _ranges(0, _ALL, max(1, -(-found.tracked // PAGE)))
    while waiting and not stop():
        first, last = waiting.pop()
        page = _page(server, table, references, (_bytes(first), _bytes(last - 1)), before)
        if page is None:
            waiting += _ranges(first, last, 2)
            continue
        tracked, used = page
        for start in range(0, len(tracked), _ROW):
            if (digest := tracked[start : start + HASH]) not in used:
                found.add(digest, int(tracked[start + HASH : start + _ROW]))
    return found


def _ranges(first: int, last: int, number: int) -> list[tuple[int, int]]:
    """A range of hashes in equal parts, from the last to the first: a hash is as good as random."""
    limits = [first + (last - first) * n // number for n in range(number + 1)]
    return list(itertools.pairwise(limits))[::-1]


def _bytes(number: int) -> bytes:
    return number.to_bytes(HASH, "big")


def _page(
    server: Server,
    table: OwnTable,
    references: Sequence[Reference],
    limits: tuple[bytes, bytes],
    before: str,
) -> tuple[bytes, set[bytes]] | None:
    """The rows with a hash between these two, packed, and the hashes there that are in use.

    None when there are more rows than the server packs together.
    """
    rows = (
        f"SELECT 0, COUNT(*), GROUP_CONCAT(`hash`, LPAD(`size`, {_DIGITS}, '0') SEPARATOR '') "
        f"FROM {table.sql} WHERE `hash` BETWEEN %s AND %s AND `timestamp` < %s"
    )
    uses = [
        f"SELECT {number}, COUNT(*), GROUP_CONCAT({reference.column_sql} SEPARATOR '') "
        f"FROM {reference.sql} WHERE {reference.column_sql} BETWEEN %s AND %s"
        for number, reference in enumerate(references, 1)
    ]
    args = [*limits, before, *limits * len(references)]
    tracked, used = b"", set()
    for which, number, packed in server.query(" UNION ALL ".join([rows, *uses]), args):
        text = packed or b""
        if which == 0:
            if len(text) != number * _ROW:
                return None
            tracked = text
        elif len(text) == number * HASH:
            used.update([text[at : at + HASH] for at in range(0, len(text), HASH)])
        else:  # there is no limit to how often a file is used
            reference = references[which - 1]
            used.update(row[0] for row in server.query(
                f"SELECT DISTINCT {reference.column_sql} FROM {reference.sql} "
                f"WHERE {reference.column_sql} BETWEEN %s AND %s", limits,
            ))  # fmt: skip
    return tracked, used


def still_unused(
    server: Server, store: Store, table: OwnTable, hashes: Sequence[bytes], before: str,
    result: PartResult,
) -> tuple[dict[str, Tracked], set[str]]:  # fmt: skip
    """Rows by key that are as they were when found, and the keys of files that stay nevertheless.

    A row stays while another schema tracks its file and uses it, or may: else a worker could upload
    another version of what is in use there. When nobody uses any of them, the file goes with the
    last row. What is left out is counted in `result`: as `shared`, or as `left_alone` where it is
    not certain which file is meant.
    """
    condition = f"AND t.`timestamp` < '{before}' AND {is_unused(store.references(table), 't')}"
    rows = {}
    for row in select(server, table, hashes, more=condition):
        key = store.key_of(table, row)
        if key is None:
            result.count("left_alone")
        else:
            rows[key] = row
    staying = set()
    for key, others in store.trackers(server, rows, dirty=True, but=table).items():
        own = Tracker(table, rows[key])  # one whose path is not written plainly
        if not (others := [other for other in others if other != own]):
            continue
        if all(_is_free(server, store, other, before) for other in others):
            staying.add(key)
        else:
            result.count("shared")
            del rows[key]
    return rows, staying


def _is_free(server: Server, store: Store, other: Tracker, before: str) -> bool:
    """Whether another table's row is one that a cleanup would delete as well."""
    if not store.is_tidied(other.table) or key_of(other.row, other.table.schema, ()) is None:
        return False
    unused = is_unused(store.references(other.table), "t")
    condition = f"AND t.`timestamp` < '{before}' AND {unused}"
    return bool(list(select(server, other.table, [other.row.hash], more=condition)))
