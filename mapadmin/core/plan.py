"""A change is planned as plain data, shown, and then carried out exactly as shown.

A Step says what is changed. Only an executor knows how; there is one per kind of step, and
`carry_out` is the only place that calls them. A dry run is simply not calling it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import msgspec

from mapadmin.core.errors import ExitCode, Interrupted, MapadminError, UnreachableError
from mapadmin.core.interruption import held_back, let_through


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One change. Subclasses add what their executor needs; never a secret in clear."""

    action: str  # "create account"
    target: str  # "alice@%"
    detail: str = ""  # "locked, TLS required"
    destroys: bool = False  # something is gone afterwards: asks first
    always: ClassVar[bool] = False  # cleans up: is carried out also after another has failed


class Plan(msgspec.Struct, frozen=True):
    """The steps of one command, in order. `notes` are for the reader and change nothing."""

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __add__(self, other: Plan) -> Plan:
        return Plan(self.steps + other.steps, self.notes + other.notes)

    @property
    def destroys(self) -> bool:
        return any(step.destroys for step in self.steps)


class StepState(StrEnum):
    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    UNKNOWN = "unknown"  # sent together with one that was cut short: the next run finds out
    NOT_STARTED = "not started"


# An executor carries out steps of one kind, in order, and yields once after each that is done.
# An exception after n yields therefore means: n are done, the next one failed.
Executor = Callable[[Sequence[Any]], Iterator[None]]


class Kind(msgspec.Struct, frozen=True):
    """How steps of one class are carried out: by whom, and how many at a time at the most."""

    execute: Executor
    batch: int = 1


class Recorder(Protocol):
    """Who is told of each batch before and after it; the journal is one."""

    def started(self, steps: Sequence[Step]) -> None: ...

    def ended(self, steps: Sequence[Step], states: Sequence[StepState], error: str) -> None: ...


class Outcome(msgspec.Struct):
    """What became of a plan. `error` is why it stopped, `states` go with `plan.steps`."""

    plan: Plan
    states: list[StepState] = msgspec.field(default_factory=list)
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def changed(self) -> bool:
        return StepState.DONE in self.states

    @property
    def exit_code(self) -> ExitCode:
        if self.error is None:
            return ExitCode.OK
        if isinstance(self.error, Interrupted):
            return ExitCode.INTERRUPTED
        if isinstance(self.error, MapadminError):
            return self.error.exit_code
        return ExitCode.FAILED


def carry_out(
    plan: Plan,
    kinds: Mapping[type[Step], Kind],
    recorders: Sequence[Recorder],
) -> Outcome:
    """Carry out a plan's steps in order and stop at the first that fails, but for `always` ones.

    Neighbouring steps of the same kind are handed to their executor in batches, so that a
    thousand grants need not be a thousand round trips. Any error ends the run and is kept in the
    outcome: the caller reports what was done, what failed and what was not started.

    Only executors are interrupted; Ctrl-C while something is recorded waits until it is.
    """
    outcome = Outcome(plan, [StepState.NOT_STARTED] * len(plan.steps))
    batches = list(_batches(plan.steps, kinds))
    position = 0
    try:
        with held_back():
            for kind, steps in batches:
                if outcome.error is None or steps[0].always:
                    states, error = _run_batch(kind, steps, recorders)
                    outcome.states[position : position + len(steps)] = states
                    outcome.error = outcome.error or error
                position += len(steps)
    except Interrupted as error:  # before the first step, or while the last one was recorded
        outcome.error = outcome.error or error
    return outcome


def _batches(
    steps: Sequence[Step], kinds: Mapping[type[Step], Kind]
) -> Iterator[tuple[Kind, list[Step]]]:
    for cls, group in itertools.groupby(steps, key=type):
        kind = kinds[cls]
        while batch := list(itertools.islice(group, kind.batch)):
            yield kind, batch


def _run_batch(
    kind: Kind, steps: list[Step], recorders: Sequence[Recorder]
) -> tuple[list[StepState], BaseException | None]:
    done = 0
    failure: BaseException | None = None
    try:
        for recorder in recorders:
            recorder.started(steps)
        with let_through():
            for _ in kind.execute(steps):
                done += 1
        if done != len(steps):
            raise RuntimeError(f"{done} of {len(steps)} steps were reported as done")
    except (Exception, Interrupted) as error:  # noqa: BLE001  kept in the outcome, and shown
        failure = error
    done = min(done, len(steps))
    states = [StepState.DONE] * done
    if failure is not None and done < len(steps):
        interrupted = isinstance(failure, Interrupted)
        states.append(StepState.INTERRUPTED if interrupted else StepState.FAILED)
        cut_short = interrupted or isinstance(failure, UnreachableError)
        rest = StepState.UNKNOWN if cut_short else StepState.NOT_STARTED
        states += [rest] * (len(steps) - len(states))
    for recorder in recorders:
        try:
            recorder.ended(steps, states, str(failure) if failure else "")
        except Exception as error:  # noqa: BLE001  a journal that cannot be written ends the run
            failure = failure or error
    return states, failure
