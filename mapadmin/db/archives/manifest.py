"""What an archive folder says about the archives in it: `manifest.json`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import write_atomic

MANIFEST = "manifest.json"
_SUFFIX = ".sql.gz"


class TableFacts(msgspec.Struct, frozen=True):
    """Of one table: the number of its rows, and what CHECKSUM TABLE said on that server."""

    rows: int
    checksum: int


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """One archive: a dump that was loaded, and the copy found to be equal, before this was written.

    `digest` stands for all that the schema held (see `mapadmin.db.archives.contents`).
    """

    schema: str
    file: str
    bytes: int
    sha256: str
    made: str  # UTC, ISO 8601
    who: str
    on: str  # the machine that wrote it
    server: str  # its address
    version: str
    charset: str
    collation: str
    counts: dict[str, int]
    tables: dict[str, TableFacts]
    definers: list[str]
    digest: str
    load: str  # how to load it again


class _Manifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    format: int = 1
    archives: dict[str, Archived] = msgspec.field(default_factory=dict)


class Folder:
    """A folder of archives."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, schema: str) -> Path:
        """Where a schema's archive is, or will be; what a path cannot hold is written as %XX."""
        name = "".join(
            c if c.isprintable() and c not in "%/" else quote(c, safe="") for c in schema
        )
        return self.path / f"{name}{_SUFFIX}"

    def read(self, schema: str) -> Archived | None:
        """What is known of a schema's archive. Raises MapadminError for a file that is not ours."""
        return self._read().archives.get(schema)

    def write(self, archived: Archived) -> None:
        manifest = self._read()
        manifest.archives[archived.schema] = archived
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode()
        write_atomic(self.path / MANIFEST, text + "\n", mode=0o600)

    def is_whole(self, archived: Archived) -> bool:
        """Whether the file is there and is the one that was verified."""
        path = self.path / archived.file
        try:
            return path.stat().st_size == archived.bytes and sha256(path) == archived.sha256
        except FileNotFoundError:
            return False
        except OSError as error:
            raise MapadminError(f"Cannot read {path}: {error.strerror}.") from None

    def _read(self) -> _Manifest:
        path = self.path / MANIFEST
        try:
            return msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except FileNotFoundError:
            return _Manifest()
        except OSError as error:
            raise MapadminError(f"Cannot read {path}: {error.strerror}.") from None
        except msgspec.DecodeError as error:
            raise MapadminError(
                f"{path} is not the manifest of an archive: {error}.", remedy="Name another folder."
            ) from None


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
