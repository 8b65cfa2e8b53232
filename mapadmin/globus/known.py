"""What files are known to be like: manifests, saved baselines, transfers' own records. Pure.

A listing has no checksums: what two sources say of a file is compared, and each one's size with
the listing's.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from mapadmin.core.errors import UsageError
from mapadmin.core.text import count
from mapadmin.globus.archive import Archive, Problem, Wrong
from mapadmin.globus.model import Entry, join

RECORD = "transfer"  # the source of what Globus itself remembers
Key = tuple[str, str]  # collection, full path


class Known(msgspec.Struct, frozen=True):
    """What one source says of one file. `source` is what it is called in findings."""

    source: str
    collection: str
    path: str
    size: int | None = None
    modified: str | None = None
    checksum: str = ""
    algorithm: str = ""

    @property
    def key(self) -> Key:
        return self.collection, self.path


def read_known(path: Path, source: str, *, collection: str, folder: str) -> list[Known]:
    """A manifest or baseline: JSON lines, or CSV with a header; path, and size, checksum, … each.

    What `ls -r --json` prints is one, and so is a baseline. A line without a collection is about
    `collection`, a path without a leading slash is below `folder`; when these are empty, it must
    not come to that. Raises UsageError with the line, and when there is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {path}: {error}.") from None
    rows: Iterable[tuple[int, Any]] = (
        _json_lines(path, text) if text.lstrip().startswith("{")
        else enumerate(csv.DictReader(io.StringIO(text)), 2)
    )  # fmt: skip
    found = []
    for number, row in rows:
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {number}, is not an object.")
        if row.get("type") in (None, "", "file"):
            found.append(_known(f"{path}, line {number},", row, source, collection, folder))
    if not found:
        raise UsageError(f"{path} names no file: there is nothing to compare with.")
    return found


class Compared(msgspec.Struct):
    """How many of a source's lines could be compared with the listing, and its last outside one."""

    source: str
    lines: int = 0
    compared: int = 0
    outside: int = 0
    outside_example: str = ""


def compare(archive: Archive, known: Iterable[Known], entries: Entries) -> list[Compared]:
    """Find what a source says otherwise than the listing; what it was compared with, by source."""
    sources: dict[str, Compared] = {}
    for one in known:
        tally = sources.setdefault(one.source, Compared(one.source))
        tally.lines += 1
        if archive.outside(one.collection, one.path):
            tally.outside += 1
            tally.outside_example = archive.called(one.collection, one.path)
        elif not archive.hidden(one.collection, one.path):
            tally.compared += 1
        _compare(archive, one, entries.get(one.key))
    for tally in sources.values():
        if tally.outside and tally.source != RECORD:  # Globus brings files to other places, too
            detail = f"{tally.outside} of {count(tally.lines, 'line')} of the {tally.source}"
            archive.add(
                Problem(Wrong.OUTSIDE, tally.outside_example, f"{detail}: in no storage location")
            )
    return list(sources.values())


def _compare(archive: Archive, one: Known, entry: Entry | None) -> None:
    where = archive.called(one.collection, one.path)
    if entry is None:
        # What the database wants as well was found to be missing already; what was brought there
        # once, and that nobody wants, may have been moved since.
        if one.source == RECORD or one.key in archive.wanted:
            return
        if not archive.hidden(one.collection, one.path):
            archive.add(Problem(Wrong.VANISHED, where, f"the {one.source} has it"))
    elif one.size is not None and entry.size != one.size:
        detail = f"{entry.size} bytes, and {one.size} by the {one.source}"
        archive.add(_about(archive, one, Wrong.SIZE, detail, entry))
    elif one.modified and entry.modified and one.modified != entry.modified:
        detail = f"written {entry.modified[:19]}, and {one.modified[:19]} by the {one.source}"
        archive.add(_about(archive, one, Wrong.CHANGED, detail, entry))


def compare_checksums(archive: Archive, sources: Iterable[Iterable[Known]]) -> int:
    """Find files of which two sources have different checksums; how many had two at all."""
    seen: dict[Key, list[Known]] = {}
    compared = 0
    for one in (known for source in sources for known in source if known.checksum):
        earlier = seen.setdefault(one.key, [])
        other = next((known for known in earlier if _same_algorithm(known, one)), None)
        earlier.append(one)
        if other is None:
            continue
        compared += 1
        if other.checksum.lower() != one.checksum.lower():
            detail = f"the {other.source} and the {one.source} have different checksums"
            archive.add(_about(archive, one, Wrong.CHECKSUM, detail, None))
    return compared


def _same_algorithm(one: Known, other: Known) -> bool:
    """A source that names none may mean any whose digests are that long."""
    names = {known.algorithm.lower().replace("-", "") for known in (one, other)}
    return len(names) == 1 or ("" in names and len(one.checksum) == len(other.checksum))


def _about(archive: Archive, one: Known, kind: Wrong, detail: str, entry: Entry | None) -> Problem:
    wanted = archive.wanted.get(one.key)
    name = ""
    if wanted is not None:
        wanted.data_set.problems += 1
        name = f"{wanted.data_set.alias}: {wanted.data_set.name}"
    where = archive.called(one.collection, one.path)
    return Problem(kind, where, detail, name, bytes=entry.size if entry else None)


class Entries:
    """The files of the listing that somebody knows something about, and no others."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._wanted = set(keys)
        self._found: dict[Key, Entry] = {}

    def take(self, collection: str, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if (collection, entry.path) in self._wanted and not entry.is_folder:
                self._found[collection, entry.path] = entry

    def get(self, key: Key) -> Entry | None:
        return self._found.get(key)


def baseline_line(collection: str, entry: Entry, known: Known | None) -> str:
    """A file in a baseline: a line of JSON; with its checksum where one is known."""
    line: dict[str, Any] = {
        "collection": collection, "path": entry.path, "type": "file", "size": entry.size,
        "modified": entry.modified,
    }  # fmt: skip
    if known is not None and known.checksum:
        line |= {"checksum": known.checksum, "algorithm": known.algorithm}
    return json.dumps(line, ensure_ascii=False) + "\n"


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                raise UsageError(f"{path}, line {number}, is not JSON.") from None


def _known(where: str, row: dict[str, Any], source: str, collection: str, folder: str) -> Known:
    path, size = str(row.get("path") or ""), row.get("size")
    on = str(row.get("collection") or collection)
    if not path:
        raise UsageError(
            f"{where} names no path.",
            remedy="A manifest is CSV with the columns path, size and checksum, or JSON lines.",
        )
    if not on or not (path.startswith("/") or folder):
        raise UsageError(
            f"{where} does not say of which location it is.", remedy="Name it with --location."
        )
    try:
        number = int(size) if size not in (None, "") else None
    except ValueError:
        raise UsageError(f"{where} has the size {size!r}, which is none.") from None
    return Known(
        source, on, path if path.startswith("/") else join(folder, path), number,
        row.get("modified") or None, str(row.get("checksum") or ""),
        str(row.get("algorithm") or row.get("checksum_algorithm") or ""),
    )  # fmt: skip
