"""Collections' folders: where a path is, what lies there, and small changes."""

from __future__ import annotations

import fnmatch
import os
import posixpath
import stat
from contextlib import suppress
from pathlib import Path

from mapadmin.sandbox.globus.answers import ApiError, Json, not_found, stamp
from mapadmin.sandbox.globus.world import Collection

_TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFCHR: "chr", stat.S_IFBLK: "blk",
    stat.S_IFIFO: "pipe", stat.S_IFSOCK: "other",
}  # fmt: skip


def normal(path: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes; `/~/` is the root."""
    path = path.removeprefix("/~").removeprefix("~")
    return posixpath.normpath("/" + path.lstrip("/"))


def local(collection: Collection, path: str) -> Path:
    """Where a path of a collection lies on this machine."""
    return Path(collection.root) / normal(path).lstrip("/")


def listing(collection: Collection, path: str) -> list[Json]:
    """All entries of a folder, sorted by name. Raises ApiError."""
    where = local(collection, path)
    try:
        with os.scandir(where) as entries:
            found = [entry for item in entries if (entry := _entry(item.name, Path(item.path)))]
    except FileNotFoundError:
        raise ApiError(
            404, "ClientError.NotFound", f"Directory '{path}' not found on endpoint"
        ) from None
    except NotADirectoryError:
        raise ApiError(
            502, "ExternalError.DirListingFailed.NotDirectory", f"'{path}' is not a directory"
        ) from None
    except PermissionError:
        raise ApiError(
            403, "ClientError.PermissionDenied", f"Permission denied for '{path}'"
        ) from None
    except OSError as error:
        raise ApiError(502, "ExternalError.DirListingFailed", f"'{path}': {error}") from None
    return sorted(found, key=lambda entry: str(entry["name"]))


def one(collection: Collection, path: str) -> Json:
    """One entry by its path. Raises ApiError."""
    where = local(collection, path)
    found = _entry(posixpath.basename(normal(path)) or "/", where)
    if found is None:
        raise ApiError(404, "NotFound", f"Path not found, '{path}'")
    return found


def make(collection: Collection, path: str) -> None:
    """A new folder. Raises ApiError."""
    try:
        local(collection, path).mkdir()
    except FileExistsError:
        raise ApiError(
            502, "ExternalError.MkdirFailed.Exists", f"Path '{path}' already exists"
        ) from None
    except OSError as error:
        raise ApiError(
            502, "ExternalError.MkdirFailed", f"Cannot create '{path}': {error.strerror}"
        ) from None


def rename(collection: Collection, old: str, new: str) -> None:
    """Another name. Raises ApiError; what is there already is never replaced."""
    source, target = local(collection, old), local(collection, new)
    if not os.path.lexists(source):
        raise not_found(f"file or directory: '{old}'")
    if os.path.lexists(target):
        raise ApiError(502, "ExternalError.RenameFailed.Exists", f"'{new}' already exists")
    try:
        source.rename(target)
    except OSError as error:
        raise ApiError(
            502, "ExternalError.RenameFailed", f"Cannot rename '{old}': {error.strerror}"
        ) from None


def filtered(entries: list[Json], text: str) -> list[Json]:
    """Those that `filter=name:…` lets through: `~` begins a pattern, `!` turns it round."""
    for clause in filter(None, text.split("/")):
        field, _, value = clause.partition(":")
        if field == "name":
            entries = [e for e in entries if fits(str(e["name"]), value)]
        elif field == "type":
            entries = [e for e in entries if e["type"] in value.split(",")]
    return entries


def fits(name: str, value: str) -> bool:
    """Does a filter's value let a name through: `~pattern`, `=exactly`, `one,of,these`, `!` not."""
    turned = value.startswith("!")
    value = value.removeprefix("!")
    if value.startswith(("~", "=")):
        pattern = value[1:]
        found = fnmatch.fnmatchcase(name, pattern) if value[0] == "~" else name == pattern
    else:
        found = name in value.split(",")
    return found is not turned


def _entry(name: str, path: Path) -> Json | None:
    """What the service says of one entry; None when it has just vanished."""
    try:
        own = path.lstat()
    except OSError:
        return None
    target, kind, seen = None, _TYPES.get(stat.S_IFMT(own.st_mode), "other"), own
    if stat.S_ISLNK(own.st_mode):
        target, kind = str(path.readlink()), "invalid_symlink"
        with suppress(OSError):
            seen = path.stat()
            kind = _TYPES.get(stat.S_IFMT(seen.st_mode), "other")
    return {
        "DATA_TYPE": "file", "name": name.encode(errors="surrogateescape").decode(errors="replace"),
        "type": kind, "size": seen.st_size, "last_modified": stamp(seen.st_mtime),
        "permissions": f"{stat.S_IMODE(seen.st_mode):04o}", "user": str(seen.st_uid),
        "group": str(seen.st_gid), "link_target": target,
        "link_size": own.st_size if target is not None else None,
        "link_last_modified": stamp(own.st_mtime) if target is not None else None,
        "link_user": str(own.st_uid) if target is not None else None,
        "link_group": str(own.st_gid) if target is not None else None,
    }  # fmt: skip
