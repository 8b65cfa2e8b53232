"""The driver's errors in words, with the right exit code. Pure."""

from __future__ import annotations

import ssl

import pytest
from pymysql.err import InterfaceError, OperationalError

from mapadmin.core.errors import ExitCode
from mapadmin.db.server import explain
from mapadmin.db.statements import Sql
from mapadmin.site import DatabaseSettings

SETTINGS = DatabaseSettings(host="db", password="env:X", project_prefix="map")
EOF = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
UNTRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")
OLD = ssl.SSLError(1, "wrong version number")
GRANT = Sql("GRANT SELECT ON `map_lab`.* TO %s@%s", args=("alice", "%"))


@pytest.mark.parametrize(
    ("error", "cause", "sql", "code", "said"),
    [
        (OperationalError(2003, "Can't connect"), UNTRUSTED, None, 3, "certificate is not acc"),
        (OperationalError(2003, "Can't connect"), OLD, None, 3, "TLS cannot be agreed on"),
        (OperationalError(2003, "Can't connect"), EOF, None, 4, "cannot be reached"),
        (OperationalError(2003, "Can't connect"), None, None, 4, "cannot be reached"),
        (OperationalError(2006, f"gone away ({EOF!r})"), EOF, GRANT, 4, "connection was lost"),
        (OperationalError(2013, "Lost connection"), None, GRANT, 4, "connection was lost"),
        (InterfaceError(0, ""), None, GRANT, 4, "db:3306: the connection was lost"),
        (OperationalError(1045, "Access denied"), None, None, 3, "Access denied"),
        (OperationalError(1044, "Access denied"), None, GRANT, 3, "lacks a privilege"),
        (
            OperationalError(1396, "CREATE USER failed"),
            None,
            GRANT,
            1,
            "3306: CREATE USER failed (",
        ),
        (OperationalError(1290, "running with --read-only"), None, GRANT, 1, "is read-only"),
    ],
)
def test_words_and_exit_code(
    error: Exception, cause: Exception | None, sql: Sql | None, code: int, said: str
) -> None:
    error.__cause__ = cause
    explained = explain(error, SETTINGS, sql)
    assert explained.exit_code == ExitCode(code), explained
    assert said in explained.message
    assert "[0]" not in explained.message
