"""A plan is carried out in order, stops at the first failure, and says what became of each step."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapadmin.core.errors import (
    ExitCode,
    Interrupted,
    MapadminError,
    SettingsError,
    UnreachableError,
)
from mapadmin.core.plan import Kind, Outcome, Plan, Step, StepState, carry_out
from tests.core.processes import read_line, start_python

DONE, FAILED, INTERRUPTED, UNKNOWN, REST = (
    StepState.DONE,
    StepState.FAILED,
    StepState.INTERRUPTED,
    StepState.UNKNOWN,
    StepState.NOT_STARTED,
)


class Red(Step, frozen=True, kw_only=True):
    """One kind of step."""


class Blue(Step, frozen=True, kw_only=True):
    """Another."""


def plan_of(kinds: str) -> Plan:
    """`rrb` as two red steps and a blue one, numbered."""
    cls = {"r": Red, "b": Blue, "t": Tidy}
    return Plan(tuple(cls[kind](action=kind, target=str(i)) for i, kind in enumerate(kinds)))


class Tidy(Step, frozen=True, kw_only=True):
    """One that cleans up."""

    always = True


@dataclass
class World:
    """Carries out steps by noting them, and does what it is told at a place.

    `error` is raised instead of carrying out step `at`, or behind it with `late`; with `silent`
    that many yields are left out (or added, when negative).
    """

    at: int = -1
    error: BaseException | None = None
    late: bool = False
    silent: int = 0
    calls: list[str] = field(default_factory=list)

    def execute(self, steps: Sequence[Step]) -> Iterator[None]:
        self.calls.append("".join(step.action for step in steps))
        for step in steps:
            here = self.error is not None and int(step.target) == self.at
            if here and not self.late:
                assert self.error is not None
                raise self.error
            yield
            if here:
                assert self.error is not None
                raise self.error

    def misreport(self, steps: Sequence[Step]) -> Iterator[None]:
        yield from itertools.repeat(None, len(steps) - self.silent)

    def kinds(self, *, red: int = 1, blue: int = 1) -> dict[type[Step], Kind]:
        return {
            Red: Kind(self.execute, red), Blue: Kind(self.execute, blue),
            Tidy: Kind(self.execute),
        }  # fmt: skip


@dataclass
class Record:
    """Notes what it is told; raises in `started` or `ended` of a step when told to."""

    fails: tuple[str, str] = ("", "")
    lines: list[str] = field(default_factory=list)

    def started(self, steps: Sequence[Step]) -> None:
        self._note("started", steps)

    def ended(self, steps: Sequence[Step], states: Sequence[StepState], error: str) -> None:
        self._note("ended", steps)
        assert len(steps) == len(states)
        self.lines += [
            f"{s.target} {state.value}{f': {error}' if error else ''}"
            for s, state in zip(steps, states, strict=True)
        ]

    def _note(self, event: str, steps: Sequence[Step]) -> None:
        self.lines.append(f"{event} {','.join(step.target for step in steps)}")
        if self.fails[0] == event and self.fails[1] in [step.target for step in steps]:
            raise MapadminError("the journal is full")


# --- plans -------------------------------------------------------------------------------------


def test_plans_add_up() -> None:
    one = Plan((Step(action="a", target="x"),), ("n",))
    two = Plan((Step(action="b", target="y", destroys=True),), ("m",))
    assert (one + two).steps == one.steps + two.steps
    assert (one + two).notes == ("n", "m")
    assert (one + two).destroys
    assert not one.destroys
    assert one
    assert not Plan(notes=("only a note",))


# --- carrying out ------------------------------------------------------------------------------


BATCHES: list[tuple[str, int, int, list[str]]] = [
    ("", 1, 1, []),
    ("rrr", 1, 1, ["r", "r", "r"]),
    ("rrr", 2, 1, ["rr", "r"]),
    ("rrrr", 2, 1, ["rr", "rr"]),
    ("rrrr", 9, 1, ["rrrr"]),
    ("rrbbr", 9, 9, ["rr", "bb", "r"]),
    ("rbrb", 9, 9, ["r", "b", "r", "b"]),
    ("rrrbbb", 2, 1, ["rr", "r", "b", "b", "b"]),
]


@pytest.mark.parametrize(("kinds", "red", "blue", "calls"), BATCHES)
def test_batches(kinds: str, red: int, blue: int, calls: list[str]) -> None:
    world, record = World(), Record()
    outcome = carry_out(plan_of(kinds), world.kinds(red=red, blue=blue), [record])
    assert world.calls == calls
    assert outcome.states == [DONE] * len(kinds)
    assert outcome.ok
    assert outcome.changed is bool(kinds)
    assert outcome.exit_code is ExitCode.OK
    told = [line.split()[1] for line in record.lines if line.startswith("started")]
    assert [len(batch.split(",")) for batch in told] == [len(call) for call in calls]


@given(st.text("rb", max_size=8), st.integers(1, 4), st.integers(1, 4))
def test_every_step_once_and_in_order(kinds: str, red: int, blue: int) -> None:
    world, record = World(), Record()
    carry_out(plan_of(kinds), world.kinds(red=red, blue=blue), [record])
    assert "".join(world.calls) == kinds
    done = [line for line in record.lines if line.endswith("done")]
    assert done == [f"{i} done" for i in range(len(kinds))]


# An error, the state of its step, and of those that were sent together with it.
ERRORS: list[tuple[BaseException, StepState, StepState, ExitCode]] = [
    (MapadminError("no"), FAILED, REST, ExitCode.FAILED),
    (SettingsError("no"), FAILED, REST, ExitCode.SETTINGS),
    (ValueError("no"), FAILED, REST, ExitCode.FAILED),
    (UnreachableError("lost"), FAILED, UNKNOWN, ExitCode.UNREACHABLE),
    (Interrupted(), INTERRUPTED, UNKNOWN, ExitCode.INTERRUPTED),
]


@pytest.mark.parametrize(("error", "state", "mates", "code"), ERRORS)
@pytest.mark.parametrize("red", [1, 2, 9])
@pytest.mark.parametrize("at", range(5))
def test_failure_at_each_position(
    at: int, red: int, error: BaseException, state: StepState, mates: StepState, code: ExitCode
) -> None:
    plan = plan_of("rrrbr")
    world, record = World(at, error), Record()
    outcome = carry_out(plan, world.kinds(red=red), [record])
    sent = len("".join(world.calls))
    assert outcome.states == (
        [DONE] * at + [state] + [mates] * (sent - at - 1) + [REST] * (len(plan.steps) - sent)
    )
    assert outcome.error is error
    assert outcome.exit_code is code
    assert outcome.changed is (at > 0)
    assert f"{at} {state.value}: {error}" in record.lines
    # Everything that was announced has an end, and nothing is told of what was never announced.
    started = [line.split()[1] for line in record.lines if line.startswith("started")]
    ended = [line.split()[1] for line in record.lines if line.startswith("ended")]
    assert started == ended
    assert str(at) in started[-1].split(",")


@pytest.mark.parametrize("error", [ValueError("no"), Interrupted()])
@pytest.mark.parametrize("at", range(4))
def test_failure_behind_each_position(at: int, error: BaseException) -> None:
    """The step itself was reported as done: so it was, and the run stops."""
    outcome = carry_out(plan_of("rrrr"), World(at, error, late=True).kinds(red=2), [])
    expected = [DONE] * (at + 1)
    if at % 2 == 0:  # the other one of its batch of two
        expected.append(INTERRUPTED if isinstance(error, Interrupted) else FAILED)
    assert outcome.states == expected + [REST] * (4 - len(expected))
    assert outcome.error is error


@pytest.mark.parametrize("error", [ValueError("no"), Interrupted()])
@pytest.mark.parametrize("at", range(3))
def test_what_cleans_up_is_done_whatever_failed(at: int, error: BaseException) -> None:
    world, record = World(at, error), Record()
    outcome = carry_out(plan_of("rrt"), world.kinds(), [record])
    failed = INTERRUPTED if isinstance(error, Interrupted) else FAILED
    expected = [DONE] * at + [failed] + [REST] * (2 - at)
    if at < 2:
        expected[2] = DONE
    assert outcome.states == expected
    assert outcome.error is error
    assert record.lines[-2] == "ended 2"


@pytest.mark.parametrize(
    ("silent", "states"),
    [(2, [FAILED, REST, REST]), (1, [DONE, FAILED, REST]), (-1, [DONE, DONE, REST])],
)
def test_executor_that_miscounts(silent: int, states: list[StepState]) -> None:
    world, record = World(silent=silent), Record()
    outcome = carry_out(plan_of("rrb"), {**world.kinds(), Red: Kind(world.misreport, 2)}, [record])
    assert outcome.states == states
    assert str(outcome.error) == f"{2 - silent} of 2 steps were reported as done"
    assert world.calls == []


def test_step_that_nobody_can_carry_out_begins_nothing() -> None:
    world, record = World(), Record()
    with pytest.raises(KeyError):
        carry_out(plan_of("rb"), {Red: Kind(world.execute)}, [record])
    assert (world.calls, record.lines) == ([], [])


# --- recorders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(3))
def test_recorder_that_fails_before_a_step(at: int) -> None:
    """What cannot be recorded is not done."""
    world, other = World(), Record()
    broken = Record(fails=("started", str(at)))
    outcome = carry_out(plan_of("rrr"), world.kinds(), [broken, other])
    assert world.calls == ["r"] * at
    assert outcome.states == [DONE] * at + [FAILED] + [REST] * (2 - at)
    assert str(outcome.error) == "the journal is full"


@pytest.mark.parametrize("at", range(3))
def test_recorder_that_fails_after_a_step(at: int) -> None:
    """It is done, but nothing else is: the others are still told."""
    world, other = World(), Record()
    broken = Record(fails=("ended", str(at)))
    outcome = carry_out(plan_of("rrr"), world.kinds(), [broken, other])
    assert outcome.states == [DONE] * (at + 1) + [REST] * (2 - at)
    assert str(outcome.error) == "the journal is full"
    assert other.lines[-1].startswith(f"{at} done")


def test_a_step_s_own_error_comes_before_a_recorder_s() -> None:
    outcome = carry_out(
        plan_of("r"), World(0, ValueError("first")).kinds(), [Record(fails=("ended", "0"))]
    )
    assert str(outcome.error) == "first"


def test_outcome_of_nothing() -> None:
    assert Outcome(Plan()).ok
    assert not Outcome(Plan()).changed


# --- real interruptions ------------------------------------------------------------------------

# Counts done steps in a file of its own, and prints the outcome that the report would see.
STORM = """
    import json, sys, threading, time
    from pathlib import Path
    from mapadmin.core import interruption
    from mapadmin.core.errors import Interrupted
    from mapadmin.core.journal import Journal
    from mapadmin.core.plan import Kind, Plan, Step, carry_out

    interruption.install()
    if sys.argv[2] == "threads":
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    count = 0

    def execute(steps):
        global count
        for step in steps:
            time.sleep(0.002)
            count += 1
            yield

    plan = Plan(tuple(Step(action="a", target=str(i)) for i in range(1000)))
    journal = Journal(Path(sys.argv[1]), command="x")
    journal.begin(1000)
    try:
        print("ready", flush=True)
        outcome = carry_out(plan, {Step: Kind(execute, 3)}, [journal])
        print(json.dumps([[s.value for s in outcome.states], repr(outcome.error), count]))
    except Interrupted:
        print(json.dumps([["not started"] * 1000, "Interrupted()", 0]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0, 0.003, 0.01, 0.0173, 0.031])
@pytest.mark.parametrize("threads", ["threads", "alone"])
def test_interruption_at_any_moment_keeps_the_outcome(
    delay: float, threads: str, number: signal.Signals, tmp_path: Path
) -> None:
    process = start_python(STORM, tmp_path / "journal", threads)
    assert read_line(process) == "ready"
    time.sleep(delay)
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    states, error, count = json.loads(out)
    done = states.count("done")
    assert error == "Interrupted()"
    assert count - 1 <= done <= count  # the yield itself may be what was interrupted
    assert states[:done] == ["done"] * done
    assert states[done] in ("interrupted", "not started")
    assert set(states[done + 1 : done + 3]) <= {"unknown", "not started"}  # of its batch
    assert set(states[done + 3 :]) == {"not started"}
    events = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    told = [entry["event"] for entry in events if entry["event"] not in ("begin", "step")]
    assert told == [state for state in states if state != "not started"]
