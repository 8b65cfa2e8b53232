"""Which workers there are to be, and the steps to there: pure functions of what there is.

`wanted` are places of one generation, `target`; every other worker is to leave. The steps of a
roll-out are carried out together, by `rolling`, as places become free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.core.plan import Plan, Step
from mapadmin.core.text import human_seconds
from mapadmin.site.explain import suggest
from mapadmin.workers.beats import Beat
from mapadmin.workers.engine import Life, Place, Worker


class BuildStep(Step, frozen=True, kw_only=True):
    """An image that is to be built."""


class CreateStep(Step, frozen=True, kw_only=True):
    """The folder of a generation, or what is new in it, and containers that do not run yet."""

    generation: int
    places: tuple[Place, ...]


class RollStep(Step, frozen=True, kw_only=True):
    """One worker that is to work, one that is to leave, or one that takes the other's place."""

    new: tuple[int, Place] | None = None
    old: tuple[int, Place] | None = None


class RemoveStep(Step, frozen=True, kw_only=True):
    """Containers of workers that have left, and of their generations what is then left."""

    workers: tuple[tuple[int, Place], ...]


class Crew(msgspec.Struct, frozen=True, kw_only=True):
    """The workers that there are, with their heartbeats by id, at the moment `now`."""

    workers: Sequence[Worker] = ()
    beats: Mapping[str, Beat] = msgspec.field(default_factory=dict)
    now: float = 0.0

    @property
    def generations(self) -> list[int]:
        return sorted({worker.generation for worker in self.workers})

    @property
    def newest(self) -> int:
        """0 where there is none."""
        return max(self.generations, default=0)

    @property
    def unfinished(self) -> bool:
        """A roll-out was cut short: nothing else has workers of two generations."""
        return len(self.generations) > 1

    @property
    def stopped(self) -> bool:
        return not any(worker.life in (Life.RUNNING, Life.RESTARTING) for worker in self.workers)

    def of(self, generation: int) -> list[Worker]:
        return [worker for worker in self.workers if worker.generation == generation]

    def counts(self) -> dict[str, int]:
        """How many there are of each kind; in a roll-out, in the generation that has more."""
        counts: Counter[str] = Counter()
        for generation in self.generations:
            counts |= Counter(worker.place.kind for worker in self.of(generation))
        return dict(counts)

    def doing(self, worker: Worker) -> str:
        """`at map_ephys.Spikes for 2 min 3 s`; empty when it is at no job."""
        beat = self.beats.get(worker.id)
        if beat is None or not beat.jobs or not worker.runs:
            return ""
        job = beat.jobs[0]
        return f"at {job.name} for {human_seconds(self.now - job.since)}"


def plan_roll_out(
    crew: Crew, target: int, wanted: Sequence[Place], *, what: str, now: bool = False
) -> Plan:
    """From the workers that there are to `wanted` in generation `target`."""
    there = {worker.place: worker for worker in crew.of(target)}
    missing = tuple(place for place in wanted if place not in there)
    leaving = [w for w in crew.workers if w.generation != target or w.place not in wanted]
    # In a roll-out that is to go on, those that work already count: it may yet be given up.
    new = [
        place for place in wanted
        if place not in there or not there[place].runs or crew.unfinished
    ]  # fmt: skip
    steps: list[Step] = []
    if missing:
        steps.append(
            CreateStep(
                action="create containers",
                target=f"g{target}",
                generation=target,
                places=missing,
                detail=f"{_counted(missing)}; {what}",
            )
        )
    steps += _rolling(crew, target, new, leaving, now)
    if leaving:
        steps.append(_removal(leaving))
    return Plan(tuple(steps))


