"""What one transfer task is to copy: from the command line, or from a batch file. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

import msgspec

from mapadmin.core.errors import UsageError
from mapadmin.globus.model import Place, normal

LABEL = 128  # characters that Globus takes


class Sync(StrEnum):
    """What is copied: what is missing; also another size; also newer; also another checksum."""

    EXISTS = "exists"
    SIZE = "size"
    MTIME = "mtime"
    CHECKSUM = "checksum"
    ALWAYS = "always"


_LEVELS = {Sync.EXISTS: 0, Sync.SIZE: 1, Sync.MTIME: 2, Sync.CHECKSUM: 3, Sync.ALWAYS: None}


class Item(msgspec.Struct, frozen=True):
    """A file, or a folder with all below it."""

    source: str
    destination: str
    recursive: bool = False


def read_batch(lines: Iterable[str], source: Place, destination: Place) -> Iterator[Item]:
    """Lines of `[-r] SOURCE DESTINATION`, quoted as in a shell, `#` for comments.

    Paths without a leading slash are below the two places. Raises UsageError with the line.
    """
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise UsageError(f"Line {number} of the batch: {error}.") from None
        recursive = any(word in ("-r", "--recursive") for word in words)
        words = [word for word in words if word not in ("-r", "--recursive")]
        if not words:
            continue
        if len(words) != 2:
            raise UsageError(
                f"Line {number} of the batch has {len(words)} paths.",
                remedy="Write SOURCE DESTINATION, quoted where there are blanks.",
            )
        yield Item(_below(source, words[0]), _below(destination, words[1]), recursive)


def batch_line(item: Item) -> str:
    """An item as a line that `read_batch` reads."""
    words = [*(["-r"] if item.recursive else []), item.source, item.destination]
    return " ".join(_quoted(word) for word in words)


def document(
    source: Place, destination: Place, items: list[Item], *, sync: Sync, label: str, skip: bool
) -> dict[str, Any]:
    """The transfer document that Globus takes."""
    return {
        "DATA_TYPE": "transfer", "source_endpoint": source.collection,
        "destination_endpoint": destination.collection, "label": label[:LABEL],
        "sync_level": _LEVELS[sync], "verify_checksum": True, "preserve_timestamp": True,
        "encrypt_data": False, "skip_source_errors": skip, "fail_on_quota_errors": False,
        "notify_on_succeeded": False, "recursive_symlinks": "ignore",
        "DATA": [
            {"DATA_TYPE": "transfer_item", "source_path": item.source,
             "destination_path": item.destination, "recursive": item.recursive}
            for item in items
        ],
    }  # fmt: skip


def _below(place: Place, path: str) -> str:
    return normal(path if path.startswith("/") else posixpath.join(place.path, path))


def _quoted(word: str) -> str:
    """For `shlex.split` of one line: a newline in a name would end it."""
    if "\n" in word:
        raise UsageError(f"{word!r} has a newline in it, which a batch file cannot hold.")
    return shlex.quote(word)
