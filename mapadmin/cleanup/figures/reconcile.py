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

from mapadmin.cleanup.figures.backend import Failed, Found, new_run
from mapadmin.cleanup.figures.part import uncovered
from mapadmin.cleanup.figures.restore import Watch, heal
from mapadmin.cleanup.figures.scan import PAGE
from mapadmin.cleanup.figures.store import AT_ONCE, SELECTED, Store, open_stores, select
from mapadmin.cleanup.parts import Item, PartResult, Work
from mapadmin.core.errors import MapadminError
from mapadmin.core.text import count, human_bytes
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
        collector = _Collector(work, server, store, result) if self._collect else None
        listed = store.backend.walk()
        while some := list(islice(listed, AT_ONCE)):
            if work.out_of_time:
                result.finished = False
                return
            for found in some:
                files.add(found.key)
            stray = self._untracked(server, store, some, result)
            if collector is not None:
                collector.collect(stray)
        if collector is not None:
            collector.finish()
        files.sort()
        for table in store.tables:
            for mismatch in _missing(server, store, table, files):
                result.count(mismatch.kind.value.replace(", ", "_"))
                self._tell(mismatch)

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


class _Collector:
    """Moves files that nobody tracks into the trash, and back if somebody does after all."""

    def __init__(self, work: Work, server: Server, store: Store, result: PartResult) -> None:
        self._work = work
        self._store = store
        self._result = result
        self._run = new_run(time.time())
        self._watch = Watch(server, store, self._run, result)

    def collect(self, stray: list[Found]) -> None:
        left = self._store.settings.max_items - self._result.items
        stray = stray[: max(0, left)]
        if not stray:
            return
        backend, store = self._store.backend, self._store
        cutoff = time.time() - store.settings.grace_days * DAY
        size = sum(found.size for found in stray)
        item = Item(
            action="remove untracked files", target=store.backend.where, count=len(stray),
            bytes=size, destroys=True,
            detail=f"{count(len(stray), 'file')}, {human_bytes(size)}, to the trash {self._run}",
        )  # fmt: skip
        with self._work.journalled([item]):
            troubles = backend.prepare(self._run, {f.key: f.size for f in stray}, cutoff)
            keys = [found.key for found in stray if found.key not in troubles]
            troubles |= backend.take(self._run, keys, cutoff)
        taken = [found for found in stray if found.key not in troubles]
        self._watch.taken([found.key for found in taken])
        self._result.items += len(taken)
        self._result.bytes += sum(found.size for found in taken)
        for key, trouble in troubles.items():
            if isinstance(trouble, Failed):
                self._result.failures.append(f"{backend.where}/{key}: {trouble.why}")

    def finish(self) -> None:
        self._watch.settle()
        self._store.backend.finish()
