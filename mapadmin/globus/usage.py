"""How much each folder of a tree takes. Pure."""

from __future__ import annotations

import msgspec

from mapadmin.globus.walk import Listing


class UsageRow(msgspec.Struct):
    """A folder with all below it. `bytes` counts files, not what folders themselves take."""

    path: str
    bytes: int = 0
    files: int = 0
    folders: int = 0


class Usage:
    """Adds up listings, in memory that grows with the folders shown and not with the tree."""

    def __init__(self, start: str, depth: int) -> None:
        self.start = start.rstrip("/")
        self.depth = depth
        self._rows: dict[str, UsageRow] = {}

    def add(self, listing: Listing) -> None:
        """Count a folder towards itself and those above it that are shown."""
        below = [part for part in listing.path[len(self.start) :].split("/") if part]
        files = [entry for entry in listing.entries if not entry.is_folder or entry.link]
        size = sum(entry.size or 0 for entry in files if entry.link is None)
        for level in range(min(len(below), self.depth) + 1):
            path = "/".join([self.start, *below[:level]]) or "/"
            row = self._rows.setdefault(path, UsageRow(path))
            row.bytes += size
            row.files += len(files)
            row.folders += level < len(below)

    def rows(self) -> list[UsageRow]:
        """Biggest first."""
        return sorted(self._rows.values(), key=lambda row: (-row.bytes, -row.files, row.path))
