"""mapadmin's own small schema on the database server: what several administrators must share.

Which accounts mapadmin manages, who holds its lock, the common journal, and sizes seen earlier.
Everything that only reads works without it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import write_atomic
from mapadmin.core.identity import whoami
from mapadmin.core.journal import Entry, read_entries
from mapadmin.core.lock import Holder, LockedError
from mapadmin.db.grants import Account
from mapadmin.db.statements import Sql, SqlStep, identifier

if TYPE_CHECKING:
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
    """The schema `[database] schema`; `exists` is False until the first change made it."""

    def __init__(self, server: Server, schemas: Iterable[str]) -> None:
        self._server = server
        self._name = server.settings.schema
        self.exists = self._name in schemas

    def table(self, name: str) -> str:
        """A table's quoted, qualified name, for statements with driver parameters."""
        return f"{identifier(self._name)}.{identifier(name)}"

    def setup_steps(self) -> tuple[SqlStep, ...]:
        """The step that makes the schema, or nothing. Killed half-way, it is repeated."""
        if self.exists and self._layout() == LAYOUT_VERSION:
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
        meta = self.table("meta")
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
        rows = self._server.query(
            "SELECT COUNT(*) FROM information_schema.TABLES "
            "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = 'meta'",
            [self._name],
        )
        if not rows[0][0]:
            return None
        found = self._server.query(f"SELECT value FROM {self.table('meta')} WHERE name = 'layout'")
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
        if not self.exists:
            return {}
        rows = self._server.query(
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

    # --- lock -----------------------------------------------------------------------------------

    @contextmanager
    def lock(
        self, command: str, *, wait: float = 3.0, work: str = "changing accounts"
    ) -> Iterator[None]:
        """Be the only mapadmin that does this kind of work on this server, for the body.

        Raises LockedError naming the holder, after `wait` seconds.
        """
        name = f"mapadmin:{self._name}"
        if work != "changing accounts":  # a lock of its own; at most 64 characters
            name = f"mapadmin:{work[:16]}:{self._name}"[:64]
        if not self._server.acquire_lock(name, wait):
            raise LockedError(
                f"Another mapadmin is {work} on this server: {self._holder(name)}.",
                remedy="Wait for it to finish, then run this again.",
            )
        try:
            if self.exists:
                me = whoami()
                row = Holder(me.who, me.host, os.getpid(), command, time.time())
                self._server.query(
                    f"REPLACE INTO {self.table('holder')} VALUES (%s, %s, %s, %s, %s, %s, %s)",
                    [name, self._server.connection_id, *msgspec.structs.astuple(row)],
                )
            yield
        finally:
            self._server.release_lock(name)

    def _holder(self, name: str) -> str:
        number = self._server.lock_holder(name)
        if number is None:
            return "it has finished just now"
        if self.exists:
            rows = self._server.query(
                f"SELECT who, place, pid, command, since FROM {self.table('holder')} "
                "WHERE lock_name = %s AND connection_id = %s",
                [name, number],
            )
            if rows:
                return str(Holder(*rows[0]))
        return f"connection {number}"

    # --- journal --------------------------------------------------------------------------------

    def mirror(self, journal: Path) -> int:
        """Copy what the local journal has and the server does not; the number of entries copied.

        How far the file has been copied is kept beside it. Entries are named by (run, seq), so
        copying one twice is no harm.
        """
        marker = journal.with_suffix(".mirrored")
        try:
            offset = int(json.loads(marker.read_text())[self._server.settings.host])
        except (OSError, ValueError, KeyError, TypeError):
            offset = 0
        batch = list(read_entries(journal, offset=offset))
        columns = ", ".join(Entry.__struct_fields__)
        marks = ", ".join(["%s"] * len(Entry.__struct_fields__))
        for start in range(0, len(batch), 500):
            part = batch[start : start + 500]
            values = ", ".join([f"({marks})"] * len(part))
            self._server.query(
                f"INSERT IGNORE INTO {self.table('journal')} ({columns}) VALUES {values}",
                [value for _, entry in part for value in msgspec.structs.astuple(entry)],
            )
        if batch:
            write_atomic(marker, json.dumps({self._server.settings.host: batch[-1][0]}), mode=0o600)
        return len(batch)

    def journal(self, *, limit: int) -> list[Entry]:
        """The newest `limit` entries of all machines, oldest first."""
        if not self.exists:
            return []
        columns = ", ".join(Entry.__struct_fields__)
        rows = self._server.query(
            f"SELECT {columns} FROM {self.table('journal')} "
            "ORDER BY time DESC, run DESC, seq DESC LIMIT %s",
            [limit],
        )
        names = Entry.__struct_fields__
        return [Entry(**dict(zip(names, row, strict=True))) for row in reversed(rows)]


def own_schema(server: Server) -> list[str]:
    """mapadmin's schema, if it is there: known before the lock is taken, unlike the rest."""
    rows = server.query(
        "SELECT TABLE_SCHEMA FROM information_schema.TABLES "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = 'holder'",
        [server.settings.schema],
    )
    return [row[0] for row in rows]
