"""What `inspect` leaves out of an account because nobody compares it: TLS in detail, limits, ages.

Only a dump needs it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mapadmin.db.grants import Account, Flavour

if TYPE_CHECKING:
    from mapadmin.db.server import Server

_LIMITS = {
    "max_questions": "MAX_QUERIES_PER_HOUR",
    "max_updates": "MAX_UPDATES_PER_HOUR",
    "max_connections": "MAX_CONNECTIONS_PER_HOUR",
    "max_user_connections": "MAX_USER_CONNECTIONS",
    "max_statement_time": "MAX_STATEMENT_TIME",  # MariaDB, in seconds
}
_MYSQL = """SELECT User, Host, ssl_type, CONVERT(ssl_cipher USING utf8mb4),
CONVERT(x509_issuer USING utf8mb4), CONVERT(x509_subject USING utf8mb4), max_questions, max_updates,
max_connections, max_user_connections, password_lifetime, Password_reuse_history,
Password_reuse_time, Password_require_current, User_attributes FROM mysql.user"""
_MARIADB = "SELECT User, Host, Priv FROM mysql.global_priv"
_TLS = {"": "NONE", "ANY": "SSL", "X509": "X509", "SPECIFIED": "SPECIFIED"}
_MARIADB_TLS = ("NONE", "SSL", "X509", "SPECIFIED")  # by number, as the server stores it


class Details(msgspec.Struct, frozen=True):
    """`tls` is NONE, SSL, X509 or SPECIFIED, the latter with any of cipher, issuer and subject.

    `limits` are by their name in SQL. `lifetime` is the days until a password expires: None is the
    server's default, 0 never. The rest is MySQL's: `history` and `reuse_days` None are the server's
    default, `second_auth` is the hash (as hexadecimal digits) of the password before.
    """

    tls: str = "NONE"
    cipher: str = ""
    issuer: str = ""
    subject: str = ""
    limits: Mapping[str, float] = msgspec.field(default_factory=dict)
    lifetime: int | None = None
    history: int | None = None
    reuse_days: int | None = None
    require_current: bool | None = None
    failed_logins: int = 0
    lock_days: int = 0  # -1: until somebody unlocks it
    attribute: str = ""  # JSON
    second_auth: str = ""
    factors: int = 1


def read_details(server: Server) -> dict[Account, Details]:
    """The details of all accounts, in one query."""
    if server.flavour is Flavour.MARIADB:
        return {
            Account(user, host): _of_mariadb(json.loads(text))
            for user, host, text in server.query(_MARIADB)
        }
    return {Account(row[0], row[1]): _of_mysql(*row[2:]) for row in server.query(_MYSQL)}


def _of_mysql(
    tls: str, cipher: str, issuer: str, subject: str, questions: int, updates: int,
    connections: int, user_connections: int, lifetime: int | None, history: int | None,
    reuse_days: int | None, require_current: str | None, attributes: str | None,
) -> Details:  # fmt: skip
    more: dict[str, Any] = json.loads(attributes) if attributes else {}
    locking = more.get("Password_locking", {})
    metadata = more.get("metadata")
    return Details(
        tls=_TLS[tls], cipher=cipher, issuer=issuer, subject=subject,
        limits=_limits(
            max_questions=questions, max_updates=updates, max_connections=connections,
            max_user_connections=user_connections,
        ),
        lifetime=lifetime, history=history, reuse_days=reuse_days,
        require_current=None if require_current is None else require_current == "Y",
        failed_logins=locking.get("failed_login_attempts", 0),
        lock_days=locking.get("password_lock_time_days", 0),
        attribute=json.dumps(metadata, ensure_ascii=False) if metadata else "",
        second_auth=more.get("additional_password", "").encode().hex(),
        factors=1 + len(more.get("multi_factor_authentication", ())),
    )  # fmt: skip


def _of_mariadb(data: dict[str, Any]) -> Details:
    lifetime = data.get("password_lifetime", -1)
    return Details(
        tls=_MARIADB_TLS[data.get("ssl_type", 0)],
        cipher=data.get("ssl_cipher", ""),
        issuer=data.get("x509_issuer", ""),
        subject=data.get("x509_subject", ""),
        limits=_limits(**{name: data.get(name, 0) for name in _LIMITS}),
        lifetime=None if lifetime < 0 else lifetime,
    )


def _limits(**values: float) -> dict[str, float]:
    return {_LIMITS[name]: value for name, value in values.items() if value}
