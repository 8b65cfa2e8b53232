"""How many jobs each table has in which state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mapadmin.core.errors import MapadminError, UnreachableError
from mapadmin.pipeline.inventory import Inventory, OwnTable
from mapadmin.pipeline.layout import ERROR, RESERVED, Layout

if TYPE_CHECKING:
    from mapadmin.db.server import Server

_TOGETHER = 100  # job tables in one statement


class JobCounts(msgspec.Struct, kw_only=True):
    """The jobs of one table. Ages are in seconds, None where there is no such job."""

    schema: str
    table: str
    name: str
    """`schema.Class`, as it is shown."""
    job_table: str
    reserved: int = 0
    error: int = 0
    pending: int = 0
    ignored: int = 0
    success: int = 0
    oldest_reserved: float | None = None
    oldest_error: float | None = None
    newest_error: float | None = None


class Counted(msgspec.Struct):
    """What was counted, and a sentence for each job table that could not be."""

    jobs: list[JobCounts]
    problems: list[str]


def count_jobs(server: Server, inventory: Inventory) -> Counted:
    """The jobs of all tables, by schema and name. One that cannot be read hides no other."""
    counted = Counted([], list(inventory.problems))
    tables = inventory.jobs
    for start in range(0, len(tables), _TOGETHER):
        part = tables[start : start + _TOGETHER]
        try:
            rows = server.query(_statement(part))
        except UnreachableError:
            raise
        except MapadminError:
            rows = _one_by_one(server, part, counted.problems)
        counted.jobs += _gather(part, rows)
    counted.jobs.sort(key=lambda jobs: (jobs.schema, jobs.table.lstrip("_")))
    return counted


def _statement(tables: Iterable[OwnTable]) -> str:
    return " UNION ALL ".join(_select(number, Layout(table)) for number, table in enumerate(tables))


def _select(number: int, layout: Layout) -> str:
    """Rows of number, table, jobs in each state of _FIELDS, and the seconds since the oldest
    reservation, the oldest and the newest error.

    Without a group for each status, for which the server would make a temporary table.
    """
    counts = [f"COUNT(IF({layout.has_status(state)}, 1, NULL))" for state in _FIELDS]
    ages = [
        layout.age(f"{which}(IF({layout.has_status(state)}, {moment}, NULL))")
        for which, state, moment in (
            ("MIN", RESERVED, layout.reserved_at),
            ("MIN", ERROR, layout.failed_at),
            ("MAX", ERROR, layout.failed_at),
        )
    ]
    group = "GROUP BY name" if layout.legacy else "HAVING COUNT(*) > 0"
    return (
        f"(SELECT {number}, {layout.name} AS name, {', '.join(counts + ages)} "
        f"FROM {layout.sql} {group})"
    ).replace("%%", "%")  # without parameters, the driver leaves `%` alone


def _one_by_one(
    server: Server, tables: Sequence[OwnTable], problems: list[str]
) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for number, table in enumerate(tables):
        try:
            rows = server.query(_statement([table]))
        except UnreachableError:
            raise
        except MapadminError as error:
            problems.append(f"{table} is not read: {error.message}")
        else:
            found += [(number, *row[1:]) for row in rows]
    return found


_FIELDS = {
    "reserved": "reserved", "error": "error", "pending": "pending", "ignore": "ignored",
    "success": "success",
}  # fmt: skip


def _gather(tables: Sequence[OwnTable], rows: Iterable[tuple[Any, ...]]) -> list[JobCounts]:
    found = []
    for number, table, *values in rows:
        layout = Layout(tables[number])
        name = layout.table(str(table))
        counts = dict(zip(_FIELDS.values(), map(int, values), strict=False))
        oldest_reserved, oldest_error, newest_error = map(_seconds, values[len(counts) :])
        found.append(
            JobCounts(
                schema=name.schema, table=name.table, name=str(name), job_table=layout.own.name,
                **counts, oldest_reserved=oldest_reserved, oldest_error=oldest_error,
                newest_error=newest_error,
            )
        )  # fmt: skip
    return found


def _seconds(value: Any) -> float | None:
    return None if value is None else round(float(value), 3)
