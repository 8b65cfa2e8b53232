"""What a person sees on a terminal, and what a script reads from a pipe."""

from __future__ import annotations

import datetime
import json
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapadmin.core.checks import CheckResult, State
from mapadmin.core.errors import Interrupted, MapadminError
from mapadmin.core.plan import Outcome, Plan, Step, StepState
from mapadmin.core.report import SHOWN_STEPS, Report, plan_document
from mapadmin.core.secret import STARS, Secret
from mapadmin.core.tables import Column, plain_table
from mapadmin.core.text import (
    cell,
    human_bytes,
    human_seconds,
    one_line,
    printable,
    to_json,
    to_plain,
)
from tests.core.processes import ROOT, environment
from tests.core.shown import SHOWN, User, ask

ESCAPE = "\x1b"


Piped = Callable[..., tuple[str, str]]


@pytest.fixture
def piped(capsys: pytest.CaptureFixture[str]) -> Piped:
    """What one of SHOWN prints where there is no terminal: stdout and stderr."""

    def run(what: str, *, as_json: bool = False) -> tuple[str, str]:
        SHOWN[what](Report(as_json=as_json))
        return capsys.readouterr()

    return run


def on_terminal(what: str, *, columns: int = 80, **changes: str) -> list[str]:
    """The lines of one of SHOWN on a terminal of this width."""
    child = _spawn(what, columns, **changes)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    text: str = child.before
    return text.replace("\r\n", "\n").splitlines()


def _spawn(what: str, columns: int, **changes: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable, ["-W", "error", "-m", "tests.core.shown", what],
        dimensions=(24, columns), timeout=30, encoding="utf-8", cwd=str(ROOT),
        env=environment(TERM="xterm-256color", **changes),
    )  # fmt: skip


def without_colour(line: str) -> str:
    return re.sub(rf"{ESCAPE}\[[0-9;]*m", "", line)


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in without_colour(line))


# --- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 40, 120])
def test_table_fits_the_terminal(columns: int) -> None:
    lines = on_terminal("users", columns=columns)
    assert max(map(width, lines)) <= columns
    text = "".join(without_colour(line) for line in lines)
    assert text.count("c") >= 90  # folded, not cut
    assert text.count("long") == 30


def test_table_on_a_terminal_has_colours() -> None:
    assert ESCAPE in "".join(on_terminal("users"))


@pytest.mark.parametrize("what", ["users", "stopped", "checks"])
def test_no_color(what: str) -> None:
    text = "\n".join(on_terminal(what, NO_COLOR="1"))
    assert not re.search(rf"{ESCAPE}\[[0-9;]*(3[0-7]|9[0-7]|38|48)[;m]", text)


@pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1"}, {"COLUMNS": "20"}, {"TERM": "dumb"}])
def test_table_in_a_pipe_is_plain(
    env: dict[str, str], piped: Piped, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    out, errors = piped("users")
    assert errors == ""
    assert ESCAPE not in out
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "alice", "b\u00f6rge", "c" * 90]
    assert lines[0].split() == ["name", "role", "note"]
    assert lines[2].split() == ["b\u00f6rge", "-", "x"]
    assert lines[1].count("long") == 30  # one row a line, whatever its length
    assert "\u2500" not in out


def test_no_rows(piped: Piped) -> None:
    assert piped("nobody") == ("", "Nobody.\n")
    assert piped("nobody", as_json=True) == ("[]\n", "")


@pytest.mark.parametrize("terminal", [True, False])
def test_hostile_names_do_not_drive_the_terminal(terminal: bool, piped: Piped) -> None:
    text = "\n".join(on_terminal("hostile", columns=120)) if terminal else piped("hostile")[0]
    shown = without_colour(text).strip()
    assert ESCAPE not in shown
    assert not any(c in shown for c in "\x07\t\u202e")
    for escaped in (r"red\x1b[31m\x07name", r"a\nb", r"\u202eright\t", "[bold]x[/bold]", ":smile:"):
        assert escaped in shown
    assert len(shown.split("\n")) == (4 if terminal else 3)


def test_title(piped: Piped) -> None:
    assert piped("title")[0].splitlines()[0] == "All [of] them"


PLAIN_TABLES: list[tuple[list[tuple[object, ...]], str]] = [
    ([], "name  count  note\n"),
    (
        [("a", 7, "x"), ("b" * 6, 123456, None)],
        "name     count  note\na            7  x\nbbbbbb  123456  -\n",
    ),
    (
        [("\u6771\u4eac", 1, ""), ("u\u0308", 2, "z")],  # two columns each; none
        "name  count  note\n\u6771\u4eac      1  -\nu\u0308         2  z\n",
    ),
]


