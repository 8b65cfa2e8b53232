"""Who defines views, routines, triggers and events: dropping such an account breaks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from mapadmin.db.grants import Account

if TYPE_CHECKING:
    from mapadmin.db.server import Server


class Defined(msgspec.Struct, frozen=True):
    """A view, routine, trigger or event that runs with an account's privileges."""

    kind: str
    schema: str
    name: str
    definer: str

    def __str__(self) -> str:
        return f"{self.kind} {self.schema}.{self.name}"


_SOURCES = """
SELECT 'view', TABLE_SCHEMA, TABLE_NAME, DEFINER FROM information_schema.VIEWS
UNION ALL SELECT LOWER(ROUTINE_TYPE), ROUTINE_SCHEMA, ROUTINE_NAME, DEFINER
  FROM information_schema.ROUTINES
UNION ALL SELECT 'trigger', TRIGGER_SCHEMA, TRIGGER_NAME, DEFINER FROM information_schema.TRIGGERS
UNION ALL SELECT 'event', EVENT_SCHEMA, EVENT_NAME, DEFINER FROM information_schema.EVENTS
"""


def defined_by(server: Server, accounts: Iterable[Account]) -> list[Defined]:
    """Everything that one of these accounts defines, in all schemas, in one query."""
    names = [str(account) for account in accounts]
    if not names:
        return []
    marks = ", ".join(["%s"] * len(names))
    rows = server.query(
        # The columns differ in their collations, and account names are compared as they are.
        f"WITH defined (kind, place, name, definer) AS ({_SOURCES}) SELECT * FROM defined "
        f"WHERE BINARY definer IN ({marks}) ORDER BY place, kind, name",
        names,
    )
    return [Defined(*row) for row in rows]


def definers(server: Server, accounts: Iterable[Account]) -> Mapping[Account, str]:
    """Of these accounts, those that define something, each with a list of it for a message."""
    found: dict[Account, list[str]] = {}
    for one in defined_by(server, accounts):
        user, _, host = one.definer.rpartition("@")
        found.setdefault(Account(user, host), []).append(str(one))
    return {
        account: ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
        for account, names in found.items()
    }
