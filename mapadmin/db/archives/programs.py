"""The dump and client programs of the server's own flavour, and how they log in.

Debian's `mysqldump` and `mysql` are MariaDB's, so a name says nothing: `--version` does. A password
reaches them in an option file that has no name: it is never on a command line, in an environment
or left behind by a crash.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import msgspec

from mapadmin.core.errors import MapadminError, SettingsError
from mapadmin.core.secret import Secret
from mapadmin.db.grants import Flavour
from mapadmin.site import Tls, expand

if TYPE_CHECKING:
    from mapadmin.site import DatabaseSettings

_TITLE = {Flavour.MYSQL: "MySQL", Flavour.MARIADB: "MariaDB"}
_NAMES = {
    ("dump_program", Flavour.MYSQL): ("mysqldump",),
    ("dump_program", Flavour.MARIADB): ("mariadb-dump", "mysqldump"),
    ("client_program", Flavour.MYSQL): ("mysql",),
    ("client_program", Flavour.MARIADB): ("mariadb", "mysql"),
}
# Not MYSQL_PWD and its kin, nor mapadmin's own secrets.
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH")
_COMPLAINT = 400  # characters of a program's complaint that are shown
_BREATH = 5.0  # seconds between two looks at a program that is about to end
_ENDING = 10.0  # seconds until a program that is told to end is killed


class Programs(msgspec.Struct, frozen=True):
    """Where the two programs are; both are of the server's flavour."""

    dump: Path
    client: Path


def find_programs(settings: DatabaseSettings, flavour: Flavour, folder: Path) -> Programs:
    """The programs that the site names, else those found on PATH. Raises SettingsError."""
    return Programs(
        _find("dump_program", settings.dump_program, flavour, folder),
        _find("client_program", settings.client_program, flavour, folder),
    )


def _find(setting: str, named: str, flavour: Flavour, folder: Path) -> Path:
    if os.sep in named:
        candidates = [folder / expand(named, f"database.{setting}")]
    else:
        names = [named] if named else _NAMES[setting, flavour]
        places = os.environ.get("PATH", os.defpath).split(os.pathsep)
        candidates = [Path(place) / name for name in names for place in places if place]
    others = []
    for path in candidates:
        if not (path.is_file() and os.access(path, os.X_OK)):
            continue
        found = _flavour_of(path)
        if found is flavour:
            return path
        others.append(f"{path} is {_TITLE[found]}'s" if found else f"{path} says no version")
    where = f"database.{setting} = {named!r}" if named else "PATH"
    raise SettingsError(
        f"{_TITLE[flavour]}'s {setting.replace('_', ' ')} is not found ({where})"
        + (f": {', '.join(dict.fromkeys(others))}." if others else "."),
        remedy=f"Install {_TITLE[flavour]}'s client programs, or name them in mapadmin.toml: "
        "database.dump_program and database.client_program.",
    )


def _flavour_of(program: Path) -> Flavour | None:
    try:
        answer = subprocess.run(
            [program, "--no-defaults", "--version"], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=20, check=True, env=_environment(),
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    if "MariaDB" in answer:
        return Flavour.MARIADB
    return Flavour.MYSQL if "Ver" in answer else None


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # MySQL's programs read ~/.mylogin.cnf whatever they are told, unless it is said to be here.
    return {**kept, "MYSQL_TEST_LOGIN_FILE": "/nonexistent/mylogin.cnf"}


# --- logging in --------------------------------------------------------------------------------


class Login(msgspec.Struct, frozen=True):
    """Who a program logs in as, on which server, and with which TLS."""

    settings: DatabaseSettings
    flavour: Flavour
    folder: Path
    user: str
    password: Secret


def _option_file(login: Login) -> IO[bytes]:
    """An option file without a name, open for reading from its start by whoever inherits it."""
    settings = login.settings
    lines = [
        "[client]",
        f"host={_quoted(settings.host)}",
        f"port={settings.port}",
        f"user={_quoted(login.user)}",
        f"password={_quoted(login.password.reveal())}",
        "protocol=tcp",  # "localhost" would mean a socket
        *_tls_options(settings, login.flavour, login.folder),
    ]
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed by `running`
    file.write("\n".join([*lines, ""]).encode())
    file.flush()
    file.seek(0)
    return file


def _quoted(value: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(char, char) for char in value) + '"'


def _tls_options(settings: DatabaseSettings, flavour: Flavour, folder: Path) -> list[str]:
    """What `mapadmin.db.server` does for its own connection, in the words of the flavour."""
    mysql = flavour is Flavour.MYSQL
    if settings.tls is Tls.OFF:
        # MySQL's passwords then travel encrypted with the server's key.
        return ["ssl-mode=DISABLED", "loose-get-server-public-key=1"] if mysql else ["skip-ssl"]
    if settings.tls is Tls.REQUIRE:
        return ["ssl-mode=REQUIRED"] if mysql else ["ssl", "ssl-verify-server-cert=0"]
    system = ssl.get_default_verify_paths()
    ca = str(folder / expand(settings.ca, "database.ca")) if settings.ca else system.cafile
    trust = [f"ssl-ca={_quoted(ca)}"] if ca else []
    if not settings.ca and system.capath:
        trust.append(f"ssl-capath={_quoted(system.capath)}")
    return [*trust, "ssl-mode=VERIFY_IDENTITY"] if mysql else [*trust, "ssl-verify-server-cert"]


# --- running -----------------------------------------------------------------------------------


class Running(msgspec.Struct, frozen=True):
    """A program at work; `pipe` is its stdout or stdin."""

    name: str
    process: subprocess.Popen[bytes]
    pipe: IO[bytes]
    complaints: IO[bytes]

    def finish(self, meanwhile: Callable[[], None]) -> None:
        """Close the pipe and wait for the end; `meanwhile` is called every few seconds.

        Raises MapadminError when the program failed.
        """
        with suppress(BrokenPipeError):  # its exit code says why
            self.pipe.close()
        while (code := self._wait()) is None:
            meanwhile()
        if code != 0:
            raise MapadminError(f"{self.name} failed (exit code {code}): {self.complaint()}")

    def _wait(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(_BREATH)
        return None

    def complaint(self) -> str:
        """What it wrote to stderr, on one line; MariaDB's client repeats whole statements there."""
        self.complaints.seek(0)
        lines = self.complaints.read().decode(errors="replace").splitlines()
        lines = [line.strip() for line in lines if line.strip() and "[Warning]" not in line]
        errors = [line for line in lines if line.startswith("ERROR ")]
        return " ".join(errors or lines)[-_COMPLAINT:] or "it gave no reason."


@contextmanager
def running(
    program: Path, arguments: Sequence[str], login: Login, *, feed: bool = False
) -> Iterator[Running]:
    """Run a program for the body, which reads its output or, with `feed`, writes its input.

    It is over at the end of the body, whatever ends that. Raises MapadminError.
    """
    with _option_file(login) as options, tempfile.TemporaryFile() as complaints:
        number = options.fileno()
        command = [str(program), f"--defaults-file=/dev/fd/{number}", *arguments]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if feed else subprocess.PIPE, stderr=complaints,
                pass_fds=(number,), env=_environment(),
            )  # fmt: skip
        except OSError as error:
            raise MapadminError(f"Cannot run {program}: {error.strerror}.") from None
        pipe = cast("IO[bytes]", process.stdin if feed else process.stdout)
        try:
            yield Running(program.name, process, pipe, complaints)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and not pipe.closed:
            with suppress(OSError):  # it holds what the program did not take
                pipe.close()
