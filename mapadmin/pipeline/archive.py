"""A copy of every job row that mapadmin clears, in its own schema; it counts retries as well.

A row is copied by the very transaction that clears it, and inside the server: no stack travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mapadmin.core.identity import whoami
from mapadmin.db.state import State
from mapadmin.db.statements import Sql, SqlStep, identifier
from mapadmin.pipeline.layout import Layout

if TYPE_CHECKING:
    from mapadmin.db.server import Server

TABLE = "cleared_job"

BY_HAND = "retry"  # why a row was cleared: `workers retry`
GENERIC = "generic error"  # `cleanup jobs`, by the site's patterns
DEAD = "dead reservation"  # `cleanup jobs`

_COLUMNS = """(
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    cleared datetime(3) NOT NULL, cleared_by varchar(255) NOT NULL, reason varchar(32) NOT NULL,
    schema_name varchar(64) NOT NULL, job_table varchar(64) NOT NULL,
    table_name varchar(255) NOT NULL, key_hash char(32) NOT NULL, status varchar(16) NOT NULL,
    job_key longblob NULL, error_message text NOT NULL, error_stack longblob NULL,
    user varchar(255) NOT NULL, host varchar(255) NOT NULL, pid bigint NOT NULL,
    connection_id bigint NOT NULL, since datetime(3) NULL,
    KEY (schema_name, table_name, key_hash), KEY (cleared))"""


class Archive:
    """The table `cleared_job`; `exists` is False until something is cleared."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._schema = server.settings.schema
        self.exists = bool(
            server.query(
                "SELECT 1 FROM information_schema.TABLES "
                "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
                [self._schema, TABLE],
            )
        )

    @property
    def sql(self) -> str:
        return f"{identifier(self._schema)}.{identifier(TABLE)}"

    def setup_steps(self) -> tuple[SqlStep, ...]:
        """The step that makes the table, behind `State.setup_steps`; nothing when it is there."""
        if self.exists:
            return ()
        create = f"CREATE TABLE IF NOT EXISTS {self.sql} {_COLUMNS} ENGINE=InnoDB"
        return (
            SqlStep(
                action="create table", target=f"{self._schema}.{TABLE}",
                detail="copies of the job rows that are cleared", statements=(Sql(create),),
            ),
        )  # fmt: skip

    def set_up(self) -> None:
        """Make mapadmin's schema and the table where they are missing."""
        if not self.exists:
            state = State(self._server)
            for step in (*state.setup_steps(), *self.setup_steps()):
                for statement in step.statements:
                    self._server.run(statement)
            self.exists = True

    def copy(self, layout: Layout, where: str) -> str:
        """The statement that copies rows, locked until the transaction ends.

        Its parameters are who clears and the reason, then those of `where`.
        """
        moment = f"IF(status = 'reserved', {layout.reserved_at}, {layout.failed_at})"
        schema = "'" + layout.own.schema.replace("'", "''").replace("%", "%%") + "'"
        table = "'" + layout.own.name.replace("'", "''").replace("%", "%%") + "'"
        return (
            f"INSERT INTO {self.sql} (cleared, cleared_by, reason, schema_name, job_table, "
            "table_name, key_hash, status, job_key, error_message, error_stack, user, host, pid, "
            f"connection_id, since) SELECT UTC_TIMESTAMP(3), %s, %s, {schema}, {table}, "
            f"{layout.name}, {layout.key_hash}, status, {_key(layout)}, error_message, error_stack,"
            f" user, host, pid, connection_id, {moment} FROM {layout.sql} WHERE {where} FOR UPDATE"
        )

    def worn_out(self, schema: str, retries: int) -> set[tuple[str, str]]:
        """(table, key hash) of the jobs that were retried by themselves as often as they may be.

        Since somebody last retried them by hand: then the count starts anew.
        """
        if not self.exists:
            return set()
        rows = self._server.query(
            f"SELECT table_name, key_hash FROM {self.sql} c WHERE schema_name = %s AND reason = %s "
            f"AND NOT EXISTS (SELECT 1 FROM {self.sql} h WHERE h.schema_name = c.schema_name AND "
            "h.table_name = c.table_name AND h.key_hash = c.key_hash AND h.reason = %s "
            "AND h.id > c.id) GROUP BY table_name, key_hash HAVING COUNT(*) >= %s",
            [schema, GENERIC, BY_HAND, max(1, retries)],
        )
        return {(str(table), str(key_hash)) for table, key_hash in rows}

    # --- what is too old --------------------------------------------------------------------------

    def count_old(self, days: float) -> int:
        """How many copies are older than this."""
        if not self.exists:
            return 0
        sql = f"SELECT COUNT(*) FROM {self.sql} WHERE {_OLD}"
        return int(self._server.query(sql, [_seconds(days)])[0][0])

    def old(self, days: float, number: int) -> list[int]:
        """The ids of the oldest copies that are older than this, at most `number` of them."""
        sql = f"SELECT id FROM {self.sql} WHERE {_OLD} ORDER BY cleared, id LIMIT {number}"
        return [int(row[0]) for row in self._server.query(sql, [_seconds(days)])]

    def delete(self, ids: Sequence[int]) -> None:
        """Delete these copies."""
        places = ", ".join(["%s"] * len(ids))
        self._server.query(f"DELETE FROM {self.sql} WHERE id IN ({places})", ids)


_OLD = "cleared < UTC_TIMESTAMP(3) - INTERVAL %s SECOND"


def _seconds(days: float) -> int:
    return round(days * 86_400)


def _key(layout: Layout) -> str:
    """A job's key: DataJoint's blob, or the key columns as JSON."""
    if layout.legacy:
        return "`key`"
    pairs = []
    for name in layout.own.primary:
        column, quoted = identifier(name), name.replace("\\", "\\\\").replace("'", "''")
        binary = "binary" in layout.own.columns[name].type
        pairs += [f"'{quoted.replace('%', '%%')}'", f"HEX({column})" if binary else column]
    return f"JSON_OBJECT({', '.join(pairs)})"


def cleared_by(command: str) -> str:
    """Who clears, for the copies: person, machine and command."""
    me = whoami()
    return f"{me.who} on {me.host}: {command}"[:255]
