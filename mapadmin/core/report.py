"""Everything that mapadmin prints: data to stdout, all else to stderr.

Each command prints the same rows as a table or, with `--json`, as JSON. On a terminal a table fits
its width; in a pipe it is plain text, one row a line, never cut.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from mapadmin.core import output
from mapadmin.core.errors import ExitCode, Interrupted, MapadminError, UsageError
from mapadmin.core.progress import Progress
from mapadmin.core.tables import Column, make_console, make_table, plain_table
from mapadmin.core.text import count, one_line, printable, to_json

if TYPE_CHECKING:
    from rich.console import Console

    from mapadmin.core.checks import CheckResult
    from mapadmin.core.plan import Outcome, Plan

# The values of checks.State and plan.StepState, which every command would otherwise import.
_STATE_STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red", "unknown": "magenta"}
_STEP_STYLE = {
    "done": "green",
    "failed": "bold red",
    "interrupted": "bold red",
    "unknown": "magenta",
    "not started": "dim",
    "planned": "",
}
_FLUSH_SECONDS = 0.1  # a pipe sees a stream as it goes, too
SHOWN_STEPS = 40  # of a long plan on a terminal; --json and pipes have them all


class Report:
    """Prints for one command. With `as_json`, stdout gets one JSON document, or one a line."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    # --- data -----------------------------------------------------------------------------------

    def rows(self, rows: Sequence[Any], columns: Sequence[Column], *, empty: str) -> None:
        """A list of records: a table, or their fields as a JSON array."""
        if self.as_json:
            self.document(rows)
        elif not rows:
            self.say(empty)
        else:
            self.print_table(rows, columns)

    def document(self, data: object) -> None:
        """Any plain data or records, as JSON on stdout."""
        output.write(to_json(data, indent=2) + "\n")

    def stream(self, rows: Iterable[Any], line: Callable[[Any], str]) -> int:
        """Records as they come, for answers that may be long: a line each; how many there were.

        With `as_json` a JSON document on a line for each ("JSON lines").
        """
        number = 0
        flushed = time.monotonic()
        for row in rows:
            number += 1
            text = to_json(row) if self.as_json else one_line(line(row))
            wanted = output.write(text + "\n")
            if time.monotonic() - flushed > _FLUSH_SECONDS:
                flushed = time.monotonic()
                wanted = output.flush()
            if not wanted:
                break
        output.flush()
        return number

    def progress(self, doing: str, *, total: int | None = None, unit: str = "") -> Progress:
        """How far long work has come, on stderr: a bar on a terminal, else a line now and then."""
        return Progress(doing, total=total, unit=unit)

    def print_table(self, rows: Sequence[Any], columns: Sequence[Column], title: str = "") -> None:
        """A table on stdout whatever the mode; `rows` is for whole answers."""
        if sys.stdout.isatty():
            make_console(sys.stdout).print(make_table(rows, columns, title))
        else:
            output.write(plain_table(rows, columns, title))

    def watch(
        self, look: Callable[[], tuple[str, Sequence[Any]]], columns: Sequence[Column], *,
        seconds: float,
    ) -> None:  # fmt: skip
        """Show a title and rows again and again, until Ctrl-C ends it, which is no error.

        On a terminal in place; in a pipe one table, or with `as_json` one document, after the
        other.
        """
        with suppress(Interrupted):
            if sys.stdout.isatty() and not self.as_json:
                _watch_live(make_console(sys.stdout), look, columns, seconds)
            while True:
                title, rows = look()
                if self.as_json:
                    self.document(rows)
                else:
                    self.print_table(rows, columns, title)
                if not output.flush():
                    return
                time.sleep(seconds)

    def text(self, text: str) -> None:
        """A line of data on stdout."""
        output.write(text + "\n")

    def once(self, text: str) -> None:
        """A line of data that is shown this once. Raises MapadminError when it is not out."""
        self.text(text)
        if not output.flush():
            raise output.lost()

    # --- plans ----------------------------------------------------------------------------------

    def plan(self, plan: Plan) -> None:
        """What would be done, before it is done."""
        from mapadmin.core.plan import Outcome, StepState

        planned = Outcome(plan, [StepState.PLANNED] * len(plan.steps))
        if self.as_json:
            self.document(plan_document(planned, "dry run"))
            return
        self._notes(plan)
        if plan:
            self._steps(planned)
        else:
            self.say("Nothing to do.")

    def outcome(self, outcome: Outcome) -> None:
        """What was done, what failed, what was not started."""
        if self.as_json:
            self.document(plan_document(outcome, "done" if outcome.ok else "failed"))
            return
        self._notes(outcome.plan)
        from mapadmin.core.plan import StepState

        counts = {state: outcome.states.count(state) for state in StepState}
        if outcome.ok:
            self.say(f"Done: {count(counts[StepState.DONE], 'step')}.")
            return
        self._steps(outcome)
        stopped = [
            f"{counts[state]} {state.value}"
            for state in (StepState.FAILED, StepState.INTERRUPTED, StepState.UNKNOWN)
            if counts[state]
        ]
        done = f"{count(counts[StepState.DONE], 'step')} done"
        rest = f"{counts[StepState.NOT_STARTED]} not started"
        self.say(f"Stopped: {', '.join((done, *stopped, rest))}.")
        self.say("Run the same command again to finish the work.")

    def nothing(self, plan: Plan) -> None:
        """Nothing to do is an answer, too."""
        if self.as_json:
            from mapadmin.core.plan import Outcome

            self.document(plan_document(Outcome(plan), "nothing to do"))
        else:
            self._notes(plan)
            self.say("Nothing to do.")

    def _notes(self, plan: Plan) -> None:
        for note in plan.notes:
            self.say(f"Note: {note}")

    def _steps(self, outcome: Outcome) -> None:
        pairs = list(zip(outcome.plan.steps, outcome.states, strict=True))
        hidden = len(pairs) - SHOWN_STEPS if sys.stdout.isatty() else 0
        columns = [
            Column("", lambda p: "!" if p[0].destroys else "", style=lambda _: "bold red"),
            Column("step", lambda p: p[0].action),
            Column("on", lambda p: p[0].target),
            Column("detail", lambda p: p[0].detail),
        ]
        if any(state.value != "planned" for state in outcome.states):
            columns.append(Column("state", lambda p: p[1].value, style=lambda p: _STEP_STYLE[p[1]]))
        shown = pairs[:SHOWN_STEPS] if hidden > 0 else pairs
        self.print_table(shown, columns)
        if hidden > 0:
            self.say(f"… and {hidden} more steps (all of them with --json).")

    # --- checks ---------------------------------------------------------------------------------

    def checks(self, results: Sequence[CheckResult]) -> None:
        """Check results as a table; remedies below, only for what is not well."""
        if self.as_json:
            self.document(results)
            return
        self.print_table(results, self.check_columns())
        for result in results:
            if result.state.value != "ok" and result.remedy:
                self.say(f"{result.name}: {result.remedy}")

    def check_columns(self) -> list[Column]:
        """What a table of check results has; for `watch`."""
        return [
            Column("check", lambda r: r.name),
            Column("state", lambda r: r.state.value, style=lambda r: _STATE_STYLE[r.state]),
            Column("detail", lambda r: r.detail),
        ]

    # --- people ---------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A sentence for the person; never data, so it goes to stderr."""
        output.tell(printable(text) + "\n")

    def error(self, error: MapadminError) -> None:
        """The sentence of an error and its remedy."""
        self.say(f"Error: {error.message}")
        if error.remedy:
            self.say(f"  {error.remedy}")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is destroyed; without a terminal, want `--yes`."""
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                f"{question} There is no terminal to ask on.", remedy="Add --yes to go ahead."
            )
        sys.stderr.write(f"{printable(question)} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise MapadminError("Not confirmed: nothing was changed.", exit_code=ExitCode.FAILED)


def _watch_live(
    console: Console,
    look: Callable[[], tuple[str, Sequence[Any]]],
    columns: Sequence[Column],
    seconds: float,
) -> NoReturn:
    from rich.live import Live

    # Whatever ends this, rich gives the screen back as it was.
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            title, rows = look()
            live.update(make_table(rows, columns, title), refresh=True)
            time.sleep(seconds)


def plan_document(outcome: Outcome, result: str) -> dict[str, object]:
    """The one JSON shape of every changing command."""
    pairs = zip(outcome.plan.steps, outcome.states, strict=True)
    return {
        "result": result,
        "error": str(outcome.error) if outcome.error else None,
        "notes": list(outcome.plan.notes),
        "steps": [
            {
                "action": step.action, "target": step.target, "detail": step.detail,
                "destroys": step.destroys, "state": state.value,
            }
            for step, state in pairs
        ],
    }  # fmt: skip
