"""Everything that mapadmin prints: data to stdout, all else to stderr. The only user of rich.

Each command prints the same rows as a table or, with `--json`, as JSON. On a terminal a table fits
its width; in a pipe it is plain text, one row a line, never cut.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, NoReturn

import msgspec

from mapadmin.core.errors import ExitCode, Interrupted, MapadminError, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

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
_LEAST_FIT = 24  # columns that a Column with `fit` has at the least
SHOWN_STEPS = 40  # of a long plan on a terminal; --json and pipes have them all


class Column(msgspec.Struct, frozen=True):
    """One column of a table: its header and what it shows of a row."""

    header: str
    value: Callable[[Any], object]
    right: bool = False
    style: Callable[[Any], str] | None = None
    fit: bool = False  # on a terminal, cut to the width that the other columns leave


class Report:
    """Prints for one command. With `as_json`, stdout gets exactly one JSON document."""

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
        import json

        text = json.dumps(to_plain(data), indent=2, ensure_ascii=False)
        # A lone surrogate (a file name that is not UTF-8) becomes `\udc..`, as JSON writes it.
        sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")

    def print_table(self, rows: Sequence[Any], columns: Sequence[Column], title: str = "") -> None:
        """A table on stdout whatever the mode; `rows` is for whole answers."""
        if sys.stdout.isatty():
            make_console(sys.stdout).print(make_table(rows, columns, title))
        else:
            sys.stdout.write(plain_table(rows, columns, title))

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
                sys.stdout.flush()
                time.sleep(seconds)

    def text(self, text: str) -> None:
        """A line of data on stdout."""
        sys.stdout.write(text + "\n")

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
        columns = [
            Column("check", lambda r: r.name),
            Column("state", lambda r: r.state.value, style=lambda r: _STATE_STYLE[r.state]),
            Column("detail", lambda r: r.detail),
        ]
        self.print_table(results, columns)
        for result in results:
            if result.state.value != "ok" and result.remedy:
                self.say(f"{result.name}: {result.remedy}")

    # --- people ---------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A sentence for the person; never data, so it goes to stderr."""
        sys.stdout.flush()
        sys.stderr.write(printable(text) + "\n")

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


def make_console(file: IO[str]) -> Console:
    """A terminal that honours NO_COLOR, and takes brackets and colons for what they are."""
    from rich.console import Console

    return Console(
        file=file, no_color=bool(os.environ.get("NO_COLOR")), highlight=False, markup=False,
        emoji=False, soft_wrap=False, force_terminal=True,
    )  # fmt: skip


def plain_table(rows: Sequence[Any], columns: Sequence[Column], title: str) -> str:
    """Rows as text in columns, one row a line and never cut, so that `awk` and `cut` work.

    Not by rich, which takes a second for a thousand rows.
    """
    lines = [[column.header for column in columns]]
    lines += [[one_line(cell(column.value(row))) for column in columns] for row in rows]
    widths = [max(map(_width, texts)) for texts in zip(*lines, strict=True)]
    out = [title] if title else []
    for line in lines:
        padded = [
            f"{blank}{text}" if column.right else f"{text}{blank}"
            for column, text, width in zip(columns, line, widths, strict=True)
            for blank in (" " * (width - _width(text)),)
        ]
        out.append("  ".join(padded).rstrip())
    return "\n".join(out) + "\n"


def _width(text: str) -> int:
    """How many columns a text takes: East Asian characters take two."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)


def make_table(rows: Sequence[Any], columns: Sequence[Column], title: str) -> Table:
    """Rows as a rich table, for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False,
        padding=(0, 1), header_style="bold", collapse_padding=True,
    )  # fmt: skip
    for column in columns:
        table.add_column(
            column.header, justify="right" if column.right else "left",
            overflow="ellipsis" if column.fit else "fold",
            no_wrap=column.fit, ratio=1 if column.fit else None,
            width=_LEAST_FIT if column.fit else None,
        )  # fmt: skip
    table.expand = any(column.fit for column in columns)
    for row in rows:
        cells = []
        for column in columns:
            style = column.style(row) if column.style else ""
            cells.append(Text(one_line(cell(column.value(row))), style=style))
        table.add_row(*cells)
    return table


def cell(value: object) -> str:
    """What a value looks like in a table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, set | frozenset):
        value = sorted(str(item) for item in value)
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "-"
    return str(value)


def printable(text: str) -> str:
    """Control characters of hostile names as escapes: they must not drive the terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def one_line(text: str) -> str:
    """Printable, and a newline in a hostile name does not begin a row of its own."""
    return printable(text).replace("\n", "\\n")


def to_plain(data: object) -> Any:
    """Dataclasses, sets, dates and the like as JSON's types; a Secret gives its stars.

    Sets and dictionaries are sorted: the same answer is the same text each time.
    """
    import msgspec

    return msgspec.to_builtins(data, enc_hook=str, str_keys=True, order="deterministic")


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


def human_bytes(count: float | None) -> str:
    """1536 as "1.5 KiB"; None as "-"."""
    if count is None:
        return "-"
    sign, count = ("-" if count < 0 else ""), abs(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1023.95 or unit == "TiB":  # beyond it, one digit would show as 1024.0
            return f"{sign}{count:.0f} {unit}" if unit == "B" else f"{sign}{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float | None) -> str:
    """3725 as "1 h 2 min"; None as "-"."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def count(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
