"""`cleanup figures --reconcile`: files that no table tracks, and rows whose file is not there.

Both sides are read page by page, while workers go on, so whatever looks wrong is looked at again.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from mapadmin.cleanup.figures.backend import Found
from mapadmin.cleanup.figures.collect import Collector
from mapadmin.cleanup.figures.part import has_rows, uncovered
from mapadmin.cleanup.figures.restore import heal
from mapadmin.cleanup.figures.scan import PAGE
from mapadmin.cleanup.figures.store import AT_ONCE, SELECTED, Store, open_stores, select
from mapadmin.cleanup.parts import PartResult, Work
from mapadmin.core.errors import MapadminError
from mapadmin.pipeline.inventory import OwnTable
from mapadmin.pipeline.stores_layout import Tracked, hash_of, parse_key
from mapadmin.site.stores import DAY

if TYPE_CHECKING:
    from mapadmin.db.server import Server


class Kind(StrEnum):
    """What does not go together."""

    UNTRACKED = "untracked"  # a file that no table tracks
    MISSING = "missing"  # a tracked file, in use, that is not there
    MISSING_UNUSED = "missing, unused"  # the same for one that nobody refers to


class Mismatch(msgspec.Struct, frozen=True):
    """One file or row: a line of the report. `since` is UTC."""

    kind: Kind
    store: str
    key: str
    size: int
    table: str
    """The tracking table; empty for a file without a row."""
    since: str


class ReconcilePart:
    """Compares stores with their tables; with `collect`, moves what nobody tracks to the trash."""

    name = "reconcile"

    def __init__(
        self, only: str | None, tell: Callable[[Mismatch], None], *, collect: bool = False
    ) -> None:
        self._only = only
        self._tell = tell
        self._collect = collect

    def run(self, work: Work, result: PartResult) -> None:
        """See `parts.Part`; items and bytes are those of what was moved to the trash."""
        server = work.database.server
        stores = open_stores(server, work.site, self._only)
        result.notes += uncovered(work, stores)
        for store in stores:
            try:
                self._reconcile(work, server, store, result)
            except MapadminError as error:
                result.fail(store.name, error)

    def _reconcile(self, work: Work, server: Server, store: Store, result: PartResult) -> None:
        store.prove_reachable(server)
        if self._collect:
            heal(server, store, result)
        files = _Files()
        collector = Collector(work, server, store, result) if self._collect else None
        listed = store.backend.walk()
        while some := list(islice(listed, AT_ONCE)):
            if work.out_of_time:
                result.finished = False
                return
            for found in some:
                files.add(found.key)
            stray = self._untracked(server, store, some, result)
            if collector is not None:
                collector.add(stray)
        files.sort()
        missing = 0
        for table in store.tables:
            for mismatch in _missing(server, store, table, files):
                missing += 1
                result.count(mismatch.kind.value.replace(", ", "_"))
                self._tell(mismatch)
        if collector is not None:
            collector.judge(listed=len(files), has_rows=has_rows(server, store), missing=missing)
            collector.collect()

    def _untracked(
        self, server: Server, store: Store, some: list[Found], result: PartResult
    ) -> list[Found]:
        """Those of the files that no table tracks, and that are old enough to be so for good."""
        old = time.time() - store.settings.grace_days * DAY
        candidates = [f for f in some if f.modified < old and _is_datajoints(store, f.key)]
        tracked = store.trackers(server, (f.key for f in candidates), dirty=True)
        stray = [f for f in candidates if f.key not in tracked]
        for found in stray:
            result.count("untracked")
            since = time.strftime("%Y-%m-%d", time.gmtime(found.modified))
            self._tell(Mismatch(Kind.UNTRACKED, store.name, found.key, found.size, "", since))
        return stray


def _is_datajoints(store: Store, key: str) -> bool:
    """Whether 0.12 to 0.14 could have put a file there: 2.x has its own in the same stores."""
    return not store.newer or parse_key(key, store.settings.subfolding) is not None


class _Files:
    """Which files there are, as 8 bytes each: a million take 8 MB."""

    def __init__(self) -> None:
        from array import array

        self._hashes = array("Q")

    def add(self, key: str) -> None:
        self._hashes.append(_short(key))

    def __len__(self) -> int:
        return len(self._hashes)

    def sort(self) -> None:
        """To be done between the last `add` and the first question."""
        self._hashes = type(self._hashes)("Q", sorted(self._hashes))

    def __contains__(self, key: str) -> bool:
        wanted = _short(key)
        place = bisect_left(self._hashes, wanted)
        return place < len(self._hashes) and self._hashes[place] == wanted


def _short(key: str) -> int:
    return int.from_bytes(hash_of(key)[:8], "big")


def _missing(server: Server, store: Store, table: OwnTable, files: _Files) -> Iterator[Mismatch]:
    """Rows whose file was not listed and, when looked at by itself, is not there either."""
    from mapadmin.pipeline.stores import is_unused

    unused = is_unused(store.references(table), "t")
    last = b""
    while rows := server.query(
        f"SELECT {SELECTED}, {unused} FROM {table.sql} t WHERE t.`hash` > %s "
        f"ORDER BY t.`hash` LIMIT {PAGE}",
        [last],
    ):
        last = rows[-1][0]
        for *fields, is_free in rows:
            row = Tracked(*fields)
            key = store.key_of(table, row)
            if key is None or key in files or store.backend.exists(key):
                continue
            if not list(select(server, table, [row.hash])):  # deleted meanwhile, with its file
                continue
            kind = Kind.MISSING_UNUSED if is_free else Kind.MISSING
            yield Mismatch(kind, store.name, key, row.size, str(table), row.timestamp[:10])
