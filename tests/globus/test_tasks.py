"""`transfer`, `tasks`, `task`, `wait`, `cancel`, with tasks that go wrong in every way."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

import pytest

from mapadmin.core.errors import UsageError
from mapadmin.globus.attention import How, Seen, row_of, seen_now
from mapadmin.globus.batch import Item, batch_line, read_batch
from mapadmin.globus.model import Place
from tests.globus.emulator import CRON, OTHER, RIG
from tests.globus.site import GlobusLab


def start(lab: GlobusLab, label: str, *more: str) -> str:
    """Begin to copy a file of that name; the task's id."""
    (lab.emulator.rig / f"{label}.bin").write_text("x" * 100)
    return lab.ok(
        "transfer", f"rig:/{label}.bin", f"rig:/copies/{label}.bin", "--label", label, *more
    ).out.strip()


def test_each_way_to_go_wrong_is_told_apart(lab: GlobusLab) -> None:
    ways = ("stall", "fail", "inactive", "pause")
    lab.emulator.control(tasks=[{"match": f"^{way}$", "then": way} for way in ways])
    numbers = {way: start(lab, way) for way in ("sound", "fail", "stall", "inactive", "pause", "q")}
    assert lab.run("wait", numbers["sound"]).code == 0
    failed = lab.run("wait", numbers["fail"], "--json")
    assert (failed.code, failed.json["result"]) == (1, "failed")
    for way in ("stall", "inactive", "pause"):
        ran = lab.run("wait", numbers[way], "--stalled-after", "0.5")
        assert (ran.code, "stalled" in ran.err) == (6, True), way
    # Three run at a time for a user: the last one waits for its turn.
    assert lab.run("wait", numbers["q"], "--timeout", "0.5").code == 7
    # Two looks, a moment apart: what is in trouble has been so for a moment only.
    for _ in range(2):
        hows = {r["label"]: r["how"] for r in lab.ok("tasks", "--json").json}
        assert hows["stall"] == "retrying"
    lab.write_site("[globus.archive]\nstalled_hours = 0\n")
    rows = lab.ok("tasks", "--json").json
    assert [(r["label"], r["how"]) for r in rows] == [
        ("fail", "failed"), ("inactive", "inactive"), ("stall", "stalled"), ("pause", "paused"),
        ("q", "queued"), ("sound", "succeeded"),
    ]  # fmt: skip
    shown = lab.ok("tasks")
    assert "stalled: Permission denied at the destination" in shown.err
    assert {r["label"] for r in lab.ok("tasks", "--active", "--json").json} == {
        "stall", "inactive", "pause", "q"
    }  # fmt: skip
    one = lab.ok("task", numbers["stall"], "--json").json
    assert one["task"]["how"] == "stalled"
    assert [(e["code"], e["is_error"]) for e in one["events"]] == [("PERMISSION_DENIED", True)]
    assert "Credentials are expired" in lab.ok("task", numbers["inactive"]).out
    # The trouble is over: what waited goes on by itself.
    lab.emulator.control()
    for way in ("stall", "inactive", "pause", "q"):
        assert lab.run("wait", numbers[way], "--timeout", "20").code == 0, way
    assert (lab.emulator.rig / "copies" / "stall.bin").read_text() == "x" * 100


def test_cancel_ends_once(lab: GlobusLab) -> None:
    lab.emulator.control(tasks=[{"match": "^stall$", "then": "stall"}])
    number = start(lab, "stall")
    assert lab.run("cancel", number).code == 2  # nobody to ask
    assert len(lab.ok("cancel", number, "--dry-run", "--json").json["steps"]) == 1
    lab.ok("cancel", number, "--yes")
    assert "is over: canceled" in lab.ok("cancel", number, "--yes").err
    assert lab.run("wait", number[:8]).code == 1  # as `tasks` shows it
    several = lab.run("task", "")
    assert (several.code, "begins with ''" in several.err) == (2, True)
    assert lab.ok("tasks", "--json").json[0]["how"] == "canceled"
    unknown = lab.run("cancel", "12345678-1234-1234-1234-123456789abc", "--yes")
    assert (unknown.code, "no such thing" in unknown.err) == (1, True)


