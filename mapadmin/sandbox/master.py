"""mapadmin's own account on a private server: what the master user of an RDS instance has.

It may do all that an administrator needs, and is not root: no SUPER, no CONNECTION_ADMIN, no
writing of grant tables. What works with it works on RDS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mapadmin.core.secret import Secret

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

    from mapadmin.sandbox.programs import Flavour

# "Master user account privileges" in the Amazon RDS User Guide. On MySQL its role also has
# SET_USER_ID (8.0) or SET_ANY_DEFINER (8.4): left out, so that nothing comes to depend on them.
PRIVILEGES = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER,"
    " SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE,"
    " REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER,"
    " EVENT, TRIGGER"
)
PRIVILEGES_MYSQL = (
    "CREATE ROLE, DROP ROLE, APPLICATION_PASSWORD_ADMIN, ROLE_ADMIN, XA_RECOVER_ADMIN"
)


def make_master(
    root: Connection[Cursor], flavour: Flavour, user: str, password: Secret, host: str = "%"
) -> None:
    """Make the account, or set it right; also RDS's procedures that end sessions for it.

    It is unlocked last: if it can log in, all of this was done.
    """
    account = (user, host)
    privileges = [PRIVILEGES, *([PRIVILEGES_MYSQL] if flavour == "mysql" else [])]
    with root.cursor() as cursor:
        cursor.execute("CREATE USER IF NOT EXISTS %s@%s ACCOUNT LOCK", account)
        for part in privileges:
            cursor.execute(f"GRANT {part} ON *.* TO %s@%s WITH GRANT OPTION", account)
        for name, kill in (("rds_kill", "KILL"), ("rds_kill_query", "KILL QUERY")):
            # Not IF NOT EXISTS, which MySQL knows for procedures since 8.0.29 only.
            cursor.execute(
                "SELECT 1 FROM information_schema.ROUTINES"
                " WHERE ROUTINE_SCHEMA = 'mysql' AND ROUTINE_NAME = %s",
                (name,),
            )
            if not cursor.fetchall():
                cursor.execute(
                    f"CREATE PROCEDURE mysql.{name}(thread BIGINT) SQL SECURITY DEFINER"
                    f" {kill} thread"
                )
        cursor.execute(
            "ALTER USER %s@%s IDENTIFIED BY %s REQUIRE SSL ACCOUNT UNLOCK",
            (*account, password.reveal()),
        )
