"""One connection to the site's database server: the only module here that talks to PyMySQL.

The connection is never reopened behind anybody's back: the lock that keeps two mapadmins apart
lives on it, so when it is lost the run stops and says where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mapadmin.core.errors import ExitCode, MapadminError, SettingsError, UnreachableError
from mapadmin.core.secret import Secret
from mapadmin.db.grants import Flavour
from mapadmin.db.statements import Sql, SqlStep, merge

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

    from mapadmin.site import DatabaseSettings

BATCH = 200  # steps in one packet: at most some 100 kB, well under every max_allowed_packet
PATIENCE = 86_400.0  # seconds
LOCK_WAIT = 20  # seconds that our own statements wait for somebody's metadata lock
# NO_AUTO_CREATE_USER (MariaDB): without it, a GRANT to a mistyped name makes an account.
_SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ONLY_FULL_GROUP_BY"

_UNREACHABLE = {2002, 2003, 2005, 2006, 2013, 2014, 1040, 1053, 1129, 1152, 1158, 1159, 1160, 1161, 1927, 4031}  # fmt: skip  # noqa: E501
_LOST = {0, 2006, 2013, 1927, 4031, 1053}  # 0: PyMySQL, of a connection that is closed
_REFUSED = {1045, 1698, 1862, 1820, 3118, 4151, 1251}
_READ_ONLY = {1290, 1792, 1836}
_DENIED = {1044, 1142, 1143, 1227, 1370, 1410, 3619, 3638}


class StatementError(MapadminError):
    """A statement that the server refused for a reason of its own; `code` is its number."""

    code = 0


class Server:
    """An open connection. `flavour` and `version` say what answers."""

    def __init__(self, connection: Connection[Any], settings: DatabaseSettings) -> None:
        self._connection = connection
        self.settings = settings
        (row,) = self.query("SELECT VERSION(), CONNECTION_ID(), CURRENT_USER()")
        self.version_text = str(row[0])
        self.connection_id = int(row[1])
        self.current_user = str(row[2])
        self.flavour = flavour_of(self.version_text)
        self.version = version_of(self.version_text)

    @property
    def tls(self) -> str:
        """The TLS protocol in use; empty on a clear connection."""
        return str(self.tls_socket.version()) if self.tls_socket else ""

    @property
    def tls_socket(self) -> ssl.SSLSocket | None:
        """The encrypted socket, which knows what was verified; None on a clear connection."""
        sock = self._connection._sock  # type: ignore[attr-defined]
        return sock if hasattr(sock, "getpeercert") else None

    def query(self, sql: str, args: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        """Rows of one statement. Errors come as MapadminError, never as the driver's own."""
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(sql, args)
            return list(cursor.fetchall())

    def run(self, sql: Sql) -> None:
        """One statement, for its effect."""
        self.query(sql.text, [_reveal(arg) for arg in sql.args])

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement with doubled `%`, as they come; nothing else may be sent."""
        from pymysql.cursors import SSCursor

        with self._translated(), self._connection.cursor(SSCursor) as cursor:
            cursor.execute(sql, ())
            yield from cursor

    @contextmanager
    def patient(self) -> Iterator[None]:
        """For the body, wait a day for an answer: reading a large schema takes its time."""
        usual = self._connection._read_timeout  # type: ignore[attr-defined]
        self._connection._read_timeout = PATIENCE  # type: ignore[attr-defined]
        try:
            yield
        finally:
            self._connection._read_timeout = usual  # type: ignore[attr-defined]

    def execute(self, steps: Sequence[SqlStep]) -> Iterator[None]:
        """Carry out steps, merged where possible and in one packet; the executor of SqlStep.

        Yields once for each step whose statements are all done.
        """
        queue = [(index, sql) for index, step in enumerate(steps) for sql in step.statements]
        last = {index: position for position, (index, _) in enumerate(queue)}
        position = -1
        done = 0
        for count in self._send([sql for _, sql in queue]):
            position += count
            while done < len(steps) and last.get(done, -1) <= position:
                done += 1
                yield
        for _ in range(done, len(steps)):
            yield

    def _send(self, statements: Sequence[Sql]) -> Iterator[int]:
        """Send all statements at once; yield the number that each finished one stood for."""
        if not statements:
            return
        merged = list(merge(statements))
        cursor = self._connection.cursor()
        packet = ";".join(_filled(cursor, sql) for sql, _ in merged)
        for index, (sql, count) in enumerate(merged):
            with self._translated(sql):
                if index == 0:
                    # Not through the cursor: closing one swallows the results that follow.
                    self._connection.query(packet)
                else:
                    self._connection.next_result()
            yield count

    def acquire_lock(self, name: str, wait: float) -> bool:
        """Take a server-wide lock (GET_LOCK), waiting at most `wait` seconds.

        It belongs to this very connection and ends with it, however it ends.
        """
        return bool(self.query("SELECT GET_LOCK(%s, %s)", [name, wait])[0][0] == 1)

    def release_lock(self, name: str) -> None:
        """Give the lock back; nothing to do when the connection is gone, for so is the lock."""
        if self._connection.open:
            with suppress(MapadminError):
                self.query("DO RELEASE_LOCK(%s)", [name])

    def lock_holder(self, name: str) -> int | None:
        """The connection id that holds a lock."""
        holder = self.query("SELECT IS_USED_LOCK(%s)", [name])[0][0]
        return None if holder is None else int(holder)

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()

    @contextmanager
    def _translated(self, sql: Sql | None = None) -> Iterator[None]:
        import pymysql

        try:
            yield
        except pymysql.err.MySQLError as error:
            raise explain(error, self.settings, sql) from None
        except UnicodeEncodeError:  # a lone surrogate, of an argument that is not UTF-8
            raise MapadminError(
                f"{_address(self.settings)}: what was to be sent is not UTF-8."
            ) from None
        except OSError as error:
            raise UnreachableError(f"{_address(self.settings)}: {error}.") from None


def connect(settings: DatabaseSettings, password: Secret, folder: Path) -> Server:
    """Open the connection that a site file describes; relative paths start from `folder`.

    Raises UnreachableError (exit code 4) or SettingsError (3) with the reason.
    """
    import pymysql
    from pymysql.constants import CLIENT

    context = _tls_context(settings, folder)
    try:
        connection = pymysql.connect(
            host=settings.host,
            port=settings.port,
            user=settings.user,
            password=password.reveal().encode(),  # of a text, the driver makes Latin-1
            ssl=context,
            ssl_disabled=context is None,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=max(1, round(settings.connect_timeout)),
            read_timeout=settings.read_timeout,
            write_timeout=settings.read_timeout,
            client_flag=CLIENT.MULTI_STATEMENTS,
            program_name="mapadmin",
        )
        server = Server(connection, settings)
    except pymysql.err.MySQLError as error:
        raise explain(error, settings) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise UnreachableError(f"{_address(settings)}: {error}.") from None
    _prepare_session(server)
    return server


def _prepare_session(server: Server) -> None:
    mode = _SQL_MODE
    if server.flavour is Flavour.MARIADB:
        mode += ",NO_AUTO_CREATE_USER"
    settings = {
        "sql_mode": mode,
        "time_zone": "+00:00",
        "lock_wait_timeout": LOCK_WAIT,
        "innodb_lock_wait_timeout": LOCK_WAIT,
        "group_concat_max_len": 4_000_000,
    }
    pairs = ", ".join(f"SESSION {name} = %s" for name in settings)
    server.query(f"SET {pairs}", list(settings.values()))


def _tls_context(settings: DatabaseSettings, folder: Path) -> ssl.SSLContext | None:
    import ssl

    from mapadmin.site import Tls, expand

    if settings.tls is Tls.OFF:
        return None
    ca = str(folder / expand(settings.ca, "database.ca")) if settings.ca else None
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # includes ssl.SSLError
        reason = error.strerror or str(error)
        raise SettingsError(f"database.ca: cannot use {ca}: {reason}.") from None
    if settings.tls is Tls.REQUIRE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def flavour_of(version: str) -> Flavour:
    """From the version's text: the numbers of the two servers overlap."""
    return Flavour.MARIADB if "mariadb" in version.lower() else Flavour.MYSQL


