"""[stores.<name>]: the external stores of the pipeline's DataJoint, and how they are tidied."""

from __future__ import annotations

import posixpath
from enum import StrEnum
from pathlib import PurePosixPath

import msgspec

from mapadmin.core.errors import SettingsError
from mapadmin.core.secret import check_reference
from mapadmin.site.base import RefusedError, Settings

DAY = 86_400.0  # seconds


class StoreProtocol(StrEnum):
    """`file`: a folder that is mounted here. `s3`: a bucket, of AWS or compatible with it."""

    FILE = "file"
    S3 = "s3"


def is_within(location: str, folder: str) -> bool:
    """Whether a folder or prefix is another one or lies in it, as they are written."""
    inner, outer = (posixpath.normpath("/" + path.strip("/")) for path in (location, folder))
    return PurePosixPath(inner).is_relative_to(outer)


class StoreSettings(Settings, frozen=True, kw_only=True):
    """[stores.<name>], by the store's name in DataJoint's own configuration"""

    protocol: StoreProtocol
    location: str = ""
    """The folder, or the prefix in the bucket, as DataJoint's configuration has it."""
    subfolding: list[int] = msgspec.field(default_factory=lambda: [2, 2])
    """As in DataJoint's configuration; it has the same default."""
    endpoint: str = ""
    """s3: host or host:port; default: AWS."""
    bucket: str = ""
    """s3: the bucket."""
    secure: bool = True
    """s3: over TLS."""
    region: str = ""
    """s3: the region; default: this machine's."""
    access_key: str = ""
    """s3: a reference (env:, file:, command:, aws-secret:); default: this machine's credentials."""
    secret_key: str = ""
    """s3: a reference."""
    grace_days: float = 7.0
    """A file is left alone until its row and itself are this old. Longer than any upload takes."""
    trash: str = ""
    """Where removed files go; default: `.mapadmin-trash` in the location. file: a folder, on any
    file system. s3: a prefix in the same bucket."""
    trash_days: float = 30.0
    """What is in the trash for this long is deleted for good."""
    settle: float = 10.0
    """Seconds after which a removed file is looked for once more: has a worker used it again?"""
    max_items: int = 100_000
    """The most files that one run removes; the next run goes on."""
    max_bytes: int = 0
    """The most bytes that one run removes; 0: any number."""
    max_share: float = 0.25
    """Share of the store's files beyond which none is removed without --force."""

    def __post_init__(self) -> None:
        for name, good, rule in (*self._of_protocol(), *self._numbers()):
            if not good:
                raise RefusedError(name, rule)
        for name in ("access_key", "secret_key"):
            if value := getattr(self, name):
                try:
                    check_reference(value, setting=name)
                except SettingsError as error:
                    raise RefusedError(
                        name, "must be a reference to a secret, not the secret itself", error.remedy
                    ) from None

    def _of_protocol(self) -> list[tuple[str, bool, str]]:
        if self.protocol is StoreProtocol.FILE:
            return [
                (
                    "location",
                    self.location.startswith("/"),
                    "must be the absolute path of a folder",
                ),
                ("location", self.location.strip("/") != "", "must not be the root of all files"),
                (
                    "trash",
                    not self.trash or self.trash.startswith("/"),
                    "must be the absolute path of a folder",
                ),
                self._trash_apart(),
            ] + [
                (name, not getattr(self, name), "is for a store on s3 only")
                for name in ("endpoint", "bucket", "region", "access_key", "secret_key")
            ]
        return [
            ("bucket", self.bucket != "", "must be given for a store on s3"),
            (
                "secret_key",
                bool(self.access_key) == bool(self.secret_key),
                "and access_key must be given both or not at all",
            ),
            self._trash_apart(),
        ]

    def _trash_apart(self) -> tuple[str, bool, str]:
        good = not self.trash or not is_within(self.location, self.trash)
        return "trash", good, "must not be the location itself, nor a folder that it lies in"

    def _numbers(self) -> list[tuple[str, bool, str]]:
        return [
            (
                "subfolding",
                all(0 < fold <= 32 for fold in self.subfolding) and sum(self.subfolding) <= 32,
                "must be numbers of hexadecimal digits, 32 at the most",
            ),
            ("grace_days", self.grace_days >= 0, "must be 0 or more"),
            ("trash_days", self.trash_days >= 0, "must be 0 or more"),
            ("settle", 0 <= self.settle <= 600, "must be 0 to 600 seconds"),
            ("max_items", self.max_items >= 1, "must be 1 or more"),
            ("max_bytes", self.max_bytes >= 0, "must be 0 or more"),
            ("max_share", 0 < self.max_share <= 1, "must be a share above 0, at most 1"),
        ]
