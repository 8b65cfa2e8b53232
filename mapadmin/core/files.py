"""Writing files so that a reader, or a crash, sees the old content or the new one, never half."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mapadmin.core.errors import MapadminError


def write_atomic(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file's content in one step: temporary file, fsync, rename, fsync of the folder.

    Raises MapadminError with the reason; the old content is then still there.
    """
    import tempfile  # slow to import, and most commands write no file

    path = Path(os.path.realpath(path))  # a link stays a link: what it points at is replaced
    data = _encode(path, text)
    temporary = None
    try:
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        _write_out(fd, data, mode)
        temporary.replace(path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise MapadminError(f"Cannot write {path}: {error.strerror}.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def write_out_atomic(
    path: Path, *, mode: int = 0o644, keep: Callable[[], bool] = lambda: True
) -> Iterator[IO[str]]:
    """A file to write piece by piece, in place of the old one once the body is done.

    The old one stays after an error, and when `keep` says no. Raises MapadminError.
    """
    import tempfile

    path = Path(os.path.realpath(path))
    try:
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise MapadminError(f"Cannot write {path}: {error.strerror}.") from None
    temporary = Path(name)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            os.fchmod(fd, mode)
            yield file
            if not keep():
                return
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise MapadminError(f"Cannot write {path}: {error.strerror}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_new(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Create a file that must not exist yet; used for what is handed over once.

    Raises MapadminError with the reason; no part of the file is then there.
    """
    data = _encode(path, text)
    made = False
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        made = True
        _write_out(fd, data, mode)
        made = False
        sync_folder(path.parent)
    except FileExistsError:
        raise MapadminError(f"{path} exists already; name another file.") from None
    except OSError as error:
        raise MapadminError(f"Cannot write {path}: {error.strerror}.") from None
    finally:
        if made:
            path.unlink(missing_ok=True)


def _encode(path: Path, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise MapadminError(f"Cannot write {path}: the text is not valid Unicode.") from None


def _write_out(fd: int, data: bytes, mode: int) -> None:
    """Write, bring to the disk, and close."""
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(data)
        file.flush()
        os.fsync(fd)


def make_private_folder(path: Path) -> Path:
    """The folder, created with mode 0700 when it is not there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MapadminError(f"Cannot create {path}: {error.strerror}.") from None
    return path


def sync_folder(path: Path) -> None:
    """Make a rename or a new file in this folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
