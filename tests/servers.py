"""Real MySQL and MariaDB servers for the tests: one of each a session, started on first use.

They are the sandbox's own private servers, on a free loopback port, in a temporary folder.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mapadmin.sandbox.certificates import HOST
from mapadmin.sandbox.programs import Flavour, Programs, find_programs
from mapadmin.sandbox.server import PrivateServer

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

# A test's data need not survive a power cut.
FAST = (
    "--innodb-flush-method=nosync",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--sync-binlog=0",
)

MASTER = "admin"
_SYSTEM_SCHEMAS = ("mysql", "sys", "information_schema", "performance_schema")
_SYSTEM_USERS = ("mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", "root", MASTER)

# What the master user of an RDS instance holds, with GRANT OPTION: "Master user account privileges"
# in the Amazon RDS User Guide. On MySQL its role also has SET_USER_ID (8.0) or SET_ANY_DEFINER
# (8.4): left out, so that nothing comes to depend on them.
_MASTER_PRIVILEGES = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER,"
    " SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE,"
    " REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER,"
    " EVENT, TRIGGER"
)
_MASTER_PRIVILEGES_MYSQL = (
    "CREATE ROLE, DROP ROLE, APPLICATION_PASSWORD_ADMIN, ROLE_ADMIN, XA_RECOVER_ADMIN"
)


@dataclass
class RunningServer:
    """A server that answers, and how to reach it."""

    private: PrivateServer
    port: int
    root_password: str
    host: str = HOST
    master_password: str | None = field(default=None, repr=False)  # see master_account

    @property
    def flavour(self) -> Flavour:
        return self.private.flavour

    @property
    def programs(self) -> Programs:
        return self.private.programs

    @property
    def ca(self) -> Path:
        return self.private.ca

    def connect(self, user: str, password: str, database: str | None = None) -> Connection[Cursor]:
        """A connection over verified TLS, in autocommit mode."""
        return self.private.connect(user, password, database)

    def root(self, database: str | None = None) -> Connection[Cursor]:
        """A connection of root@localhost, who may do everything."""
        return self.connect("root", self.root_password, database)

    def sql(self, *statements: str) -> tuple[tuple[object, ...], ...]:
        """Run statements as root; the rows of the last one."""
        with self.root() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return tuple(cursor.fetchall())

    def wipe(self) -> None:
        """Take away what tests left: sessions, schemas, accounts and roles (but not the master)."""
        from pymysql.err import OperationalError

        with self.root() as connection, connection.cursor() as cursor:
            # An open transaction would hold up DROP DATABASE.
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
                " AND command <> 'Daemon' AND user NOT IN ('system user', 'event_scheduler')"
            )
            for (number,) in cursor.fetchall():
                with suppress(OperationalError):  # it may have ended by itself
                    cursor.execute(f"KILL {number}")
            cursor.execute("SET foreign_key_checks = OFF")  # schemas refer to each other
            cursor.execute("SELECT schema_name FROM information_schema.schemata")
            for (schema,) in cursor.fetchall():
                if schema not in _SYSTEM_SCHEMAS:
                    cursor.execute(f"DROP DATABASE {_quoted(schema)}")
            cursor.execute("SELECT user, host FROM mysql.user")
            for user, host in cursor.fetchall():
                if user in _SYSTEM_USERS:
                    continue
                # A role of MariaDB has no host; on MySQL roles are accounts like any other.
                if self.flavour == "mariadb" and not host:
                    cursor.execute(f"DROP ROLE {_quoted(user)}")
                else:
                    cursor.execute("DROP USER %s@%s", (user, host))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@contextmanager
def running_server(flavour: str, folder: Path, *options: str) -> Iterator[RunningServer]:
    """A new server of this flavour in this folder, gone with everything in it at the end.

    `options` are further server options. Raises MapadminError if it cannot be had.
    """
    private = PrivateServer(folder, find_programs(flavour), options=(*FAST, *options))
    try:
        private.create()
        private.start()
        with _ended_with_us(private):
            yield RunningServer(private, private.port, private.root_password)
    finally:
        private.stop(seconds=0)  # its data is not needed any more: no orderly shutdown
        private.remove()


@contextmanager
def _ended_with_us(private: PrivateServer) -> Iterator[None]:
    """A private server outlives whoever started it, but not a test run, even one that is killed.

    A helper waits for the end of a pipe that only this process holds open, then kills the server.
    """
    process = private.process()
    assert process is not None
    with subprocess.Popen(
        ["sh", "-c", 'cat && kill -KILL "$1"', "sh", str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as helper:
        try:
            yield
        finally:
            helper.kill()


def master_account(server: RunningServer) -> tuple[str, str]:
    """The user and password of an account with what an RDS instance's master user may do.

    Made on first use, once a server: it may grant everything that it holds, but has neither SUPER
    nor CONNECTION_ADMIN, so that it kills sessions through mysql.rds_kill and rds_kill_query only.
    """
    if server.master_password is None:
        password = secrets.token_hex(12)
        privileges = [_MASTER_PRIVILEGES]
        if server.flavour == "mysql":
            privileges.append(_MASTER_PRIVILEGES_MYSQL)
        server.sql(
            f"CREATE USER {MASTER}@'%' IDENTIFIED BY '{password}'",
            *(f"GRANT {part} ON *.* TO {MASTER}@'%' WITH GRANT OPTION" for part in privileges),
            "CREATE PROCEDURE mysql.rds_kill(thread BIGINT) SQL SECURITY DEFINER KILL thread",
            "CREATE PROCEDURE mysql.rds_kill_query(thread BIGINT) SQL SECURITY DEFINER"
            " KILL QUERY thread",
        )
        server.master_password = password
    return MASTER, server.master_password
