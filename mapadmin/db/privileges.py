"""The names of privileges: which there are, where each can be had, what else they are called."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mapadmin.core.errors import MapadminError
from mapadmin.db.grants import GRANT_OPTION, ROUTINES, Flavour, Level, Privileges

STATIC_PRIVILEGES = frozenset(
    """ALTER,ALTER ROUTINE,CREATE,CREATE ROLE,CREATE ROUTINE,CREATE TABLESPACE,
    CREATE TEMPORARY TABLES,CREATE USER,CREATE VIEW,DELETE,DELETE HISTORY,DROP,DROP ROLE,EVENT,
    EXECUTE,FILE,GRANT OPTION,INDEX,INSERT,LOCK TABLES,PROCESS,PROXY,REFERENCES,RELOAD,
    REPLICATION CLIENT,REPLICATION SLAVE,SELECT,SHOW CREATE ROUTINE,SHOW DATABASES,SHOW VIEW,
    SHUTDOWN,SUPER,TRIGGER,UPDATE""".replace("\n    ", "").split(",")
)
# Those of them that both servers grant on *.* only.
GLOBAL_PRIVILEGES = frozenset(
    """CREATE ROLE,CREATE TABLESPACE,CREATE USER,DROP ROLE,FILE,PROCESS,PROXY,RELOAD,
    REPLICATION CLIENT,REPLICATION SLAVE,SHOW DATABASES,SHUTDOWN,SUPER""".replace(
        "\n    ", ""
    ).split(",")
)
# Those that can be had on what is smaller than a schema; all others give an error each time.
_ON_A_ROUTINE = frozenset({"EXECUTE", "ALTER ROUTINE", "SHOW CREATE ROUTINE", GRANT_OPTION})
HOLDABLE: dict[Level, Privileges] = {
    Level.COLUMN: frozenset({"SELECT", "INSERT", "UPDATE", "REFERENCES"}),
    Level.TABLE: frozenset(
        """ALTER,CREATE,CREATE VIEW,DELETE,DELETE HISTORY,DROP,GRANT OPTION,INDEX,INSERT,REFERENCES,
        SELECT,SHOW VIEW,TRIGGER,UPDATE""".replace("\n        ", "").split(",")
    ),
    **dict.fromkeys(ROUTINES, _ON_A_ROUTINE),
}
# What a server takes, and by which name it stores and shows it.
_SYNONYMS: dict[Flavour, dict[str, str]] = {
    Flavour.MYSQL: {},
    Flavour.MARIADB: {
        "REPLICATION CLIENT": "BINLOG MONITOR",
        "REPLICA MONITOR": "SLAVE MONITOR",
        "REPLICATION REPLICA": "REPLICATION SLAVE",
        "REPLICATION REPLICA ADMIN": "REPLICATION SLAVE ADMIN",
        "DELETE VERSIONING ROWS": "DELETE HISTORY",
        "READ ONLY ADMIN": "READ_ONLY ADMIN",
    },
}
READING = frozenset(("SELECT", "SHOW VIEW", "SHOW DATABASES", "SHOW CREATE ROUTINE"))
# MySQL's dynamic and MariaDB's newer global privileges: whatever a server of the future names
# must still be revocable, so these are known by their form.
_DYNAMIC = re.compile(r"[A-Z][A-Z0-9_]*(?: [A-Z]+){0,2}")


def canonical(privilege: str, flavour: Flavour) -> str:
    """A privilege by the name that the server stores it by, however it is written."""
    name = " ".join(privilege.upper().split())
    return _SYNONYMS[flavour].get(name, name)


def check_privileges(privileges: Iterable[str]) -> None:
    """Raises MapadminError for anything that is not the name of a privilege."""
    for privilege in privileges:
        if privilege not in STATIC_PRIVILEGES and not _DYNAMIC.fullmatch(privilege):
            raise MapadminError(f"{privilege!r} is not a privilege.")
