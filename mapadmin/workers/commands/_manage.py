"""Options of the commands that change which workers there are."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from mapadmin.core.errors import UsageError

Now = Annotated[
    bool, typer.Option("--now", help="End them in their jobs, which are lost; asks first.")
]
Timeout = Annotated[
    str | None,
    typer.Option(help="Wait for jobs no longer than this: 90s, 30m, 8h; default: for ever."),
]
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds_of(timeout: str | None) -> float | None:
    """`90s`, `30m`, `8h` in seconds. Raises UsageError for what is none of these."""
    if timeout is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", timeout.strip())
    if not found:
        raise UsageError(f"--timeout {timeout!r} is no time.", remedy="Write it like 90s, 30m, 8h.")
    return float(found[1]) * _UNITS[found[2]]


LOSES = "The jobs that they are at are lost. Go on?"
