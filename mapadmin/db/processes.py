"""The sessions that are open on the server: who, from where, doing what; and how they are ended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import MapadminError, UnreachableError
from mapadmin.db.grants import Flavour
from mapadmin.db.names import is_system
from mapadmin.db.statements import Sql, SqlStep

if TYPE_CHECKING:
    from mapadmin.db.server import Server

QUERY_BYTES = 4096  # of a statement's text that are read: an insert of blobs may have gigabytes

# SHOW PROCESSLIST will not do: a statement that holds a blob is not UTF-8, and ends the connection.
_PROCESSES = """SELECT ID, USER, HOST, DB, COMMAND, TIME, STATE,
SUBSTRING(CAST(INFO AS BINARY), 1, {limit}) FROM {table} WHERE ID <> CONNECTION_ID() ORDER BY ID"""
# INNODB_TRX tells the time of the machine, whatever the session's time zone. MySQL's fails as soon
# as one statement that holds a blob is running, so it is the second choice.
_TRANSACTIONS = {
    "information_schema": """SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started,
CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')) FROM information_schema.INNODB_TRX""",
    "performance_schema": """SELECT PROCESSLIST_ID, TIMER_WAIT DIV 1000000000000
FROM performance_schema.events_transactions_current JOIN performance_schema.threads
USING (THREAD_ID) WHERE STATE = 'ACTIVE' AND AUTOCOMMIT = 'NO' AND PROCESSLIST_ID IS NOT NULL""",
}
_RDS_PROCEDURES = """SELECT COUNT(*) FROM information_schema.ROUTINES
WHERE ROUTINE_SCHEMA = 'mysql' AND ROUTINE_NAME IN ('rds_kill', 'rds_kill_query')"""

_SERVER_USERS = ("system user", "event_scheduler")
_SECRET = re.compile(r"(identified|password|authentication_string).*", re.IGNORECASE | re.DOTALL)
_STARS = "****"


class SessionKind(StrEnum):
    """Whose a session is. Only those of clients are ever ended."""

    CLIENT = "client"
    REPLICATION = "replication"  # a replica that reads the binary log
    SYSTEM = "system"  # a thread of the server, or RDS's own session


class Session(msgspec.Struct, frozen=True):
    """One open session.

    `client` is the name or address that it comes from. `seconds` is how long it has been in its
    state, `transaction` how many seconds its transaction has been open (None: there is none, or
    mapadmin's account may not see it). `query` is the running statement on one line: at most
    QUERY_BYTES of it, and nothing of what follows a word like IDENTIFIED or PASSWORD.
    """

    id: int
    user: str
    client: str
    schema: str
    command: str
    state: str
    seconds: int
    transaction: int | None
    query: str
    kind: SessionKind

    @property
    def idle(self) -> bool:
        """Does nothing and holds nothing open."""
        waits = self.command in ("Sleep", "Daemon") or self.kind is not SessionKind.CLIENT
        return waits and self.transaction is None


class KillStep(SqlStep, frozen=True, kw_only=True):
    """Ends a session, or its statement. One that has ended meanwhile is as it should be."""

    session: int


# --- reading -----------------------------------------------------------------------------------


def sessions(server: Server) -> list[Session]:
    """All open sessions but mapadmin's own, in a few queries.

    Without the PROCESS privilege the server shows only those of mapadmin's own account.
    """
    source = _source(server)
    rows = server.query(_PROCESSES.format(table=f"{source}.processlist", limit=QUERY_BYTES))
    open_for: dict[int, int] = {}
    with suppress(MapadminError):  # needs PROCESS, or SELECT on performance_schema
        open_for = {number: max(0, int(age)) for number, age in server.query(_TRANSACTIONS[source])}
    return [_session(row, open_for) for row in rows]


def sessions_of(server: Server, users: Iterable[str]) -> list[Session]:
    """The open sessions of these users, from wherever they come; never mapadmin's own session."""
    wanted = set(users)
    return [
        session
        for session in sessions(server)
        if session.user in wanted and session.kind is not SessionKind.SYSTEM
    ]


def _source(server: Server) -> str:
    """MySQL is about to drop the old table; the new one is empty without performance_schema."""
    if server.flavour is Flavour.MYSQL and server.version >= (8, 0, 22):
        ((enabled,),) = server.query("SELECT @@performance_schema")
        if enabled:
            return "performance_schema"
    return "information_schema"


def _session(row: tuple[object, ...], open_for: dict[int, int]) -> Session:
    number, user, host, schema, command, seconds, state, query = row
    identity = int(str(number))
    return Session(
        id=identity,
        user=str(user or ""),
        client=_client(str(host or "")),
        schema=str(schema or ""),
        command=str(command or ""),
        state=str(state or ""),
        seconds=max(0, int(str(seconds or 0))),
        transaction=open_for.get(identity),
        query=one_line(query) if isinstance(query, bytes) else "",
        kind=kind_of(str(user or ""), str(command or "")),
    )


def _client(host: str) -> str:
    """Without the port, which says nothing to a person; a socket has none."""
    return host.rpartition(":")[0] or host


def kind_of(user: str, command: str) -> SessionKind:
    """Whose a session is, from the user's name and the command that the server shows."""
    if user in _SERVER_USERS or command == "Daemon" or is_system(user):
        return SessionKind.SYSTEM
    return SessionKind.REPLICATION if command.startswith("Binlog Dump") else SessionKind.CLIENT


def one_line(query: bytes) -> str:
    """A statement as it may be shown: on one line, blobs as replacement characters, no password.

    What is quoted and what is not depends on the session's sql_mode, so nothing behind the first
    word that announces a password is shown at all.
    """
    text = " ".join(query.decode("utf-8", "replace").split())
    return _SECRET.sub(rf"\1 {_STARS}", text)


# --- ending ------------------------------------------------------------------------------------


def kill_steps(
    server: Server, found: Sequence[Session], *, query: bool = False
) -> tuple[KillStep, ...]:
    """The steps that end these sessions (or only their running statements)."""
    if not found:
        return ()
    rds = has_rds_procedures(server)
    return tuple(kill_step(session, rds=rds, query=query) for session in found)


def has_rds_procedures(server: Server) -> bool:
    """Whether sessions are ended by `mysql.rds_kill` and `mysql.rds_kill_query`."""
    ((count,),) = server.query(_RDS_PROCEDURES)
    return int(count) == 2


def kill_step(session: Session, *, rds: bool, query: bool = False) -> KillStep:
    """The step for one session. `rds`: through RDS's procedures, where KILL is not permitted."""
    return KillStep(
        action="kill query" if query else "kill session",
        target=f"{session.user}@{session.client}",
        detail=f"id {session.id}" + (f", in {session.schema}" if session.schema else ""),
        destroys=True,
        statements=(_kill(session.id, rds=rds, query=query),),
        session=session.id,
    )


def _kill(number: int, *, rds: bool, query: bool) -> Sql:
    if rds:
        return Sql(f"CALL mysql.{'rds_kill_query' if query else 'rds_kill'}({number})")
    return Sql(f"KILL {'QUERY' if query else 'CONNECTION'} {number}")


def execute_kills(server: Server, steps: Sequence[KillStep]) -> Iterator[None]:
    """Carry out steps; the executor of KillStep."""
    for step in steps:
        try:
            for statement in step.statements:
                server.run(statement)
        except UnreachableError:
            raise
        except MapadminError:
            if any(session.id == step.session for session in sessions(server)):
                raise
        yield
