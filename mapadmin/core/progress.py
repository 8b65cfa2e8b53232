"""How far long work has come: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mapadmin.core.tables import make_console
from mapadmin.core.text import human_bytes, printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

QUIET_SECONDS = 30.0  # between two lines where there is no terminal


class Progress:
    """A context in which `advance` is called as the work goes on; by one thread at a time.

    `total` may be unknown at first and set later. `unit` is what is counted: a noun ("files"), or
    "B" for bytes, which are shown as KiB, MiB and so on. Nothing is shown for work that is over
    within a second.
    """

    def __init__(self, doing: str, *, total: int | None = None, unit: str = "") -> None:
        self.doing = doing
        self.total = total
        self.unit = unit
        self.done = 0
        self.note = ""
        self._begun = self._said = time.monotonic()
        self._bar: tuple[Bar, TaskID] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar[0].stop()

    def advance(self, number: int = 1, *, note: str = "") -> None:
        """`number` more are done; `note` is what is being worked on."""
        self.done += number
        self.note = note or self.note
        now = time.monotonic()
        if sys.stderr.isatty():
            if now - self._begun > 1.0:
                self._draw()
        elif now - self._said > QUIET_SECONDS:
            self._said = now
            sys.stderr.write(f"{printable(self.doing)}: {self.words()}\n")
            sys.stderr.flush()

    def words(self) -> str:
        """`1,200 of 5,000 files`"""
        return (
            f"{self._amount(self.done)}"
            + (f" of {self._amount(self.total)}" if self.total is not None else "")
            + (f" {self.unit}" if self.unit not in ("", "B") else "")
        )

    def _amount(self, number: int) -> str:
        return human_bytes(number) if self.unit == "B" else f"{number:,}"

    def _draw(self) -> None:
        bar, task = self._bar or self._make_bar()
        bar.update(
            task, completed=self.done, total=self.total,
            words=printable(f"{self.words()} {self.note}".strip()),
        )  # fmt: skip

    def _make_bar(self) -> tuple[Bar, TaskID]:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        remaining = [TimeRemainingColumn()] if self.total is not None else []
        # Rows that are printed meanwhile go above the bar, but never from a file to the terminal.
        bar = Bar(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=None),
            TextColumn("{task.fields[words]}", markup=False), TimeElapsedColumn(), *remaining,
            console=make_console(sys.stderr), transient=True, expand=True,
            redirect_stdout=sys.stdout.isatty(),
        )  # fmt: skip
        self._bar = (bar, bar.add_task(printable(self.doing), total=self.total, words=""))
        bar.start()
        return self._bar
