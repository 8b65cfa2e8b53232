"""A sandbox: a folder, known by its marker, with parts that come up and go down together."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path

import msgspec

from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.core.files import make_private_folder, write_atomic
from mapadmin.core.lock import file_lock
from mapadmin.sandbox.aws.part import AwsPart
from mapadmin.sandbox.database import DatabasePart
from mapadmin.sandbox.globus.part import GlobusPart
from mapadmin.sandbox.parts import Part, PartStatus, Work
from mapadmin.sandbox.pipeline import PipelinePart
from mapadmin.sandbox.site import SiteFolder

MARKER = "sandbox.json"
LOCK = "lock"
DOOMED = ".deleted-"  # what is being deleted
LAYOUT = 1
LOCK_SECONDS = 120.0  # an `up` takes 15 at the most
DELETE_SECONDS = 10.0


class SandboxStatus(msgspec.Struct, frozen=True):
    """What runs where. `up` is whether everything is."""

    folder: str
    site: str
    exists: bool
    up: bool
    parts: list[PartStatus]


def default_folder() -> Path:
    """`sandbox` in the user's state folder."""
    try:
        base = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    except RuntimeError:
        raise UsageError("This user has no home: name the sandbox's folder.") from None
    return Path(base) / "mapadmin" / "sandbox"


class Sandbox:
    """A sandbox in `folder`, whether it is there already or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.site = SiteFolder(self.folder / "site")
        self.database = DatabasePart(self.folder / "database")
        self.aws = AwsPart(self.folder / "aws", self.database)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """In the order of coming up. A new subsystem adds its part here."""
        globus = GlobusPart(self.folder / "globus")
        return (self.database, globus, PipelinePart(self.database, globus), self.aws)

    def exists(self) -> bool:
        """Is there a sandbox here, however complete?"""
        return (self.folder / MARKER).is_file()

    def up(self, say: Callable[[str], None], *, flavour: str | None = None) -> bool:
        """Make and start whatever is missing; False when everything was up.

        Raises UsageError for a folder that is somebody else's, or that holds other things.
        """
        self._check_folder()
        self.database.choose(flavour)  # what is refused is refused before a folder is made
        try:
            return self._up(say, flavour)
        except MapadminError:
            if self.folder.exists():
                raise
            return self._up(say, flavour)  # whoever had the lock has deleted it: make a new one

    def _up(self, say: Callable[[str], None], flavour: str | None) -> bool:
        self._make_folder()
        with self._locked("up") as lock:
            self._make_folder()  # likewise, and somebody else is already making a new one
            self._remove_doomed()
            self.database.choose(flavour)  # whoever had the lock may have made, or deleted, one
            changed = self.site.write()
            work = Work(self.site, say, lock)
            for part in self.parts:
                changed |= part.up(work)
        return changed

    def down(self, *, delete: bool = False) -> bool:
        """Stop what `up` started, last first; False when nothing ran and nothing was deleted."""
        self._check_folder()
        if not self.exists():
            return False
        try:
            with self._locked("down"):
                return self._down(delete=delete)
        except MapadminError:
            if self.folder.exists():
                raise
            return False  # whoever had the lock has deleted it

    def _down(self, *, delete: bool) -> bool:
        if not self.exists():
            return False
        stopped = False
        for part in reversed(self.parts):
            stopped |= part.down()
        if delete:
            self._delete()
        return stopped or delete

    def status(self) -> SandboxStatus:
        """How it is, without changing anything."""
        self._check_folder()
        parts = [part.status() for part in self.parts] if self.exists() else []
        up = bool(parts) and self.site.exists() and all(part.up for part in parts)
        return SandboxStatus(
            str(self.folder), str(self.site.folder), exists=self.exists(), up=up, parts=parts
        )

    # --- the folder -----------------------------------------------------------------------------

    def _check_folder(self) -> None:
        """Refuse what is not, and cannot become, a sandbox of this user."""
        try:
            owner = self.folder.stat().st_uid
            names = {entry.name for entry in self.folder.iterdir()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be a sandbox: {error.strerror}.") from None
        if owner != os.geteuid():
            raise UsageError(f"{self.folder} belongs to another user.")
        # Runs that were killed leave these: a marker that has not got its name yet, a last lock.
        others = {name for name in names if name != LOCK and not name.startswith(f".{MARKER}.")}
        if MARKER not in names and others:
            raise UsageError(
                f"{self.folder} is no sandbox, and not empty ({min(others)} is in it).",
                remedy="Name another folder, or one that does not exist.",
            )

    def _make_folder(self) -> None:
        """The folder and its marker, which remembers whether the folder was there before."""
        found = self.folder.exists()
        make_private_folder(self.folder)
        if self.exists():
            return
        try:
            self.folder.chmod(0o700)
        except OSError as error:
            raise MapadminError(f"Cannot use {self.folder}: {error.strerror}.") from None
        marker = {"about": "made by `mapadmin sandbox up`", "layout": LAYOUT, "folder_found": found}
        write_atomic(self.folder / MARKER, json.dumps(marker) + "\n")

    def _delete(self) -> None:
        """Everything, the marker last: what a killed run leaves is still recognised."""
        try:
            found = bool(json.loads((self.folder / MARKER).read_bytes())["folder_found"])
        except (ValueError, KeyError, TypeError):
            found = True
        self._remove_doomed()
        for entry in list(self.folder.iterdir()):
            if entry.name not in (MARKER, LOCK):
                # In one step: half of a data directory must never count as one.
                entry.rename(self.folder / f"{DOOMED}{entry.name}")
        self._remove_doomed()
        (self.folder / MARKER).unlink()
        (self.folder / LOCK).unlink()
        if not found:
            # Somebody may have begun a new one in it just now.
            with suppress(OSError):
                self.folder.rmdir()

    def _remove_doomed(self) -> None:
        for entry in self.folder.glob(f"{DOOMED}*"):
            remove_tree(entry)

    def _locked(self, doing: str) -> AbstractContextManager[int]:
        command = f"mapadmin sandbox {doing}"
        return file_lock(self.folder / LOCK, command=command, wait=LOCK_SECONDS)


def remove_tree(path: Path) -> None:
    """Delete a file or a folder. Raises MapadminError.

    A server whose making was cut off may still be writing there: it gets some seconds to notice.
    """
    deadline = time.monotonic() + DELETE_SECONDS
    while True:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            transient = error.errno in (errno.ENOTEMPTY, errno.ENOENT)
            if not transient or time.monotonic() > deadline:
                raise MapadminError(f"Cannot delete {path}: {error.strerror}.") from None
            time.sleep(0.1)
        else:
            return
