"""A store in a folder. Files are moved by `rename`: what was removed is just what the trash has.

The trash of a run is first in the location itself, on the same file system. Where the site wants it
elsewhere it is copied there afterwards, when no lock is held, and a disk that is full does no harm.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mapadmin.cleanup.figures.backend import (
    TRASH,
    Failed,
    Found,
    Fresh,
    Missing,
    Trouble,
    only_runs,
)
from mapadmin.core.errors import MapadminError, UnreachableError
from mapadmin.core.files import sync_folder

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}
_ALL_ALIKE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}
_CHUNK = 1 << 20


class Folder:
    """The Backend of a store in a folder."""

    def __init__(
        self, name: str, location: str, trash: str = "", others: Iterable[str] = ()
    ) -> None:
        """`others` are the trashes of all stores, none of whose files is the store's."""
        self._name = name
        self.location = Path(location)
        self._near = self.location / TRASH
        self._far = Path(trash) if trash and Path(trash) != self._near else None
        self._others = others

    @property
    def where(self) -> str:
        return str(self.location)

    def check(self) -> None:
        try:
            with os.scandir(self.location) as entries:
                empty = next(entries, None) is None
        except OSError as error:
            raise UnreachableError(
                f"The store {self.location} cannot be read: {error.strerror}.",
                remedy="Is it mounted here? Such a store is tidied on a machine that has it.",
            ) from None
        if empty:
            raise UnreachableError(
                f"The store {self.location} is empty, and its tables say that it is not.",
                remedy="Is it mounted here?",
            )

    def exists(self, key: str) -> bool:
        return os.path.lexists(self._path(key))

    def has_taken(self, key: str) -> bool:
        runs = only_runs(_names(self._near), self._name)
        return any(os.path.lexists(self._trashed(run, key)) for run in runs)

    # --- to the trash ---------------------------------------------------------------------------

    def prepare(self, run: str, sizes: Mapping[str, int], cutoff: float) -> dict[str, Trouble]:
        del cutoff
        for folder in {self._trashed(run, key).parent for key in sizes}:
            _make_folders(folder)
        return {}

    def take(self, run: str, keys: Sequence[str], cutoff: float) -> dict[str, Trouble]:
        out: dict[str, Trouble] = {}
        for key in keys:
            if trouble := self._take(self._path(key), self._trashed(run, key), cutoff):
                out[key] = trouble
        return out

    def _take(self, path: Path, target: Path, cutoff: float) -> Trouble | None:
        try:
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode):  # all that is in it would go along
                return Failed("it is a folder")
            if found.st_mtime >= cutoff:
                return Fresh()
            path.rename(target)
            if target.lstat().st_mtime >= cutoff:  # written between the two
                _move_back(target, path)
                return Fresh()
        except FileNotFoundError:
            return Missing()
        except OSError as error:
            if error.errno in _ALL_ALIKE:  # so it would go with every file
                raise _refused(self._near, error) from None
            return Failed(error.strerror or str(error))
        return None

    def changed(self, keys: Sequence[str]) -> dict[str, Trouble]:
        """What is moved is what is there: nothing was copied."""
        del keys
        return {}

    def drop(self, run: str, keys: Sequence[str]) -> None:
        """Nothing was copied; but what could not be put back at the time is here."""
        for key in keys:
            if os.path.lexists(self._trashed(run, key)) and not self.exists(key):
                self.give_back(run, key)

    def give_back(self, run: str, key: str) -> bool:
        path = self._path(key)
        for trash in self._trashes:
            source = trash / run / "files" / key
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if trash == self._near:
                    _move_back(source, path)
                else:
                    _copy(source, path, replace=False)
                    source.unlink()
            except FileExistsError:
                return False
            except FileNotFoundError:
                continue
            except OSError as error:
                raise MapadminError(f"Cannot put back {path}: {error.strerror}.") from None
            return True
        return False

    def note(self, run: str, number: int, text: str) -> None:
        del number
        path = self._near / run / "rows.jsonl"
        _make_folders(path.parent)
        data = text.encode("utf-8", "backslashreplace")
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                if os.write(fd, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise _refused(path, error) from None

    def finish(self) -> None:
        if self._far is None:
            return
        # Also of earlier runs, which a full disk may have kept from it.
        for waiting in only_runs(_names(self._near), self._name):
            self._ship(self._near / waiting, self._far / waiting)

    def _ship(self, source: Path, target: Path) -> None:
        for folder, _, names in os.walk(source, topdown=False):
            here = target / Path(folder).relative_to(source)
            _make_folders(here)
            for name in names:
                try:
                    _copy(Path(folder, name), here / name, replace=True)
                    Path(folder, name).unlink()
                except OSError as error:
                    raise MapadminError(
                        f"Cannot bring the trash to {target}: {error.strerror}.",
                        remedy=f"What was removed is in {source}, complete. The next run tries it"
                        " again.",
                    ) from None
            with suppress(OSError):
                Path(folder).rmdir()

    # --- the trash ------------------------------------------------------------------------------

    def runs(self) -> list[str]:
        names = (name for trash in self._trashes for name in _names(trash))
        return only_runs(names, self._name)

    def trashed(self, run: str) -> Iterator[Found]:
        for trash in self._trashes:
            yield from _walk(trash / run / "files", "")

    def digest(self, run: str, key: str, prefix: bytes) -> bytes:
        hashed = hashlib.md5(prefix, usedforsecurity=False)
        for trash in self._trashes:
            try:
                with (trash / run / "files" / key).open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        hashed.update(chunk)
                return hashed.digest()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise MapadminError(f"Cannot read {trash / run / key}: {error.strerror}.") from None
        return b""

    def purge(self, run: str, keys: Sequence[str]) -> dict[str, Trouble]:
        out: dict[str, Trouble] = {}
        for key in keys:
            for trash in self._trashes:
                try:
                    (trash / run / "files" / key).unlink(missing_ok=True)
                except OSError as error:
                    out[key] = Failed(error.strerror or str(error))
        return out

    def purge_run(self, run: str) -> None:
        for trash in self._trashes:
            for folder, _, names in os.walk(trash / run, topdown=False):
                if Path(folder) == trash / run:
                    for name in names:
                        Path(folder, name).unlink()
                with suppress(OSError):
                    Path(folder).rmdir()
            with suppress(OSError):
                trash.rmdir()

    def walk(self) -> Iterator[Found]:
        real = Path(os.path.realpath(self.location))
        trashes = [str(self._far or self._near), *self._others]
        left_out = {
            str(self.location / path.relative_to(real))
            for path in [Path(os.path.realpath(each)) for each in trashes]
            if path.is_relative_to(real)
        }
        yield from _walk(self.location, "", left_out)

    @property
    def _trashes(self) -> list[Path]:
        return [self._near] if self._far is None else [self._near, self._far]

    def _path(self, key: str) -> Path:
        return self.location / key

    def _trashed(self, run: str, key: str) -> Path:
        return self._near / run / "files" / key


def _move_back(source: Path, path: Path) -> None:
    """Rename, but never over a file that came in the meantime: FileExistsError."""
    try:
        os.link(source, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):  # the best that a file system without hard links can do
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        source.rename(path)
    else:
        source.unlink()


def _copy(source: Path, target: Path, *, replace: bool) -> None:
    """Copy with times and mode; on the disk, and whole, before it has its name."""
    part = target.with_name(f".{os.urandom(6).hex()}.part")
    try:
        shutil.copy2(source, part, follow_symlinks=False)
        if not part.is_symlink():
            with part.open("rb") as file:
                os.fsync(file.fileno())
        if replace:
            part.replace(target)
        else:
            _move_back(part, target)
        sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _make_folders(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(folder, error) from None


def _refused(path: Path, error: OSError) -> MapadminError:
    return MapadminError(
        f"The trash {path} cannot be written: {error.strerror}.",
        remedy="Nothing is removed that cannot be put in the trash.",
    )


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  names are all that is wanted
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MapadminError(f"Cannot read {folder}: {error.strerror}.") from None


def _walk(folder: Path, prefix: str, leave_out: Container[str] | None = None) -> Iterator[Found]:
    """Files below a folder; one that goes away meanwhile is passed over.

    With `leave_out`, without these folders and those that are the trash of any store.
    """
    waiting = [(str(folder), prefix)]
    while waiting:
        here, name = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if leave_out is not None and (entry.name == TRASH or entry.path in leave_out):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, f"{name}{entry.name}/"))
                        continue
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        yield Found(f"{name}{entry.name}", found.st_size, found.st_mtime)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UnreachableError(f"Cannot read {here}: {error.strerror}.") from None
