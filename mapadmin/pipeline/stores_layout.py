"""Where DataJoint 0.12 to 0.14 keeps a tracked file in its store, and whose file is whose. Pure.

A key is the path of a file in its store, with `/`, relative to the store's location:

    blob      <schema>/ab/cd/<hash>         the hash is of the contents
    attach    <schema>/ab/cd/<hash>.<name>  of the name, a zero byte and the contents
    filepath  as the user called it         of that path; the contents have a hash of their own
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec


class Tracked(msgspec.Struct, frozen=True):
    """A row of a tracking table, in the order of COLUMNS; `timestamp` is UTC, as text."""

    hash: bytes
    size: int
    attachment_name: str | None
    filepath: str | None
    contents_hash: bytes | None
    timestamp: str

    @property
    def moved(self) -> bool:
        """Whether the file is where a row of datajoint 0.11 said, not where its hash says."""
        return (
            not self.attachment_name and bool(self.filepath) and hash_of(self.filepath) != self.hash
        )


COLUMNS = ("hash", "size", "attachment_name", "filepath", "contents_hash", "timestamp")


def hash_of(filepath: str | None) -> bytes:
    """The hash under which a filepath is tracked, in whichever schema."""
    data = (filepath or "").encode("utf-8", "surrogateescape")  # names of files are any bytes
    return hashlib.md5(data, usedforsecurity=False).digest()


def key_of(row: Tracked, schema: str, folds: Sequence[int]) -> str | None:
    """The key of a row's file; None when it is not certain to be inside the store.

    The rule is that of datajoint's `fetch_external_paths`.
    """
    if row.attachment_name:
        if "/" in row.attachment_name or "\0" in row.attachment_name:
            return None
        return f"{blob_key(row.hash, schema, folds)}.{row.attachment_name}"
    if row.filepath:
        return None if row.moved else filepath_key(row.filepath)
    return blob_key(row.hash, schema, folds)


def filepath_key(filepath: str) -> str | None:
    """A filepath as a key: a stage may be left by `..`, and then so is the store."""
    path = PurePosixPath(filepath)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in filepath:
        return None
    return str(path)


def named_key(filepath: str, location: str) -> str | None:
    """The key of the file that a path names, however it is written; None outside of the store."""
    root = posixpath.normpath("/" + location.strip("/"))
    full = "/" + posixpath.normpath(posixpath.join(root, filepath)).lstrip("/")
    return full[len(root) :].lstrip("/") if full.startswith(f"{root.rstrip('/')}/") else None


def blob_key(digest: bytes, schema: str, folds: Sequence[int]) -> str:
    """`map_v2/ab/cd/abcd…`"""
    name = digest.hex()
    parts, start = [schema], 0
    for fold in folds:
        parts.append(name[start : start + fold])
        start += fold
    return "/".join([*parts, name])


def parse_key(key: str, folds: Sequence[int]) -> tuple[str, bytes] | None:
    """(schema, hash) of a key with the form of a blob's or an attachment's; None for any other."""
    parts = key.split("/")
    if len(parts) != len(folds) + 2:
        return None
    name, dot, rest = parts[-1][:32], parts[-1][32:33], parts[-1][33:]
    if dot not in ("", ".") or (dot and not rest) or name != name.lower():
        return None
    try:
        digest = bytes.fromhex(name)
    except ValueError:
        return None
    whole = len(digest) == 16 and key.startswith(blob_key(digest, parts[0], folds))
    return (parts[0], digest) if whole else None


def contents_of(row: Tracked) -> tuple[bytes, bytes | None]:
    """What the contents of a row's file are hashed behind (md5), and what must come of it.

    None when nobody knows: datajoint was told to skip the checksum of a large file.
    """
    if row.attachment_name:
        return f"{row.attachment_name}\0".encode(), row.hash
    return b"", row.contents_hash if row.filepath else row.hash
