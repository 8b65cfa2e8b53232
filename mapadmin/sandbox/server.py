"""Private database servers: made, started and stopped in a folder of their own, by any user.

The sandbox and the tests run on real MySQL and MariaDB servers that nobody set up: no service, no
root, no option file of the machine, a free port on 127.0.0.1, TLS with a certificate authority of
their own. Whatever is killed at whatever moment, the next `create`, `start` or `stop` carries on.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder, sync_folder, write_atomic
from mapadmin.core.lock import file_lock
from mapadmin.sandbox.certificates import (
    AUTHORITY,
    HOST,
    SERVER_CERTIFICATE,
    SERVER_KEY,
    make_certificates,
)
from mapadmin.sandbox.processes import (
    Process,
    arguments_of,
    free_port,
    is_alive,
    kill_initializers,
    own_processes,
    server_process,
    started_at,
    wait_for_end,
)
from mapadmin.sandbox.programs import FLAVOURS, TITLES, Flavour, Programs, find_programs

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

SOCKET = "server.sock"
TEMPORARY = "tmp"

_ACCESS_DENIED = 1045
# Memory and redo log; everything else, durability included, is as the server comes. A MariaDB that
# starts deletes the temporary tables in its folder for them, and in /tmp those may be another
# server's, in use. Relative to the data directory: a colon would make an absolute path two folders.
_SMALL = {
    "mysql": ("--innodb-buffer-pool-size=64M", "--innodb-redo-log-capacity=32M"),
    "mariadb": (
        "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M", f"--tmpdir=../{TEMPORARY}",
    ),
}  # fmt: skip

START_SECONDS = 60.0
STOP_SECONDS = 30.0
# Creating takes 1 to 4 seconds; a second command on the same folder waits for the first.
LOCK_SECONDS = 120.0


class _EndedError(MapadminError):
    """The server's process ended before it answered."""


class _PortTakenError(_EndedError):
    """Somebody else took the port between our choosing and the server's opening it."""


