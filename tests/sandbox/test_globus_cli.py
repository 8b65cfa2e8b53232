"""The official globus-cli, unmodified, against the emulator: what keeps it honest."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.globus.emulator import (
    ARCHIVE,
    CRON,
    CRON_NAME,
    MAPPED,
    OTHER,
    RIG,
    Emulator,
    running_emulator,
)
from tests.lab import Ran


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("globus")) as running:
        folder = running.rig / "sub" / "deep"
        folder.mkdir(parents=True)
        (folder / "größe 'x'.bin").write_bytes(b"x" * 1000)
        (running.rig / "top.txt").write_text("top")
        (running.rig / ".hidden").touch()
        yield running


def ok(emulator: Emulator, *args: str, **more: str) -> Any:
    ran = emulator.cli(*args, "-F", "json", **more)
    assert ran.code == 0, f"{args}: {ran.out}\n{ran.err}"
    return json.loads(ran.out)


def refused(ran: Ran) -> str:
    assert ran.code != 0
    return ran.err


def test_who_and_where(emulator: Emulator) -> None:
    assert emulator.cli("whoami").out == f"{CRON_NAME}\n"
    found = ok(emulator, "get-identities", "alice@example.org", CRON)
    assert {who["username"] for who in found["identities"]} == {"alice@example.org", CRON_NAME}
    assert [c["id"] for c in ok(emulator, "endpoint", "search", "map archive")["DATA"]] == [ARCHIVE]
    shown = ok(emulator, "endpoint", "show", "--skip-endpoint-type-check", ARCHIVE)
    assert (shown["display_name"], shown["acl_available"]) == ("MAP archive", True)


def test_listings(emulator: Emulator) -> None:
    plain = emulator.cli("ls", f"{RIG}:/")
    assert plain.out.splitlines() == ["sub/", "top.txt"]
    assert ".hidden" in emulator.cli("ls", "-a", f"{RIG}:/").out
    deep = ok(emulator, "ls", "-r", f"{RIG}:/")["DATA"]
    assert {row["name"] for row in deep} == {
        "sub", "sub/deep", "sub/deep/größe 'x'.bin", "top.txt"
    }  # fmt: skip
    only = emulator.cli("ls", "--filter", "~*.txt", f"{RIG}:/")
    assert only.out.splitlines() == ["top.txt"]
    assert ok(emulator, "stat", f"{RIG}:/top.txt")["size"] == 3
    assert "ClientError.NotFound" in refused(emulator.cli("ls", f"{RIG}:/gone"))
    assert "NotDirectory" in refused(emulator.cli("ls", f"{RIG}:/top.txt"))


def test_small_changes(emulator: Emulator) -> None:
    ok(emulator, "mkdir", f"{RIG}:/new")
    assert "Exists" in refused(emulator.cli("mkdir", f"{RIG}:/new"))
    ok(emulator, "rename", RIG, "/new", "/newer")
    assert (emulator.rig / "newer").is_dir()
    task = ok(emulator, "delete", "-r", f"{RIG}:/newer")["task_id"]
    assert (
        emulator.cli("task", "wait", task, "--timeout", "20", "--polling-interval", "1").code == 0
    )
    assert not (emulator.rig / "newer").exists()


def test_a_transfer_from_submission_to_its_files(emulator: Emulator) -> None:
    task = ok(emulator, "transfer", "-r", f"{RIG}:/sub", f"{ARCHIVE}:/copy", "--label", "one",
              "--verify-checksum", "--sync-level", "checksum")["task_id"]  # fmt: skip
    assert (
        emulator.cli("task", "wait", task, "--timeout", "20", "--polling-interval", "1").code == 0
    )
    assert (emulator.archive / "copy" / "deep" / "größe 'x'.bin").read_bytes() == b"x" * 1000
    shown = ok(emulator, "task", "show", task)
    assert (shown["status"], shown["files_transferred"], shown["label"]) == ("SUCCEEDED", 1, "one")
    files = ok(emulator, "task", "show", "-t", task)["DATA"]
    assert [(f["destination_path"], f["size"]) for f in files] == [
        ("/copy/deep/größe 'x'.bin", 1000)
    ]
    events = ok(emulator, "task", "event-list", task)["DATA"]
    assert [event["code"] for event in events] == ["SUCCEEDED", "STARTED"]
    listed = ok(emulator, "task", "list", "--filter-status", "SUCCEEDED", "--filter-label", "one")
    assert [row["task_id"] for row in listed["DATA"]] == [task]


@pytest.mark.parametrize(
    ("then", "status", "nice"),
    [("stall", "ACTIVE", "PERMISSION_DENIED"), ("inactive", "INACTIVE", "CREDENTIALS_EXPIRED"),
     ("queue", "ACTIVE", "Queued"), ("pause", "ACTIVE", "PAUSED")],
)  # fmt: skip
def test_tasks_that_do_not_get_on(emulator: Emulator, then: str, status: str, nice: str) -> None:
    emulator.control(tasks=[{"match": f"^{then}$", "then": then}])
    task = ok(emulator, "transfer", f"{RIG}:/top.txt", f"{ARCHIVE}:/{then}", "--label", then)
    number = task["task_id"]
    deadline = time.monotonic() + 10
    while (shown := ok(emulator, "task", "show", number))["nice_status"] != nice:
        assert time.monotonic() < deadline, shown
    assert (shown["status"], shown["is_paused"]) == (status, then == "pause")
    ok(emulator, "task", "cancel", number)
    assert ok(emulator, "task", "show", number)["status"] == "FAILED"
    assert not (emulator.archive / then).exists()
    emulator.control()


def test_access_rules(emulator: Emulator) -> None:
    made = ok(emulator, "endpoint", "permission", "create", f"{RIG}:/sub/", "--permissions", "r",
              "--identity", OTHER)["access_id"]  # fmt: skip
    assert emulator.cli("ls", f"{RIG}:/sub", client=OTHER).code == 0
    assert "PermissionDenied" in refused(emulator.cli("ls", f"{RIG}:/", client=OTHER))
    ok(emulator, "endpoint", "permission", "update", RIG, made, "--permissions", "rw")
    assert ok(emulator, "endpoint", "permission", "show", RIG, made)["permissions"] == "rw"
    ok(emulator, "endpoint", "permission", "delete", RIG, made)
    assert emulator.cli("ls", f"{RIG}:/sub", client=OTHER).code == 1


def test_what_goes_wrong_is_waited_for_or_told(emulator: Emulator) -> None:
    emulator.control(failures=[
        {"match": "/ls", "status": 429, "headers": {"Retry-After": "1"}, "times": 1},
        {"match": "/ls", "status": 503, "times": 1, "skip": 1},
    ])  # fmt: skip
    assert emulator.cli("ls", f"{RIG}:/").code == 0
    emulator.control(failures=[{"match": "/ls", "status": 401, "code": "AuthenticationFailed",
                                "times": 1}])  # fmt: skip
    assert emulator.cli("ls", f"{RIG}:/").code == 0  # it gets itself a new token
    emulator.control()


def test_consent(emulator: Emulator) -> None:
    # globus-cli, as an application, gives itself the consent that the error names.
    assert emulator.cli("ls", f"{MAPPED}:/").code == 0
    consents = json.loads((emulator.folder / "state.json").read_text())["consents"]
    assert consents[CRON] == [MAPPED]


def test_a_wrong_secret_and_a_restart(emulator: Emulator, tmp_path: Path) -> None:
    unknown = emulator.cli("whoami", client="12345678-1234-1234-1234-123456789abc")
    assert unknown.code != 0
    emulator.stop()
    emulator.start()
    assert emulator.cli("ls", f"{RIG}:/").code == 0  # with the token from before
    assert ok(emulator, "task", "list")["DATA"]


def test_too_many_requests_are_refused_as_the_service_does(emulator: Emulator) -> None:
    emulator.control(rate=0.2)  # two in ten seconds
    assert emulator.cli("ls", "-r", f"{RIG}:/").code == 0  # three folders: it has to wait
    assert [status for _, _, _, status in emulator.requests()][-2:] == [429, 200]
    emulator.control()
