"""The rows of MariaDB's `mysql.global_priv`: one JSON document for each account.

Keys and their meaning are those of `User_table_json` in the server's sql_acl.cc.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import msgspec

from mapadmin.db.grants import GRANT_OPTION, Privileges

_NAMES = (
    "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "RELOAD", "SHUTDOWN", "PROCESS",
    "FILE", GRANT_OPTION, "REFERENCES", "INDEX", "ALTER", "SHOW DATABASES", "SUPER",
    "CREATE TEMPORARY TABLES", "LOCK TABLES", "EXECUTE", "REPLICATION SLAVE", "BINLOG MONITOR",
    "CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "CREATE USER", "EVENT",
    "TRIGGER", "CREATE TABLESPACE", "DELETE HISTORY", "SET USER", "FEDERATED ADMIN",
    "CONNECTION ADMIN", "READ_ONLY ADMIN", "REPLICATION SLAVE ADMIN", "REPLICATION MASTER ADMIN",
    "BINLOG ADMIN", "BINLOG REPLAY", "SLAVE MONITOR", "SHOW CREATE ROUTINE",
)  # fmt: skip
_EVERYTHING = 2**64 - 1  # how the installation writes ALL for root
_EVERYTHING_THEN = 2**30 - 1  # and so a server before 10.5.2
_SPLIT_FROM_SUPER = frozenset((
    "SET USER", "FEDERATED ADMIN", "CONNECTION ADMIN", "READ_ONLY ADMIN",
    "REPLICATION SLAVE ADMIN", "BINLOG ADMIN", "BINLOG REPLAY",
))  # fmt: skip
# Until 11.0, whose rows of earlier servers get them by name.
_CONTAINED_IN_SUPER = _SPLIT_FROM_SUPER - {"READ_ONLY ADMIN"} | {
    "REPLICATION MASTER ADMIN", "SLAVE MONITOR", "BINLOG MONITOR",
}  # fmt: skip


class GlobalPriv(msgspec.Struct, frozen=True):
    """One document, in mapadmin's terms."""

    privileges: Privileges = frozenset()
    is_role: bool = False
    locked: bool = False
    expired: bool = False
    tls: bool = False
    default_role: str = ""
    plugins: tuple[tuple[str, str], ...] = (("", ""),)  # name, hash in hexadecimal


def parse(text: str, version: tuple[int, ...]) -> GlobalPriv:
    """A document as the server of that version takes it."""
    data: dict[str, Any] = json.loads(text)
    return GlobalPriv(
        privileges=privileges(data.get("access", 0), data.get("version_id", 0), version),
        is_role=data.get("is_role") is True,
        locked=data.get("account_locked") is True,
        expired=data.get("password_last_changed") == 0,  # how PASSWORD EXPIRE is stored
        tls=bool(data.get("ssl_type")),
        default_role=data.get("default_role", ""),
        plugins=tuple(_plugins(data)),
    )


def _plugins(data: dict[str, Any]) -> list[tuple[str, str]]:
    """The ways in, in the server's order; in `auth_or` an empty entry stands for the main one.

    No plugin at all is the old native password, and for a role no way in.
    """
    if data.get("is_role") is True:
        return [("", "")]
    main = _plugin(data)
    return [_plugin(way) if way else main for way in data.get("auth_or", ())] or [main]


def _plugin(data: dict[str, Any]) -> tuple[str, str]:
    text = data.get("authentication_string", "")
    return data.get("plugin") or "mysql_native_password", text.encode().hex().upper()


@lru_cache(maxsize=1024)
def privileges(access: int, row_version: int, version: tuple[int, ...]) -> Privileges:
    """The global privileges of a row that was written by `row_version` (10.5.9 is 100509).

    Rows keep the form of the server that wrote them and are adjusted when they are read: what was
    split off from a privilege later comes with it. A row with bits that its version did not have,
    or with an impossible version, gives nothing.
    """
    server = (*version, 0)[:2]
    if access == _EVERYTHING or (row_version < 100502 and access == _EVERYTHING_THEN):
        return frozenset(_NAMES[: _known(999999, server)])
    if row_version and not 100400 <= row_version <= 999999:
        return frozenset()
    if access >> _known(row_version, server):
        return frozenset()
    held = {name for bit, name in enumerate(_NAMES) if access >> bit & 1}
    if row_version < 100502:
        _add_since_10_5_2(held)
    elif row_version < 100509 and "REPLICATION SLAVE ADMIN" in held:
        held.add("SLAVE MONITOR")
    if row_version < 101100 and server >= (10, 11) and "SUPER" in held:
        held.add("READ_ONLY ADMIN")
    if row_version < 110000 and server >= (11, 0) and "SUPER" in held:
        held |= _CONTAINED_IN_SUPER
    return frozenset(held)


def _known(row_version: int, server: tuple[int, ...]) -> int:
    """How many of the names a row of that version may hold on that server."""
    if row_version < 100502:
        return _NAMES.index("SET USER")
    if row_version < 100508:
        return _NAMES.index("SLAVE MONITOR")
    last = "SHOW CREATE ROUTINE"
    return len(_NAMES) if row_version >= 110300 and server >= (11, 3) else _NAMES.index(last)


def _add_since_10_5_2(held: set[str]) -> None:
    if "SUPER" in held:
        held |= _SPLIT_FROM_SUPER
        if "REPLICATION SLAVE" in held:
            held.add("REPLICATION MASTER ADMIN")
    if held & {"BINLOG MONITOR", "REPLICATION SLAVE"}:
        held.add("SLAVE MONITOR")
