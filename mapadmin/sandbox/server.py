"""Private database servers: made, started and stopped in a folder of their own, by any user.

The sandbox and the tests run on real MySQL and MariaDB servers that nobody set up: no service, no
root, no option file of the machine, a free port on 127.0.0.1, TLS with a certificate authority of
their own. Whatever is killed at whatever moment, the next `create`, `start` or `stop` carries on.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder, sync_folder, write_atomic
from mapadmin.core.lock import file_lock

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, KeyUsage, Name, SubjectAlternativeName
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

Flavour = Literal["mysql", "mariadb"]
FLAVOURS: tuple[Flavour, ...] = ("mysql", "mariadb")
HOST = "127.0.0.1"

AUTHORITY = "ca.pem"
SERVER_CERTIFICATE = "server-cert.pem"
SERVER_KEY = "server-key.pem"
SOCKET = "server.sock"

_ACCESS_DENIED = 1045
# Memory and redo log; everything else, durability included, is as the server comes.
_SMALL = {
    "mysql": ("--innodb-buffer-pool-size=64M", "--innodb-redo-log-capacity=32M"),
    "mariadb": ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M"),
}

START_SECONDS = 60.0
STOP_SECONDS = 30.0
# Creating takes 1 to 4 seconds; a second command on the same folder waits for the first.
LOCK_SECONDS = 120.0

# ---------------------------------------------------------------- programs


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
_TITLES = {"mysql": "MySQL", "mariadb": "MariaDB"}
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
    title = " or ".join(_TITLES[known] for known in wanted)
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


# ---------------------------------------------------------------- certificates


def make_certificates(folder: Path) -> None:
    """Write ca.pem, server-cert.pem and server-key.pem (0600) for 127.0.0.1, ::1 and localhost.

    The authority's own key is thrown away: nobody can make another certificate that clients of this
    one would trust. Valid for ten years from yesterday (clocks differ).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address(HOST)),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    authority = _certificate(authority_key, authority_key, names=None)
    certificate = _certificate(server_key, authority_key, names=names)
    key = server_key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).decode()
    write_atomic(folder / SERVER_KEY, key, mode=0o600)
    write_atomic(folder / SERVER_CERTIFICATE, certificate.public_bytes(Encoding.PEM).decode())
    write_atomic(folder / AUTHORITY, authority.public_bytes(Encoding.PEM).decode())


def _certificate(
    key: EllipticCurvePrivateKey,
    signer: EllipticCurvePrivateKey,
    *,
    names: SubjectAlternativeName | None,
) -> Certificate:
    """A server's certificate for these names, or with no names the authority's own."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    is_authority = names is None
    issuer = _subject("authority")
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    # The key identifiers and usages are what Python's strict verification (3.13) insists on.
    builder = (
        x509.CertificateBuilder()
        .subject_name(issuer if is_authority else _subject("server"))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(yesterday)
        .not_valid_after(yesterday + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _subject(part: str) -> Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"mapadmin sandbox {part}")])


def _key_usage(is_authority: bool) -> KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# ---------------------------------------------------------------- processes


class Process(msgspec.Struct, frozen=True):
    """A server process that was seen running."""

    pid: int
    started: int  # in kernel ticks since boot: tells it from a later process with its pid
    port: int
    stopping: bool = False  # `stop` has begun: it may still answer, but not for long


def _started(pid: int) -> int | None:
    """When a process started, in kernel ticks since boot; None if it has ended."""
    process = Path(f"/proc/{pid}")
    try:
        text = process.joinpath("stat").read_text(errors="replace")
        # pid (name) state ppid ...: the name may hold anything, parentheses and spaces included.
        fields = text.rpartition(")")[2].split()
        # A zombie has ended, unless it is only the first of several threads that has: then the
        # others still hold the data directory.
        if fields[0] in "ZX" and len(list(process.joinpath("task").iterdir())) <= 1:
            return None
    except OSError:
        return None
    return int(fields[19])


def _own_processes() -> Iterator[tuple[int, list[str]]]:
    """The pid and command line of each process of this user."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (arguments := _arguments(int(entry.name))):
            yield int(entry.name), arguments


def _arguments(pid: int) -> list[str]:
    """A process's command line; empty if it is another user's, has ended, or is of the kernel."""
    process = Path(f"/proc/{pid}")
    try:
        if process.stat().st_uid != os.geteuid():
            return []
        return process.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _server_process(pid: int, data: Path, arguments: list[str]) -> Process | None:
    """The process, if its command line says that it serves this data directory."""
    ports = [part for part in arguments if re.fullmatch(r"--port=\d+", part)]
    started = _started(pid)
    if started is None or f"--datadir={data}" not in arguments or not ports:
        return None
    return Process(pid, started, int(ports[-1].removeprefix("--port=")))


def _kill_initializers(data: Path) -> None:
    """End what still fills an unfinished data directory after its `create` was killed.

    MySQL's server, once its files are gone, would neither end nor stop using the processor.
    """
    for pid, arguments in _own_processes():
        if f"--datadir={data}" in arguments:
            process = Process(pid, _started(pid) or 0, port=0)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _wait_for_end(process, 10.0)


def _is_alive(process: Process) -> bool:
    if _started(process.pid) == process.started:
        return True
    # If it was our child, it stays behind as a zombie until its exit status is collected.
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return False


def _wait_for_end(process: Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _free_port(preferred: int | None) -> int:
    """A loopback port that nobody listens on: the preferred one, if it is still free."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, suppress(OSError):
            # As the server does: closed connections of the last run do not make a port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise MapadminError(f"There is no free port on {HOST}.")


# ---------------------------------------------------------------- the server


class _EndedError(MapadminError):
    """The server's process ended before it answered."""


class _PortTakenError(_EndedError):
    """Somebody else took the port between our choosing and the server's opening it."""


class PrivateServer:
    """One server in one folder (0700), which holds

    `<flavour>-data/`, the data directory; `tls/`, its certificates; `root-password` (0600);
    `server.log`; and `state.json`, which process it is and on which port.

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
            self._programs = find_programs(self._created_flavour())
        return self._programs

    @property
    def flavour(self) -> Flavour:
        """mysql or mariadb."""
        return self._created_flavour() or self.programs.flavour

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
        return self._created_flavour() is not None

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
            process = _server_process(remembered.pid, data, _arguments(remembered.pid))
            if process is not None and process.started == remembered.started:
                return msgspec.structs.replace(process, stopping=remembered.stopping)
        # Whoever started it may have been killed before writing that down.
        found = (_server_process(pid, data, arguments) for pid, arguments in _own_processes())
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
                    self._start(_free_port(preferred), seconds)
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
            for name in (*(f"{flavour}-data" for flavour in FLAVOURS), "tls"):
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

    def _created_flavour(self) -> Flavour | None:
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
                f"{self.folder} holds a {_TITLES[self.flavour]} server,"
                f" not a {_TITLES[self.programs.flavour]} one.",
                remedy="Use another folder, or remove this one.",
            )

    def _create(self) -> None:
        if self.exists():
            self._require_created()
            return
        self._remove_leftovers()
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
            _kill_initializers(leftover)
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
                f"Could not make a {_TITLES[self.flavour]} data directory in {self.folder}:"
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
        return Process(pid, _started(pid) or 0, port)

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
            alive = _is_alive(process)  # asked first: one that ended since then had its chance
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
            if _is_alive(process):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)
            if _wait_for_end(process, patience):
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
