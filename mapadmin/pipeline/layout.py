"""The two layouts of job tables, as the SQL expressions in which they differ.

`~jobs` (0.12 to 0.14) keeps the jobs of a whole schema, `~~table` (2.x) those of one table. Times
of the first are TIMESTAMPs; those of the second are DATETIMEs in the time zone of the worker's
session, which is taken to be the server's own.
"""

from __future__ import annotations

import re

import msgspec

from mapadmin.db.statements import identifier
from mapadmin.pipeline.inventory import OwnTable, TableKind
from mapadmin.pipeline.names import TableName

RESERVED, ERROR = "reserved", "error"


class Layout(msgspec.Struct, frozen=True):
    """SQL over one job table, for statements with driver parameters."""

    own: OwnTable

    @property
    def legacy(self) -> bool:
        return self.own.kind is TableKind.JOBS

    @property
    def sql(self) -> str:
        return self.own.sql

    @property
    def name(self) -> str:
        """The table that a job is for."""
        if self.legacy:
            return "table_name"
        return "'" + self.own.name.removeprefix("~~").replace("'", "''").replace("%", "%%") + "'"

    @property
    def key_hash(self) -> str:
        """32 hexadecimal digits that stand for a job's key."""
        if self.legacy:
            return "key_hash"
        columns = ", ".join(identifier(name) for name in self.own.primary)
        # Not MD5: MySQL 9 has it as an add-on only, which fails in a session without a database.
        return f"LEFT(SHA2(CONCAT_WS(CHAR(31), {columns}), 256), 32)"

    @property
    def now(self) -> str:
        """This moment, as the table's times tell it."""
        if self.legacy:
            return "UTC_TIMESTAMP()"
        return "CONVERT_TZ(UTC_TIMESTAMP(3), '+00:00', @@GLOBAL.time_zone)"

    @property
    def reserved_at(self) -> str:
        return "timestamp" if self.legacy else "reserved_time"

    @property
    def failed_at(self) -> str:
        return "timestamp" if self.legacy else "COALESCE(completed_time, created_time)"

    def has_status(self, state: str) -> str:
        """The condition for a row to be in a state; by number, which compares twice as fast."""
        kind = self.own.columns["status"].type
        states = re.findall(r"'([^']*)'", kind) if kind.startswith("enum(") else []
        if states:
            return f"status + 0 = {states.index(state) + 1}" if state in states else "FALSE"
        return f"status = '{state}'"

    def age(self, moment: str) -> str:
        """Seconds since a moment of the table's, as a float; NULL where it is not known."""
        return f"TIMESTAMPDIFF(MICROSECOND, {moment}, {self.now}) / 1e6"

    def table(self, name: str) -> TableName:
        """The pipeline's table that `name` (what the expression of that name gave) stands for."""
        return TableName(self.own.schema, name)

    def primary_is(self, alias: str = "") -> str:
        """A condition with a parameter for each column of the primary key."""
        dot = f"{alias}." if alias else ""
        return " AND ".join(f"{dot}{identifier(name)} = %s" for name in self.own.primary)

    @property
    def primary(self) -> str:
        """The columns of the primary key."""
        return ", ".join(identifier(name) for name in self.own.primary)
