"""The text that dump programs write, line by line: made exact on its way into an archive, and made
loadable under another schema's name for its verification.

Both dump programs write FLOAT with six digits, which is not what the column holds: such tables'
rows are written here instead. Everything else of the text is the program's own.

What these filters do need not be trusted: what they give is loaded and compared with the schema
before anything relies on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from mapadmin.core.errors import MapadminError

_NAME = rb"""(?:`(?:[^`]|``)*`|"(?:[^"]|"")*")"""  # the latter in objects made with ANSI_QUOTES
_DEFINER = re.compile(rb"DEFINER=(" + _NAME + rb")(?:@(" + _NAME + rb"))? ?")
_IN_BLOCK = (
    b"CREATE DEFINER=",
    b"/*!50003 CREATE*/ /*!50017 DEFINER=",
    b"/*!50106 CREATE*/ /*!50117 DEFINER=",
)
_VIEW_BEFORE = b"/*!50001 CREATE ALGORITHM="
_VIEW = b"/*!50013 DEFINER="
_EVENT = re.compile(
    rb"(/\*!50106 EVENT " + _NAME + rb" ON SCHEDULE .*? ON COMPLETION (?:NOT )?PRESERVE )ENABLE\b"
)


def quoted(name: str) -> str:
    """An identifier as dump programs write it."""
    return "`" + name.replace("`", "``") + "`"


class _Reader:
    """Knows of each line whether a statement begins there, and whether in a DELIMITER block.

    There are the bodies of routines, which may hold any text.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.in_block = False
        self.begins = True

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            mark = line.startswith(b"DELIMITER ") and (self.begins or not self.in_block)
            yield line
            if mark:
                self.in_block = line.rstrip() != b"DELIMITER ;"
            end = b";;\n" if self.in_block else b"\n"
            self.begins = mark or line.endswith(end)


def with_rows(
    lines: Iterable[bytes], rows: Mapping[str, Callable[[], Iterator[bytes]]]
) -> Iterator[bytes]:
    """A dump in which the rows of these tables are replaced by those given.

    Raises MapadminError when a table's place in it is not found.
    """
    before = {b"/*!40000 ALTER TABLE %s DISABLE KEYS */;\n" % _bytes(name): name for name in rows}
    after = b""
    reader = _Reader(lines)
    for line in reader:
        if after:
            if line != after:
                continue
            after = b""
        yield line
        if not reader.in_block and line in before:
            name = before.pop(line)
            after = b"/*!40000 ALTER TABLE %s ENABLE KEYS */;\n" % _bytes(name)
            yield from rows[name]()
    if before or after:
        missing = ", ".join(before.values()) or "the last of them"
        raise MapadminError(
            f"The dump is not as expected: no end or no place of rows of {missing}."
        )


def _bytes(name: str) -> bytes:
    return quoted(name).encode()


class Seen(msgspec.Struct):
    """What a dump says and a verification must not load: who defines, which events are enabled."""

    definers: list[str] = msgspec.field(default_factory=list)
    enabled_events: int = 0


def for_scratch(lines: Iterable[bytes], schema: str, scratch: str, seen: Seen) -> Iterator[bytes]:
    """A dump of `schema` that can be loaded into `scratch`, by an account that may nothing else.

    Its objects then belong to whoever loads it; events are loaded disabled, lest they run.
    """
    create = re.compile(
        rb"CREATE DATABASE (?:/\*!\d+ IF NOT EXISTS\*/ )?" + re.escape(_bytes(schema))
    )
    use = b"USE %s;\n" % _bytes(schema)
    alter = b"ALTER DATABASE %s " % _bytes(schema)
    reader = _Reader(lines)
    previous = b""
    for line in reader:
        out = line
        if reader.begins and line.startswith(alter):
            out = b"ALTER DATABASE %s " % _bytes(scratch) + line.removeprefix(alter)
        elif reader.in_block:
            if reader.begins and line.startswith(_IN_BLOCK):
                out = _with_event_disabled(_without_definer(line, seen), seen)
        elif line.startswith(_VIEW) and previous.startswith(_VIEW_BEFORE):
            out = _without_definer(line, seen)
        elif line == use or create.match(line):
            out = b""
        previous = line
        yield out


def _without_definer(line: bytes, seen: Seen) -> bytes:
    found = _DEFINER.search(line)
    if found is None:
        return line
    seen.definers.append("@".join(_unquoted(part) for part in found.groups() if part is not None))
    return line[: found.start()] + line[found.end() :]


def _with_event_disabled(line: bytes, seen: Seen) -> bytes:
    line, count = _EVENT.subn(rb"\1DISABLE", line, count=1)
    seen.enabled_events += count
    return line


def _unquoted(name: bytes) -> str:
    quote = name[:1]
    return name[1:-1].replace(quote * 2, quote).decode(errors="replace")
