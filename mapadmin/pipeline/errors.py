"""Failed jobs, grouped by what their messages mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from mapadmin.db.statements import identifier
from mapadmin.pipeline.blobs import unpack_key, unpack_text
from mapadmin.pipeline.inventory import Inventory
from mapadmin.pipeline.layout import Layout
from mapadmin.pipeline.meanings import like_fits, meaning_of
from mapadmin.pipeline.names import TableName

if TYPE_CHECKING:
    from mapadmin.db.server import Server


class Example(msgspec.Struct, kw_only=True):
    """One of the failed jobs of a group. `time` is UTC; `stack` is read when asked for."""

    table: str
    key: dict[str, Any]
    message: str
    user: str
    host: str
    pid: int
    time: datetime
    stack: str = ""


class ErrorGroup(msgspec.Struct, kw_only=True):
    """The failed jobs of one table that failed for the same reason."""

    table: str
    meaning: str
    count: int = 0
    generic: bool = False
    """Its messages fit the site's `[cleanup.jobs] errors`: worth another try."""
    first: datetime
    last: datetime
    examples: list[Example] = msgspec.field(default_factory=list)


class _Seen(msgspec.Struct):
    """A group while it is counted, with the primary keys of its first jobs."""

    layout: Layout
    group: ErrorGroup
    first: list[tuple[Any, ...]] = msgspec.field(default_factory=list)


def failed_tables(server: Server, inventory: Inventory) -> set[TableName]:
    """The tables that have failed jobs."""
    found = set()
    for layout in map(Layout, inventory.jobs):
        sql = f"SELECT DISTINCT {layout.name} FROM {layout.sql} WHERE status = 'error'"
        found |= {layout.table(str(name)) for (name,) in server.query(sql, ())}
    return found


def group_errors(
    server: Server,
    inventory: Inventory,
    tables: set[TableName],
    *,
    match: str = "%",  # LIKE
    generic: Sequence[str] = (),
    examples: int = 1,
    stacks: bool = False,
) -> list[ErrorGroup]:
    """The failed jobs of `tables` whose messages are LIKE `match`, most frequent group first.

    Messages are read one after the other: a million of them take no more memory than ten.
    """
    groups: list[ErrorGroup] = []
    for layout in map(Layout, inventory.jobs):
        wanted = {name for name in tables if name.schema == layout.own.schema}
        if not wanted:
            continue
        seen: dict[tuple[str, str], _Seen] = {}
        for name, message, age, *key in _messages(server, layout, match):
            table = layout.table(str(name))
            if table in wanted:
                _count(seen, layout, table, str(message), age, tuple(key), generic, examples)
        for one in seen.values():
            one.group.examples = _examples(server, layout, one, stacks=stacks)
            groups.append(one.group)
    return sorted(groups, key=lambda group: (-group.count, group.table, group.meaning))


def _messages(server: Server, layout: Layout, match: str) -> Iterator[tuple[Any, ...]]:
    where = "" if match == "%" else f" AND error_message LIKE {_literal(match)}"
    yield from server.stream(
        f"SELECT {layout.name}, error_message, {layout.age(layout.failed_at)}, {layout.primary} "
        f"FROM {layout.sql} WHERE status = 'error'{where}"
    )


def _literal(text: str) -> str:
    """A text in a statement that takes no parameters but doubled `%`: in hexadecimal."""
    return f"CONVERT(X'{text.encode().hex()}' USING utf8mb4)"


def _count(
    seen: dict[tuple[str, str], _Seen], layout: Layout, table: TableName, message: str,
    age: Any, key: tuple[Any, ...], generic: Sequence[str], examples: int,
) -> None:  # fmt: skip
    meaning = meaning_of(message)
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=round(float(age or 0)))
    one = seen.get((str(table), meaning))
    if one is None:
        group = ErrorGroup(
            table=str(table), meaning=meaning, first=moment, last=moment,
            generic=like_fits(message, generic),
        )  # fmt: skip
        one = seen[str(table), meaning] = _Seen(layout, group)
    group = one.group
    group.count += 1
    group.first, group.last = min(group.first, moment), max(group.last, moment)
    group.generic = group.generic and like_fits(message, generic)
    if len(one.first) < examples:
        one.first.append(key)


def _examples(server: Server, layout: Layout, seen: _Seen, *, stacks: bool) -> list[Example]:
    found = []
    stack = "error_stack" if stacks else "NULL"
    for key in seen.first:
        rows = server.query(
            f"SELECT error_message, user, host, pid, {layout.age(layout.failed_at)}, {stack}, "
            f"{key_columns(layout)} FROM {layout.sql} "
            f"WHERE status = 'error' AND {layout.primary_is()}",
            key,
        )
        for message, user, host, pid, age, trace, *values in rows:  # none if it is gone by now
            found.append(
                Example(
                    table=seen.group.table, message=str(message), user=str(user), host=str(host),
                    pid=int(pid), stack=unpack_text(trace), key=key_of(layout, values),
                    time=datetime.now(UTC).replace(microsecond=0)
                    - timedelta(seconds=round(float(age or 0))),
                )
            )  # fmt: skip
    return found


def key_of(layout: Layout, values: Sequence[Any]) -> dict[str, Any]:
    """A job's key from what `key_columns` selects."""
    if layout.legacy:
        return unpack_key(values[0])
    return dict(zip(layout.own.primary, values, strict=True))


def key_columns(layout: Layout) -> str:
    """The columns that hold a job's key."""
    return identifier("key") if layout.legacy else layout.primary


def key_text(key: dict[str, Any]) -> str:
    """`subject_id=440001, session=2`"""
    return ", ".join(f"{name}={value}" for name, value in key.items()) or "(no key)"