def version_of(version: str) -> tuple[int, ...]:
    """`10.11.6-MariaDB-0+deb12u1` to (10, 11, 6); also behind MariaDB's old `5.5.5-` prefix."""
    text = version.removeprefix("5.5.5-")
    return tuple(int(part) for part in re.match(r"\d+(?:\.\d+)*", text)[0].split("."))  # type: ignore[index]


def explain(error: Exception, settings: DatabaseSettings, sql: Sql | None = None) -> MapadminError:
    """The driver's error as one sentence with an exit code and, where there is one, a remedy."""
    code, text = (*error.args, "", "")[:2] if error.args else (0, str(error))
    text = str(text or error).rstrip(".")
    where = _address(settings)
    doing = f" ({str(sql)[:200]})" if sql else ""
    cause = error.__cause__ or error.__context__ or getattr(error, "original_exception", None)
    kind = type(cause).__name__
    if kind == "SSLCertVerificationError" or "CERTIFICATE_VERIFY_FAILED" in text:
        return SettingsError(
            f"{where}: the server's TLS certificate is not accepted: {text}.",
            remedy="Check database.ca and database.host.",
        )
    if type(cause).__module__ == "ssl" and sql is None and kind != "SSLEOFError":
        return SettingsError(f"{where}: TLS cannot be agreed on: {text}.")
    if sql is not None and code in _REFUSED:  # not a login, but a statement that was not allowed
        return _denied(where, text, doing)
    for codes, make in _EXPLANATIONS:
        if code in codes:
            return make(where, text, doing)
    refused = StatementError(f"{where}: {text}{doing} [{code}].")
    refused.code = code
    return refused


