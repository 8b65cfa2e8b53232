"""Tasks: asynchronous copies and deletions, three at a time, that can be made to go wrong."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

from mapadmin.core.errors import MapadminError
from mapadmin.sandbox.globus.answers import Json, bad_request, not_found, stamp
from mapadmin.sandbox.globus.copying import BlockedError, Job
from mapadmin.sandbox.globus.world import World, new_id

AT_ONCE = 3  # tasks of all users; the rest are queued
PENDING = 100  # tasks that a user may have waiting
LOOK_SECONDS = 0.05
DAY = 86_400.0
BLOCKED = {
    "stall": ("PERMISSION_DENIED", "Permission denied at the destination"),
    "inactive": ("CREDENTIALS_EXPIRED", "Credentials are expired"),
}


class Tasks:
    """Submits, runs, lists and cancels; every task is a thread."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._slots = threading.Semaphore(AT_ONCE)
        for task in world.state.tasks.values():
            if task["document"]["status"] in ("ACTIVE", "INACTIVE"):
                self._start(task)

    def submit(self, kind: str, caller: str, body: Json) -> Json:
        """The answer to `transfer` or `delete`. The same submission id is the same task."""
        submission = str(body.get("submission_id", ""))
        if not submission or not body.get("DATA"):
            raise bad_request("submission_id and DATA are required")
        with self.world.lock:
            for number, task in self.world.state.tasks.items():
                if task["submission"] == submission and task["owner"] == caller:
                    return _accepted(kind, number, submission, "Duplicate")
            waiting = [
                t for t in self.world.state.tasks.values()
                if t["owner"] == caller and t["document"]["status"] == "ACTIVE"
            ]  # fmt: skip
            if len(waiting) >= PENDING:
                raise bad_request(f"More than {PENDING} tasks are pending")
            number = new_id()
            task = {
                "submission": submission, "owner": caller, "request": body, "events": [],
                "succeeded": [], "skipped": [],
                "document": self._document(kind, number, caller, body),
            }  # fmt: skip
            self.world.state.tasks[number] = task
            self.world.save()
        self._start(task)
        return _accepted(kind, number, submission, "Accepted")

    def find(self, number: str, caller: str) -> Json:
        """A task of the caller's, or of anybody for a manager. Raises ApiError."""
        with self.world.lock:
            task = self.world.state.tasks.get(number)
        if task is None or (task["owner"] != caller and not self.world.is_manager(caller)):
            raise not_found("task")
        return task

    def cancel(self, task: Json) -> str:
        """The code of the answer: Canceled, or TaskComplete when it was over already."""
        with self.world.lock:
            if task["document"]["status"] in ("SUCCEEDED", "FAILED"):
                return "TaskComplete"
            self._end(task, "FAILED", "CANCELED", "The task was canceled by its owner")
            return "Canceled"

    # --- running --------------------------------------------------------------------------------

    def _start(self, task: Json) -> None:
        threading.Thread(target=self._run, args=(task,), daemon=True).start()

    def _run(self, task: Json) -> None:
        document = task["document"]
        document["nice_status"], document["nice_status_short_description"] = "Queued", "queued"
        with self._slots:
            if self._wait_while_wanted(task):
                self._set(task, status="ACTIVE", is_paused=False, nice_status="OK",
                          nice_status_short_description="ok")  # fmt: skip
                self._event(task, "STARTED", "started")
                self._work(task)

    def _work(self, task: Json) -> None:
        job = Job(self.world, task)
        while task["document"]["status"] == "ACTIVE" and not self._is_late(task):
            try:
                finished = self._go_through(job, task)
            except BlockedError as error:
                self._fault(task, error.code, str(error))
            except (OSError, MapadminError) as error:
                self._fault(task, "ENDPOINT_ERROR", str(error))
            else:
                with self.world.lock:
                    if finished and task["document"]["status"] == "ACTIVE":
                        self._end(task, "SUCCEEDED", "SUCCEEDED", "The task is complete")
                return
            time.sleep(10 * LOOK_SECONDS)

    def _go_through(self, job: Job, task: Json) -> bool:
        """File by file; False when the task ended before the last one."""
        for _ in job.run():
            if not self._wait_while_wanted(task):
                return False
            then = self.world.faults.of_task(_texts(task))
            if then == "slow":
                time.sleep(0.2)
            elif then == "fail":
                self._end(task, "FAILED", "ENDPOINT_ERROR", "The endpoint gave up")
                return False
        return True

    def _wait_while_wanted(self, task: Json) -> bool:
        """Hold a task as control.json says; False when it ended meanwhile."""
        held = ""
        while task["document"]["status"] in ("ACTIVE", "INACTIVE"):
            then = self.world.faults.of_task(_texts(task))
            if then not in ("stall", "inactive", "pause", "queue"):
                if held:
                    self._set(task, status="ACTIVE", is_paused=False, nice_status="OK",
                              nice_status_short_description="ok")  # fmt: skip
                return True
            if then != held:
                self._hold(task, then)
                held = then
            if self._is_late(task):
                return False
            time.sleep(LOOK_SECONDS)
        return False

    def _hold(self, task: Json, then: str) -> None:
        if then == "queue":
            self._set(task, nice_status="Queued", nice_status_short_description="queued")
        elif then == "pause":
            self._set(task, is_paused=True, nice_status="PAUSED",
                      nice_status_short_description="paused by an administrator")  # fmt: skip
            self._event(task, "PAUSED", "paused by an administrator")
        else:
            code, words = BLOCKED[then]
            self._fault(task, code, words)
            if then == "inactive":
                self._set(task, status="INACTIVE")

    def _fault(self, task: Json, code: str, words: str) -> None:
        with self.world.lock:
            faults = int(task["document"]["faults"]) + 1
            self._set(task, faults=faults, nice_status=code, nice_status_short_description=words)
            self._event(task, code, words, is_error=True)

    def _is_late(self, task: Json) -> bool:
        deadline = datetime.fromisoformat(task["document"]["deadline"])
        if deadline > datetime.now(UTC):
            return False
        self._end(task, "FAILED", "DEADLINE_EXPIRED", "The task's deadline has passed")
        return True

    def _end(self, task: Json, status: str, code: str, words: str) -> None:
        ok = status == "SUCCEEDED"
        with self.world.lock:
            fatal = None if ok else {"code": code, "description": words}
            succeeded = task["document"]["subtasks_succeeded"]
            total = max(task["document"]["subtasks_total"], succeeded)
            self._event(task, code, words, is_error=not ok)
            self._set(
                task, status=status, is_ok=ok, completion_time=stamp(time.time()), is_paused=False,
                fatal_error=fatal, nice_status=None, nice_status_short_description=None,
                subtasks_pending=0, subtasks_canceled=0 if ok else total - succeeded,
                subtasks_total=succeeded if ok else total,
            )  # fmt: skip
            self.world.save()

    def _set(self, task: Json, **values: Any) -> None:
        with self.world.lock:
            task["document"].update(values)

    def _event(self, task: Json, code: str, words: str, *, is_error: bool = False) -> None:
        with self.world.lock:
            task["events"].insert(
                0,
                {"DATA_TYPE": "event", "code": code, "description": words, "details": words,
                 "is_error": is_error, "parent_task_id": None, "time": stamp(time.time())},
            )  # fmt: skip

    def _document(self, kind: str, number: str, caller: str, body: Json) -> Json:
        now = time.time()
        owner = self.world.identity(caller)
        source = self.world.collection(str(body.get("source_endpoint") or body.get("endpoint")))
        target = body.get("destination_endpoint")
        goal = self.world.collection(str(target)) if target else None
        count = len(body["DATA"])
        return {
            "DATA_TYPE": "task", "task_id": number, "type": kind.upper(), "status": "ACTIVE",
            "label": body.get("label"), "owner_id": caller, "username": str(caller),
            "owner_string": owner.username if owner else caller,
            "request_time": stamp(now), "completion_time": None,
            "deadline": _deadline(body.get("deadline"), now),
            "source_endpoint": source.name, "source_endpoint_id": source.id,
            "source_endpoint_display_name": source.name,
            "destination_endpoint": goal.name if goal else None,
            "destination_endpoint_id": goal.id if goal else None,
            "destination_endpoint_display_name": goal.name if goal else None,
            "sync_level": body.get("sync_level"),
            "verify_checksum": body.get("verify_checksum", True),
            "encrypt_data": body.get("encrypt_data", False), "is_ok": True, "is_paused": False,
            "bytes_transferred": 0, "bytes_checksummed": 0, "effective_bytes_per_second": 0,
            "files": 0, "directories": 0, "files_transferred": 0, "files_skipped": 0, "faults": 0,
            "subtasks_total": count, "subtasks_pending": count, "subtasks_succeeded": 0,
            "subtasks_failed": 0, "subtasks_retrying": 0, "subtasks_canceled": 0,
            "subtasks_expired": 0, "subtasks_skipped_errors": 0, "fatal_error": None,
            "nice_status": "OK", "nice_status_short_description": "ok", "nice_status_details": None,
            "recursive_symlinks": body.get("recursive_symlinks", "ignore"),
            "skip_source_errors": body.get("skip_source_errors", False), "history_deleted": False,
        }  # fmt: skip


def _deadline(text: str | None, now: float) -> str:
    if not text:
        return stamp(now + DAY)
    found = datetime.fromisoformat(text)
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return aware.isoformat(sep=" ", timespec="seconds")


def _texts(task: Json) -> list[str]:
    body = task["request"]
    paths = [str(i.get("source_path") or i.get("path")) for i in body["DATA"]]
    return [str(body.get("label") or ""), *paths]


def _accepted(kind: str, number: str, submission: str, code: str) -> Json:
    return {
        "DATA_TYPE": f"{kind}_result", "code": code, "task_id": number, "request_id": "emulator0",
        "submission_id": submission, "resource": f"/{kind}",
        "message": "The task has been accepted and is queued for execution",
        "task_link": {"DATA_TYPE": "link", "href": f"task/{number}", "rel": "related",
                      "resource": "task", "title": "related task"},
    }  # fmt: skip
