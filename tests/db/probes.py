"""Probes that try what a session may do on real servers, and the schemas that they try it on.

A probe needs exactly one privilege on a schema and changes nothing when it is allowed: it names a
thing that is there already, or one that is not, or no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pymysql.err import MySQLError

from mapadmin.db.grants import Flavour

if TYPE_CHECKING:
    from pymysql.connections import Connection

PASSWORD = "Eff-1.password"
LONG = "eff" + "é" * 40  # 43 characters, 83 bytes: longer than the server's own limit in bytes
SCHEMAS = (
    "eff_a", "effXa", "eff_ab", "eff_lab_1", "eff%b", "effe", "effé", "effé_é", "eff\\a", LONG,
)  # fmt: skip
DENIED = {1044, 1142, 1143, 1370}

PROBES = {
    "SELECT": "SELECT 1 FROM {}.t LIMIT 0",
    "INSERT": "INSERT INTO {}.t (a) SELECT 1 FROM DUAL WHERE FALSE",
    "UPDATE": "UPDATE {}.t SET a = 1 WHERE FALSE",
    "DELETE": "DELETE FROM {}.t WHERE FALSE",
    "CREATE": "CREATE TABLE {}.t (a INT)",
    "DROP": "DROP TABLE {}.nope",
    "ALTER": "ALTER TABLE {}.nope COMMENT 'x'",
    "INDEX": "CREATE INDEX i ON {}.nope (a)",
    "CREATE VIEW": "CREATE VIEW {}.t AS SELECT 1",
    "CREATE TEMPORARY TABLES": "CREATE TEMPORARY TABLE {}.tmp (a INT)",
    "EXECUTE": "CALL {}.p()",
    "CREATE ROUTINE": "CREATE PROCEDURE {}.p() DO 0",
    "ALTER ROUTINE": "DROP PROCEDURE {}.nope",
    "EVENT": "DROP EVENT {}.nope",
}
MARIADB_PROBES = {**PROBES, "DELETE HISTORY": "DELETE HISTORY FROM {}.t"}


def quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def run(connection: Connection[Any], sql: str, args: Sequence[object] | None = None) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return list(cursor.fetchall())


class Reader:
    """Queries on a PyMySQL connection, counted."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self.count = 0

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        self.count += 1
        return run(self._connection, sql)


def allowed(connection: Connection[Any], sql: str) -> bool:
    try:
        run(connection, sql)
    except MySQLError as error:
        return error.args[0] not in DENIED
    return True


def make_schemas(root: Connection[Any]) -> None:
    """The schemas, each with a table and a procedure."""
    for schema in map(quoted, SCHEMAS):
        run(root, f"CREATE DATABASE IF NOT EXISTS {schema}")
        run(root, f"CREATE TABLE IF NOT EXISTS {schema}.t (a INT)")
        run(root, f"DROP PROCEDURE IF EXISTS {schema}.p")
        run(root, f"CREATE PROCEDURE {schema}.p() SQL SECURITY INVOKER DO 0")


def clean(root: Connection[Any], flavour: Flavour, schemas: Iterable[str] = ()) -> None:
    """Take away what `World` made."""
    if flavour is Flavour.MYSQL:  # a mandatory role cannot be dropped
        run(root, "SET GLOBAL mandatory_roles = DEFAULT")
        run(root, "SET GLOBAL activate_all_roles_on_login = DEFAULT")
        run(root, "SET GLOBAL activate_mandatory_roles = DEFAULT")
    for user, host in run(root, "SELECT User, Host FROM mysql.user WHERE User LIKE 'eff%'"):
        if flavour is Flavour.MARIADB and not host:
            run(root, f"DROP ROLE {quoted(user)}")
        else:
            run(root, f"DROP USER {quoted(user)}@{quoted(host)}")
    run(root, "DELETE FROM mysql.db WHERE User IN ('', 'PUBLIC') OR User LIKE 'eff%'")
    if flavour is Flavour.MARIADB:  # where PUBLIC cannot be dropped
        run(root, "DELETE FROM mysql.roles_mapping WHERE User = 'PUBLIC'")
        run(root, "DELETE FROM mysql.global_priv WHERE User = 'PUBLIC'")
    run(root, "FLUSH PRIVILEGES")
    for schema in schemas:
        run(root, f"DROP DATABASE IF EXISTS {quoted(schema)}")