class PrivateServer:
    """One server in one folder (0700), which holds

    `<flavour>-data/`, the data directory; `tls/`, its certificates; `tmp/`; `root-password`
    (0600); `server.log`; and `state.json`, which process it is and on which port.

    `options` are further server options (`--general-log=1`), for the next start; they win over
    the ones given here. Nothing runs and nothing is written before `create`.
    """

    def __init__(
        self, folder: Path, programs: Programs | None = None, *, options: Sequence[str] = ()
    ) -> None:
        self.folder = folder.resolve()
        self.options = tuple(options)
        self._programs = programs

    # What it is

    @property
    def programs(self) -> Programs:
        """The programs given, else those of the flavour in the folder, else what is found."""
        if self._programs is None:
            self._programs = find_programs(self.created_flavour())
        return self._programs

    @property
    def flavour(self) -> Flavour:
        """mysql or mariadb."""
        return self.created_flavour() or self.programs.flavour

    @property
    def host(self) -> str:
        """Always 127.0.0.1, which the certificate names."""
        return HOST

    @property
    def port(self) -> int:
        """The port of the running server. Raises MapadminError if it does not run."""
        process = self.process()
        if process is None:
            raise MapadminError(f"The database server in {self.folder} is not running.")
        return process.port

    @property
    def ca(self) -> Path:
        """The certificate authority that clients verify the server with."""
        return self.folder / "tls" / AUTHORITY

    @property
    def log(self) -> Path:
        """The server's error log."""
        return self.folder / "server.log"

    @property
    def root_password(self) -> str:
        """The password of root@localhost, in clear."""
        path = self.folder / "root-password"
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise MapadminError(f"Cannot read {path}: {error.strerror}.") from None

    def exists(self) -> bool:
        """Has `create` finished here once?"""
        return self.created_flavour() is not None

    def running(self) -> bool:
        """Is there a process? It may still be starting."""
        return self.process() is not None

    def process(self) -> Process | None:
        """The server's process, if it runs; it may still be starting.

        The state file says where to look, /proc what is true.
        """
        if not self.exists():
            return None
        data = self._data()
        if remembered := self._remembered():
            process = server_process(remembered.pid, data, arguments_of(remembered.pid))
            if process is not None and process.started == remembered.started:
                return msgspec.structs.replace(process, stopping=remembered.stopping)
        # Whoever started it may have been killed before writing that down.
        found = (server_process(pid, data, arguments) for pid, arguments in own_processes())
        return next((process for process in found if process is not None), None)

    # What can be done

    def create(self) -> None:
        """Make the folder, the certificates, the password and the data directory, if missing.

        Raises MapadminError with the end of the server's output if that fails, or if the folder
        holds a server of the other flavour.
        """
        self._require_own()
        make_private_folder(self.folder)
        with self._locked("create"):
            self._create()

    def start(self, *, seconds: float = START_SECONDS) -> None:
        """Start the server, and return when it answers; at once if it runs already.

        It is not bound to this process: it runs on until `stop`. Raises MapadminError with the end
        of the log if it ends, or does not answer in time; one that was started here is ended then.
        """
        self._require_created()
        with self._locked("start"):
            process = self.process()
            if process is not None and process.stopping:  # and `stop` was killed
                self._end(process, STOP_SECONDS)
            elif process is not None:  # perhaps `start` was killed while it waited
                self._remember(process)
                with suppress(_EndedError):  # just then: begin afresh
                    self._wait_for_answer(process, seconds, log_start=0)
                    return
            preferred = self._last_port()
            for _ in range(3):
                try:
                    self._start(free_port(preferred), seconds)
                except _PortTakenError:
                    preferred = None
                else:
                    return
            raise MapadminError(
                f"The database server in {self.folder} lost every port to another program."
            )

    def stop(self, *, seconds: float = STOP_SECONDS) -> bool:
        """Stop the server: politely first, by force after `seconds`. False if it did not run.

        Only a process that is this folder's server is ever signalled, whatever the state file says.
        """
        if not self.exists():
            return False
        with self._locked("stop"):
            process = self.process()
            if process is None:
                self._forget()
                return False
            self._remember(msgspec.structs.replace(process, stopping=True))
            self._end(process, seconds)
            self._forget()
            return True

    def remove(self) -> None:
        """Stop the server and delete what `create` and `start` made; other files stay."""
        if not (self.exists() or (self.folder / "root-password").is_file()):
            return  # not a folder of ours
        self.stop()
        with self._locked("remove"):
            self._remove_leftovers()
            # Renamed first, or a kill would leave half a data directory that counts as a whole one.
            for name in (*(f"{flavour}-data" for flavour in FLAVOURS), "tls", TEMPORARY):
                with suppress(FileNotFoundError):
                    (self.folder / name).rename(self.folder / f"{name}.new-removed")
            self._remove_leftovers()
            for name in ("root-password", "state.json", "server.log", "lock"):
                (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def connect(
        self, user: str = "root", password: str | None = None, database: str | None = None
    ) -> Connection[Cursor]:
        """A connection over verified TLS, in autocommit mode; as root unless told otherwise.

        Raises pymysql's OperationalError, and MapadminError if the server does not run.
        """
        return self._connect(self.port, user, password, database)

    # Creating

    def created_flavour(self) -> Flavour | None:
        self._require_own()
        for flavour in FLAVOURS:
            if (self.folder / f"{flavour}-data").is_dir():
                return flavour
        return None

    def _require_own(self) -> None:
        """Root included: it would leave files behind that the owner's server cannot open."""
        try:
            is_own = self.folder.stat().st_uid == os.geteuid()
        except FileNotFoundError:
            return
        except OSError as error:
            raise MapadminError(f"Cannot look at {self.folder}: {error.strerror}.") from None
        if not is_own:
            raise MapadminError(
                f"{self.folder} belongs to another user.",
                remedy="Run this as that user, or use another folder.",
            )

    def _require_created(self) -> None:
        if not self.exists():
            raise MapadminError(f"There is no database server in {self.folder}.")
        if self.programs.flavour != self.flavour:
            raise MapadminError(
                f"{self.folder} holds a {TITLES[self.flavour]} server,"
                f" not a {TITLES[self.programs.flavour]} one.",
                remedy="Use another folder, or remove this one.",
            )

    def _create(self) -> None:
        if self.exists():
            self._require_created()
            return
        self._remove_leftovers()
        make_private_folder(self.folder / TEMPORARY)
        password = self.folder / "root-password"
        if not password.is_file():
            write_atomic(password, secrets.token_hex(16) + "\n", mode=0o600)
        if not self.ca.is_file():
            with self._new_folder("tls") as new:
                make_certificates(new)
        with self._new_folder(f"{self.programs.flavour}-data") as new:
            self._initialize(new)

    @contextmanager
    def _new_folder(self, name: str) -> Iterator[Path]:
        """A folder that gets its name only when the body is done: half of one never counts."""
        new = Path(tempfile.mkdtemp(prefix=f"{name}.new-", dir=self.folder))
        try:
            yield new
            new.rename(self.folder / name)
        except BaseException:
            self._remove_leftovers()
            raise
        sync_folder(self.folder)

    def _remove_leftovers(self) -> None:
        """What was being made or removed when its command was killed. Only under the lock."""
        for leftover in self.folder.glob("*.new-*"):
            kill_initializers(leftover)
            shutil.rmtree(leftover, ignore_errors=True)

    def _initialize(self, data: Path) -> None:
        """Fill a data directory; root@localhost is its only person, and it has no test database."""
        password = self.root_password  # hexadecimal: needs no quoting
        with tempfile.TemporaryDirectory(prefix="sql.new-", dir=self.folder) as scratch:
            sql = Path(scratch) / "root.sql"
            # One statement a line: that is all that either server reads while it initializes.
            statements = [
                "FLUSH PRIVILEGES;",
                f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';",
            ]
            if self.flavour == "mariadb":
                # It also makes roots without a password, for 127.0.0.1 and this machine's name.
                statements.insert(
                    0, "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';"
                )
            sql.write_text("".join(f"{statement}\n" for statement in statements))
            sql.chmod(0o600)
            command = self._initialize_command(data, sql)
            with self.log.open("ab") as log:
                start = self._log_size()
                self.log.chmod(0o600)
                result = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_environment(),
                    check=False,
                )
        if result.returncode != 0:
            raise MapadminError(
                f"Could not make a {TITLES[self.flavour]} data directory in {self.folder}:"
                f" {Path(command[0]).name} ended with {result.returncode}.{self._log_end(start)}"
            )

    def _initialize_command(self, data: Path, sql: Path) -> list[str]:
        common = ["--no-defaults", f"--datadir={data}", *_SMALL[self.flavour]]
        install = self.programs.install_db
        if install is None:
            return [
                str(self.programs.server),
                *common,
                *_run_as(),
                "--initialize-insecure",
                f"--init-file={sql}",
                "--secure-file-priv=NULL",
            ]
        return [
            str(install),
            *common,
            # For the server only: with --user the script runs a chown that no space survives.
            *(option.replace("--", "--loose-", 1) for option in _run_as()),
            # Otherwise root may log in without a password through the socket.
            "--auth-root-authentication-method=normal",
            # Neither the test database nor the anonymous accounts that keep real ones out.
            "--skip-test-db",
            f"--extra-file={sql}",
            # A machine that cannot look up its own name is no reason to fail.
            "--force",
        ]

    # Starting and stopping

    def _start(self, port: int, seconds: float) -> None:
        log_start = self._log_size()
        process = self._spawn(port)
        self._remember(process)
        try:
            self._wait_for_answer(process, seconds, log_start)
        except BaseException:
            self._end(process, seconds=5.0)
            self._forget()
            raise

    def _spawn(self, port: int) -> Process:
        """Start the server process in a session of its own, so that it survives ours and ^C."""
        command = [str(self.programs.server), *self.server_options(port)]
        make_private_folder(self.folder / TEMPORARY)
        # A killed server leaves these behind, and MySQL refuses to start when another process has
        # the pid in that lock by now. That no server runs on this data is known here.
        for name in (SOCKET, f"{SOCKET}.lock"):
            (self._data() / name).unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # Not subprocess.Popen, which complains when its child outlives it; this one is meant to.
        pid = os.posix_spawn(
            command[0],
            command,
            _environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGHUP),
        )
        # Our child: until we collect it, it is there, at least as a zombie with no start time.
        return Process(pid, started_at(pid) or 0, port)

    def server_options(self, port: int) -> list[str]:
        """The server's whole command line after its name, for this port."""
        tls = self.folder / "tls"
        options = [
            "--no-defaults",
            f"--datadir={self._data()}",
            *_run_as(),
            f"--port={port}",
            f"--bind-address={HOST}",
            # Relative to the data directory: the path of a socket may have 107 bytes only.
            f"--socket={SOCKET}",
            "--pid-file=server.pid",
            f"--ssl-ca={tls / AUTHORITY}",
            f"--ssl-cert={tls / SERVER_CERTIFICATE}",
            f"--ssl-key={tls / SERVER_KEY}",
            "--character-set-server=utf8mb4",
            *_SMALL[self.flavour],
            # Off by default on MariaDB; a production server has it on.
            "--performance-schema=ON",
        ]
        if self.flavour == "mysql":
            options += ["--mysqlx=OFF", "--secure-file-priv=NULL"]
        return [*options, *self.options]

    def _wait_for_answer(self, process: Process, seconds: float, log_start: int) -> None:
        """Until root can log in. Raises MapadminError, with the log since `log_start` (bytes)."""
        from pymysql.err import OperationalError

        deadline = time.monotonic() + seconds
        while True:
            alive = is_alive(process)  # asked first: one that ended since then had its chance
            try:
                self._connect(process.port).close()
            except OperationalError as error:
                refusal = error.args[0] == _ACCESS_DENIED
            else:
                return
            if refusal:
                raise MapadminError(
                    f"The database server in {self.folder} does not accept the password in"
                    f" {self.folder / 'root-password'}.",
                    remedy="Write root's password there, or remove the folder and start anew.",
                )
            if not alive:
                self._raise_ended(process.port, log_start)
            if time.monotonic() > deadline:
                raise MapadminError(
                    f"The database server in {self.folder} did not answer within"
                    f" {seconds:g} s.{self._log_end(log_start)}"
                )
            time.sleep(0.05)

    def _raise_ended(self, port: int, log_start: int) -> None:
        end = self._log_end(log_start)
        if "Address already in use" in end:
            raise _PortTakenError(f"Port {port} was taken.")
        raise _EndedError(f"The database server in {self.folder} ended while it was starting.{end}")

    def _end(self, process: Process, seconds: float) -> None:
        """Have this very process end. Raises MapadminError if even SIGKILL does not help."""
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
            if is_alive(process):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)
            if wait_for_end(process, patience):
                return
        raise MapadminError(f"The database server in {self.folder} ({process.pid}) does not end.")

    def _connect(
        self,
        port: int,
        user: str = "root",
        password: str | None = None,
        database: str | None = None,
    ) -> Connection[Cursor]:
        import pymysql

        return pymysql.connect(
            host=HOST,
            port=port,
            user=user,
            password=self.root_password if password is None else password,
            database=database,
            connect_timeout=10,
            autocommit=True,
            # The authority alone verifies nothing: it takes all three.
            ssl_ca=str(self.ca),
            ssl_verify_cert=True,
            ssl_verify_identity=True,
        )

    # Remembering

    def _data(self) -> Path:
        return self.folder / f"{self.flavour}-data"

    def _remembered(self) -> Process | None:
        try:
            text = (self.folder / "state.json").read_bytes()
            return msgspec.json.decode(text, type=Process)
        except (OSError, msgspec.MsgspecError):
            return None

    def _remember(self, process: Process) -> None:
        write_atomic(
            self.folder / "state.json", msgspec.json.encode(process).decode() + "\n", mode=0o600
        )

    def _forget(self) -> None:
        """No process any more; the port stays, so that clients find the server again."""
        if remembered := self._remembered():
            self._remember(Process(pid=0, started=0, port=remembered.port))

    def _last_port(self) -> int | None:
        remembered = self._remembered()
        return remembered.port if remembered else None

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _log_end(self, start: int) -> str:
        """The last lines of the log after byte `start`, for the end of an error message."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
        # mariadb-install-db says much after the error that matters.
        lines = [*[line for line in lines[:-15] if "ERROR" in line][-5:], *lines[-15:]]
        return "".join(f"\n  {line}" for line in (f"The end of {self.log}:", *lines))

    @contextmanager
    def _locked(self, doing: str) -> Iterator[None]:
        """One at a time: the kernel drops the lock of whoever is killed."""
        with file_lock(
            self.folder / "lock", command=f"{doing} a private server", wait=LOCK_SECONDS
        ):
            yield


def _run_as() -> list[str]:
    """Both servers refuse to run as root unless told so."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _environment() -> dict[str, str]:
    """What a server may know of its starter: none of the keys and passwords that are about."""
    return {
        name: value
        for name in ("PATH", "HOME", "TMPDIR", "TZ")
        if (value := os.environ.get(name)) is not None
    }