@pytest.mark.parametrize(("rows", "text"), PLAIN_TABLES)
def test_plain_table(rows: list[tuple[object, ...]], text: str) -> None:
    columns = [
        Column("name", lambda r: r[0]),
        Column("count", lambda r: r[1], right=True),
        Column("note", lambda r: r[2]),
    ]
    assert plain_table(rows, columns, "") == text


def test_sentences_are_printable(piped: Piped) -> None:
    assert piped("say") == ("", "a\\x1b[2Jb\n")
    assert piped("error") == ("", "Error: No \\x1b[2J.\n  Yes.\n")


CELLS: list[tuple[object, str]] = [
    (None, "-"),
    ("", "-"),
    ([], "-"),
    (frozenset(), "-"),
    (0, "0"),
    (0.5, "0.5"),
    (True, "yes"),
    (False, "no"),
    (["b", "a"], "b, a"),
    (("x",), "x"),
    ({"b", "a", "c"}, "a, b, c"),
    (datetime.date(2027, 6, 30), "2027-06-30"),
    (State.WARN, "warn"),
    (Secret("x"), STARS),
]


@pytest.mark.parametrize(("value", "text"), CELLS)
def test_cell(value: object, text: str) -> None:
    assert cell(value) == text


@given(st.text())
def test_printable(text: str) -> None:
    shown = printable(text)
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert one_line(text).isprintable()
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


# --- plans and checks --------------------------------------------------------------------------


def test_plan_in_a_pipe_has_every_step(piped: Piped) -> None:
    out, errors = piped("plan")
    assert errors == "Note: a note\n"
    assert len(out.splitlines()) == 46
    assert out.splitlines()[2].split() == ["!", "create", "p1@%", "d"]
    assert "state" not in out.splitlines()[0]


def test_long_plan_on_a_terminal_is_cut() -> None:
    lines = [without_colour(line) for line in on_terminal("plan")]
    assert sum("create" in line for line in lines) == SHOWN_STEPS
    assert lines[-1] == "… and 5 more steps (all of them with --json)."


def test_outcomes(piped: Piped) -> None:
    assert piped("done") == ("", "Note: a note\nDone: 45 steps.\n")
    assert piped("nothing") == ("", "Note: a note\nNothing to do.\n")
    assert piped("no plan") == ("", "Note: a note\nNothing to do.\n")
    out, errors = piped("stopped")
    assert [line.split()[-1] for line in out.splitlines()[-3:]] == ["done", "failed", "started"]
    assert errors.splitlines()[-2:] == [
        "Stopped: 43 steps done, 1 failed, 1 not started.",
        "Run the same command again to finish the work.",
    ]


STOPS: list[tuple[list[StepState], str]] = [
    ([StepState.DONE, StepState.INTERRUPTED], "1 step done, 1 interrupted, 0 not started"),
    ([StepState.NOT_STARTED] * 2, "0 steps done, 2 not started"),
    ([StepState.DONE] * 2, "2 steps done, 0 not started"),
    ([StepState.FAILED, StepState.UNKNOWN], "0 steps done, 1 failed, 1 unknown, 0 not started"),
]


