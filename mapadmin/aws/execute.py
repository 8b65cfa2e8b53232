"""Carrying out what was planned: a call, and then waiting until it has come true."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from mapadmin.aws import calls
from mapadmin.aws.calls import Call
from mapadmin.aws.faults import AwsError
from mapadmin.aws.session import Aws
from mapadmin.core.errors import ExitCode, MapadminError
from mapadmin.core.plan import Kind, Step
from mapadmin.core.progress import Progress

POLL_SECONDS = 5.0
WAIT_SECONDS = 3600.0


class Until(StrEnum):
    """What a step waits for after its call."""

    NOTHING = ""
    SNAPSHOT = "snapshot is available"
    DATABASE = "instance is available"
    HEALTHY = "server is healthy"
    STOPPED = "server is stopped"


class AwsStep(Step, frozen=True, kw_only=True):
    """One call of an API. `waits_on` is the name of what `until` is about.

    `gone` are AWS's words for that there is nothing left to delete, which is what was wanted.
    """

    call: Call
    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict)
    until: Until = Until.NOTHING
    waits_on: str = ""
    gone: tuple[str, ...] = ()
    sign_seconds: float = 0.0  # the server is well before the call, too: until when it goes down


class WaitStep(Step, frozen=True, kw_only=True):
    """Only wait: the call was made before, by a run that was cut short or by somebody else."""

    until: Until
    waits_on: str


def kind(aws: Aws) -> Kind:
    """How an AwsStep is carried out."""

    def execute(steps: Sequence[AwsStep]) -> Iterator[None]:
        for step in steps:
            _make(aws, step)
            if step.sign_seconds:
                _wait_for_sign(aws, step.waits_on, step.sign_seconds)
            if step.until:
                wait_for(aws, step.until, step.waits_on)
            yield

    return Kind(execute)


def waiting_kind(aws: Aws) -> Kind:
    """How a WaitStep is carried out."""

    def execute(steps: Sequence[WaitStep]) -> Iterator[None]:
        for step in steps:
            wait_for(aws, step.until, step.waits_on)
            yield

    return Kind(execute)


def is_healthy(aws: Aws, instance: str) -> bool:
    """Are both of EC2's health checks of a server well?"""
    return _healthy(aws, instance)[0]


def _wait_for_sign(aws: Aws, instance: str, seconds: float) -> None:
    """Wait until the server is not well, which a quick reboot may never show."""
    deadline = time.monotonic() + seconds

    def look() -> tuple[bool, str]:
        healthy, now = _healthy(aws, instance)
        return not healthy or time.monotonic() >= deadline, now

    keep_looking(f"Waiting until {instance} goes down", instance, look)


def run_tag() -> dict[str, str]:
    """A tag by which what this run makes is known from what another one makes."""
    return {"Key": "mapadmin-run", "Value": secrets.token_hex(8)}


def _make(aws: Aws, step: AwsStep) -> None:
    """Make the call. One that was repeated, because its first answer was lost, has come true."""
    try:
        aws.call(step.call, **step.parameters)
    except AwsError as error:
        made = "AlreadyExists" in error.code and _is_ours(aws, step)
        if not (made or error.means(*step.gone)):
            raise


def _is_ours(aws: Aws, step: AwsStep) -> bool:
    """Has this very run made what is there under the step's name? Its tags tell."""
    wanted = step.parameters.get("Tags", ())
    run = next((tag for tag in wanted if tag["Key"] == "mapadmin-run"), None)
    if run is None:
        return False
    if step.call == calls.DB_CREATE_SNAPSHOT:
        name = step.parameters["DBSnapshotIdentifier"]
        found = aws.call(calls.DB_SNAPSHOTS, DBSnapshotIdentifier=name)["DBSnapshots"]
    else:
        name = step.parameters["DBInstanceIdentifier"]
        found = aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=name)["DBInstances"]
    return any(run in each.get("TagList", ()) for each in found)


def wait_for(aws: Aws, until: Until, name: str) -> None:
    """Wait until a look tells that it is so, as `keep_looking` does."""
    keep_looking(f"Waiting until {name}'s {until.value}", name, lambda: _LOOKS[until](aws, name))


def keep_looking(doing: str, name: str, look: Callable[[], tuple[bool, str]]) -> None:
    """Look again and again: is it so, and how is it now? MapadminError after an hour.

    A look that AWS does not answer, or not so often, says nothing of what is waited for: it is
    repeated.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    with Progress(doing) as progress:
        while True:
            silent: MapadminError | None = None
            try:
                reached, now = look()
            except MapadminError as error:
                if error.exit_code is not ExitCode.UNREACHABLE:
                    raise
                reached, now, silent = False, "not told by AWS", error
            if reached:
                return
            if time.monotonic() > deadline:
                raise silent or MapadminError(f"{name} is still {now} after an hour.")
            progress.advance(0, note=now)
            time.sleep(POLL_SECONDS)


def _snapshot(aws: Aws, name: str) -> tuple[bool, str]:
    found = aws.call(calls.DB_SNAPSHOTS, DBSnapshotIdentifier=name)["DBSnapshots"][0]
    return _reached(found["Status"], "available", name)


def _database(aws: Aws, name: str) -> tuple[bool, str]:
    found = aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=name)["DBInstances"][0]
    return _reached(found["DBInstanceStatus"], "available", name)


def _reached(status: str, wanted: str, name: str) -> tuple[bool, str]:
    if status.startswith(("failed", "incompatible", "restore-error")):
        raise MapadminError(f"{name} is {status}.")
    return status == wanted, status


def _healthy(aws: Aws, name: str) -> tuple[bool, str]:
    found = aws.call(calls.INSTANCE_STATUS, InstanceIds=[name], IncludeAllInstances=True)
    status = found["InstanceStatuses"][0]
    states = {
        status["InstanceState"]["Name"], status["SystemStatus"]["Status"],
        status["InstanceStatus"]["Status"],
    }  # fmt: skip
    return states == {"running", "ok"}, ", ".join(sorted(states))


def _stopped(aws: Aws, name: str) -> tuple[bool, str]:
    found = aws.call(calls.INSTANCES, InstanceIds=[name])
    state = str(found["Reservations"][0]["Instances"][0]["State"]["Name"])
    return state == "stopped", state


_LOOKS: Mapping[Until, Callable[[Aws, str], tuple[bool, str]]] = {
    Until.SNAPSHOT: _snapshot,
    Until.DATABASE: _database,
    Until.HEALTHY: _healthy,
    Until.STOPPED: _stopped,
}
