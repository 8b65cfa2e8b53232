"""Workers of every kind that compute, are killed and lose their connections, while cleanup runs."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymysql.err import ProgrammingError

from tests.lab import Lab
from tests.pipeline.environments import Pipeline

GRACE = 4  # seconds
CONFIRM = 0.3
SITE = f"""
[cleanup.jobs]
grace = {GRACE}
confirm = {CONFIRM}
retries = 1000
errors = ["%LostConnection%", "%Lost connection%", "%gone away%", "%1927%", "%2013%", "%2006%"]
"""
SLACK = 1.5  # seconds: a reservation's time has whole seconds, and a run takes a moment to begin


@dataclass
class Kind:
    """One kind of worker, in a schema of its own. `long` are jobs well beyond the grace."""

    name: str
    generation: int
    request: dict[str, Any]
    loses_connection: bool
    long: bool
    box: bool = False  # each worker is a container with a host name of its own, and number 1 in it


# An unnamed worker that lost its connection, and goes on computing without one, cannot be told
# from a dead one: its grace must be longer than its jobs. A named one with a heartbeat can.
KINDS = [
    Kind("named", 0, {"named": "started", "heartbeat": True, "host": "node-a"}, True, True),
    Kind("named box", 0, {"named": "started", "heartbeat": True, "pid": 1}, True, True, box=True),
    Kind("unnamed", 0, {"host": "node-a"}, False, True),
    Kind("unnamed, cut off", 0, {"host": "node-b"}, True, False),
]
KINDS_2 = [Kind("named 2.x", 2, {"named": "started", "heartbeat": True, "host": "n2"}, True, True)]


@dataclass
class Worker:
    process: subprocess.Popen[str]
    host: str
    pid: int
    started: float
    killed: float | None = None


@dataclass
class Group:
    """The workers of one kind."""

    kind: Kind
    pipeline: Pipeline
    log: Path
    workers: list[Worker] = field(default_factory=list)
    gone: list[Worker] = field(default_factory=list)

    @property
    def jobs(self) -> str:
        """Its job table."""
        name = "~~spikes" if self.kind.generation else "~jobs"
        return f"`{self.pipeline.schema}`.`{name}`"

    def start(self) -> None:
        request = dict(self.kind.request)
        if self.kind.box:
            request["host"] = f"box-{len(self.workers) + len(self.gone)}"
        if self.kind.generation == 0:
            request["options"] = {"order": "random"}
        begun = time.time()
        process = self.pipeline.work(log=str(self.log), hardy=True, **request)
        self.workers.append(
            Worker(process, request["host"], int(request.get("pid", process.pid)), begun)
        )

    def kill_one(self) -> None:
        worker = self.workers.pop(random.randrange(len(self.workers)))
        worker.process.kill()
        worker.process.wait()
        worker.killed = time.time()
        self.gone.append(worker)


@dataclass
class Counts:
    """What came of a load; `late` and `wrong` must be 0."""

    jobs: int = 0
    ended: int = 0
    workers_killed: int = 0
    connections_killed: int = 0
    cleared: int = 0
    wrong: int = 0
    late: int = 0
    left: int = 0
    worst: float = 0.0


class Load:
    """Everything that goes on at once."""

    def __init__(
        self, lab: Lab, make: Callable[..., Pipeline], kinds: list[Kind], folder: Path
    ) -> None:
        self.lab = lab
        self.groups: list[Group] = []
        self.runs: list[tuple[float, float]] = []  # of cleanups that came to their end
        self.cleanups_killed = 0
        self.connections: Counter[str] = Counter()
        for number, kind in enumerate(kinds):
            one = make(kind.generation, f"map_k{number}")
            jobs = 120 if kind.generation else 2000
            one.make(*[(n, _seconds(kind, n), "") for n in range(jobs)])
            self.groups.append(Group(kind, one, folder / f"log-{number}"))

    def go(self, seconds: float, workers: int) -> None:
        """Let it all happen for so long; then kill every worker, and clean up once more."""
        for group in self.groups:
            for _ in range(workers):
                group.start()
        for group in self.groups:
            for worker in group.workers:
                assert worker.process.stdout is not None
                assert worker.process.stdout.readline() == "ready\n"
        end = time.time() + seconds
        next_event = time.time() + 1
        self._begin_cleanup()
        while time.time() < end:
            if self.cleanup.poll() is not None:
                self._end_cleanup()
                self._begin_cleanup()
            if time.time() > next_event:
                next_event = time.time() + random.uniform(0.5, 1.5)
                self._something_happens()
            time.sleep(0.02)
        self._end_cleanup()
        for group in self.groups:
            while group.workers:
                group.kill_one()
        time.sleep(GRACE + 1)
        self._begin_cleanup()
        self._end_cleanup()

    def _something_happens(self) -> None:
        chance = random.random()
        if chance < 0.5:
            group = random.choice(self.groups)
            group.kill_one()
            group.start()
        elif chance < 0.9:
            self._cut(random.choice([g for g in self.groups if g.kind.loses_connection]))
        else:
            self.cleanup.kill()
            self.cleanup.communicate()
            self.cleanups_killed += 1
            self._begin_cleanup()

    def _begin_cleanup(self) -> None:
        self.cleanup_began = time.time()
        self.cleanup = self.lab.start("cleanup", "jobs", "--json")

    def _end_cleanup(self) -> None:
        out, err = self.cleanup.communicate(timeout=120)
        assert self.cleanup.returncode == 0, out + err
        if json.loads(out)["parts"][0]["finished"]:
            self.runs.append((self.cleanup_began, time.time()))

    def _cut(self, group: Group) -> None:
        """End the connection with which one of the group's workers reserves its jobs."""
        with suppress(ProgrammingError):  # its first worker has not made the table yet
            rows = self.lab.server.sql(
                f"SELECT DISTINCT p.id FROM {group.jobs} JOIN information_schema.processlist p"
                " ON p.id = connection_id WHERE status = 'reserved'"
            )
            if rows:
                self.connections[group.kind.name] += 1
                self.lab.server.sql(f"KILL {random.choice(rows)[0]}")

    def counts(self) -> dict[str, Counts]:
        return {group.kind.name: self._count(group) for group in self.groups}

    def _count(self, group: Group) -> Counts:
        counts = Counts(
            workers_killed=len(group.gone), connections_killed=self.connections[group.kind.name]
        )
        events = Counter(json.loads(line)[1] for line in group.log.read_text().splitlines())
        counts.jobs, counts.ended = events["begin"], events["end"]
        killed = {(w.host, w.pid): w.killed for w in group.gone}
        ((left,),) = self.lab.server.sql(
            f"SELECT COUNT(*) FROM {group.jobs} WHERE status = 'reserved'"
        )
        counts.left = int(str(left))
        rows = self.lab.server.sql(
            "SELECT host, pid, cleared, since FROM mapadmin.cleared_job WHERE reason = "
            f"'dead reservation' AND schema_name = '{group.pipeline.schema}'"
        )
        for host, pid, cleared, since in rows:
            died = killed[(str(host), int(str(pid)))]
            when, reserved = _unix(cleared), _unix(since)
            assert died is not None
            if when < died:
                counts.wrong += 1
                continue
            counts.cleared += 1
            ready = max(died, reserved + GRACE) + SLACK
            counts.worst = max(counts.worst, when - max(died, reserved + GRACE))
            due = min((end for began, end in self.runs if began >= ready), default=None)
            counts.late += due is not None and when > due
        return counts


def _unix(value: object) -> float:
    assert isinstance(value, datetime)
    return value.replace(tzinfo=UTC).timestamp()


def _seconds(kind: Kind, number: int) -> float:
    if number % 10 == 0:
        return 3 * GRACE if kind.long else GRACE / 2
    return (number % 7) * 0.1