@pytest.mark.parametrize(("states", "sentence"), STOPS)
def test_how_a_run_stopped(
    states: list[StepState], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan((Step(action="a", target="b"),) * 2)
    Report().outcome(Outcome(plan, states, Interrupted()))
    assert f"Stopped: {sentence}.\n" in capsys.readouterr().err


def test_every_state_has_a_style(capsys: pytest.CaptureFixture[str]) -> None:
    steps = tuple(Step(action="a", target=state.value) for state in StepState)
    Report().outcome(Outcome(Plan(steps), list(StepState), MapadminError("x")))
    Report().checks([CheckResult(state.value, state, "", "", 0) for state in State])
    out = capsys.readouterr().out
    assert all(state.value in out for state in (*StepState, *State))


def test_checks(piped: Piped) -> None:
    out, errors = piped("checks")
    assert [line.split() for line in out.splitlines()] == [
        ["check", "state", "detail"],
        ["db", "ok", "fine"],
        ["tls", "fail", "off"],
        ["x", "warn", "hm"],
    ]
    assert errors == "tls: Turn it on.\n"


# --- JSON --------------------------------------------------------------------------------------


def test_json_shapes(piped: Piped) -> None:
    (user, *_) = json.loads(piped("users", as_json=True)[0])
    assert user == {"name": "alice", "role": "reader", "note": "long " * 30}
    (check, *_) = json.loads(piped("checks", as_json=True)[0])
    assert set(check) == {"name", "state", "detail", "remedy", "seconds"}
    for what, result, error in (
        ("plan", "dry run", None),
        ("done", "done", None),
        ("stopped", "failed", "No."),
        ("nothing", "nothing to do", None),
        ("no plan", "dry run", None),
    ):
        out, errors = piped(what, as_json=True)
        document = json.loads(out)
        assert errors == ""
        assert set(document) == {"result", "error", "notes", "steps"}
        assert (document["result"], document["error"]) == (result, error)
        assert document["notes"] == ["a note"]
        for step in document["steps"]:
            assert set(step) == {"action", "target", "detail", "destroys", "state"}


PLAIN: list[tuple[object, object]] = [
    ({"b": 1, "a": {"d": 2, "c": 3}}, {"a": {"c": 3, "d": 2}, "b": 1}),
    (frozenset({"c", "a", "b"}), ["a", "b", "c"]),
    ({3: "x"}, {"3": "x"}),
    (datetime.date(2027, 6, 30), "2027-06-30"),
    (datetime.datetime(2027, 6, 30, 1, 2, 3, tzinfo=datetime.UTC), "2027-06-30T01:02:03Z"),
    (Path("/x"), "/x"),
    (User("a", "b"), {"name": "a", "role": "b", "note": ""}),
    ([State.OK, None, 1.5, True], ["ok", None, 1.5, True]),
    (Secret("x"), STARS),
]


@pytest.mark.parametrize(("data", "plain"), PLAIN)
def test_plain_data(data: object, plain: object) -> None:
    assert to_plain(data) == plain
    assert json.dumps(to_plain(data)) == json.dumps(plain)  # and in that order


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters()))
def test_any_name_is_valid_json(name: str) -> None:
    """Also the surrogates of a name that is not UTF-8, which no terminal could be sent."""
    import io
    from contextlib import redirect_stdout

    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8")
    with redirect_stdout(out):
        Report(as_json=True).rows([User(name, "")], [], empty="")
    out.flush()
    text = raw.getvalue().decode()
    assert text.replace("\n", "").isprintable()
    if not re.search("[\ud800-\udbff][\udc00-\udfff]", name):
        assert json.loads(text)[0]["name"] == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Zoë 日本", "Zoë 日本"),
        ("\x9b31m", "\\u009b31m"),  # a terminal's "red", in one byte of Latin-1
        ("\u202egnp", "\\u202egnp"),  # the rest would read backwards
        ("\x7f\x1b", "\\u007f\\u001b"),
        ("\U000e0041", "\\udb40\\udc41"),  # a tag, invisible
    ],
)
def test_json_does_not_drive_the_terminal(name: str, shown: str) -> None:
    assert to_json({"name": name}) == f'{{"name": "{shown}"}}'
    assert json.loads(to_json([name])) == [name]


def test_error_of_an_outcome() -> None:
    document = plan_document(Outcome(Plan(), [], MapadminError("No.", remedy="Yes.")), "failed")
    assert document["error"] == "No. Yes."


# --- questions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "confirmed"),
    [("y", True), (" YES ", True), ("", False), ("n", False), ("yep", False)],
)
def test_question_on_a_terminal(answer: str, confirmed: bool) -> None:
    child = _spawn("ask", 80)
    child.expect_exact("Drop it? [y/N] ")
    child.sendline(answer)
    child.expect_exact("confirmed" if confirmed else "refused: Not confirmed: nothing was changed.")
    child.close()


def test_question_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Report().confirm("Drop it?", yes=True)
    ask()
    said = "refused: Drop it? There is no terminal to ask on. Add --yes to go ahead.\n"
    assert capsys.readouterr() == (said, "")


# --- numbers -----------------------------------------------------------------------------------

SIZES: list[tuple[float | None, str]] = [
    (None, "-"),
    (0, "0 B"),
    (1, "1 B"),
    (1023, "1023 B"),
    (1024, "1.0 KiB"),
    (1536, "1.5 KiB"),
    (1024**2 - 1, "1.0 MiB"),
    (1024**2, "1.0 MiB"),
    (5 * 1024**3, "5.0 GiB"),
    (1024**4, "1.0 TiB"),
    (5000 * 1024**4, "5000.0 TiB"),
    (-1536, "-1.5 KiB"),
]
TIMES: list[tuple[float | None, str]] = [
    (None, "-"),
    (0, "0 s"),
    (0.9, "0 s"),
    (59.9, "59 s"),
    (60, "1 min 0 s"),
    (3599, "59 min 59 s"),
    (3600, "1 h 0 min"),
    (3725, "1 h 2 min"),
    (86399, "23 h 59 min"),
    (86400, "1 d 0 h"),
    (10**6, "11 d 13 h"),
]


@pytest.mark.parametrize(
    ("human", "value", "text"),
    [(human_bytes, *case) for case in SIZES] + [(human_seconds, *case) for case in TIMES],
)
def test_numbers(human: Callable[[float | None], str], value: float | None, text: str) -> None:
    assert human(value) == text


@given(st.integers(0, 2**60))
def test_sizes_are_short(count: int) -> None:
    number, unit = human_bytes(count).split()
    assert float(number) < 1024 or unit == "TiB"
