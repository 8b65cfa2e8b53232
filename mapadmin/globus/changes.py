"""Steps that change something at Globus, and how each is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Kind, Step
from mapadmin.globus.refusals import MissingError
from mapadmin.globus.submitted import Submission, Submitted
from mapadmin.globus.waiting import Ended, wait_for

OVER = ("SUCCEEDED", "FAILED")

if TYPE_CHECKING:
    from mapadmin.globus.service import Service


class FolderStep(Step, frozen=True, kw_only=True):
    """Make a folder, or rename what is at `path` to `new`."""

    collection: str
    path: str
    new: str = ""


class TaskStep(Step, frozen=True, kw_only=True):
    """Submit a task. With `wait` it counts as done when the task has succeeded.

    `started` is told the task's id as soon as there is one. `running` is a task that does the same
    already: it is not submitted again.
    """

    kind: str  # transfer, delete
    document: Mapping[str, Any]
    wait: bool = False
    started: Callable[[str], None]
    running: str = ""


class CancelStep(Step, frozen=True, kw_only=True):
    """End a task."""

    task: str


class RuleStep(Step, frozen=True, kw_only=True):
    """Add an access rule (no `rule_id`), change one, or remove one (no `rule`)."""

    collection: str
    rule_id: str = ""
    rule: Mapping[str, Any] = msgspec.field(default_factory=dict)


def kinds(service: Service, submitted: Submitted) -> dict[type[Step], Kind]:
    """Who carries out which step."""
    return {
        FolderStep: Kind(partial(_folders, service)),
        TaskStep: Kind(partial(_tasks, service, submitted)),
        CancelStep: Kind(partial(_cancel, service)),
        RuleStep: Kind(partial(_rules, service)),
    }


def _folders(service: Service, steps: Sequence[FolderStep]) -> Iterator[None]:
    for step in steps:
        if step.new:
            service.rename(step.collection, step.path, step.new)
        else:
            service.mkdir(step.collection, step.path)
        yield


def under_way(service: Service, submitted: Submitted, document: Mapping[str, Any]) -> str:
    """The task that does what this document asks for and is not over; empty if there is none."""
    last = submitted.find(document)
    if last is None or not last.task:
        return ""
    try:
        return "" if service.task(last.task)["status"] in OVER else last.task
    except MissingError:
        return ""


def _tasks(service: Service, submitted: Submitted, steps: Sequence[TaskStep]) -> Iterator[None]:
    for step in steps:
        number = step.running or _submit(service, submitted, step)
        step.started(number)
        if step.wait:
            ended = wait_for(service, number)
            if ended.how is not Ended.SUCCEEDED:
                raise MapadminError(
                    f"Task {number} {ended.how.value}: {ended.why or 'no reason given'}.",
                    remedy=f"`mapadmin globus task {number}` tells more.",
                )
        yield


def _submit(service: Service, submitted: Submitted, step: TaskStep) -> str:
    """Its task. With its id, a request that is sent again after a lost answer is the same task.

    The id is kept before the request is sent: also when this process dies before the answer.
    """
    last = submitted.find(step.document)
    if last is not None and not last.task:
        number = service.submit(step.kind, {**step.document, "submission_id": last.submission_id})
        if service.task(number)["status"] not in OVER:  # one that is over was another time's
            submitted.keep(step.document, Submission(last.submission_id, number))
            return number
    mark = service.submission_id()
    submitted.keep(step.document, Submission(mark))
    number = service.submit(step.kind, {**step.document, "submission_id": mark})
    submitted.keep(step.document, Submission(mark, number))
    return number


def _cancel(service: Service, steps: Sequence[CancelStep]) -> Iterator[None]:
    for step in steps:
        service.cancel(step.task)
        yield


def _rules(service: Service, steps: Sequence[RuleStep]) -> Iterator[None]:
    for step in steps:
        if not step.rule_id:
            service.add_rule(step.collection, dict(step.rule))
        elif step.rule:
            service.change_rule(step.collection, step.rule_id, dict(step.rule))
        else:
            service.remove_rule(step.collection, step.rule_id)
        yield
