"""Is whoever reserved a job still there? Only one for whom nothing speaks is dead.

By the process list alone it cannot be told: DataJoint reads its connection's id once, and keeps it
when it reconnects.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from mapadmin.db.statements import identifier
from mapadmin.pipeline.layout import Layout
from mapadmin.pipeline.local import LocalProcess
from mapadmin.pipeline.threads import Sessions, Thread

if TYPE_CHECKING:
    from mapadmin.db.server import Server

CLOCKS = 5.0  # seconds by which the start of a process of this machine may be told wrongly
# A named worker tells its start by its own clock, which nobody here can read. A job of a container
# that was started again sooner than this is spared: that costs less than a living worker's job.
WORKERS_CLOCKS = 180.0


class Verdict(StrEnum):
    """What speaks for a worker, the surest first."""

    CONNECTED = "connected"  # the connection that it reserved with is open
    NAMED = "named"  # a worker of that very name is connected
    LOCAL = "local"  # its process runs on this machine
    PROCESS = "process"  # somebody with its account, address and process number is connected
    UNTOLD = "untold"  # with its account, somebody of whom it is not known who it is
    DEAD = "dead"


class Reservation(msgspec.Struct, frozen=True):
    """A reserved job: what its row holds, and how many seconds ago it was reserved."""

    layout: Layout
    table: str
    key_hash: str
    age: float
    row: dict[str, Any]

    @property
    def account(self) -> tuple[str, str]:
        """User and address, as the server saw its worker."""
        user, at, address = str(self.row["user"]).rpartition("@")
        return (user, address) if at else (address, "")

    @property
    def host(self) -> str:
        return str(self.row["host"])

    @property
    def pid(self) -> int:
        return int(self.row["pid"])

    @property
    def identity(self) -> tuple[Any, ...]:
        """The same for the same row with the same contents."""
        values = tuple(bytes(v) if isinstance(v, bytearray) else v for v in self.row.values())
        return (self.layout.own.schema, self.layout.own.name, values)


def read_reservations(server: Server, layout: Layout, *, grace: float) -> list[Reservation]:
    """The reservations of a job table that are older than `grace` seconds; 0: all of them."""
    columns = [c.name for c in layout.own.columns.values() if not _floats(c.type)]
    rows = server.query(
        f"SELECT {layout.name}, {layout.key_hash}, {layout.age(layout.reserved_at)}, "
        f"{', '.join(map(identifier, columns))} FROM {layout.sql} WHERE status = 'reserved' "
        f"AND (%s = 0 OR {layout.reserved_at} < {layout.now} - INTERVAL %s SECOND)",
        [grace, round(grace)],
    )
    return [
        Reservation(
            layout, str(table), str(key_hash), float(age), dict(zip(columns, values, strict=True))
        )
        for table, key_hash, age, *values in rows
    ]


def uptime(server: Server) -> float:
    """Seconds since the server started: connection ids begin anew then."""
    return float(server.query("SHOW GLOBAL STATUS LIKE 'Uptime'")[0][1])


def judge(
    job: Reservation,
    sessions: Sessions,
    local: Collection[LocalProcess],
    *,
    uptime: float,
    now: float | None = None,
) -> Verdict:
    """What speaks for the worker of a reservation.

    The reservations must have been read before the sessions: a worker that has connected since then
    is among them. Where it cannot be seen what sessions say of themselves, any session of the
    worker's account may be the worker's, from whatever address.
    """
    threads = sessions.threads
    user, address = job.account
    number = int(job.row["connection_id"])
    # By this machine's clock: the age is the server's alone, so that its clock does not matter.
    reserved_at = (time.time() if now is None else now) - job.age
    mine = [thread for thread in threads if user in ("", thread.user)]
    if job.age < uptime and any(thread.id == number for thread in mine):
        return Verdict.CONNECTED
    if any(_is_named(thread, job, reserved_at) for thread in threads):
        return Verdict.NAMED
    if any(
        (process.host, process.pid) == (job.host, job.pid)
        and process.started <= reserved_at + CLOCKS
        for process in local
    ):
        return Verdict.LOCAL
    if mine and not sessions.introduced:
        return Verdict.UNTOLD
    # One with a name has said that it is somebody else.
    near = [t for t in mine if t.worker is None and address in ("", t.address)]
    if any(thread.pid == job.pid for thread in near):
        return Verdict.PROCESS
    return Verdict.UNTOLD if any(thread.pid is None for thread in near) else Verdict.DEAD


def _is_named(thread: Thread, job: Reservation, reserved_at: float) -> bool:
    worker = thread.worker
    if worker is None or (worker.host, worker.pid) != (job.host, job.pid):
        return False
    # A container that was started again has its old name and number, but not its old jobs.
    return worker.started is None or worker.started <= reserved_at + WORKERS_CLOCKS


def _floats(kind: str) -> bool:
    return kind.startswith(("float", "double"))
