"""The archive check: reads the database and what is known, lists each tree once, judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import msgspec

from mapadmin.core.errors import MapadminError, SettingsError, UsageError
from mapadmin.core.files import write_out_atomic
from mapadmin.core.progress import Progress
from mapadmin.core.text import one_line
from mapadmin.globus.archive import Archive, Location, Problem, Wrong
from mapadmin.globus.attention import TROUBLE, TaskRow
from mapadmin.globus.batch import Item, batch_line
from mapadmin.globus.catalog import Catalog
from mapadmin.globus.known import (
    Compared,
    Entries,
    Known,
    baseline_line,
    compare,
    compare_checksums,
    read_known,
)  # fmt: skip
from mapadmin.globus.model import Entry, Place, is_uuid, normal
from mapadmin.globus.refusals import OfflineError
from mapadmin.globus.session import Globus
from mapadmin.globus.walk import Listing, walk

LOCAL = "local tree"
_GONE = frozenset({Wrong.MISSING, Wrong.EMPTY})


class Wishes(msgspec.Struct, frozen=True):
    """What else to compare with, and what to write."""

    location: str = ""
    manifest: Path | None = None
    baseline: Path | None = None
    save_baseline: Path | None = None
    local: Path | None = None
    resubmit: Path | None = None


class Examination:
    """One run of `check`; `archive` has what came of it."""

    def __init__(self, globus: Globus, catalog: Catalog, wishes: Wishes) -> None:
        self.globus = globus
        self.catalog = catalog
        self.wishes = wishes
        self.complete = True
        self.resubmitted = 0
        self.held_back = 0  # files of which nothing says that the local ones are the right ones
        self.compared_checksums = 0
        self.records: list[Known] = []
        catalog.check()
        chosen, others = self._locations()
        self.compared: list[Compared] = []
        self.archive = Archive(chosen, globus.settings.archive.ignore, others)

    def run(self, rows: Sequence[TaskRow], days: int, progress: Progress) -> None:
        """All of it. Raises MapadminError when nothing can be said at all."""
        self._read_database()
        self._judge_tasks(rows, days)
        sources = [*self._sources(), self.records]
        entries = Entries(known.key for source in sources for known in source)
        with self._baseline() as baseline:
            for root in self.archive.roots():
                self._list(root, entries, baseline, progress)
        self.archive.judge()
        for source in sources:
            self.compared += compare(self.archive, source, entries)
        self.compared_checksums = compare_checksums(self.archive, sources)
        if self.wishes.resubmit is not None:
            self._resubmit(self.wishes.resubmit, sources)

    # --- what is expected -----------------------------------------------------------------------

    def _locations(self) -> tuple[list[Location], list[Place]]:
        """Those that are looked at, and the places of the others."""
        moved = self.globus.moved()
        found, others = [], []
        for alias, endpoint, path in self.catalog.locations():
            chosen = self.wishes.location in ("", alias)
            if alias in moved:
                place = moved[alias]
            elif not chosen and not is_uuid(endpoint):
                continue
            elif is_uuid(endpoint):
                place = self._place(alias, endpoint, path)
            else:
                raise SettingsError(
                    f"The location {alias!r} is on {endpoint!r}, which is no collection's UUID.",
                    remedy="Say where it is now, in [globus.archive] moved.",
                )
            if chosen:
                found.append(Location(alias, place))
            else:
                others.append(place)
        if not found:
            raise UsageError(
                f"The database has no storage location {self.wishes.location!r}."
                if self.wishes.location else "The database has no storage locations."
            )  # fmt: skip
        return found, others

    def _place(self, alias: str, endpoint: str, path: str) -> Place:
        try:
            return Place(self.globus.nickname(endpoint), endpoint.lower(), normal(path))
        except UsageError as error:
            raise SettingsError(
                f"The location {alias!r}: {error.message}",
                remedy="Say where it is, in [globus.archive] moved.",
            ) from None

    def _read_database(self) -> None:
        one = self.wishes.location
        for alias, name in self.catalog.data_sets():
            if one in ("", alias):
                self.archive.expect(alias, name, None)
        for alias, name, subpath in self.catalog.files():
            if one in ("", alias):
                self.archive.expect(alias, name, subpath)
        for session, alias, name in self.catalog.claims():
            if one in ("", alias):
                self.archive.claim(alias, name, session)
        self.archive.no_archive(self.catalog.sessions_without_archive())

    def _judge_tasks(self, rows: Sequence[TaskRow], days: int) -> None:
        since = (datetime.now(UTC) - timedelta(days=days)).isoformat(sep=" ")
        for row in rows:
            if row.how in TROUBLE and (row.completed is None or row.completed >= since):
                where = f"task {row.id}"
                what = f"{row.how.value}: {row.label or row.type}, to {row.destination}"
                why = f" ({row.why})" if row.why else ""
                self.archive.add(Problem(Wrong.TRANSFER, where, what + why, files=row.files))

    def _sources(self) -> list[list[Known]]:
        """What is known of files, from each source that was named."""
        places = [location.place for location in self.archive.locations.values()]
        ids = {place.collection for place in places}
        collection = ids.pop() if len(ids) == 1 else ""
        folder = places[0].path if len(places) == 1 else ""
        named = ((self.wishes.manifest, "manifest"), (self.wishes.baseline, "baseline"))
        found = [
            read_known(path, source, collection=collection, folder=folder)
            for path, source in named
            if path is not None
        ]
        if self.wishes.local is not None:
            found.append(list(self._local_files()))
        return found

    def _local_files(self) -> Iterator[Known]:
        for (collection, path), wanted in self.archive.wanted.items():
            size = self._local_size(wanted.data_set.alias, wanted.subpath)
            if size is not None:
                yield Known(LOCAL, collection, path, size)

    def _local_size(self, alias: str, subpath: str) -> int | None:
        path = self._local_root(alias) / subpath
        try:
            return path.stat().st_size if path.is_file() else None
        except OSError:  # such as a name that is too long to be one here
            return None

    def _local_root(self, alias: str) -> Path:
        """DIR/<alias> if there is such a folder, else DIR."""
        assert self.wishes.local is not None  # noqa: S101  what the callers asked first
        own = self.wishes.local / alias
        return own if own.is_dir() else self.wishes.local

    # --- listing --------------------------------------------------------------------------------

    def _list(
        self, root: Place, entries: Entries, baseline: Callable[[str, Entry], None],
        progress: Progress,
    ) -> None:  # fmt: skip
        service, archive = self.globus.service, self.archive
        try:
            for listing in walk(
                lambda path: service.ls(root.collection, path), root.path,
                at_once=self.globus.settings.in_flight, fatal=(OfflineError, SettingsError),
                descend=lambda entry: archive.leads_on(root.collection, entry),
            ):  # fmt: skip
                self._take(root.collection, listing, entries, baseline)
                progress.advance(len(listing.entries), note=one_line(listing.path))
        except (OfflineError, SettingsError):
            raise
        except MapadminError as error:
            self.complete = False
            archive.give_up(root, error.message)

    def _take(
        self, collection: str, listing: Listing, entries: Entries,
        baseline: Callable[[str, Entry], None],
    ) -> None:  # fmt: skip
        self.complete &= listing.error is None
        self.archive.take(collection, listing)
        entries.take(collection, listing.entries)
        for entry in listing.entries:
            if not entry.is_folder:
                baseline(collection, entry)

    @contextmanager
    def _baseline(self) -> Iterator[Callable[[str, Entry], None]]:
        """Writes a line for each file; the old baseline stays when the listing is not complete."""
        path = self.wishes.save_baseline
        if path is None:
            yield lambda collection, entry: None
            return
        checksums = {known.key: known for known in self.records}

        def write_to(file: IO[str]) -> Callable[[str, Entry], None]:
            def write(collection: str, entry: Entry) -> None:
                file.write(
                    baseline_line(collection, entry, checksums.get((collection, entry.path)))
                )

            return write

        with write_out_atomic(path, mode=0o644, keep=lambda: self.complete) as file:
            yield write_to(file)

    # --- mending --------------------------------------------------------------------------------

    def _resubmit(self, path: Path, sources: Sequence[Sequence[Known]]) -> None:
        """The batch of what is missing, empty or of a wrong size, and lies in the local tree.

        A local file of another size than the archive's may itself be the one that is cut short: it
        is taken only if a manifest, a baseline or Globus's records have its size, and none another.
        """
        kinds: dict[str, set[Wrong]] = {}
        for problem in self.archive.problems:
            if problem.kind in _GONE or problem.kind is Wrong.SIZE:
                kinds.setdefault(problem.where, set()).add(problem.kind)
        sizes: dict[tuple[str, str], set[int]] = {}
        for known in (one for source in sources for one in source):
            if known.source != LOCAL and known.size is not None:
                sizes.setdefault(known.key, set()).add(known.size)
        lines: list[str] = []
        collections = set()
        for (collection, full), wanted in self.archive.wanted.items():
            alias = wanted.data_set.alias
            wrong = kinds.get(self.archive.called(collection, full))
            size = self._local_size(alias, wanted.subpath)
            if not wrong or not size:  # sound, or not here, or empty here as well
                continue
            told = sizes.get((collection, full), {size} if wrong & _GONE else set())
            if told != {size}:
                self.held_back += 1
                continue
            root = self._local_root(alias)
            assert self.wishes.local is not None  # noqa: S101
            source = (root / wanted.subpath).relative_to(self.wishes.local).as_posix()
            lines.append(batch_line(Item(source, full)) + "\n")
            collections.add(collection)
        if len(collections) > 1:
            raise UsageError(
                "What is missing is of several collections, and a batch is for one.",
                remedy="Name one location with --location.",
            )
        with write_out_atomic(path) as file:
            file.writelines(sorted(lines))
        self.resubmitted = len(lines)
