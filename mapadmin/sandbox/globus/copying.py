"""What a task does with files: copy with its sync level, verify by checksum, delete."""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
from collections.abc import Iterator
from pathlib import Path

from mapadmin.sandbox.globus.answers import ApiError, Json
from mapadmin.sandbox.globus.files import local, normal
from mapadmin.sandbox.globus.world import Collection, World


class BlockedError(Exception):
    """An item cannot be done now: the service goes on trying until the task's deadline."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Job:
    """The work of one task. `run` yields after each file, and can be begun again."""

    def __init__(self, world: World, task: Json) -> None:
        self.world = world
        self.task = task
        self.request = task["request"]
        self.done = 0
        self._finished: set[str] = set()

    def run(self) -> Iterator[None]:
        """Each item in turn. Raises BlockedError, OSError."""
        if self.task["document"]["type"] == "DELETE":
            yield from self._delete()
            return
        body, owner = self.request, self.task["owner"]
        for item in body["DATA"]:
            source_path, target_path = str(item["source_path"]), str(item["destination_path"])
            try:
                source = self.world.usable(body["source_endpoint"], owner, source_path)
                target = self.world.usable(
                    body["destination_endpoint"], owner, target_path, write=True
                )
            except ApiError as error:
                raise BlockedError("PERMISSION_DENIED", str(error)) from None
            yield from self._item(source, target, source_path, target_path, item)

    def _item(
        self, source: Collection, target: Collection, source_path: str, target_path: str, item: Json
    ) -> Iterator[None]:
        where = local(source, source_path)
        if not where.exists():
            self._missing(source_path, target_path)
            return
        if where.is_dir() != bool(item.get("recursive")):
            raise BlockedError(
                "IS_A_DIRECTORY" if where.is_dir() else "NOT_A_DIRECTORY", source_path
            )
        if not where.is_dir():
            yield from self._file(where, local(target, target_path), source_path, target_path)
            return
        for folder, names, files in os.walk(where):
            here = Path(folder)
            below = here.relative_to(where).as_posix()
            goal = local(target, posixpath.join(target_path, below))
            goal.mkdir(parents=True, exist_ok=True)
            names.sort()
            for name in sorted(files):
                if (here / name).is_symlink():
                    continue  # recursive_symlinks: ignore, the service's default
                yield from self._file(
                    here / name, goal / name,
                    normal(posixpath.join(source_path, below, name)),
                    normal(posixpath.join(target_path, below, name)),
                )  # fmt: skip

    def _missing(self, source_path: str, target_path: str) -> None:
        if not self.request.get("skip_source_errors"):
            raise BlockedError("FILE_NOT_FOUND", f"No such file or directory: {source_path}")
        with self.world.lock:
            if source_path not in self._finished:
                self._finished.add(source_path)
                self.task["skipped"].append(
                    {"DATA_TYPE": "skipped_error", "source_path": source_path,
                     "destination_path": target_path, "error_code": "FILE_NOT_FOUND",
                     "error_details": "No such file or directory", "error_time": None}
                )  # fmt: skip
                self._count(subtasks_skipped_errors=1)

    def _file(self, source: Path, target: Path, name: str, goal: str) -> Iterator[None]:
        if name in self._finished:
            return
        level = self.request.get("sync_level")
        if level is not None and not _differs(source, target, int(level)):
            self._count(files=1, files_skipped=1)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            if self.request.get("preserve_timestamp"):
                shutil.copystat(source, target)
            size = target.stat().st_size
            with self.world.lock:
                self.task["succeeded"].append(
                    {"DATA_TYPE": "successful_transfer", "source_path": name,
                     "destination_path": goal, "size": size, "checksum": digest(target),
                     "checksum_algorithm": "SHA256", "dynamic": False}
                )  # fmt: skip
                self._count(files=1, files_transferred=1, bytes_transferred=size,
                            subtasks_succeeded=1)  # fmt: skip
        self._finished.add(name)
        self.done += 1
        yield

    def _delete(self) -> Iterator[None]:
        body = self.request
        for item in body["DATA"]:
            path = str(item["path"])
            try:
                found = self.world.usable(body["endpoint"], self.task["owner"], path, write=True)
            except ApiError as error:
                raise BlockedError("PERMISSION_DENIED", str(error)) from None
            where = local(found, path)
            if not os.path.lexists(where):
                if not body.get("ignore_missing"):
                    raise BlockedError("FILE_NOT_FOUND", f"No such file or directory: {path}")
            elif where.is_dir() and not where.is_symlink():
                if not body.get("recursive"):
                    raise BlockedError("IS_A_DIRECTORY", path)
                shutil.rmtree(where)
            else:
                where.unlink()
            self._count(files=1, subtasks_succeeded=1)
            self.done += 1
            yield

    def _count(self, **more: int) -> None:
        with self.world.lock:
            for name, number in more.items():
                self.task["document"][name] += number


def _differs(source: Path, target: Path, level: int) -> bool:
    """By the service's sync levels: 0 is there at all, 1 size, 2 newer, 3 checksum."""
    if not target.exists():
        return True
    one, other = source.stat(), target.stat()
    return (
        (level >= 1 and one.st_size != other.st_size)
        or (level == 2 and one.st_mtime > other.st_mtime)
        or (level >= 3 and digest(source) != digest(target))
    )


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