def _rolling(
    crew: Crew, target: int, new: Sequence[Place], leaving: Sequence[Worker], now: bool
) -> list[Step]:
    steps: list[Step] = []
    staying = [w for w in leaving if w.life in (Life.RUNNING, Life.RESTARTING)]
    rest = list(new)
    for worker in staying:
        job = crew.doing(worker)
        old = (worker.generation, worker.place)
        same = next((p for p in rest if p.kind == worker.place.kind), None)
        if same is not None:
            rest.remove(same)
        steps.append(
            RollStep(
                action="replace worker" if same else "kill worker" if now else "drain worker",
                target=worker.name, old=old, new=(target, same) if same else None,
                detail="; ".join(filter(None, [
                    f"by g{target}/{same}" if same else "",
                    f"LOSES the job {job}" if now and job else job,
                ])),
                destroys=bool(now and job),
            )
        )  # fmt: skip
    steps += [
        RollStep(action="start worker", target=f"g{target}/{place}", new=(target, place))
        for place in rest
    ]
    return steps


def _removal(leaving: Sequence[Worker]) -> RemoveStep:
    generations = sorted({worker.generation for worker in leaving})
    return RemoveStep(
        action="remove containers", target=", ".join(f"g{number}" for number in generations),
        detail=_counted([worker.place for worker in leaving]),
        workers=tuple((worker.generation, worker.place) for worker in leaving),
    )  # fmt: skip


def plan_stop(crew: Crew, *, remove: bool, now: bool) -> Plan:
    """All workers leave; with `remove` nothing of them is kept."""
    steps = _rolling(crew, 0, [], crew.workers, now)
    if remove and crew.workers:
        steps.append(_removal(crew.workers))
    return Plan(tuple(steps))


def wanted_places(crew: Crew, counts: Mapping[str, int]) -> list[Place]:
    """So many places of each kind in the newest generation: those that there are, then new ones."""
    places: list[Place] = []
    for kind, number in counts.items():
        mine = [w for w in crew.of(crew.newest) if w.place.kind == kind]
        kept = sorted(mine, key=lambda w: _reluctance(w, crew.beats.get(w.id)), reverse=True)
        places += sorted(worker.place for worker in kept[:number])
        taken = {worker.place.number for worker in mine}
        free = (n for n in range(1, number + len(taken) + 1) if n not in taken)
        places += [Place(kind, next(free)) for _ in range(number - len(kept))]
    return places


def _reluctance(worker: Worker, beat: Beat | None) -> tuple[int, float, int]:
    """Who stays rather: at a job, and the longer so; then whoever runs; then the lower number."""
    number = -worker.place.number
    if not worker.runs:
        return (0, 0.0, number)
    if beat is not None and beat.jobs:
        return (2, -min(job.since for job in beat.jobs), number)
    return (1, 0.0, number)


def scaled(crew: Crew, kinds: Sequence[str], number: int, kind: str | None) -> dict[str, int]:
    """The counts after `scale`. Raises UsageError for a kind that cannot be meant."""
    if kind is None:
        if len(kinds) != 1:
            raise UsageError("Say which kind of workers.", remedy=f"Kinds: {', '.join(kinds)}.")
        kind = kinds[0]
    require_kind(kinds, kind)
    if number < 0:
        raise UsageError(f"There cannot be {number} workers.", remedy="Say 0 or more.")
    if crew.stopped:
        raise MapadminError("No workers run.", remedy="`mapadmin workers up` starts them.")
    if crew.unfinished:
        raise MapadminError(
            "A roll-out is unfinished: there are workers of generations "
            + " and ".join(f"g{number}" for number in crew.generations) + ".",
            remedy="`mapadmin workers restart` finishes it.",
        )  # fmt: skip
    return {**crew.counts(), kind: number}


def require_kind(kinds: Sequence[str], kind: str) -> None:
    """Raises UsageError with what is near."""
    if kind not in kinds:
        raise UsageError(
            f"There is no kind of workers {kind!r}.",
            remedy=suggest(kind, kinds) or f"Kinds: {', '.join(kinds)}.",
        )


def _counted(places: Sequence[Place]) -> str:
    """`4 compute, 1 ingest`"""
    counts = Counter(place.kind for place in places)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
