"""How large schemas are, how fast they grow, and when they were last changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.db.grants import Flavour
from mapadmin.db.names import SYSTEM_SCHEMAS
from mapadmin.db.statements import Sql, merge

if TYPE_CHECKING:
    from mapadmin.db.database import Database
    from mapadmin.db.server import Server
    from mapadmin.db.state import State

WINDOW = 30  # days that growth looks back at the most
KEPT = 366  # days that sizes are kept, for whoever looks at them by other means

# InnoDB forgets the time of a table's last change when the server is restarted, hence COALESCE.
_TABLES = """SELECT TABLE_SCHEMA, COUNT(*), MAX(COALESCE(UPDATE_TIME, CREATE_TIME)),
SUM(IF(ENGINE = 'InnoDB', DATA_LENGTH + INDEX_LENGTH, 0)),
SUM(IF(ENGINE = 'InnoDB', 0, DATA_LENGTH + INDEX_LENGTH)) FROM information_schema.TABLES
WHERE TABLE_TYPE NOT LIKE '%VIEW'
AND TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema') GROUP BY TABLE_SCHEMA"""
# InnoDB's own estimate lags behind by whole rows: a table of a few large blobs seems empty.
_FILES = """SELECT SUBSTRING_INDEX(NAME, '/', 1) AS place, SUM(FILE_SIZE)
FROM information_schema.{table} WHERE NAME LIKE '%/%' GROUP BY place"""
_FILES_OF = {Flavour.MYSQL: "INNODB_TABLESPACES", Flavour.MARIADB: "INNODB_SYS_TABLESPACES"}
_LOOKS = """SELECT s.schema_name, s.day, s.bytes, o.last_day FROM {table} s JOIN (
SELECT schema_name, MIN(day) AS first_day, MAX(day) AS last_day FROM {table}
WHERE day >= %s GROUP BY schema_name) o ON o.schema_name = s.schema_name AND o.first_day = s.day"""


class Use(msgspec.Struct, frozen=True):
    """What one schema holds. `bytes` are its files on disk, so an empty table has some, too.

    Without the PROCESS privilege, and for tables that share a file, they are the server's estimate.

    `newest_change` (UTC) is the latest change of a row or a definition that the server remembers:
    since its start it knows of rows, from before only of definitions.
    """

    bytes: int = 0
    tables: int = 0
    newest_change: datetime | None = None


class Look(msgspec.Struct, frozen=True):
    """The size of a schema on a day in the past: its oldest one in the window."""

    day: date
    bytes: int


class Growth(msgspec.Struct, frozen=True):
    """`bytes` more than `days` ago."""

    bytes: int
    days: int


class Usage(msgspec.Struct, dict=True, frozen=True):
    """All schemas as they are, and as they were; `today` is UTC."""

    today: date
    uses: Mapping[str, Use]
    looks: Mapping[str, Look]

    def growth(self, schema: str) -> Growth | None:
        """Of one schema, since its oldest look; None without one before today."""
        look = self.looks.get(schema)
        if look is None or look.day >= self.today:
            return None
        return Growth(self.uses[schema].bytes - look.bytes, (self.today - look.day).days)

    @cached_property
    def first_day(self) -> date | None:
        """The day of the oldest look at any schema."""
        day = min((look.day for look in self.looks.values()), default=None)
        return day if day is not None and day < self.today else None

    def growth_of(self, schemas: Iterable[str], gone: Iterable[str] = ()) -> Growth | None:
        """Of several schemas together, since the oldest look at any schema of the server.

        One that was not there on that day counts as new, one of `gone` as freed.
        """
        day = self.first_day
        if day is None:
            return None
        names = set(schemas)
        then = (
            look.bytes
            for name in names | set(gone)
            if (look := self.looks.get(name)) and look.day == day
        )
        now = sum(self.uses[name].bytes for name in names)
        return Growth(now - sum(then), (self.today - day).days)


def usage(database: Database) -> Usage:
    """Look at all schemas, in a few queries, and remember their sizes once a day.

    Remembering is left out, without a word, where mapadmin's schema is not there or not writable.
    """
    found = _uses(database.server)
    uses = {name: found.get(name, Use()) for name in database.tables.schemas}
    looks: dict[str, Look] = {}
    if database.state.exists:
        with suppress(MapadminError):
            looks = _compare(database.server, database.state, uses, database.today)
    return Usage(database.today, uses, looks)


def _uses(server: Server) -> dict[str, Use]:
    if server.flavour is Flavour.MYSQL:
        # Else sizes and times may be a day old.
        server.query("SET SESSION information_schema_stats_expiry = 0")
    files: dict[str, int] = {}
    with suppress(MapadminError):  # needs PROCESS
        rows = server.query(_FILES.format(table=_FILES_OF[server.flavour]))
        files = {schema_of_file(place): int(size) for place, size in rows}
    return {
        name: Use(
            bytes=max(int(innodb or 0), files.get(name, 0)) + int(others or 0),
            tables=tables,
            newest_change=newest and newest.replace(tzinfo=UTC),
        )
        for name, tables, newest, innodb, others in server.query(_TABLES)
    }


def schema_of_file(place: str) -> str:
    """`my-lab` for `my@002dlab`: how a schema's name is written in the file system.

    A few alphabets have shorter codes, which are left alone: such a name matches no schema.
    """
    return re.sub("@([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), place)


def _compare(server: Server, state: State, uses: Mapping[str, Use], today: date) -> dict[str, Look]:
    table = state.table("schema_size")
    rows = server.query(_LOOKS.format(table=table), [today - timedelta(days=WINDOW)])
    seen_today = {name for name, _, _, last in rows if last >= today}
    new = [
        Sql(f"INSERT IGNORE INTO {table} (schema_name, day, bytes) VALUES ", "(%s, %s, %s)", "",
            (name, today.isoformat(), use.bytes))
        for name, use in uses.items()
        if name not in seen_today and name.lower() not in SYSTEM_SCHEMAS
    ]  # fmt: skip
    with suppress(MapadminError):
        for sql, _ in merge(new):
            server.run(sql)
        if new:
            server.query(f"DELETE FROM {table} WHERE day < %s", [today - timedelta(days=KEPT)])
    return {name: Look(day, int(size)) for name, day, size, _ in rows}