def test_a_batch_is_one_task_and_running_it_again_copies_nothing(lab: GlobusLab) -> None:
    data = lab.emulator.rig / "data"
    (data / "folder" / "in").mkdir(parents=True)
    (data / "folder" / "in" / "x").write_text("x")
    (data / "it's ü.bin").write_text("12345")
    odd = "odd\u2028and\x85and\rname"  # line ends to Python, and none in a batch
    (data / odd).write_text("odd")
    line = batch_line(Item(odd, f"there/{odd}")) + "\r\n"
    lab.folder.joinpath("odd.batch").write_bytes(line.encode())
    lab.ok("transfer", "rig:", "rig:/", "--batch", "odd.batch", "--wait")
    lab.ok("transfer", "rig:", "rig:/else", "--batch", "-", "--wait", stdin=line)
    assert (lab.emulator.rig / "there" / odd).read_text() == "odd"
    batch = lab.write(
        "batch",
        """
# a comment, and a blank line

"it's ü.bin"  "there/it's ü.bin"
-r folder  there/folder
""",
    )
    args = ("transfer", "rig:", "rig:/", "--batch", str(batch), "--wait")
    dry = lab.ok(*args, "--dry-run", "--json").json["steps"]
    assert [s["detail"] for s in dry] == ["1 file and 1 folder, mtime"]
    first = lab.ok(*args)
    assert (lab.emulator.rig / "there" / "it's ü.bin").read_text() == "12345"
    assert (lab.emulator.rig / "there" / "folder" / "in" / "x").read_text() == "x"
    lab.ok(*args)
    rows = lab.ok("tasks", "--json").json
    assert [(r["files_done"], r["files_skipped"]) for r in rows[:2]] == [(0, 2), (2, 0)]
    shown = lab.ok("task", first.out.strip(), "--files").out
    assert "/there/folder/in/x" in shown
    # globus-cli agrees on what became of it.
    other = lab.emulator.cli("task", "show", "-F", "json", first.out.strip())
    assert json.loads(other.out)["status"] == "SUCCEEDED"


def test_a_folder_is_copied_whole_and_what_is_missing_is_an_error(lab: GlobusLab) -> None:
    (lab.emulator.rig / "data" / "a").mkdir(parents=True)
    (lab.emulator.rig / "data" / "a" / "x").touch()
    lab.ok("transfer", "rig:a", "rig:/into/", "--wait")
    assert (lab.emulator.rig / "into" / "a" / "x").exists()
    assert lab.run("transfer", "rig:nothing", "rig:/into/").code == 1
    batch = lab.write("batch", "gone x\na/x y\n")
    ran = lab.run("transfer", "rig:", "rig:/into", "--batch", str(batch), "--skip-errors", "--wait")
    assert ran.code == 0
    skipped = lab.ok("task", ran.out.strip(), "--json").json["skipped"]
    assert [s["source_path"] for s in skipped] == ["/data/gone"]


def test_a_failed_transfer_fails_the_command_that_waits(lab: GlobusLab) -> None:
    lab.emulator.control(tasks=[{"match": "^fail$", "then": "fail"}])
    (lab.emulator.rig / "fail.bin").touch()
    ran = lab.run("transfer", "rig:/fail.bin", "rig:/copy", "--label", "fail", "--wait")
    assert ran.code == 1
    assert "failed: The endpoint gave up." in ran.err
    assert "mapadmin globus task" in ran.err


def test_an_answer_that_was_lost_submits_no_second_task(lab: GlobusLab) -> None:
    lab.emulator.control(failures=[{"match": "POST .*/transfer", "status": 503, "times": 2}])
    start(lab, "once", "--wait")
    assert len(lab.ok("tasks", "--json").json) == 1


def test_the_same_again_while_it_is_under_way_is_the_same_task(lab: GlobusLab) -> None:
    lab.emulator.control(tasks=[{"match": "^again$", "then": "stall"}])
    number = start(lab, "again")
    assert start(lab, "again") == number
    assert start(lab, "other") != number
    ran = lab.ok("transfer", "rig:/again.bin", "rig:/copies/again.bin", "--label", "again",
                 "--dry-run", "--json")  # fmt: skip
    assert [s["action"] for s in ran.json["steps"]] == ["take up transfer"]
    lab.emulator.control()
    lab.ok("wait", number)
    assert start(lab, "again", "--wait") != number  # it was over: the file may be another by now
    assert len(lab.ok("tasks", "--json").json) == 3
    # An answer that never came: the service has the task, and gives it to whoever asks again.
    lab.emulator.control(tasks=[{"match": "^lost$", "then": "stall"}])
    lost = start(lab, "lost")
    memory = lab.folder / "state" / "globus-submitted.json"
    known = json.loads(memory.read_text())
    memory.write_text(json.dumps({k: {**v, "task": ""} for k, v in known.items()}))
    assert start(lab, "lost") == lost


def test_replacing_whatever_is_there_is_asked_about(lab: GlobusLab) -> None:
    (lab.emulator.rig / "good").write_text("good")
    (lab.emulator.rig / "bad").write_text("evil")
    os.utime(lab.emulator.rig / "bad", (1e9, 1e9))
    args = ("transfer", "rig:/bad", "rig:/good", "--wait", "--sync")
    lab.ok(*args, "mtime")
    refused = lab.run(*args, "always")
    assert (refused.code, "--yes" in refused.err) == (2, True), refused.err
    assert (lab.emulator.rig / "good").read_text() == "good"
    lab.ok(*args, "always", "--yes")
    assert (lab.emulator.rig / "good").read_text() == "evil"


