"""Whatever is in the trash and has a row again goes back to its place.

That is how a run finishes which was killed between taking a file and committing the row's end. It
is also what makes DataJoint's own order harmless, which no lock can: a worker writes a blob or an
attachment (or finds that it is there) *before* it touches the tracking table, so its file may be
taken in between, and the row that it then inserts has no file until this is done.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from mapadmin.cleanup.figures.store import AT_ONCE, Store, Tracker
from mapadmin.core.errors import MapadminError
from mapadmin.pipeline.stores_layout import contents_of

if TYPE_CHECKING:
    from mapadmin.cleanup.parts import PartResult
    from mapadmin.db.server import Server


def put_back(
    server: Server, store: Store, run: str, keys: Iterable[str], result: PartResult
) -> set[str]:
    """Put back those of a run's files in the trash that are tracked and not in their place.

    Rows count that are not committed yet. What is put back has the contents that a row tells of.
    Returns the keys of files that have a row; the others may go.
    """
    tracked = store.trackers(server, keys, dirty=True)
    for key, trackers in sorted(tracked.items()):
        if store.backend.exists(key):
            continue
        try:
            if not _fits(store, run, key, trackers):
                result.failures.append(
                    f"{store.backend.where}/{key}: there is a row and no file, and what the trash"
                    f" of {run} has of that name differs from what the row tells of"
                )
            elif store.backend.give_back(run, key):
                result.count("put_back")
        except MapadminError as error:
            result.fail("", error)
    return set(tracked)


def _fits(store: Store, run: str, key: str, trackers: Sequence[Tracker]) -> bool:
    for tracker in trackers:
        prefix, wanted = contents_of(tracker.row)
        if wanted is None or store.backend.digest(run, key, prefix) == wanted:
            return True
    return False


def heal(server: Server, store: Store, result: PartResult) -> None:
    """Put back what earlier runs took and has a row by now; newest run first."""
    for run in reversed(store.backend.runs()):
        trashed = (found.key for found in store.backend.trashed(run))
        while keys := list(islice(trashed, AT_ONCE)):
            put_back(server, store, run, keys, result)


class Watch:
    """Looks at what was just taken again: at once, and when every worker must have got further."""

    def __init__(self, server: Server, store: Store, run: str, result: PartResult) -> None:
        self._server = server
        self._store = store
        self._run = run
        self._result = result
        self._young: list[str] = []  # taken since the last look
        self._waiting: deque[tuple[float, list[str]]] = deque()  # (when to look again, keys)

    def taken(self, keys: list[str]) -> None:
        """These files are in the trash, and the end of their rows is committed."""
        self.look()
        self._young = keys

    def look(self) -> None:
        """A first look at the youngest, a second at those whose time has come."""
        now = time.monotonic()
        if self._young:
            self._put_back(self._young)
            self._waiting.append((now + self._store.settings.settle, self._young))
            self._young = []
        while self._waiting and self._waiting[0][0] <= now:
            self._put_back(self._waiting.popleft()[1])

    def settle(self) -> None:
        """Wait until everything has been looked at twice."""
        self.look()
        while self._waiting:
            time.sleep(max(0.0, self._waiting[0][0] - time.monotonic()))
            self.look()

    def _put_back(self, keys: list[str]) -> None:
        put_back(self._server, self._store, self._run, keys, self._result)
