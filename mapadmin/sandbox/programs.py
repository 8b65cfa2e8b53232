"""The programs of MySQL and MariaDB on this machine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mapadmin.core.errors import MapadminError

Flavour = Literal["mysql", "mariadb"]
FLAVOURS: tuple[Flavour, ...] = ("mysql", "mariadb")
TITLES = {"mysql": "MySQL", "mariadb": "MariaDB"}


class Programs(msgspec.Struct, frozen=True):
    """The programs of one flavour; `version` is the server's own word, such as 10.11.19-MariaDB."""

    flavour: Flavour
    server: Path
    client: Path
    dump: Path
    install_db: Path | None
    version: str


_SERVER_NAMES = {"mysql": ("mysqld",), "mariadb": ("mariadbd", "mysqld")}
_CLIENT_NAMES = {"mysql": ("mysql",), "mariadb": ("mariadb", "mysql")}
_DUMP_NAMES = {"mysql": ("mysqldump",), "mariadb": ("mariadb-dump", "mysqldump")}
_INSTALL_NAMES = ("mariadb-install-db", "mysql_install_db")
# Older ones miss options that are used here (mysqlx, init-file while initializing, extra-file).
_OLDEST = {"mysql": (8, 0), "mariadb": (10, 6)}
_HOW_TO_GET = {
    "mysql": "Run `tools/provision mysql` in mapadmin's source tree, or install MySQL 8.0 or newer"
    " and set MAPADMIN_MYSQL_DIR to the folder of its programs.",
    "mariadb": "Run `tools/provision mariadb` in mapadmin's source tree, or install MariaDB 10.6 or"
    " newer (Debian's package is mariadb-server).",
}


def cache_folder() -> Path:
    """Where downloaded programs are kept; the same rule as in tools/provision."""
    if own := os.environ.get("MAPADMIN_CACHE"):
        return Path(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "mapadmin"
    return Path.home() / ".cache" / "mapadmin"


def find_programs(flavour: str | None = None) -> Programs:
    """The first that fits in MAPADMIN_MYSQL_DIR, the cache folder, PATH and /usr/sbin.

    Without a flavour: MySQL, as on RDS, else MariaDB. The flavour is read from what `--version`
    prints, because Debian calls MariaDB's programs mysqld and mysqldump as well.

    Raises MapadminError that says what to install.
    """
    wanted = [known for known in FLAVOURS if flavour in (None, known)]
    if not wanted:
        raise MapadminError(f"There is no flavour {flavour!r}; there are mysql and mariadb.")
    folders = _program_folders()
    for known in wanted:
        for folder in folders:
            for name in _SERVER_NAMES[known]:
                if programs := _programs_at(folder / name, known, folders):
                    return programs
    title = " or ".join(TITLES[known] for known in wanted)
    raise MapadminError(
        f"No {title} server was found on this machine (looked in {', '.join(map(str, folders))}).",
        remedy=_HOW_TO_GET[wanted[0]],
    )


def _program_folders() -> list[Path]:
    """Where to look, in this order, each once."""
    folders = [
        os.environ.get("MAPADMIN_MYSQL_DIR", ""),
        str(cache_folder() / "mysql" / "bin"),
        *os.environ.get("PATH", "").split(os.pathsep),
        # Debian's place for servers, which is not on the PATH of an ordinary user.
        "/usr/local/sbin",
        "/usr/sbin",
    ]
    return [Path(folder) for folder in dict.fromkeys(folders) if folder]


def _programs_at(server: Path, flavour: Flavour, folders: list[Path]) -> Programs | None:
    """The whole set that belongs to this server, or None when it is another flavour or too old."""
    version = _version_of(server, flavour)
    if version is None:
        return None
    number = re.match(r"(\d+)\.(\d+)", version)
    if number is None or (int(number[1]), int(number[2])) < _OLDEST[flavour]:
        return None
    near = [server.parent, server.parent.parent / "bin", *folders]
    client = _first(_CLIENT_NAMES[flavour], near, flavour)
    dump = _first(_DUMP_NAMES[flavour], near, flavour)
    if client is None or dump is None:
        return None
    if flavour == "mysql":  # its server initializes a data directory by itself
        return Programs(flavour, server, client, dump, None, version)
    for path in (folder / name for folder in near for name in _INSTALL_NAMES):
        if _is_program(path):
            return Programs(flavour, server, client, dump, path, version)
    return None


def _first(names: Sequence[str], folders: Sequence[Path], flavour: Flavour) -> Path | None:
    paths = (folder / name for folder in folders for name in names)
    return next((path for path in paths if _version_of(path, flavour) is not None), None)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _version_of(program: Path, flavour: Flavour) -> str | None:
    """What the program says its version is, or None if it is not there or of another flavour."""
    if not _is_program(program):
        return None
    try:
        answer = subprocess.run(
            [program, "--no-defaults", "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    if ("MariaDB" in answer) != (flavour == "mariadb"):
        return None
    version = re.search(r"(?:Distrib|Ver|from) (\d[^\s,]*)", answer)
    return version[1] if version else None
