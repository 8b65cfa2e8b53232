"""Whose threads are on the server: what tells a worker that is alive from one that is not.

Names: a worker that sets PyMySQL's `program_name` to `mapadmin-worker:<host>:<pid>`, or with
`:<when it started, in Unix seconds>` behind it, is known for certain, on every connection it makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import MapadminError, UnreachableError
from mapadmin.db.grants import Flavour

if TYPE_CHECKING:
    from mapadmin.db.server import Server

WORKER = "mapadmin-worker:"


class WorkerName(msgspec.Struct, frozen=True):
    """Who a worker says it is; `started` is in Unix seconds."""

    host: str
    pid: int
    started: float | None = None


class Thread(msgspec.Struct, frozen=True):
    """One session, with what its client said of itself; `pid` is in the client's own counting."""

    id: int
    user: str
    address: str
    pid: int | None = None
    worker: WorkerName | None = None


class Sessions(msgspec.Struct, frozen=True):
    """All sessions of the server but this one, whoever's they are.

    `introduced`: what they say of themselves could be seen. If not, no thread has a process number
    or a name, and none can be told from another of the same account.
    """

    threads: tuple[Thread, ...]
    introduced: bool = True

    @property
    def worker_hosts(self) -> set[str] | None:
        """The host names of the workers that say who they are; None when that cannot be seen."""
        if not self.introduced:
            return None
        return {thread.worker.host for thread in self.threads if thread.worker is not None}


# Only what can be a worker's: the threads of replicas and of the server itself hold no job.
_THREADS = """SELECT p.ID, p.USER, p.HOST,
MAX(CASE WHEN a.ATTR_NAME = '_pid' THEN a.ATTR_VALUE END),
MAX(CASE WHEN a.ATTR_NAME = 'program_name' THEN a.ATTR_VALUE END)
FROM {source}.processlist p LEFT JOIN performance_schema.session_connect_attrs a
ON a.PROCESSLIST_ID = p.ID AND a.ATTR_NAME IN ('_pid', 'program_name')
WHERE p.ID <> CONNECTION_ID() GROUP BY p.ID, p.USER, p.HOST"""

_MINE = """SELECT ATTR_VALUE FROM performance_schema.session_connect_attrs
WHERE PROCESSLIST_ID = CONNECTION_ID() AND ATTR_NAME = 'program_name'"""

_LOST = "SHOW GLOBAL STATUS LIKE 'Performance_schema_%%_lost'"
_WOULD_HIDE = {
    "performance_schema_session_connect_attrs_lost",
    "performance_schema_thread_classes_lost",
    "performance_schema_thread_instances_lost",
}

_MAY_SEE = """SELECT COUNT(*) FROM information_schema.USER_PRIVILEGES
WHERE PRIVILEGE_TYPE IN ('PROCESS', 'SUPER') AND GRANTEE IN ({mine})"""


def read_threads(server: Server) -> Sessions:
    """All sessions but this one. Call `require_sight` before."""
    if not _introduced(server):
        rows = server.query("SHOW PROCESSLIST")  # of no schema that may be off, or full
        return Sessions(
            tuple(
                Thread(id=int(number), user=str(user or ""), address=_address(str(host or "")))
                for number, user, host, *_ in rows
                if int(number) != server.connection_id
            ),
            introduced=False,
        )
    modern = server.flavour is Flavour.MYSQL and server.version >= (8, 0, 22)
    source = "performance_schema" if modern else "information_schema"
    return Sessions(
        tuple(
            Thread(
                id=int(number),
                user=str(user or ""),
                address=_address(str(host or "")),
                pid=int(pid) if str(pid or "").isdigit() else None,
                worker=worker_name(_text(name)),
            )
            for number, user, host, pid, name in server.query(_THREADS.format(source=source))
        )
    )


def _introduced(server: Server) -> bool:
    """Whether the server shows what sessions say of themselves: if so, then this one's as well.

    And for all of them: it drops what does not fit into the room that performance_schema has.
    """
    try:
        if not server.query(_MINE):
            return False
    except UnreachableError:
        raise
    except MapadminError:  # not for this account
        return False
    return not any(
        int(number) for name, number in server.query(_LOST, ()) if name.lower() in _WOULD_HIDE
    )


def require_sight(server: Server) -> None:
    """Raises MapadminError when a living worker could look dead from here."""
    user, _, host = server.current_user.rpartition("@")
    mine = ["'" + user.replace("'", "''") + "'@'" + host.replace("'", "''") + "'"]
    if server.flavour is Flavour.MYSQL:
        rows = server.query("SELECT ROLE_NAME, ROLE_HOST FROM information_schema.ENABLED_ROLES")
        mine += [f"'{role}'@'{at}'" for role, at in rows]
    else:
        rows = server.query("SELECT ROLE_NAME FROM information_schema.ENABLED_ROLES")
        mine += [f"'{role}'" for (role,) in rows if role and role != "NULL"]
    marks = ", ".join(["%s"] * len(mine))
    if not server.query(_MAY_SEE.format(mine=marks), mine)[0][0]:
        raise MapadminError(
            "mapadmin's account may not see other users' sessions, "
            "so every worker would look dead.",
            remedy=f"Grant it PROCESS: GRANT PROCESS ON *.* TO {mine[0]}",
        )


def worker_name(text: str) -> WorkerName | None:
    """Who a `program_name` says it is; None when it is no worker's."""
    if not text.startswith(WORKER):
        return None
    host, _, rest = text.removeprefix(WORKER).partition(":")
    pid, _, started = rest.partition(":")
    if not pid.isdigit():
        return None
    try:
        return WorkerName(host, int(pid), float(started) if started else None)
    except ValueError:
        return WorkerName(host, int(pid))


def _address(host: str) -> str:
    """Without the port."""
    return host.rpartition(":")[0] or host


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
