"""Stage directories: copies of stored files, which DataJoint makes again whenever it needs them."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mapadmin.cleanup.parts import Item, PartResult, Work
from mapadmin.core.errors import MapadminError
from mapadmin.core.text import count, human_bytes
from mapadmin.pipeline.stores_layout import hash_of
from mapadmin.site import expand

if TYPE_CHECKING:
    from mapadmin.cleanup.figures.backend import Backend
    from mapadmin.pipeline.inventory import OwnTable
    from mapadmin.site import StageFolder

_BATCH = 500  # files whose removal is one line of the journal


class _File(msgspec.Struct, frozen=True):
    path: Path
    size: int
    changed: float


def clean_stage(work: Work, result: PartResult, stage: StageFolder) -> None:
    """Remove what nobody has read or written for so many days and what the store has, too, and
    folders that are empty then. What a worker has put there and not stored yet stays.

    Links are neither followed nor removed, and other file systems not entered.
    """
    folder = work.site.folder / expand(stage.folder, "cleanup.stage.folder")
    try:
        _refuse(work, folder)
        backend = _backend(work, stage)
        device = folder.stat().st_dev
    except OSError as error:
        result.fail(f"stage {folder}", MapadminError(f"{error.strerror}."))
        return
    except MapadminError as error:
        result.fail(f"stage {folder}", error)
        return
    tables = [table for table in work.inventory.stores if table.store == stage.store]
    before = time.time() - stage.days * 86400
    files = _old_files(folder, device, before)
    others = 0
    ages = _Ages()
    while batch := list(islice(files, _BATCH)):
        tracked = _tracked(work, tables, folder, batch)
        # A row may have lost its file: then this is the last copy.
        copies = [one for one in tracked if backend.exists(_key(folder, one))]
        others += len(batch) - len(copies)
        _remove(work, result, folder, copies, ages)
        if work.out_of_time:
            result.finished = False
            return
    result.details["stage_only"] = result.details.get("stage_only", 0) + others
    if not work.dry_run:
        _remove_empty(folder, device, before, ages)


def _refuse(work: Work, folder: Path) -> None:
    """Raises MapadminError for a folder that cannot be a stage directory."""
    folder = folder.resolve()
    stores = [Path(one.location) for one in work.site.settings.stores.values() if one.location]
    for other in (*stores, Path.home(), work.site.folder):
        taken = (work.site.folder / other).resolve()
        if (
            folder == taken
            or folder in taken.parents
            or (other in stores and taken in folder.parents)
        ):
            raise MapadminError(f"is no stage directory: {taken} is there.")


def _backend(work: Work, stage: StageFolder) -> Backend:
    """The store's files. Raises MapadminError when the site does not say where they are."""
    from mapadmin.cleanup.figures.store import make_backend

    if stage.store not in work.site.settings.stores:
        raise MapadminError(
            f"the site file has no [stores.{stage.store}], so whether the store has a copy cannot "
            "be seen.",
        )
    backend = make_backend(stage.store, work.site)
    backend.check()
    return backend


def _key(folder: Path, file: _File) -> str:
    """Its place in the store, which is the same."""
    return file.path.relative_to(folder).as_posix()


def _tracked(
    work: Work, tables: Sequence[OwnTable], folder: Path, files: Sequence[_File]
) -> list[_File]:
    """Those that the store tracks with the same content: by their path, as DataJoint does."""
    by_hash = {hash_of(_key(folder, file)): file for file in files}
    found: list[_File] = []
    marks = ", ".join(["%s"] * len(by_hash))
    for table in tables:
        rows = work.database.server.query(
            f"SELECT hash, size, contents_hash, UNIX_TIMESTAMP(timestamp) FROM {table.sql} "
            f"WHERE filepath IS NOT NULL AND hash IN ({marks})",
            list(by_hash),
        )
        for key, size, content, tracked in rows:
            file = by_hash.get(bytes(key))
            if file is not None and file.size == size and _is_same(file, content, float(tracked)):
                found.append(by_hash.pop(bytes(key)))
        if not by_hash:
            break
        marks = ", ".join(["%s"] * len(by_hash))
    return found


def _is_same(file: _File, content: bytes | None, tracked: float) -> bool:
    """Without a checksum (0.14 leaves it out for large files), older than its row will do."""
    if content is None:
        return file.changed <= tracked
    try:
        with os.fdopen(_open_unnoticed(file.path), "rb") as opened:
            return hashlib.file_digest(opened, _md5).digest() == bytes(content)
    except OSError:
        return False


def _open_unnoticed(path: Path) -> int:
    """Open a file so that it does not count as read: the next look is to find it as old as now."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOATIME)
    except PermissionError:  # not ours
        return os.open(path, os.O_RDONLY)


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


class _Ages:
    """When folders were changed last by others: whatever is removed here makes them young."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int]] = {}  # as it was, as it was left; ns

    def of(self, folder: Path) -> int:
        """Nanoseconds. Raises OSError."""
        now = folder.stat().st_mtime_ns
        before, left = self._known.get(folder, (now, now))
        return before if left == now else now

    @contextmanager
    def kept(self, folder: Path) -> Iterator[None]:
        """For the body, which removes something from the folder. Raises OSError."""
        before = self.of(folder)
        yield
        self._known[folder] = (before, folder.stat().st_mtime_ns)


def _remove(
    work: Work, result: PartResult, folder: Path, batch: Sequence[_File], ages: _Ages
) -> None:
    if not batch:
        return
    size = sum(file.size for file in batch)
    item = Item(
        action="delete copies", target=str(folder), count=len(batch), bytes=size, destroys=True,
        detail=f"{count(len(batch), 'file')}, {human_bytes(size)}, which the store has",
    )  # fmt: skip
    if work.dry_run:
        result.plan(item)
        return
    failed = 0
    with work.journalled([item]):
        for file in batch:
            try:
                if not _is_unchanged(file):
                    continue
                with ages.kept(file.path.parent):
                    file.path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                failed += 1
                if failed == 1:
                    result.fail(f"stage {folder}", MapadminError(f"{file.path}: {error.strerror}."))
            else:
                result.items += 1
                result.bytes += file.size


def _old_files(folder: Path, device: int, before: float) -> Iterator[_File]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _is_on(Path(where, name), device)]
        for name in names:
            path = Path(where, name)
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode) and max(found.st_atime, found.st_mtime) < before:
                yield _File(path, found.st_size, found.st_mtime)


def _is_on(path: Path, device: int) -> bool:
    try:
        return path.lstat().st_dev == device
    except FileNotFoundError:
        return False


def _is_unchanged(file: _File) -> bool:
    """Whether it is what was compared with the store, minutes ago. Raises OSError."""
    now = file.path.lstat()
    return stat.S_ISREG(now.st_mode) and (now.st_size, now.st_mtime) == (file.size, file.changed)


def _remove_empty(folder: Path, device: int, before: float, ages: _Ages) -> None:
    """From the bottom up; a folder that somebody is just filling is too young."""
    inner: list[Path] = []
    for where, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if _is_on(Path(where, name), device)]
        inner += [Path(where, name) for name in folders]
    for path in reversed(inner):
        try:
            if not path.is_symlink() and ages.of(path) < before * 1e9:
                with ages.kept(path.parent):
                    path.rmdir()
        except OSError:  # not empty, gone, or not for us
            continue
