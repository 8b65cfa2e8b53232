"""Carrying out what was planned: a call, and then waiting until it has come true."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from mapadmin.aws import calls
from mapadmin.aws.calls import Call
from mapadmin.aws.faults import AwsError
from mapadmin.aws.session import Aws
from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Kind, Step
from mapadmin.core.progress import Progress

POLL_SECONDS = 5.0
WAIT_SECONDS = 3600.0


class Until(StrEnum):
    """What a step waits for after its call."""

    NOTHING = ""
    SNAPSHOT = "snapshot is available"
    DATABASE = "instance is available"
    NO_DATABASE = "instance is gone"
    HEALTHY = "server is healthy"
    STOPPED = "server is stopped"


class AwsStep(Step, frozen=True, kw_only=True):
    """One call of an API. `waits_on` is the name of what `until` is about."""

    call: Call
    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict)
    until: Until = Until.NOTHING
    waits_on: str = ""


def kind(aws: Aws) -> Kind:
    """How an AwsStep is carried out."""

    def execute(steps: Sequence[AwsStep]) -> Iterator[None]:
        for step in steps:
            aws.call(step.call, **step.parameters)
            if step.until:
                wait_for(aws, step.until, step.waits_on)
            yield

    return Kind(execute)


def wait_for(aws: Aws, until: Until, name: str) -> None:
    """Look again and again. Raises MapadminError when it went wrong, or takes an hour."""
    deadline = time.monotonic() + WAIT_SECONDS
    with Progress(f"Waiting until {name}'s {until.value}") as progress:
        while True:
            reached, now = _LOOKS[until](aws, name)
            if reached:
                return
            if time.monotonic() > deadline:
                raise MapadminError(f"{name} is still {now} after an hour.")
            progress.advance(0, note=now)
            time.sleep(POLL_SECONDS)


def _snapshot(aws: Aws, name: str) -> tuple[bool, str]:
    found = aws.call(calls.DB_SNAPSHOTS, DBSnapshotIdentifier=name)["DBSnapshots"][0]
    return _reached(found["Status"], "available", name)


def _database(aws: Aws, name: str) -> tuple[bool, str]:
    found = aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=name)["DBInstances"][0]
    return _reached(found["DBInstanceStatus"], "available", name)


def _reached(status: str, wanted: str, name: str) -> tuple[bool, str]:
    if status.startswith(("failed", "incompatible")):
        raise MapadminError(f"{name} is {status}.")
    return status == wanted, status


def _no_database(aws: Aws, name: str) -> tuple[bool, str]:
    try:
        return False, str(
            aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=name)["DBInstances"][0][
                "DBInstanceStatus"
            ]
        )
    except AwsError as error:
        if error.code not in ("DBInstanceNotFound", "DBInstanceNotFoundFault"):
            raise
        return True, ""


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
    Until.NO_DATABASE: _no_database,
    Until.HEALTHY: _healthy,
    Until.STOPPED: _stopped,
}
