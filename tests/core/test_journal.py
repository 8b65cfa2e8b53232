"""The journal keeps what was written, whoever else writes or dies meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapadmin.core.errors import MapadminError
from mapadmin.core.journal import Entry, Journal, read_entries
from mapadmin.core.plan import Kind, Plan, Step, StepState, carry_out
from mapadmin.core.secret import STARS, Secret
from mapadmin.db.statements import Sql, SqlStep
from mapadmin.journal_command import condense
from tests.core.processes import end, read_line, run_python, start_python


def entries(path: Path) -> list[Entry]:
    return [entry for _, entry in read_entries(path)]


def step(number: int, detail: str = "") -> Step:
    return Step(action="create account", target=f"person{number}@%", detail=detail)


def execute(steps: Sequence[Step]) -> Iterator[None]:
    for _ in steps:
        yield


# --- writing -----------------------------------------------------------------------------------


def test_a_run(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, command="mapadmin db apply")
    journal.begin(2)
    plan = Plan((step(1, detail="locked"), step(2)))
    carry_out(plan, {Step: Kind(execute, 9)}, [journal])
    journal.end("done")
    found = entries(path)
    assert [(e.seq, e.event, e.target, e.detail) for e in found] == [
        (1, "begin", "", "2 steps"),
        (2, "step", "person1@%", "locked"),
        (3, "step", "person2@%", ""),
        (4, "done", "person1@%", "locked"),
        (5, "done", "person2@%", ""),
        (6, "end", "", "done"),
    ]
    assert {(e.run, e.command) for e in found} == {(journal.run, "mapadmin db apply")}
    assert all(e.time.endswith("Z") and len(e.time) == 24 for e in found)
    assert '""' not in path.read_text()  # empty fields are left out


def test_failure_and_what_follows_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", command="x")
    states = [StepState.DONE, StepState.FAILED, StepState.NOT_STARTED]
    journal.ended([step(1), step(2), step(3)], states, "no such role")
    assert [(e.event, e.error) for e in entries(journal.path)] == [
        ("done", ""),
        ("failed", "no such role"),
        ("not started", ""),
    ]


def test_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Journal(tmp_path / "j", command="x").begin(1)
    finally:
        os.umask(before)
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600


def test_runs_have_names_of_their_own(tmp_path: Path) -> None:
    names = [Journal(tmp_path / "j", command="x").run for _ in range(500)]
    assert len(set(names)) == 500
    assert names[0][:10] <= names[-1][:10]  # in the order of time


# What Python makes of the bytes 128 to 255 of an argument that is not UTF-8.
ODD_BYTES = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | ODD_BYTES, min_size=1, max_size=20)


@settings(deadline=None, max_examples=100)
@given(command=TEXT, action=TEXT, target=TEXT, detail=TEXT)
def test_hostile_names_come_back(
    tmp_path_factory: pytest.TempPathFactory, command: str, action: str, target: str, detail: str
) -> None:
    """Newlines, quotes, and the surrogates of arguments that are not UTF-8."""
    path = tmp_path_factory.mktemp("journal") / "j"
    Journal(path, command=command).started([Step(action=action, target=target, detail=detail)])
    (entry,) = entries(path)
    assert (entry.command, entry.action, entry.target, entry.detail) == (
        command,
        action,
        target,
        detail,
    )
    json.loads(path.read_bytes().decode())  # one line of real UTF-8


class PasswordStep(Step, frozen=True, kw_only=True):
    """A step as a careless author might write it."""

    password: Secret


def test_no_secret_reaches_it(tmp_path: Path) -> None:
    value = Secret("correct-horse-7")
    sql = Sql("ALTER USER ", "%s IDENTIFIED BY %s", "", ("a", value))
    steps = [
        PasswordStep(action="a", target="b", detail=f"{value}", password=value),
        SqlStep(action="a", target=str(sql), detail=repr(sql), statements=(sql,)),
    ]
    journal = Journal(tmp_path / "j", command=f"mapadmin {value!r}")
    journal.started(steps)
    journal.ended(steps, [StepState.FAILED] * 2, str(MapadminError(f"refused: {sql}")))
    journal.end("failed", f"{value}")
    text = journal.path.read_text()
    assert "correct-horse-7" not in text
    assert text.count(STARS) >= 8


FULL = """
    import resource, sys
    from pathlib import Path
    from mapadmin.core.errors import MapadminError
    from mapadmin.core.journal import Journal
    from mapadmin.core.plan import Kind, Plan, Step, carry_out
    journal = Journal(Path(sys.argv[1]), command="x" * 500)
    journal.begin(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    called = []
    kinds = {Step: Kind(lambda steps: called.append(1))}
    outcome = carry_out(Plan((Step(action="a", target="b"),)), kinds, [journal])
    print(outcome.error, called)
"""


def test_full_disk_stops_before_anything_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    done = run_python(FULL, path)
    assert done.stderr == ""
    assert done.stdout == (
        f"Cannot write the journal {path}: No space left on device. No step is begun without a "
        "journal: free space or mend its permissions. []\n"
    )
    Journal(path, command="later").begin(3)
    assert [e.event for e in entries(path)] == ["begin", "begin"]  # the torn line is passed over


def test_cannot_be_written_or_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "gone" / "j", command="x")
    with pytest.raises(MapadminError, match=f"Cannot write the journal {tmp_path}/gone/j: No such"):
        journal.begin(1)
    assert entries(tmp_path / "gone" / "j") == []
    with pytest.raises(MapadminError, match=f"Cannot read the journal {tmp_path}: Is a directory"):
        entries(tmp_path)


# --- torn lines, and offsets -------------------------------------------------------------------


TORN: list[tuple[str, bytes]] = [
    ("half a line", b'{"time": "2026'),
    ("half a character", b'{"time": "\xc3'),
    ("a line without its end", b"{}"),
    ("zeros, as some file systems leave them", b"\0" * 50),
    ("not an object", b"[]\n5\nnull\n"),
    ("fields of another version", b'{"time": "x", "colour": 1}\n'),
    ("a blank line", b"\n\n"),
]


@pytest.mark.parametrize(("name", "tail"), TORN)
def test_torn_line_swallows_nothing(name: str, tail: bytes, tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path, command="before").begin(1)
    with path.open("ab") as file:
        file.write(tail)
    assert [e.command for e in entries(path)] == ["before"]
    Journal(path, command="after").begin(1)
    Journal(path, command="after").begin(1)
    assert [e.command for e in entries(path)] == ["before", "after", "after"], name


def test_a_whole_entry_without_its_newline_counts(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path, command="before").begin(1)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert [e.command for e in entries(path)] == ["before"]
    Journal(path, command="after").begin(1)
    assert [e.command for e in entries(path)] == ["before", "after"]


def test_reading_on_from_each_offset(tmp_path: Path) -> None:
    path = tmp_path / "j"
    for number in range(5):
        Journal(path, command=f"\u00fc{number}").begin(1)
        with path.open("ab") as file:
            file.write(b"{broken\n")
    whole = list(read_entries(path))
    for index, (offset, _) in enumerate(whole):
        assert list(read_entries(path, offset=offset)) == whole[index + 1 :]


# --- several processes -------------------------------------------------------------------------

APPEND = """
    import sys
    from pathlib import Path
    from mapadmin.core.journal import Journal
    from mapadmin.core.plan import Step
    journal = Journal(Path(sys.argv[1]), command=sys.argv[2])
    count = int(sys.argv[3])
    print("ready", flush=True)
    sys.stdin.readline()
    while count:
        journal.started([Step(action="a" * 900, target="b" * 5000)] * 3)
        count -= 1
"""


def test_several_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "j"
    processes = [start_python(APPEND, path, f"writer {i}", 25) for i in range(4)]
    for process in processes:
        assert read_line(process) == "ready"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate() == ("", "")
    found = entries(path)
    assert path.read_bytes().count(b"\n") == len(found) == 4 * 25 * 3
    for number in range(4):
        mine = [e for e in found if e.command == f"writer {number}"]
        assert [e.seq for e in mine] == list(range(1, 76))


def test_killed_while_writing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    for number in range(6):
        process = start_python(APPEND, path, f"writer {number}", -1)
        assert read_line(process) == "ready"
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        while not path.exists():
            time.sleep(0.001)
        time.sleep(0.01 + number * 0.003)
        end(process)
        Journal(path, command="survivor").begin(1)
    found = entries(path)
    assert [e.command for e in found].count("survivor") == 6
    for number in range(6):
        mine = [e.seq for e in found if e.command == f"writer {number}"]
        assert mine == list(range(1, len(mine) + 1))  # nothing is missing in the middle
    lines = path.read_bytes().splitlines()
    assert len(lines) - len(found) <= 6  # at most one torn line for each that was killed


# --- condense ----------------------------------------------------------------------------------

BASE = Entry(time="t", run="r", seq=0, event="", who="w", host="h", command="c")


def short(text: str) -> Entry:
    """`r1 step a` as an entry of run r1 about the action a; `end done` has a detail instead."""
    run, event, what = text.split(" ", 2)
    event = event.replace("-", " ")
    if event in ("begin", "end"):
        detail, _, error = what.partition(":")
        return msgspec.structs.replace(BASE, run=run, event=event, detail=detail, error=error)
    what, _, error = what.partition(":")
    return msgspec.structs.replace(BASE, run=run, event=event, action=what, target="x", error=error)


CONDENSED: list[tuple[str, list[str], list[str]]] = [
    ("nothing", [], []),
    (
        "a run that went well",
        ["1 begin 2", "1 step a", "1 done a", "1 step b", "1 done b", "1 end done"],
        ["1 done a", "1 done b"],
    ),
    (
        "a batch",
        ["1 begin 2", "1 step a", "1 step b", "1 done a", "1 done b", "1 end done"],
        ["1 done a", "1 done b"],
    ),
    (
        "a failure",
        ["1 begin 3", "1 step a", "1 step b", "1 done a", "1 failed b:no", "1 end failed:no"],
        ["1 done a", "1 failed b:no", "1 end failed:no"],
    ),
    (
        "a batch that was cut short",
        ["1 step a", "1 step b", "1 step c", "1 done a", "1 interrupted b:x", "1 not-started c"],
        ["1 done a", "1 interrupted b:x", "1 not-started c"],
    ),
    ("died before its first step", ["1 begin 2"], []),
    ("died in a step", ["1 begin 2", "1 step a"], ["1 unfinished a"]),
    (
        "died in the second step",
        ["1 begin 2", "1 step a", "1 done a", "1 step b"],
        ["1 done a", "1 unfinished b"],
    ),
    (
        "died, then run again",
        ["1 begin 1", "1 step a", "2 begin 1", "2 step a", "2 done a", "2 end done"],
        ["1 unfinished a", "2 done a"],
    ),
    (
        "two at once",
        ["1 step a", "2 step a", "2 failed a:no", "1 done a", "1 end done", "2 end failed:no"],
        ["1 done a", "2 failed a:no", "2 end failed:no"],
    ),
    (
        "the same step again later in a run",
        ["1 step a", "1 done a", "1 step a", "1 failed a:no"],
        ["1 done a", "1 failed a:no"],
    ),
    ("its beginning is not among the newest", ["1 done a", "1 end done"], ["1 done a"]),
    ("only its end is", ["1 end failed:no"], ["1 end failed:no"]),
    ("all went well, but the end was not", ["1 end done:full"], ["1 end done:full"]),
]


@pytest.mark.parametrize(("name", "lines", "expected"), CONDENSED)
def test_condense(name: str, lines: list[str], expected: list[str]) -> None:
    assert condense(map(short, lines)) == list(map(short, expected)), name


def test_condense_keeps_everything_else_of_an_entry() -> None:
    one = msgspec.structs.replace(
        BASE, event="step", action="a", seq=3, time="2026-01-01T00:00:00.000Z"
    )
    assert condense([one]) == [msgspec.structs.replace(one, event="unfinished")]
    assert (
        msgspec.structs.asdict(condense([msgspec.structs.replace(one, event="done")])[0])["seq"]
        == 3
    )