def test_tasks_of_all_users_need_the_role(lab: GlobusLab) -> None:
    start(lab, "mine", "--wait")
    (lab.emulator.rig / "data").mkdir(exist_ok=True)
    lab.ok("grant", "rig:/", OTHER, "--write")
    theirs = lab.emulator.cli("transfer", f"{RIG}:/mine.bin", f"{RIG}:/theirs", "--label", "theirs",
                              client=OTHER)  # fmt: skip
    assert theirs.code == 0
    wide = lab.emulator.cli("api", "transfer", "GET", "/v0.10/endpoint_manager/task_list")
    assert "filter_endpoint is required" in wide.out + wide.err  # as the real service has it
    rows = lab.ok("tasks", "--all-users", "--json").json
    assert {r["label"] for r in rows} == {"mine", "theirs"}
    assert {r["owner"].partition("@")[0] for r in rows} == {CRON, OTHER}
    lab.emulator.managers = []
    lab.emulator.write()
    ran = lab.ok("tasks", "--all-users", "--json")
    assert [r["label"] for r in ran.json] == ["mine"]
    assert "no activity monitor's role" in ran.err


BASE: dict[str, Any] = {
    "task_id": "1", "type": "TRANSFER", "request_time": "2026-01-01 00:00:00+00:00",
    "status": "ACTIVE", "deadline": "2999-01-01 00:00:00+00:00", "bytes_transferred": 10,
}  # fmt: skip
ERROR = {"is_error": True, "description": "it hurts"}
FINE = {"is_error": False, "description": "progress"}


@pytest.mark.parametrize(
    ("task", "newest", "moves", "how"),
    [
        ({}, None, True, How.RUNNING),
        ({}, FINE, False, How.RUNNING),  # no bytes, but no error either: a big checksum
        ({}, ERROR, False, How.STALLED),
        ({}, ERROR, True, How.RETRYING),
        ({"bytes_transferred": 0}, ERROR, False, How.STALLED),
        ({"nice_status": "Queued"}, ERROR, False, How.QUEUED),
        ({"is_paused": True}, ERROR, False, How.PAUSED),
        ({"status": "INACTIVE"}, None, True, How.INACTIVE),
        ({"status": "FAILED"}, None, True, How.FAILED),
        ({"status": "FAILED", "fatal_error": {"code": "CANCELED"}}, None, True, How.CANCELED),
        ({"status": "SUCCEEDED", "faults": 9}, ERROR, False, How.SUCCEEDED),
        ({"deadline": "2026-01-01 03:00:00"}, None, True, How.LATE),
        ({"deadline": None}, None, True, How.RUNNING),
    ],
)
def test_how_a_task_is(
    task: dict[str, Any], newest: dict[str, Any] | None, moves: bool, how: How
) -> None:
    row = row_of({**BASE, **task}, newest=newest, moves=moves)
    assert row.how is how
    assert (row.why == "it hurts") == (how in (How.STALLED, How.RETRYING, How.PAUSED, How.QUEUED))


@pytest.mark.parametrize(
    ("done", "before", "hour"),
    [
        (0, None, 1), (0, Seen(0, datetime(2026, 1, 1, 1, tzinfo=UTC)), 1), (5, None, 9),
        (5, Seen(4, datetime(2026, 1, 1, 2, tzinfo=UTC)), 9),
        (5, Seen(5, datetime(2026, 1, 1, 2, tzinfo=UTC)), 2),
    ],
)  # fmt: skip
def test_since_when_a_task_has_not_moved(done: int, before: Seen | None, hour: int) -> None:
    task = {"bytes_transferred": done, "request_time": "2026-01-01 01:00:00+00:00"}
    now = datetime(2026, 1, 1, 9, tzinfo=UTC)
    assert seen_now(task, before, now) == Seen(done, now.replace(hour=hour))


HERE, THERE = Place("a", "1", "/from"), Place("b", "2", "/to")


@pytest.mark.parametrize(
    ("line", "item"),
    [
        ("x y", Item("/from/x", "/to/y")),
        ("-r x y", Item("/from/x", "/to/y", recursive=True)),
        ("x y --recursive", Item("/from/x", "/to/y", recursive=True)),
        ("/x '/y z'", Item("/x", "/y z")),
        (r'"q\"" y\ z', Item('/from/q"', "/to/y z")),
    ],
)
def test_lines_of_a_batch(line: str, item: Item) -> None:
    assert list(read_batch([line], HERE, THERE)) == [item]
    assert list(read_batch([batch_line(item)], HERE, THERE)) == [item]


@pytest.mark.parametrize("line", ["x", "x y z", "'x y", "../x y", "x ../../y"])
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(UsageError):
        list(read_batch([line], HERE, THERE))


def test_names_with_newlines_fit_no_batch() -> None:
    with pytest.raises(UsageError, match="newline"):
        batch_line(Item("/a\nb", "/c"))