def _lost(where: str, text: str, doing: str) -> MapadminError:
    return UnreachableError(
        f"{where}: the connection was lost{doing}{text and f': {text}'}.",
        remedy="Run the same command again: it looks at what is there and finishes the work.",
    )


def _unreachable(where: str, text: str, doing: str) -> MapadminError:
    del doing
    return UnreachableError(f"{where} cannot be reached: {text}.")


def _tls_absent(where: str, text: str, doing: str) -> MapadminError:
    del doing
    return SettingsError(
        f"{where}: {text}.",
        remedy='The site wants TLS; database.tls = "off" would send everything in clear.',
    )


def _refused(where: str, text: str, doing: str) -> MapadminError:
    return SettingsError(
        f"{where}: {text}{doing}.", remedy="Check database.user and database.password."
    )


def _read_only(where: str, text: str, doing: str) -> MapadminError:
    return MapadminError(f"{where} is read-only: {text}{doing}.", exit_code=ExitCode.FAILED)


def _denied(where: str, text: str, doing: str) -> MapadminError:
    return MapadminError(
        f"{where}: mapadmin's account lacks a privilege: {text}{doing}.",
        remedy="`mapadmin db check` lists what it needs.",
        exit_code=ExitCode.SETTINGS,
    )


_EXPLANATIONS: list[tuple[set[int], Callable[[str, str, str], MapadminError]]] = [
    ({2026}, _tls_absent),
    (_LOST, _lost),
    (_UNREACHABLE, _unreachable),
    (_REFUSED, _refused),
    (_READ_ONLY, _read_only),
    (_DENIED, _denied),
]


def _address(settings: DatabaseSettings) -> str:
    return f"{settings.host}:{settings.port}"


def _filled(cursor: Cursor, sql: Sql) -> str:
    """A statement with its values in place, quoted by the driver."""
    if sql.args:
        return str(cursor.mogrify(sql.text, [_reveal(arg) for arg in sql.args]))
    return sql.text.replace("%%", "%")


def _reveal(value: object) -> object:
    return value.reveal() if isinstance(value, Secret) else value
