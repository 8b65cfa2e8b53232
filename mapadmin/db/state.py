"""mapadmin's own small schema on the database server: what several administrators must share.

Which accounts mapadmin manages, who holds its lock, the common journal, and sizes seen earlier.
Everything that only reads works without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.journal import Entry, Marks, read_entries
from mapadmin.core.text import encodable
from mapadmin.db.grants import Account
from mapadmin.db.server import StatementError
from mapadmin.db.statements import Sql, SqlStep, identifier

if TYPE_CHECKING:
    from pathlib import Path

    from mapadmin.db.server import Server

LAYOUT_VERSION = 1

_TABLES = {
    "account": """(
        user varchar(128) NOT NULL, host varchar(255) NOT NULL,
        state varchar(16) NOT NULL, role varchar(64) NOT NULL, service tinyint NOT NULL,
        expires date NULL, since datetime NOT NULL,
        PRIMARY KEY (user, host))""",
    "holder": """(
        lock_name varchar(64) NOT NULL PRIMARY KEY, connection_id bigint NOT NULL,
        who varchar(255) NOT NULL, place varchar(255) NOT NULL, pid bigint NOT NULL,
        command text NOT NULL, since double NOT NULL)""",
    "journal": """(
        run varchar(32) NOT NULL, seq int NOT NULL, time varchar(32) NOT NULL,
        event varchar(16) NOT NULL, who varchar(255) NOT NULL, host varchar(255) NOT NULL,
        command text NOT NULL, action varchar(255) NOT NULL, target text NOT NULL,
        detail text NOT NULL, error text NOT NULL,
        PRIMARY KEY (run, seq), KEY (time))""",
    "schema_size": """(
        schema_name varchar(64) NOT NULL, day date NOT NULL, bytes bigint NOT NULL,
        PRIMARY KEY (schema_name, day))""",
}
_META = "meta"  # holds the layout's number


class Stage(StrEnum):
    """`creating` until the password has been handed over; then `managed`."""

    CREATING = "creating"
    MANAGED = "managed"


class Managed(msgspec.Struct, frozen=True):
    """What mapadmin remembers of an account that it manages."""

    account: Account
    stage: Stage
    role: str = ""
    service: bool = False
    expires: date | None = None


class State:
    """The schema `[database] schema`, with its tables."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._name = server.settings.schema

    @property
    def exists(self) -> bool:
        """Whether all of it is there. A run that was cut short may have made some of it."""
        return {*_TABLES, _META} <= self._found

    @cached_property
    def _found(self) -> frozenset[str]:
        """The tables that are there, as it was when this was first asked for."""
        rows = self.server.query(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s "
            "UNION ALL SELECT '' FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s",
            [self._name, self._name],
        )
        found = frozenset(str(name).lower() for (name,) in rows)
        if found == {""}:  # it is empty, or hidden from this account, which is an error
            with suppress(StatementError):
                self.server.query(f"SELECT 1 FROM {self.table('account')} LIMIT 0")
        return found

    def has(self, table: str) -> bool:
        """Whether one of its tables is there."""
        return table in self._found

    def table(self, name: str) -> str:
        """A table's quoted, qualified name, for statements with driver parameters."""
        return f"{identifier(self._name)}.{identifier(name)}"

    def setup_steps(self) -> tuple[SqlStep, ...]:
        """The step that makes the schema, or nothing. Killed half-way, it is repeated."""
        if self._layout() == LAYOUT_VERSION and self.exists:
            return ()
        statements = [
            Sql(
                f"CREATE DATABASE IF NOT EXISTS {identifier(self._name)} "
                "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            )
        ]
        for name, columns in _TABLES.items():
            statements.append(
                Sql(f"CREATE TABLE IF NOT EXISTS {self.table(name)} {columns} ENGINE=InnoDB")
            )
        meta = self.table(_META)
        statements.append(
            Sql(
                f"CREATE TABLE IF NOT EXISTS {meta} (name varchar(64) NOT NULL PRIMARY KEY, "
                "value varchar(255) NOT NULL) ENGINE=InnoDB"
            )
        )
        # The layout's number is written last: it says that all the rest is there.
        statements.append(
            Sql(f"REPLACE INTO {meta} VALUES ", "(%s, %s)", "", ("layout", str(LAYOUT_VERSION)))
        )
        return (
            SqlStep(
                action="create schema", target=self._name,
                detail="mapadmin's own: managed accounts, journal", statements=tuple(statements),
            ),
        )  # fmt: skip

    def _layout(self) -> int | None:
        rows = self.server.query(
            "SELECT COUNT(*) FROM information_schema.TABLES "
            "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
            [self._name, _META],
        )
        if not rows[0][0]:
            return None
        found = self.server.query(f"SELECT value FROM {self.table(_META)} WHERE name = 'layout'")
        layout = int(found[0][0]) if found else None
        if layout is not None and layout > LAYOUT_VERSION:
            raise MapadminError(
                f"The schema {self._name} was made by a newer mapadmin (layout {layout}).",
                remedy="Install that version here.",
            )
        return layout

    # --- accounts -------------------------------------------------------------------------------

    def managed(self) -> Mapping[Account, Managed]:
        """All accounts that mapadmin manages; none when the schema is not there."""
        if not self.has("account"):
            return {}
        rows = self.server.query(
            f"SELECT user, LOWER(host), state, role, service, expires FROM {self.table('account')} "
            "ORDER BY host"  # one in lower case, as the server has it, comes last
        )
        return {
            Account(user, host): Managed(
                Account(user, host), Stage(stage), role, bool(service), expires
            )
            for user, host, stage, role, service, expires in rows
        }

    def mark(self, entry: Managed) -> Sql:
        """The statement that remembers an account (again)."""
        return Sql(
            f"INSERT INTO {self.table('account')} "
            "(user, host, state, role, service, expires, since) VALUES ",
            "(%s, %s, %s, %s, %s, %s, UTC_TIMESTAMP())",
            " ON DUPLICATE KEY UPDATE state = VALUES(state), role = VALUES(role), "
            "service = VALUES(service), expires = VALUES(expires)",
            (
                entry.account.user, entry.account.host, entry.stage.value, entry.role,
                int(entry.service), entry.expires.isoformat() if entry.expires else None,
            ),
        )  # fmt: skip

    def forget(self, account: Account) -> Sql:
        """The statement that forgets an account."""
        return Sql(
            f"DELETE FROM {self.table('account')} WHERE user = %s AND LOWER(host) = %s",
            args=(account.user, account.host),
        )

    # --- journal --------------------------------------------------------------------------------

    def mirror(self, journal: Path) -> int:
        """Copy what the local journal has and the server does not; the number of entries copied.

        How far the file has been copied, and to where, is kept beside it. Entries are named by
        (run, seq), so copying one twice is no harm.
        """
        settings = self.server.settings
        here = f"{settings.host}:{settings.port}/{settings.schema}"
        marks = Marks.beside(journal)
        batch = list(read_entries(journal, offset=marks.offset(here)))
        columns = ", ".join(Entry.__struct_fields__)
        row = ", ".join(["%s"] * len(Entry.__struct_fields__))
        for start in range(0, len(batch), 500):
            part = batch[start : start + 500]
            values = ", ".join([f"({row})"] * len(part))
            self.server.query(
                f"INSERT IGNORE INTO {self.table('journal')} ({columns}) VALUES {values}",
                [
                    encodable(value) if isinstance(value, str) else value
                    for _, entry in part
                    for value in msgspec.structs.astuple(entry)
                ],
            )
        if batch:
            marks.keep(here, batch[-1][0])
        return len(batch)

    def journal(self, *, limit: int) -> list[Entry]:
        """The newest `limit` entries of all machines, oldest first."""
        if not self.has("journal"):
            return []
        columns = ", ".join(Entry.__struct_fields__)
        rows = self.server.query(
            f"SELECT {columns} FROM {self.table('journal')} "
            "ORDER BY time DESC, run DESC, seq DESC LIMIT %s",
            [limit],
        )
        names = Entry.__struct_fields__
        return [Entry(**dict(zip(names, row, strict=True))) for row in reversed(rows)]
