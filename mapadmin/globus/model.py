"""What Globus has, as plain values: places, entries, tasks, access rules."""

from __future__ import annotations

import posixpath
import re
from typing import Any

import msgspec

from mapadmin.core.errors import UsageError

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Place(msgspec.Struct, frozen=True):
    """A path on a collection. `name` is what the person called the collection."""

    name: str
    collection: str
    path: str

    def __str__(self) -> str:
        return f"{self.name}:{self.path}"

    def at(self, path: str) -> Place:
        """Another path on the same collection."""
        return Place(self.name, self.collection, path)


class Entry(msgspec.Struct, frozen=True, omit_defaults=False):
    """A file or folder. `size` is in bytes, `modified` UTC as Globus writes it.

    `type` is that of what a link points at; `link` is where it points, None for what is no link.
    """

    path: str
    type: str
    size: int | None = None
    modified: str | None = None
    permissions: str | None = None
    user: str | None = None
    group: str | None = None
    link: str | None = None

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)

    @property
    def is_folder(self) -> bool:
        return self.type == "dir"


def entry_of(data: dict[str, Any], folder: str) -> Entry:
    """One of a listing's documents."""
    return Entry(
        path=join(folder, data["name"]), type=data["type"], size=data.get("size"),
        modified=data.get("last_modified"), permissions=data.get("permissions"),
        user=data.get("user"), group=data.get("group"), link=data.get("link_target"),
    )  # fmt: skip


def join(folder: str, name: str) -> str:
    """A path below a folder, without doubled slashes."""
    return f"{folder.rstrip('/')}/{name.lstrip('/')}"


def normal(path: str) -> str:
    """An absolute path with neither `..` nor a slash at its end. Raises UsageError.

    `/~/` is another name of a folder (of the root, on guest collections), which only Globus knows:
    whoever compares paths must not meet it.
    """
    if ".." in path.split("/"):
        raise UsageError(f"{path!r} goes up with `..`: write where it leads.")
    if next((part for part in path.split("/") if part not in ("", ".")), "") == "~":
        raise UsageError(f"{path!r} begins with `~`: write the path that it stands for.")
    return posixpath.normpath("/" + path.lstrip("/"))


def split(text: str) -> tuple[str, str]:
    """`archive:/path` into its two parts; the path is empty when there is none."""
    name, _, path = text.partition(":")
    if not name:
        raise UsageError(f"{text!r} names no collection.", remedy="Write NAME:/path.")
    return name, path


def is_uuid(text: str) -> bool:
    return UUID.fullmatch(text) is not None
