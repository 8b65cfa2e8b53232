"""One of each thing that a report prints, by name; in a process of its own on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from mapadmin.core.checks import Check, fail, ok, run_checks, warn
from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Outcome, Plan, Step, StepState
from mapadmin.core.report import Report
from mapadmin.core.tables import Column


@dataclass(frozen=True)
class User:
    """A row."""

    name: str
    role: str
    note: str = ""


USERS = [User("alice", "reader", "long " * 30), User("b\u00f6rge", "", "x"), User("c" * 90, "w")]
HOSTILE = [
    User("red\x1b[31m\x07name", "a\nb", "\u202eright\t"),
    User("[bold]x[/bold]", ":smile:"),
]
COLUMNS = [
    Column("name", lambda u: u.name),
    Column("role", lambda u: u.role, style=lambda _: "red"),
    Column("note", lambda u: u.note),
]
STEPS = tuple(
    Step(action="create", target=f"p{i}@%", detail="d", destroys=i == 1) for i in range(45)
)
PLAN = Plan(STEPS, ("a note",))
CHECKS = [
    Check("db", lambda: ok("fine")),
    Check("tls", lambda: fail("off", "Turn it on.")),
    Check("x", lambda: warn("hm")),
]


def outcome(error: MapadminError | None = None) -> Outcome:
    """Of PLAN; with an error, its last step but one failed."""
    states = [StepState.DONE] * 45
    if error:
        states[43:] = [StepState.FAILED, StepState.NOT_STARTED]
    return Outcome(PLAN, states, error)


SHOWN: dict[str, Callable[[Report], None]] = {
    "users": lambda report: report.rows(USERS, COLUMNS, empty="Nobody."),
    "nobody": lambda report: report.rows([], COLUMNS, empty="Nobody."),
    "hostile": lambda report: report.rows(HOSTILE, COLUMNS, empty="Nobody."),
    "title": lambda report: report.print_table(USERS[:2], COLUMNS, "All [of] them"),
    "plan": lambda report: report.plan(PLAN),
    "no plan": lambda report: report.plan(Plan(notes=("a note",))),
    "nothing": lambda report: report.nothing(Plan(notes=("a note",))),
    "done": lambda report: report.outcome(outcome()),
    "stopped": lambda report: report.outcome(outcome(MapadminError("No."))),
    "say": lambda report: report.say("a\x1b[2Jb"),
    "error": lambda report: report.error(MapadminError("No \x1b[2J.", remedy="Yes.")),
    "checks": lambda report: report.checks(run_checks(CHECKS)),
}


def ask() -> None:
    """What became of a question."""
    try:
        Report().confirm("Drop it?", yes=False)
    except MapadminError as error:
        print(f"refused: {error}")
    else:
        print("confirmed")


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        ask()
    else:
        SHOWN[sys.argv[1]](Report(as_json=sys.argv[-1] == "--json"))
