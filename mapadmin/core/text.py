"""Values as a person reads them: cells of a table, sizes, durations, names made harmless."""

from __future__ import annotations

import re
from typing import Any

_UNSEEN = re.compile(r"[^\x00-\x7e]")  # JSON escapes the rest itself, but for DEL


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


def encodable(text: str) -> str:
    """Bytes of a command line or a file name that are not UTF-8 as `\\udc..`, as JSON does."""
    return text.encode("utf-8", "backslashreplace").decode()


def to_plain(data: object) -> Any:
    """Dataclasses, sets, dates and the like as JSON's types; a Secret gives its stars.

    Sets and dictionaries are sorted: the same answer is the same text each time.
    """
    import msgspec

    return msgspec.to_builtins(data, enc_hook=str, str_keys=True, order="deterministic")


def to_json(data: object, *, indent: int | None = None) -> str:
    """JSON to be read by people, too: in their alphabets, but nothing that drives a terminal.

    Control and format characters, and what is not valid Unicode (a file name that is not UTF-8),
    are escaped as JSON does it.
    """
    import json

    text = json.dumps(to_plain(data), indent=indent, ensure_ascii=False)
    return _UNSEEN.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    import json

    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


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


def parse_seconds(text: str) -> float:
    """What a person writes for a duration, `90s`, `30m`, `2h`, `1.5d`, in seconds. ValueError."""
    import re

    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a duration")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def count(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
