"""What the database says is archived, against what a listing shows. Pure.

Everything is keyed by collection and full path: two locations may share a tree. Memory grows with
what is expected and what is wrong, not with the tree.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from mapadmin.core.text import count
from mapadmin.globus.model import Entry, Place
from mapadmin.globus.walk import Listing


class Wrong(StrEnum):
    """Kinds of findings, in the order in which they are told."""

    TRANSFER = "transfer"
    LOCATION = "location"
    UNLISTED = "not listed"
    MISSING = "missing"
    EMPTY = "empty"
    NO_FILE = "no file"
    SIZE = "size"
    CHECKSUM = "checksum"
    CHANGED = "changed"
    VANISHED = "vanished"
    OUTSIDE = "outside"
    BAD_PATH = "bad path"
    NO_FILES = "no files"
    UNCLAIMED = "unclaimed"
    NO_ARCHIVE = "no archive"
    UNKNOWN_FILE = "unknown file"
    UNKNOWN_FOLDER = "unknown folder"


class Problem(msgspec.Struct, frozen=True):
    """One finding. `where` is `collection:path`, a session or a task; `bytes` what is there."""

    kind: Wrong
    where: str
    detail: str
    data_set: str = ""
    files: int = 1
    bytes: int | None = None


class Location(msgspec.Struct, frozen=True):
    """A storage location of the database: `place` is where it is now."""

    alias: str
    place: Place


class DataSet(msgspec.Struct):
    """A data set and what was found of it. `sessions` are those that call it archived."""

    alias: str
    name: str
    sessions: list[str] = msgspec.field(default_factory=list)
    files: int = 0
    present: int = 0
    bytes: int = 0
    problems: int = 0


class Wanted(msgspec.Struct):
    """A file of a data set, or of several; `entry` is what the listing has in its place."""

    data_sets: list[DataSet]
    subpath: str
    entry: Entry | None = None

    @property
    def data_set(self) -> DataSet:
        """The first of them, which gives the file its name."""
        return self.data_sets[0]


class Archive:
    """Takes in what is expected, then listings, and tells what is wrong."""

    def __init__(
        self, locations: Sequence[Location], ignore: Sequence[str] = (),
        others: Sequence[Place] = (),
    ) -> None:  # fmt: skip
        self.others = list(others)  # locations that are not looked at, and need no finding
        self.locations = {location.alias: location for location in locations}
        self.data_sets: dict[tuple[str, str], DataSet] = {}
        self.problems: list[Problem] = []
        self.wanted: dict[tuple[str, str], Wanted] = {}
        self.folders = self.entries = 0
        self._ignore = list(ignore)
        self._known_folders: set[tuple[str, str]] = set()
        self._unlisted: set[tuple[str, str]] = set()
        self._strangers: dict[tuple[str, str], list[int]] = {}  # folder: files, bytes
        self._names = {loc.place.collection: loc.place.name for loc in locations}

    # --- what is expected -----------------------------------------------------------------------

    def expect(self, alias: str, name: str, subpath: str | None) -> None:
        """A data set of the database, and one of its files (None: it may have none)."""
        data_set = self.data_sets.setdefault((alias, name), DataSet(alias, name))
        location = self.locations.get(alias)
        if subpath is None or location is None:
            return
        path = subpath.strip("/")  # discover writes a leading slash, publish none
        if not path or ".." in path.split("/"):
            data_set.files += 1
            self._add(Wrong.BAD_PATH, f"{alias}: {subpath!r}", "cannot be a file", data_set)
            return
        full = posixpath.normpath(posixpath.join(location.place.path, path))
        wanted = self.wanted.setdefault((location.place.collection, full), Wanted([], path))
        if any(one is data_set for one in wanted.data_sets):
            return  # one file, written down twice
        wanted.data_sets.append(data_set)
        data_set.files += 1
        folder = posixpath.dirname(full)
        while (key := (location.place.collection, folder)) not in self._known_folders:
            self._known_folders.add(key)
            folder = posixpath.dirname(folder)

    def claim(self, alias: str, name: str, session: str) -> None:
        """A session calls this data set archived."""
        self.data_sets.setdefault((alias, name), DataSet(alias, name)).sessions.append(session)

    def roots(self) -> list[Place]:
        """Where to list: each tree once, also when one location lies within another."""
        places = sorted((loc.place for loc in self.locations.values()), key=lambda p: len(p.path))
        roots: list[Place] = []
        for place in places:
            if not any(_holds(root, place) for root in roots):
                roots.append(place)
        return roots

    def leads_on(self, collection: str, entry: Entry) -> bool:
        """Is this folder to be listed? A link only if files are expected behind it."""
        if not entry.is_folder:
            return False
        return entry.link is None or (collection, entry.path) in self._known_folders

    # --- what is there --------------------------------------------------------------------------

    def take(self, collection: str, listing: Listing) -> None:
        """One folder of the tree, or why it could not be listed."""
        self.folders += 1
        if listing.error is not None:
            self._unlisted.add((collection, listing.path))
            where = self.called(collection, listing.path)
            self._add(Wrong.UNLISTED, where, listing.error.message, files=0)
            return
        for entry in listing.entries:
            self.entries += 1
            wanted = self.wanted.get((collection, entry.path))
            if wanted is not None:
                wanted.entry = entry
                for data_set in wanted.data_sets if entry.type == "file" else ():
                    data_set.present += 1
                    data_set.bytes += entry.size or 0
            elif not self.leads_on(collection, entry):
                self._stranger(collection, listing.path, entry)

    def give_up(self, root: Place, why: str) -> None:
        """A whole tree could not be listed."""
        self._unlisted.add((root.collection, root.path))
        names = [a for a, loc in self.locations.items() if _holds(root, loc.place)]
        self._add(Wrong.LOCATION, str(root), f"{', '.join(names)}: {why}", files=0)

    def _stranger(self, collection: str, folder: str, entry: Entry) -> None:
        """A file that no data set has: by itself, or counted at the topmost unknown folder."""
        if self._is_ignored(collection, entry.path) or self._is_elsewhere(collection, entry.path):
            return
        if (collection, folder) in self._known_folders or self._is_location(collection, folder):
            self._add(
                Wrong.UNKNOWN_FILE, self.called(collection, entry.path),
                "no data set has it", size=entry.size,
            )  # fmt: skip
            return
        top = folder
        while True:
            above = posixpath.dirname(top)
            if (collection, above) in self._known_folders or self._is_location(collection, above):
                break
            top = above
        found = self._strangers.setdefault((collection, top), [0, 0])
        found[0] += 1
        found[1] += entry.size or 0

    def _is_location(self, collection: str, path: str) -> bool:
        return path == "/" or any(
            loc.place.collection == collection and loc.place.path == path
            for loc in self.locations.values()
        )

    def _is_elsewhere(self, collection: str, path: str) -> bool:
        """Is the path of a location, within one that is looked at, that is not looked at itself?"""
        inner = [
            other for other in self.others
            if any(_holds(loc.place, other) for loc in self.locations.values())
        ]  # fmt: skip
        return _is_in(inner, collection, path)

    def _is_ignored(self, collection: str, path: str) -> bool:
        if not self._ignore:
            return False
        below = [
            path[len(loc.place.path.rstrip("/")) + 1 :]
            for loc in self.locations.values()
            if loc.place.collection == collection and _is_below(path, loc.place.path)
        ]
        return any(fnmatchcase(text, pattern) for text in below for pattern in self._ignore)

    # --- what is wrong --------------------------------------------------------------------------

    def judge(self) -> None:
        """Add what follows from expectation and listing; call once, when all was taken in."""
        for (collection, path), wanted in self.wanted.items():
            if wanted.entry is not None or not self.hidden(collection, path):
                for one in wanted.data_sets:
                    self._judge_file(self.called(collection, path), wanted.entry, one)
        for (collection, folder), (files, size) in self._strangers.items():
            where = self.called(collection, folder)
            detail = f"{count(files, 'file')} of no data set"
            self._add(Wrong.UNKNOWN_FOLDER, where, detail, files=files, size=size)
        for data_set in self.data_sets.values():
            where = f"{data_set.alias}: {data_set.name}"
            if data_set.alias not in self.locations:
                self._add(Wrong.LOCATION, where, "its location is not in the database", data_set)
            elif not data_set.files:
                self._add(Wrong.NO_FILES, where, "a data set without files", data_set, files=0)
            if not data_set.sessions:
                self._add(Wrong.UNCLAIMED, where, "no session calls it archived", data_set, files=0)

    def _judge_file(self, where: str, entry: Entry | None, data_set: DataSet) -> None:
        if entry is None:
            self._add(Wrong.MISSING, where, "not in the archive", data_set)
        elif entry.is_folder:
            self._add(Wrong.NO_FILE, where, "a folder, where a file should be", data_set)
        elif entry.type == "invalid_symlink":
            self._add(Wrong.NO_FILE, where, f"a link to {entry.link}, which is not there", data_set)
        elif entry.type != "file":
            self._add(Wrong.NO_FILE, where, f"a {entry.type}, where a file should be", data_set)
        elif entry.size == 0:
            self._add(Wrong.EMPTY, where, "a file of size zero", data_set, size=0)

    def hidden(self, collection: str, path: str) -> bool:
        """Was the path not looked at? Outside the locations, or where a listing failed."""
        places = (location.place for location in self.locations.values())
        if not _is_in(places, collection, path):
            return True
        return any((collection, above) in self._unlisted for above in _above(path))

    def outside(self, collection: str, path: str) -> bool:
        """Is the path in no storage location at all, also of those that are not looked at?"""
        places = [*(location.place for location in self.locations.values()), *self.others]
        return not _is_in(places, collection, path)

    def no_archive(self, sessions: Iterable[str]) -> None:
        """Sessions that have ephys, which no data set archives."""
        for session in sessions:
            self._add(Wrong.NO_ARCHIVE, f"session {session}", "has ephys but no archive", files=0)

    def sorted_problems(self) -> list[Problem]:
        order = {kind: number for number, kind in enumerate(Wrong)}
        return sorted(self.problems, key=lambda p: (order[p.kind], p.data_set, p.where))

    def called(self, collection: str, path: str) -> str:
        """`archive:/path`, as findings say it."""
        return f"{self._names.get(collection, collection)}:{path}"

    def add(self, problem: Problem) -> None:
        self.problems.append(problem)

    def _add(
        self, kind: Wrong, where: str, detail: str, data_set: DataSet | None = None, *,
        files: int = 1, size: int | None = None,
    ) -> None:  # fmt: skip
        if data_set is not None:
            data_set.problems += 1
        name = f"{data_set.alias}: {data_set.name}" if data_set else ""
        self.problems.append(Problem(kind, where, detail, name, files, size))


def by_kind(problems: Iterable[Problem]) -> Mapping[Wrong, int]:
    """How many there are of each kind; kinds without any are left out."""
    counts = dict.fromkeys(Wrong, 0)
    for problem in problems:
        counts[problem.kind] += 1
    return {kind: number for kind, number in counts.items() if number}


def _above(path: str) -> Iterator[str]:
    while path != "/":
        path = posixpath.dirname(path)
        yield path


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _is_in(places: Iterable[Place], collection: str, path: str) -> bool:
    return any(p.collection == collection and _is_below(path, p.path) for p in places)


def _holds(root: Place, place: Place) -> bool:
    same = root.collection == place.collection
    return same and (root.path == place.path or _is_below(place.path, root.path))
