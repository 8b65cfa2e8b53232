"""One changing command at a time on this machine: a lock on a file, with who holds it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.identity import whoami


class LockedError(MapadminError):
    """Somebody else is at work; the message names them."""


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock, since when (Unix seconds)."""

    who: str
    where: str
    pid: int
    command: str
    since: float

    def __str__(self) -> str:
        age = max(0, int(time.time() - self.since))
        return (
            f"{self.who} on {self.where} (process {self.pid}) has been running "
            f"`{self.command}` for {age // 60} min {age % 60} s"
        )


@contextmanager
def file_lock(path: Path, *, command: str, wait: float = 0.0) -> Iterator[int]:
    """Hold the lock `path` for the body; wait at most `wait` seconds for it.

    The kernel drops the lock when its holder dies, so there is nothing to clean up after a crash.
    Yields the file descriptor: a child process that inherits it holds the lock on, should this
    one be killed before it. Raises LockedError naming the holder, MapadminError when the file
    cannot be opened.
    """
    fd = _acquire(path, time.monotonic() + wait)
    try:
        me = whoami()
        holder = Holder(me.who, me.host, os.getpid(), command, time.time())
        with suppress(OSError):  # on a full disk the lock is held all the same
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(vars_of(holder)).encode(), 0)
        yield fd
    finally:
        os.close(fd)


def vars_of(holder: Holder) -> dict[str, object]:
    """A holder as JSON-ready fields."""
    return {name: getattr(holder, name) for name in Holder.__struct_fields__}


def _acquire(path: Path, deadline: float) -> int:
    """A descriptor that holds the lock on the file that `path` names at this moment."""
    while True:
        fd = _open(path)
        try:
            _wait_for(fd, path, deadline)
            # Whoever had it may have removed the file, with its folder, before letting go: then
            # this lock is on a file that nobody else can find.
            if _is_file(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise MapadminError(f"Cannot open the lock {path}: {error.strerror}.") from None


def _wait_for(fd: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockedError(
                    f"Another mapadmin is at work: {_read_holder(fd) or path}.",
                    remedy="Wait for it to finish, then run this again.",
                ) from None
            time.sleep(0.05)
        else:
            return


def _is_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _read_holder(fd: int) -> Holder | None:
    with suppress(ValueError, TypeError):
        return Holder(**json.loads(os.pread(fd, 4096, 0)))
    return None
