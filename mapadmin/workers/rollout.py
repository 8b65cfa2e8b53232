"""What to do next in a roll-out: a pure function of who is there and how they are.

It is asked again after every look, and remembers nothing. So a roll-out whose mapadmin was killed
goes on with the next one, wherever it was.

A new worker of each kind is started first, and must be well, before any old one is told to leave.
Then all old ones are told at once, and as each ends its job a new one takes its place. No more
than `surge` (at least that first one) run beyond the number that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from mapadmin.workers.engine import Life, Worker


class Health(StrEnum):
    """How a worker is that was started, or is to be."""

    WAITING = "waiting"  # not started yet
    STARTING = "starting"
    WELL = "well"  # looks for jobs, or has found one
    FAILED = "failed"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`surge`: how many more run meanwhile. `drain_first`: nobody begins before all have left.
    `now`: those who leave are killed in their jobs."""

    surge: int = 0
    drain_first: bool = False
    now: bool = False


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done now. `leave` may have been told before; `failed` ends the roll-out."""

    start: tuple[Worker, ...] = ()
    leave: tuple[Worker, ...] = ()
    failed: tuple[Worker, ...] = ()
    finished: bool = False


def decide(new: Sequence[tuple[Worker, Health]], old: Sequence[Worker], policy: Policy) -> Moves:
    """`new` are those that are to work in the end, `old` those that are not to be there."""
    failed = tuple(worker for worker, health in new if health is Health.FAILED)
    if failed:
        return Moves(failed=failed)
    staying = [worker for worker in old if worker.life in (Life.RUNNING, Life.RESTARTING)]
    kinds = {worker.place.kind for worker, _ in new}
    start: list[Worker] = []
    ready = True
    for kind in sorted(kinds):
        of_kind = [one for one in new if one[0].place.kind == kind]
        allowed, first = _allowed(kind, len(of_kind), old, staying, policy)
        waiting = [worker for worker, health in of_kind if health is Health.WAITING]
        begun = len(of_kind) - len(waiting)
        start += waiting[: max(0, allowed - begun)]
        well = sum(health is Health.WELL for _, health in of_kind)
        ready = ready and well >= min(first, len(of_kind))
    leave = staying if ready or policy.drain_first else []
    all_well = all(health is Health.WELL for _, health in new)
    return Moves(start=tuple(start), leave=tuple(leave), finished=all_well and not staying)


def _allowed(
    kind: str, wanted: int, old: Sequence[Worker], staying: Sequence[Worker], policy: Policy
) -> tuple[int, int]:
    """How many new ones of a kind may have been started, and how many of them come first."""
    before = sum(worker.place.kind == kind for worker in old)
    left = before - sum(worker.place.kind == kind for worker in staying)
    if policy.drain_first:
        return (0 if staying else wanted), 0
    first = max(1, policy.surge + max(0, wanted - before))
    return max(first, left + policy.surge + max(0, wanted - before)), first
