"""`cleanup trash`: what has been in the trash of a store for the second grace goes for good."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

from mapadmin.cleanup.figures.backend import Failed, Found, begun_at
from mapadmin.cleanup.figures.restore import heal, put_back
from mapadmin.cleanup.figures.store import AT_ONCE, Store, open_stores
from mapadmin.cleanup.parts import Item, PartResult, Work
from mapadmin.core.errors import MapadminError
from mapadmin.core.text import count, human_bytes
from mapadmin.site.stores import DAY

if TYPE_CHECKING:
    from mapadmin.db.server import Server


class TrashPart:
    """Empties the trash of one store, or of all that the site file describes.

    Before anything is deleted for good, whatever has a row again is put back.
    """

    name = "trash"

    def __init__(self, only: str | None = None) -> None:
        self._only = only

    def run(self, work: Work, result: PartResult) -> None:
        """See `parts.Part`."""
        server = work.database.server
        for store in open_stores(server, work.site, self._only):
            try:
                store.backend.check()
                _empty(work, server, store, result)
            except MapadminError as error:
                result.fail(store.name, error)


def _empty(work: Work, server: Server, store: Store, result: PartResult) -> None:
    if not work.dry_run:
        store.prove_reachable(server)
        heal(server, store, result)
    waiting = 0
    for run in store.backend.runs():
        age = time.time() - begun_at(run)
        if age < store.settings.trash_days * DAY:
            continue
        if work.out_of_time:
            result.finished = False
            return
        if work.dry_run:
            result.plan(_item(store, run, age, list(store.backend.trashed(run))))
        elif not work.yes:
            waiting += sum(1 for _ in store.backend.trashed(run))
        elif _purge(work, server, store, run, result):
            store.backend.purge_run(run)
    if waiting:
        result.notes.append(
            f"{store.name}: {count(waiting, 'file')} could be deleted for good; --yes does it"
        )


def _item(store: Store, run: str, age: float, found: list[Found]) -> Item:
    size = sum(each.size for each in found)
    return Item(
        action="delete for good", target=f"{store.name}: {run}", count=len(found), bytes=size,
        detail=f"{count(len(found), 'file')}, {human_bytes(size)}, there for {age / DAY:.0f} days",
        destroys=True,
    )  # fmt: skip


def _purge(work: Work, server: Server, store: Store, run: str, result: PartResult) -> bool:
    """Delete what a run took, but for what has a row; whether nothing of it is left."""
    empty = True
    trashed = store.backend.trashed(run)
    age = time.time() - begun_at(run)
    while some := list(islice(trashed, AT_ONCE)):
        if work.out_of_time:
            result.finished = False
            return False
        before = len(result.failures)
        needed = put_back(server, store, run, (found.key for found in some), result)
        # With a row and its file in place, the copy here is one too many. Without, it is kept.
        kept = {
            found.key for found in some if found.key in needed and len(result.failures) > before
        }
        gone = [found for found in some if found.key not in kept]
        with work.journalled([_item(store, run, age, gone)]):
            troubles = store.backend.purge(run, [found.key for found in gone])
        empty = empty and not kept and not troubles
        for found in gone:
            trouble = troubles.get(found.key)
            if isinstance(trouble, Failed):
                result.failures.append(f"{store.backend.where}: {found.key}: {trouble.why}")
            else:
                result.items += 1
                result.bytes += found.size
    return empty
