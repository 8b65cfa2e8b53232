"""Options that several of the `workers` commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Table = Annotated[
    str | None, typer.Argument(help="UnitStat, map_ephys.UnitStat, map_ephys.*; else all.")
]
Match = Annotated[
    str | None, typer.Option("--match", help="Only messages with this text; `*`: any text.")
]


def pattern_of(match: str | None) -> str:
    """What `--match` means, as a pattern of SQL's LIKE."""
    if match is None:
        return "%"
    text = match.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
    return f"%{text.replace('*', '%')}%"
