"""What a roll-out does next, in a world of its own; and which workers there are to be."""

from __future__ import annotations

import random
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.workers.beats import Beat, Job
from mapadmin.workers.engine import Life, Place, Worker
from mapadmin.workers.plans import Crew, plan_roll_out, plan_stop, scaled, wanted_places
from mapadmin.workers.rollout import Health, Policy, decide


def worker(number: int, generation: int = 1, life: Life = Life.RUNNING, kind: str = "a") -> Worker:
    place = Place(kind, number)
    name = f"g{generation}/{place}"
    return Worker(id=name, place=place, generation=generation, host=name, life=life)


def busy(one: Worker, since: float) -> Beat:
    return Beat(
        host=one.host, pid=1, started=0.0, state="busy", since=since, beat=time.time(),
        jobs=[Job("s", "t", None, since)],
    )  # fmt: skip


def test_nobody_is_told_to_leave_before_one_of_each_kind_is_well() -> None:
    new = [worker(1, 2, Life.CREATED), worker(1, 2, Life.CREATED, "b")]
    old = [worker(1), worker(1, kind="b")]
    first = decide([(one, Health.WAITING) for one in new], old, Policy())
    assert (first.start, first.leave) == (tuple(new), ())
    half = decide([(new[0], Health.WELL), (new[1], Health.STARTING)], old, Policy())
    assert (half.start, half.leave) == ((), ())
    both = decide([(one, Health.WELL) for one in new], old, Policy())
    assert (both.start, both.leave, both.finished) == ((), tuple(old), False)


def test_the_first_that_fails_is_the_end() -> None:
    new = [worker(1, 2), worker(2, 2, Life.ENDED)]
    moves = decide([(new[0], Health.WELL), (new[1], Health.FAILED)], [worker(1)], Policy())
    assert moves.failed == (new[1],)
    assert (moves.start, moves.leave, moves.finished) == ((), (), False)


def test_drain_first_starts_nobody_beside_an_old_one() -> None:
    new = [(worker(1, 2, Life.CREATED), Health.WAITING), (worker(2, 2), Health.WAITING)]
    old = [worker(1, life=Life.ENDED), worker(2)]
    policy = Policy(drain_first=True)
    assert decide(new, old, policy).start == ()
    assert decide(new, old, policy).leave == (old[1],)
    gone = [worker(1, life=Life.ENDED), worker(2, life=Life.ENDED)]
    assert len(decide(new, gone, policy).start) == 2


class World:
    """Containers that start, come up and end as hypothesis says."""

    def __init__(self, before: int, wanted: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.old = {worker(n): Life.RUNNING for n in range(before)}
        self.new = {worker(n, 2): Health.WAITING for n in range(wanted)}
        self.told: set[Worker] = set()

    def running(self) -> int:
        left = sum(life is Life.RUNNING for life in self.old.values())
        return left + sum(health is not Health.WAITING for health in self.new.values())

    def step(self, policy: Policy) -> bool:
        """One look of mapadmin's, and whatever happens before the next one."""
        old = [msgspec.structs.replace(one, life=life) for one, life in self.old.items()]
        moves = decide(list(self.new.items()), old, policy)
        for one in moves.start:
            self.new[one] = Health.STARTING
        names = {one.id for one in moves.leave}
        self.told |= {one for one in self.old if one.id in names}
        for one in [n for n, health in self.new.items() if health is Health.STARTING]:
            if self.random.random() < 0.5:
                self.new[one] = Health.WELL
        return moves.finished

    def jobs_end(self) -> None:
        for one in sorted(self.told, key=lambda w: w.id):
            if self.random.random() < 0.5:
                self.old[one] = Life.ENDED


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3))
def test_every_roll_out_ends_and_no_place_is_empty(
    seed: int, before: int, wanted: int, surge: int
) -> None:
    """Whatever happens in which order; a new mapadmin may take over at any step: it has no memory.

    After each look no place is empty, and never are more there than `surge`, or one, beyond.
    """
    world = World(before, wanted, seed)
    policy = Policy(surge=surge)
    for _ in range(500):
        if world.step(policy):
            break
        assert world.running() >= min(before, wanted)
        assert world.running() <= max(before, wanted) + max(1, surge)
        if world.told and wanted:
            assert Health.WELL in world.new.values()
        world.jobs_end()
    else:
        raise AssertionError("it does not end")
    assert set(world.old.values()) <= {Life.ENDED}
    assert set(world.new.values()) <= {Health.WELL}


def test_who_leaves_first() -> None:
    """Who does not run, who is idle, then whose job began last; and the higher number."""
    workers = [worker(1), worker(2), worker(3), worker(4), worker(5, life=Life.ENDED)]
    beats = {w.id: busy(w, since) for w, since in ((workers[0], 300.0), (workers[2], 100.0))}
    crew = Crew(workers=workers, beats=beats)
    kept = [[place.number for place in wanted_places(crew, {"a": n})] for n in range(7)]
    assert kept == [[], [3], [1, 3], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]]


def test_what_takes_whose_place() -> None:
    crew = Crew(workers=[worker(1), worker(2), worker(1, kind="b", life=Life.ENDED)])
    places = [Place("a", 1), Place("a", 2), Place("b", 1)]
    plan = plan_roll_out(crew, 2, places, what="image:2")
    assert [(step.action, step.target, step.detail) for step in plan.steps] == [
        ("create containers", "g2", "2 a, 1 b; image:2"),
        ("replace worker", "g1/a-1", "by g2/a-1"),
        ("replace worker", "g1/a-2", "by g2/a-2"),
        ("start worker", "g2/b-1", ""),
        ("remove containers", "g1", "2 a, 1 b"),
    ]
    assert not plan.destroys
    again = plan_roll_out(crew, 1, places, what="image:1")
    assert [(step.action, step.target) for step in again.steps] == [("start worker", "g1/b-1")]


def test_only_a_job_that_is_lost_is_asked_about() -> None:
    crew = Crew(workers=[worker(1), worker(2)], beats={"g1/a-1": busy(worker(1), 40.0)}, now=100.0)
    assert [step.destroys for step in plan_stop(crew, remove=False, now=True).steps] == [
        True,
        False,
    ]
    assert not plan_stop(crew, remove=True, now=False).destroys
    assert plan_stop(crew, remove=False, now=False).steps[0].detail == "at s.T for 1 min 0 s"


@pytest.mark.parametrize(
    ("number", "kind", "error", "says"),
    [
        (3, None, UsageError, "which kind"),
        (3, "c", UsageError, "no kind of workers 'c'"),
        (-1, "a", UsageError, "-1 workers"),
    ],
)
def test_what_cannot_be_scaled(
    number: int, kind: str | None, error: type[Exception], says: str
) -> None:
    crew = Crew(workers=[worker(1)])
    with pytest.raises(error, match=says):
        scaled(crew, ["a", "b"], number, kind)


def test_scaling_waits_for_an_unfinished_roll_out() -> None:
    crew = Crew(workers=[worker(1), worker(1, 2)])
    with pytest.raises(MapadminError, match="generations g1 and g2"):
        scaled(crew, ["a"], 3, "a")
    assert crew.counts() == {"a": 1}
    assert scaled(Crew(workers=[worker(1), worker(2)]), ["a"], 3, None) == {"a": 3}
