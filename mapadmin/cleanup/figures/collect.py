"""`--reconcile --collect`: files that no table tracks go to the trash, once all have been seen.

Tables that are not seen, or seen on the wrong server, make every file look like nobody's. So first
everything is looked at, then it is judged as a whole, and only then is the first file taken.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mapadmin.cleanup.figures.backend import Failed, Found, new_run
from mapadmin.cleanup.figures.prune import note_too_big
from mapadmin.cleanup.figures.restore import Watch
from mapadmin.cleanup.figures.store import Store
from mapadmin.cleanup.parts import Item
from mapadmin.core.errors import MapadminError
from mapadmin.core.text import count, human_bytes
from mapadmin.site.stores import DAY

if TYPE_CHECKING:
    from mapadmin.cleanup.parts import PartResult, Work
    from mapadmin.db.server import Server

_BATCH = 100  # files that are looked at once more, and then taken, together


class Collector:
    """Takes files that nobody tracks into the trash, and back if somebody does after all."""

    def __init__(self, work: Work, server: Server, store: Store, result: PartResult) -> None:
        self._work = work
        self._server = server
        self._store = store
        self._result = result
        self._stray: list[Found] = []
        self._count = 0
        self._bytes = 0
        self._too_big = 0
        self._left = False

    def add(self, stray: Sequence[Found]) -> None:
        """Remember files, up to the limits of one run."""
        settings = self._store.settings
        self._count += len(stray)
        for found in stray:
            if settings.max_bytes and found.size > settings.max_bytes:
                self._too_big += 1
            elif len(self._stray) >= settings.max_items or (
                settings.max_bytes and self._bytes + found.size > settings.max_bytes
            ):
                self._left = True
            else:
                self._stray.append(found)
                self._bytes += found.size

    def judge(self, *, listed: int, has_rows: bool, missing: int) -> None:
        """Refuse to collect where the tables seem not to be those of this store.

        `listed` is the number of all files, `missing` that of rows without one. Raises
        MapadminError.
        """
        if not self._count:
            return
        if not has_rows:
            raise MapadminError(
                f"No row tracks any file of this store, and {count(self._count, 'file')} would be "
                "collected.",
                remedy="Is this the database of the store, and are the schemas the pipeline's?",
            )
        if self._work.force:
            return
        if missing:
            raise MapadminError(
                f"{count(missing, 'row')} without a file: maybe {count(self._count, 'file')} "
                "without a row are theirs, at another place. Nothing is collected.",
                remedy="Are location and subfolding those of DataJoint's configuration? If those "
                "files are lost indeed, collect with --force.",
            )
        share = self._store.settings.max_share
        if self._count > share * listed:
            raise MapadminError(
                f"{self._count:,} of its {count(listed, 'file')} have no row: more than the share "
                f"of {share:g} that is removed at a time (max_share).",
                remedy="Look at them without --collect; if that is as it should be, use --force.",
            )

    def collect(self) -> None:
        """Take what was remembered, if still nobody tracks it, until the time is up."""
        settings, name = self._store.settings, self._store.name
        run = new_run(time.time(), name)
        watch = Watch(self._server, self._store, run, self._result)
        for start in range(0, len(self._stray), _BATCH):
            if self._work.out_of_time:
                self._result.finished = False
                break
            watch.taken(self._take(run, self._stray[start : start + _BATCH]))
        watch.settle()
        self._store.backend.finish()
        if self._left:
            self._result.finished = False
            self._result.notes.append(
                f"{name}: more files without a row than one run moves (max_items "
                f"{settings.max_items:,}, max_bytes {settings.max_bytes:,}); the next run goes on"
            )
        note_too_big(self._store, self._too_big, self._result)

    def _take(self, run: str, stray: Sequence[Found]) -> list[str]:
        """Take a batch; the keys of what is in the trash now."""
        backend, store = self._store.backend, self._store
        cutoff = time.time() - store.settings.grace_days * DAY
        size = sum(found.size for found in stray)
        item = Item(
            action="remove untracked files", target=backend.where, count=len(stray),
            bytes=size, destroys=True,
            detail=f"{count(len(stray), 'file')}, {human_bytes(size)}, to the trash {run}",
        )  # fmt: skip
        with self._work.journalled([item]):
            troubles = backend.prepare(run, {f.key: f.size for f in stray}, cutoff)
            ready = [found.key for found in stray if found.key not in troubles]
            # By now, somebody may have written one of them anew, and made a row for it.
            troubles |= backend.changed(ready)
            tracked = store.trackers(self._server, ready, dirty=True)
            free = [key for key in ready if key not in troubles and key not in tracked]
            troubles |= backend.take(run, free, cutoff)
        taken = [f for f in stray if f.key not in troubles and f.key not in tracked]
        backend.drop(run, [key for key in ready if key in troubles or key in tracked])
        self._result.items += len(taken)
        self._result.bytes += sum(found.size for found in taken)
        for key, trouble in troubles.items():
            if isinstance(trouble, Failed):
                self._result.failures.append(f"{backend.where}/{key}: {trouble.why}")
        return [found.key for found in taken]
