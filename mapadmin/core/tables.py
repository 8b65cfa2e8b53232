"""Tables: for a terminal by rich, for a pipe as plain text, one row a line and never cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any

import msgspec

from mapadmin.core.text import cell, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_LEAST_FIT = 24  # columns that a Column with `fit` has at the least


class Column(msgspec.Struct, frozen=True):
    """One column of a table: its header and what it shows of a row."""

    header: str
    value: Callable[[Any], object]
    right: bool = False
    style: Callable[[Any], str] | None = None
    fit: bool = False  # on a terminal, cut to the width that the other columns leave


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
