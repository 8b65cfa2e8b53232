"""`cleanup figures`: files in the external stores that no row refers to any more."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mapadmin.cleanup.figures.prune import Pruner, note_too_big
from mapadmin.cleanup.figures.restore import heal
from mapadmin.cleanup.figures.scan import Unused, find_unused, oldest_moment, still_unused
from mapadmin.cleanup.figures.store import Store, open_stores
from mapadmin.cleanup.parts import Item, PartResult, Work
from mapadmin.core.errors import MapadminError
from mapadmin.core.text import count, human_bytes
from mapadmin.site.stores import DAY

if TYPE_CHECKING:
    from mapadmin.db.server import Server

LISTED = 1000  # files that a dry run names one by one


class FiguresPart:
    """Removes unused files of one store, or of all that the site file describes."""

    name = "figures"

    def __init__(self, only: str | None = None) -> None:
        self._only = only

    def run(self, work: Work, result: PartResult) -> None:
        """See `parts.Part`."""
        server = work.database.server
        stores = open_stores(server, work.site, self._only)
        if work.dry_run or self._only is not None:
            result.notes += uncovered(work, stores)
        for store in stores:
            if work.out_of_time:
                result.finished = False
                return
            try:
                _tidy(work, server, store, result)
            except MapadminError as error:
                result.fail(store.name, error)


def uncovered(work: Work, stores: Sequence[Store]) -> list[str]:
    """What of the external stores is left alone, whatever is in it: a sentence for each."""
    notes = [problem for problem in work.inventory.problems if "~external_" in problem]
    known = work.site.settings.stores
    unknown: dict[str, int] = {}
    for table in work.inventory.stores:
        if table.store not in known:
            unknown[table.store] = unknown.get(table.store, 0) + 1
    notes += [
        f"the store {name} ({count(number, 'table')}) is not in the site file: not covered"
        for name, number in sorted(unknown.items())
    ]
    for store in stores:
        if store.newer:
            notes.append(
                f"the store {store.name} also has files of DataJoint 2.x "
                f"({count(len(store.newer), 'column')}, such as {store.newer[0]}): those are not "
                "covered, since no table tracks them; DataJoint's own dj.gc removes them"
            )
    return notes


def _tidy(work: Work, server: Server, store: Store, result: PartResult) -> None:
    if not has_rows(server, store):
        return
    if by_path := [column for column in store.newer if column.codec == "filepath"]:
        result.notes.append(
            f"nothing is removed from the store {store.name}: {by_path[0]}, of DataJoint 2.x, "
            "names files in it by their path, and no table tells which"
        )
        return
    store.prove_reachable(server)
    if not work.dry_run:
        heal(server, store, result)
    before = oldest_moment(server, store.settings.grace_days * DAY)
    found: list[Unused] = []
    left = store.settings.max_items
    for table in store.tables:
        unused = find_unused(
            server, store, table, before=before, keep=left, stop=lambda: work.out_of_time
        )
        left -= len(unused)
        found.append(unused)
    _refuse_many(work, store, found, result)
    if sum(unused.count for unused in found) > store.settings.max_items:
        result.finished = False
        result.notes.append(
            f"{store.name}: more than {store.settings.max_items:,} unused files (max_items); the "
            "next run goes on"
        )
    if work.dry_run:
        for unused in found:
            _plan(server, store, unused, before, result)
        _plan_bytes(store, found, result)
        return
    total = sum(map(len, found))
    with work.progress(f"Removing unused files of {store.name}", total=total, unit="files") as bar:
        if total:
            Pruner(work, store, before, result).prune(found, bar)
    store.backend.finish()


def has_rows(server: Server, store: Store) -> bool:
    """Whether the project's tables track any file of a store."""
    return any(
        server.query(f"SELECT 1 FROM {table.sql} LIMIT 1", []) for table in store.tables
    )  # fmt: skip


def _refuse_many(work: Work, store: Store, found: Sequence[Unused], result: PartResult) -> None:
    """Much that nobody uses may mean that somebody's use is not seen. Raises MapadminError."""
    tracked = sum(unused.tracked for unused in found)
    number = sum(unused.count for unused in found)
    if work.force or number <= store.settings.max_share * tracked:
        return
    refusal = MapadminError(
        f"{number:,} of its {count(tracked, 'file')} are unused: more than the share of "
        f"{store.settings.max_share:g} that is removed at a time (max_share).",
        remedy="Look at them with --dry-run; if that is as it should be, run it with --force.",
    )
    if not work.dry_run:
        raise refusal
    result.notes.append(f"{store.name}: without --force, nothing is removed: {refusal.message}")


def _plan_bytes(store: Store, found: Sequence[Unused], result: PartResult) -> None:
    """Tell what of it one run would leave for `max_bytes`."""
    limit = store.settings.max_bytes
    if not limit:
        return
    sizes = [size for unused in found for size in unused.sizes]
    note_too_big(store, sum(size > limit for size in sizes), result)
    if (total := sum(size for size in sizes if size <= limit)) > limit:
        result.finished = False
        result.notes.append(
            f"{store.name}: {human_bytes(total)}, of which one run removes {human_bytes(limit)} at "
            "the most (max_bytes)"
        )


def _plan(server: Server, store: Store, unused: Unused, before: str, result: PartResult) -> None:
    """List the first LISTED files by name and the others as one, which are not looked at again."""
    for hashes in itertools.islice(unused.batches(LISTED), 1):
        rows, _ = still_unused(server, store, unused.table, hashes, before, result)
        for key, row in rows.items():
            result.plan(Item(
                action="remove", target=f"{store.name}: {key}", bytes=row.size,
                detail=f"{unused.table.schema}, since {row.timestamp[:10]}",
                destroys=True,
            ))  # fmt: skip
    if (left := len(unused) - LISTED) > 0:
        result.plan(Item(
            action="remove", target=f"{store.name}: …", count=left,
            bytes=unused.bytes_after(LISTED),
            detail=f"{unused.table.schema}, {count(left, 'more file')}, but for those that another "
            "schema uses, too",
            destroys=True,
        ))  # fmt: skip
