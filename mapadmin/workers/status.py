"""What each worker is doing, from four sides at once: engine, heartbeats, sessions, job tables.

The engine alone lies: a container that is up may have nothing that works in it. A heartbeat alone
is no proof of work either, and a reserved job none that somebody computes it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from mapadmin.core.text import count, human_seconds
from mapadmin.workers.beats import STALE, Beat
from mapadmin.workers.engine import Life, Worker


class CurrentJob(msgspec.Struct, frozen=True, kw_only=True):
    """The job that a worker is at; `seconds` since it began."""

    schema: str
    table: str
    key: Any
    seconds: float


class WorkerStatus(msgspec.Struct, kw_only=True):
    """One worker. Durations are in seconds; `problem` is what is not well, in a sentence's words.

    state: created | starting | looking | idle | busy | draining | hung | restarting | dead |
    stopped; `seconds` is how long it has been so, as far as it tells.
    """

    worker: str
    kind: str
    generation: int
    host: str
    node: str
    state: str
    seconds: float | None = None
    job: CurrentJob | None = None
    uptime: float | None = None
    restarts: int = 0
    image: str = ""
    commit: str = ""
    problem: str = ""


class ReservedJob(msgspec.Struct, kw_only=True):
    """A reserved job; `worker` is who computes it, `verdict` what speaks for them."""

    table: str
    host: str
    pid: int
    seconds: float
    verdict: str
    worker: str = ""


class DatabaseView(msgspec.Struct, kw_only=True):
    """What the database tells; `hosts` None: it does not show us who is connected."""

    hosts: set[str] | None = None
    reserved: list[ReservedJob] = msgspec.field(default_factory=list)
    errors: int = 0
    problems: list[str] = msgspec.field(default_factory=list)


class FleetStatus(msgspec.Struct, kw_only=True):
    """The `--json` of `workers status`. `orphans` are reserved jobs that nobody computes."""

    site: str
    engine: str
    healthy: bool = True
    workers: list[WorkerStatus] = msgspec.field(default_factory=list)
    reserved: int = 0
    errors: int = 0
    orphans: list[ReservedJob] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)


def join(
    site: str, engine: str, workers: Sequence[Worker], beats: Mapping[str, Beat],
    details: Mapping[str, tuple[float | None, int]], database: DatabaseView,
    counts: Mapping[str, int],
) -> FleetStatus:  # fmt: skip
    """All of it, with what is not well; `counts` is how many of each kind the site file says."""
    status = FleetStatus(site=site, engine=engine, errors=database.errors)
    for worker in workers:
        begun, restarts = details.get(worker.id, (None, 0))
        one = judge(worker, beats.get(worker.id), begun, restarts, database.hosts)
        _busy_by_its_job(one, database.reserved)
        status.workers.append(one)
        if one.problem:
            status.problems.append(f"{one.worker} {one.problem}")
    names = {worker.host: worker.name for worker in workers}
    for job in database.reserved:
        job.worker = names.get(job.host, "")
    status.reserved = len(database.reserved)
    status.orphans = [job for job in database.reserved if job.verdict == "dead"]
    if status.orphans:
        status.problems.append(
            f"{count(len(status.orphans), 'reserved job')} of nobody: `mapadmin cleanup jobs` "
            "lets others compute them"
        )
    if not any(worker.runs for worker in workers) and any(counts.values()):
        status.problems.append("no workers run: `mapadmin workers up` starts them")
    status.problems += database.problems
    status.notes = _notes(workers, counts, database.errors)
    status.healthy = not status.problems
    return status


def _busy_by_its_job(one: WorkerStatus, reserved: Sequence[ReservedJob]) -> None:
    """A worker without a heartbeat file, on another node: what it does is told by its job's row."""
    ages = [job.seconds for job in reserved if job.host == one.host and job.verdict != "dead"]
    if one.state == "looking" and ages:
        one.state, one.seconds = "busy", max(ages)


def judge(
    worker: Worker, beat: Beat | None, begun: float | None, restarts: int,
    hosts: Collection[str] | None,
) -> WorkerStatus:  # fmt: skip
    """One worker; `begun` is when the engine started it."""
    now = time.time()
    one = WorkerStatus(
        worker=worker.name, kind=worker.place.kind, generation=worker.generation, host=worker.host,
        node=worker.node, state=worker.life.value, restarts=restarts, image=worker.image,
        commit=worker.commit,
    )  # fmt: skip
    if worker.life is Life.RESTARTING:
        one.problem = f"keeps ending, with exit code {worker.exit_code}"
    elif worker.life is Life.ENDED:
        one.state = "stopped" if worker.exit_code == 0 else "dead"
        if worker.exit_code:
            one.problem = f"has ended with exit code {worker.exit_code}"
    elif worker.life is Life.RUNNING:
        one.uptime = now - begun if begun else None
        _running(one, beat, hosts, now)
    return one


def _running(
    one: WorkerStatus, beat: Beat | None, hosts: Collection[str] | None, now: float
) -> None:
    if beat is None or beat.state == "ended":
        one.state, one.seconds = "starting", one.uptime
        if one.uptime is not None and one.uptime > STALE and not one.node:
            one.state, one.problem = "hung", "has written no heartbeat"
        return
    one.state, one.seconds = beat.state, now - beat.since
    if beat.jobs:
        job = beat.jobs[0]
        one.seconds = now - job.since
        one.job = CurrentJob(
            schema=job.schema, table=job.table, key=job.key, seconds=round(one.seconds, 3)
        )
    if beat.draining:
        one.state = "draining"
    if beat.stale:
        one.state = "hung"
        one.problem = f"wrote its last heartbeat {human_seconds(now - beat.beat)} ago"
    elif hosts is not None and one.host not in hosts and beat.state != "starting":
        one.problem = "has no session on the database"


def _notes(workers: Sequence[Worker], counts: Mapping[str, int], errors: int) -> list[str]:
    notes = []
    generations = sorted({worker.generation for worker in workers})
    if len(generations) > 1:
        named = " and ".join(f"g{number}" for number in generations)
        notes.append(
            f"workers of generations {named}: a roll-out is under way, or was cut short "
            "(`mapadmin workers restart` goes on with it)"
        )
    running = [worker for worker in workers if worker.generation == max(generations)]
    for kind in sorted({*counts, *(worker.place.kind for worker in running)}):
        there = sum(worker.place.kind == kind for worker in running)
        wanted = counts.get(kind, 0)
        if running and there != wanted:
            notes.append(f"{there} {kind}, where the site file says {wanted}")
    if errors:
        notes.append(f"{count(errors, 'failed job')}: `mapadmin workers errors` shows why")
    return notes
