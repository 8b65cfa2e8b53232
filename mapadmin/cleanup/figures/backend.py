"""What the two kinds of stores have in common: files by key, and a trash beside them.

The trash holds a folder for each run, and in it `files/<key>` for each file that the run took and
`rows….jsonl` with the rows that were deleted. So it says by itself where everything in it belongs:
nothing else need survive a crash for a file to find its way back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote

import msgspec

TRASH = ".mapadmin-trash"
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}-(?P<store>.+)")


class Found(msgspec.Struct, frozen=True):
    """A file that a listing came upon; `modified` is in Unix seconds."""

    key: str
    size: int
    modified: float


class Missing(msgspec.Struct, frozen=True):
    """There is no file of that key."""


class Fresh(msgspec.Struct, frozen=True):
    """The file was written lately: a worker may be about to use it. It was left where it is."""


class Failed(msgspec.Struct, frozen=True):
    """The file could not be taken, and is where it was."""

    why: str


class Kept(msgspec.Struct, frozen=True):
    """The file stays for another row that tracks it, although nobody uses that one either."""


Trouble = Missing | Fresh | Failed | Kept


class Backend(Protocol):
    """A store's files. Every method may raise UnreachableError, or MapadminError for the rest."""

    @property
    def where(self) -> str:
        """For messages: `/data/figures`, `s3://bucket/figures`."""
        ...

    def check(self) -> None:
        """Make sure that the location is there. Raises UnreachableError."""
        ...

    def exists(self, key: str) -> bool: ...

    def has_taken(self, key: str) -> bool:
        """Whether a run's trash in the location itself has a file of this key."""
        ...

    def prepare(self, run: str, sizes: Mapping[str, int], cutoff: float) -> dict[str, Trouble]:
        """Make ready what takes time, before any lock is held: room in the trash, or copies.

        `sizes` are those of the files in bytes; one written after `cutoff` (Unix seconds) is fresh.
        Returns what will not be possible; these are not to be taken.
        """
        ...

    def take(self, run: str, keys: Sequence[str], cutoff: float) -> dict[str, Trouble]:
        """Move files into the trash; what cannot be moved is where it was, and is returned."""
        ...

    def changed(self, keys: Sequence[str]) -> dict[str, Trouble]:
        """Which files are not what was prepared any more: these are not to be taken."""
        ...

    def drop(self, run: str, keys: Sequence[str]) -> None:
        """Forget what was prepared for files that were not taken after all.

        One that is not in its place, whatever became of it, is put back.
        """
        ...

    def give_back(self, run: str, key: str) -> bool:
        """Move a file from the trash to its place. False when there is one by now, or none here."""
        ...

    def note(self, run: str, number: int, text: str) -> None:
        """Keep the rows of a batch beside its files, on the disk before this returns."""
        ...

    def finish(self) -> None:
        """Bring the trash to where the site wants it, when no lock is held any more."""
        ...

    def runs(self) -> list[str]:
        """The runs whose files are in the trash, oldest first."""
        ...

    def trashed(self, run: str) -> Iterator[Found]:
        """What a run took and is still there."""
        ...

    def digest(self, run: str, key: str, prefix: bytes) -> bytes:
        """The md5 of `prefix` and the contents of a file in the trash."""
        ...

    def purge(self, run: str, keys: Sequence[str]) -> dict[str, Trouble]:
        """Delete files in the trash for good."""
        ...

    def purge_run(self, run: str) -> None:
        """Delete the notes of a run with no file left."""
        ...

    def walk(self) -> Iterator[Found]:
        """Every file in the location, the trash left out, in no order."""
        ...


def new_run(now: float, store: str) -> str:
    """A name for a run that sorts by time: `20261123T224501Z-1f2e3d-report_store`.

    The store's is in it: two stores may have one trash, and each empties it of its own.
    """
    moment = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    return f"{moment}-{os.urandom(3).hex()}-{quote(store, safe='')}"


def begun_at(run: str) -> float:
    """When a run began, in Unix seconds."""
    return datetime.strptime(run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def only_runs(names: Iterable[str], store: str) -> list[str]:
    """Those names that are of a store's runs, oldest first: all else in the trash is not ours."""
    runs = {name: _RUN.fullmatch(name) for name in names}
    wanted = quote(store, safe="")
    return sorted(name for name, run in runs.items() if run and run["store"] == wanted)
