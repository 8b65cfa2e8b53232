"""The heartbeats that the workers' runners write; see `runner.Heartbeat`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from mapadmin.pipeline.names import TableName
from mapadmin.workers.engine import Worker
from mapadmin.workers.generation import BEATS, folder_of

STALE = 30.0  # seconds: a runner writes every 5, whatever its job does


class Job(msgspec.Struct, frozen=True):
    """A job that a worker has begun; `since` is in Unix seconds."""

    schema: str
    table: str
    key: Any = None
    since: float = 0.0

    @property
    def name(self) -> str:
        """`schema.Class`, as it is shown."""
        return str(TableName(self.schema, self.table))


class Beat(msgspec.Struct, frozen=True):
    """What a worker says of itself. Times are in Unix seconds, `cpu` in seconds."""

    host: str
    pid: int
    started: float
    state: str
    since: float
    beat: float
    draining: bool = False
    jobs: list[Job] = msgspec.field(default_factory=list)
    cpu: float = 0.0
    exit_code: int | None = None

    @property
    def works(self) -> bool:
        """It has got as far as looking for jobs."""
        return self.state in ("looking", "idle", "busy")

    @property
    def stale(self) -> bool:
        return self.state != "ended" and time.time() > self.beat + STALE


def read_beat(home: Path, worker: Worker) -> Beat | None:
    """None as long as it has written none that can be read."""
    path = folder_of(home, worker.generation) / BEATS / f"{worker.place}.json"
    try:
        beat = msgspec.json.decode(path.read_bytes(), type=Beat)
    except (OSError, msgspec.MsgspecError):
        return None
    return beat if beat.host == worker.host else None
