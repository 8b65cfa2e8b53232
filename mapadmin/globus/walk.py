"""A tree, folder by folder: many listed at once, told in order, in bounded memory. Pure threads.

Folders come depth first, each before what is below it, sorted by name. Those that come soonest are
listed first, so that what waits to be told is what is told next; when `ahead` entries wait, only
the folder that is next goes on being listed.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator, Sequence

from mapadmin.core.errors import Interrupted, MapadminError
from mapadmin.globus.model import Entry

AHEAD = 50_000  # entries that may wait to be told

Fetch = Callable[[str], Sequence[Entry]]
Descend = Callable[[Entry], bool]


class Listing:
    """One folder: its entries, or why there are none. `depth` of the start is 0."""

    __slots__ = ("below", "depth", "entries", "error", "key", "path", "ready")

    def __init__(self, path: str, depth: int, key: tuple[str, ...]) -> None:
        self.path = path
        self.depth = depth
        self.key = key
        self.entries: Sequence[Entry] = ()
        self.error: MapadminError | None = None
        self.below: list[Listing] = []
        self.ready = False

    def __lt__(self, other: Listing) -> bool:
        return self.key < other.key


def is_real_folder(entry: Entry) -> bool:
    """A folder that is no link: following links could go round in circles."""
    return entry.is_folder and entry.link is None


def walk(
    fetch: Fetch,
    start: str,
    *,
    depth: int | None = None,
    at_once: int = 16,
    descend: Descend = is_real_folder,
    fatal: tuple[type[MapadminError], ...] = (),
) -> Iterator[Listing]:
    """The folder `start` and those below it, down to `depth` (0: only itself; None: all).

    `fetch` lists a folder, in several threads at once. A folder that it refuses is told with its
    error, and the walk goes on; an error of the start, or one that is `fatal`, is raised.
    """
    crew = _Crew(fetch, start, depth, descend, fatal)
    try:
        crew.hire(at_once)
        yield from crew.tell()
    finally:
        crew.dismiss()


class _Crew:
    """The threads of one walk and what they share; `_change` guards all of it."""

    def __init__(
        self, fetch: Fetch, start: str, depth: int | None, descend: Descend,
        fatal: tuple[type[MapadminError], ...],
    ) -> None:  # fmt: skip
        self._fetch = fetch
        self._most = depth
        self._descend = descend
        self._fatal = fatal
        self._change = threading.Condition()
        self._todo: list[Listing] = [Listing(start, 0, ())]
        self._next = self._root = self._todo[0]
        self._waiting = 0  # entries that were fetched and not told
        self._over = False
        self._failure: BaseException | None = None

    def hire(self, number: int) -> None:
        for _ in range(number):
            # Daemons: whoever is in the middle of a request must not hold up Ctrl-C.
            threading.Thread(target=self._work, daemon=True).start()

    def dismiss(self) -> None:
        with self._change:
            self._over = True
            self._todo.clear()
            self._change.notify_all()

    def tell(self) -> Iterator[Listing]:
        stack = [self._root]
        while stack:
            listing = stack.pop()
            self._await(listing)
            stack.extend(reversed(listing.below))
            listing.below = []
            yield listing
            with self._change:
                self._waiting -= len(listing.entries)
                listing.entries = ()

    def _await(self, listing: Listing) -> None:
        with self._change:
            self._next = listing
            self._change.notify_all()
            while not listing.ready and self._failure is None:
                self._change.wait(1.0)  # now and then, so that a signal is seen
            if not listing.ready and self._failure is not None:
                raise self._failure

    def _work(self) -> None:
        while (listing := self._take()) is not None:
            try:
                entries = sorted(self._fetch(listing.path), key=lambda e: e.path)
            except MapadminError as error:
                if listing is self._root or isinstance(error, self._fatal):
                    self._fail(error)
                    return
                listing.error = error
                entries = []
            except (Exception, Interrupted) as error:  # noqa: BLE001  raised by whoever is told
                self._fail(error)
                return
            self._put(listing, entries)

    def _take(self) -> Listing | None:
        """The folder that is told soonest of those nobody lists yet; None when there is no more."""
        with self._change:
            while not self._over:
                if self._todo and (self._waiting < AHEAD or self._todo[0] is self._next):
                    return heapq.heappop(self._todo)
                self._change.wait()
            return None

    def _put(self, listing: Listing, entries: list[Entry]) -> None:
        below = [
            Listing(entry.path, listing.depth + 1, (*listing.key, entry.name))
            for entry in entries
            if (self._most is None or listing.depth < self._most) and self._descend(entry)
        ]
        with self._change:
            if self._over:
                return
            listing.entries, listing.below, listing.ready = entries, below, True
            self._waiting += len(entries)
            for folder in below:
                heapq.heappush(self._todo, folder)
            self._change.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._change:
            self._failure = self._failure or error
            self._change.notify_all()
