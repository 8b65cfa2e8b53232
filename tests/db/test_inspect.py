"""What was granted, in every form, is what `inspect` tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from mapadmin.db.grants import GLOBAL, GRANT_OPTION, Account, Flavour, GrantTables, Level, Scope
from mapadmin.db.inspect import inspect
from tests.db.probes import Reader, clean, run
from tests.servers import RunningServer

if TYPE_CHECKING:
    from pymysql.connections import Connection

ANN = Account("eff_ann", "10.%")
WHO = "eff_ann@'10.%'"


@pytest.fixture
def root(server: RunningServer) -> Iterator[Connection[Any]]:
    """A connection of root to a server without accounts of other tests."""
    server.wipe()
    with closing(server.root()) as connection:
        run(connection, "CREATE DATABASE eff_s")
        run(connection, "CREATE TABLE eff_s.t (a INT, b INT)")
        run(connection, "CREATE PROCEDURE eff_s.p() DO 0")
        run(connection, "CREATE FUNCTION eff_s.f() RETURNS INT DETERMINISTIC RETURN 1")
        run(connection, f"CREATE USER {WHO}")
        yield connection
    server.wipe()


def look(root: Connection[Any]) -> GrantTables:
    return inspect(Reader(root))


DATABASE = Scope(Level.DATABASE, "eff_s")
TABLE = Scope(Level.TABLE, "eff_s", "t")


def column(name: str) -> Scope:
    return Scope(Level.COLUMN, "eff_s", "t", name)


@pytest.mark.parametrize(
    ("granted", "scope", "expected"),
    [
        ("SELECT, SHOW DATABASES ON *.* TO {}", GLOBAL, "SELECT,SHOW DATABASES"),
        ("CREATE TABLESPACE ON *.* TO {}", GLOBAL, "CREATE TABLESPACE"),
        ("REPLICATION SLAVE ON *.* TO {}", GLOBAL, "REPLICATION SLAVE"),
        ("USAGE ON *.* TO {} WITH GRANT OPTION", GLOBAL, "GRANT OPTION"),
        ("SELECT ON eff_s.* TO {}", DATABASE, "SELECT"),
        (r"SELECT ON `a\_b%`.* TO {}", Scope(Level.DATABASE, r"a\_b%"), "SELECT"),
        ("SELECT ON `é``'\"\\é`.* TO {}", Scope(Level.DATABASE, "é`'\"\\é"), "SELECT"),
        (
            "CREATE TEMPORARY TABLES, LOCK TABLES, SHOW VIEW, EVENT ON eff_s.* TO {}",
            DATABASE,
            "CREATE TEMPORARY TABLES,LOCK TABLES,SHOW VIEW,EVENT",
        ),
        ("SELECT ON eff_s.* TO {} WITH GRANT OPTION", DATABASE, "SELECT,GRANT OPTION"),
        ("INSERT, CREATE VIEW, SHOW VIEW ON eff_s.t TO {}", TABLE, "INSERT,CREATE VIEW,SHOW VIEW"),
        ("DROP ON eff_s.t TO {} WITH GRANT OPTION", TABLE, "DROP,GRANT OPTION"),
        ("UPDATE (b), REFERENCES (b) ON eff_s.t TO {}", column("b"), "UPDATE,REFERENCES"),
        (
            "EXECUTE, ALTER ROUTINE ON PROCEDURE eff_s.p TO {}",
            Scope(Level.PROCEDURE, "eff_s", "p"),
            "EXECUTE,ALTER ROUTINE",
        ),
        (
            "EXECUTE ON FUNCTION eff_s.f TO {} WITH GRANT OPTION",
            Scope(Level.FUNCTION, "eff_s", "f"),
            "EXECUTE,GRANT OPTION",
        ),
        ("PROXY ON x@y TO {}", Scope(Level.PROXY, "x", "y"), "PROXY"),
    ],
)
def test_one_grant(root: Connection[Any], granted: str, scope: Scope, expected: str) -> None:
    if "PROXY" in granted:
        run(root, "CREATE USER x@y")
    run(root, "GRANT " + granted.format(WHO))
    assert look(root).accounts[ANN].grants == {scope: frozenset(expected.split(","))}
    run(root, f"DROP USER {WHO}")
    assert ANN not in look(root).accounts


def test_a_proxy_that_may_make_proxies(root: Connection[Any]) -> None:
    """On MariaDB the statement gives GRANT OPTION on everything as well."""
    run(root, "CREATE USER x@y")
    run(root, f"GRANT PROXY ON x@y TO {WHO} WITH GRANT OPTION")
    held = dict(look(root).accounts[ANN].grants)
    assert held.pop(Scope(Level.PROXY, "x", "y")) == {"PROXY", GRANT_OPTION}
    assert not held or held == {GLOBAL: {GRANT_OPTION}}


def test_all_on_everything_on_a_schema_and_on_a_table(root: Connection[Any]) -> None:
    for scope in ("*.*", "eff_s.*", "eff_s.t"):
        run(root, f"GRANT ALL ON {scope} TO {WHO}")
    tables = look(root)
    held = tables.accounts[ANN].grants
    assert held[DATABASE] == tables.database_privileges
    told = (
        "SELECT privilege_type FROM information_schema.{}_privileges WHERE grantee LIKE '%%ann%%'"
    )
    for where, kind in ((GLOBAL, "user"), (DATABASE, "schema"), (TABLE, "table")):
        assert held[where] == {name for (name,) in run(root, told.format(kind), ())}
        assert GRANT_OPTION not in held[where]


def test_several_columns_of_one_table_are_scopes_of_their_own(root: Connection[Any]) -> None:
    run(root, f"GRANT SELECT (a, b), INSERT (a), DELETE ON eff_s.t TO {WHO}")
    assert look(root).accounts[ANN].grants == {
        TABLE: {"DELETE"},
        column("a"): {"SELECT", "INSERT"},
        column("b"): {"SELECT"},
    }


def test_what_only_mysql_has(mysql: RunningServer) -> None:
    mysql.wipe()
    mysql.sql(
        "CREATE USER eff_ann@'10.%' IDENTIFIED BY 'x' REQUIRE X509 PASSWORD EXPIRE ACCOUNT LOCK"
        ' ATTRIBUTE \'{"a": 1, "comment": "Ann\'\'s \\\\"own\\\\""}\'',
        "GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO eff_ann@'10.%' WITH GRANT OPTION",
        "GRANT CONNECTION_ADMIN, SELECT, INSERT ON *.* TO eff_ann@'10.%'",
        "ALTER USER eff_ann@'10.%' IDENTIFIED BY 'y' RETAIN CURRENT PASSWORD",
        "SET GLOBAL partial_revokes = ON",
        "REVOKE INSERT ON `eff_s`.* FROM eff_ann@'10.%'",
        "CREATE USER eff_plain",
    )
    with closing(mysql.root()) as root:
        tables = look(root)
        ann, plain = tables.accounts[ANN], tables.accounts[Account("eff_plain")]
        assert ann.grants == {
            GLOBAL: {"SELECT", "INSERT", "SYSTEM_VARIABLES_ADMIN", "CONNECTION_ADMIN"}
        }
        assert ann.grantable == {"SYSTEM_VARIABLES_ADMIN"}
        assert ann.restrictions == {"eff_s": {"INSERT"}}
        assert (ann.locked, ann.tls, ann.second_password, ann.is_role) == (True, True, True, False)
        assert ann.comment == 'Ann\'s "own"'
        assert ann.plugin == plain.plugin == "caching_sha2_password"
        assert (plain.locked, plain.expired, plain.tls, plain.auth) == (False, False, False, "")
        assert not plain.second_password
        assert tables.partial_revokes
        run(root, f"CREATE USER eff_copy IDENTIFIED WITH '{ann.plugin}' AS 0x{ann.auth}")
        assert look(root).accounts[Account("eff_copy")].auth == ann.auth
    mysql.wipe()
    mysql.sql("SET GLOBAL partial_revokes = OFF")


def test_what_only_mariadb_has(mariadb: RunningServer) -> None:
    mariadb.wipe()
    mariadb.sql(
        "CREATE USER eff_ann@'10.%' IDENTIFIED VIA unix_socket OR mysql_native_password"
        " USING PASSWORD('x') REQUIRE SSL ACCOUNT LOCK PASSWORD EXPIRE",
        "CREATE USER eff_plain IDENTIFIED BY PASSWORD '*667F407DE7C6AD07358FA38DAED7828A72014B4E'",
        "CREATE DATABASE eff_s",
        "GRANT DELETE HISTORY ON eff_s.* TO eff_plain",
        "SET sql_mode = ORACLE",
        "CREATE PACKAGE eff_s.pk AS PROCEDURE p; END",
        "CREATE PACKAGE BODY eff_s.pk AS PROCEDURE p AS BEGIN NULL; END; END",
        "GRANT EXECUTE ON PACKAGE eff_s.pk TO eff_plain",
        "GRANT EXECUTE ON PACKAGE BODY eff_s.pk TO eff_plain",
        "GRANT SELECT ON eff_s.* TO PUBLIC",
    )
    with closing(mariadb.root()) as root:
        accounts = look(root).accounts
    ann, plain = accounts[ANN], accounts[Account("eff_plain")]
    assert (ann.locked, ann.expired, ann.tls) == (True, True, True)
    ways = ((ann.plugin, ann.auth), *ann.other_auth)
    assert [plugin for plugin, _ in ways] == ["unix_socket", "mysql_native_password"]
    assert bytes.fromhex(plain.auth) == b"*667F407DE7C6AD07358FA38DAED7828A72014B4E"
    assert (plain.locked, plain.expired, plain.tls, plain.other_auth) == (False, False, False, ())
    assert plain.grants == {
        DATABASE: {"DELETE HISTORY"},
        Scope(Level.PACKAGE, "eff_s", "pk"): {"EXECUTE"},
        Scope(Level.PACKAGE_BODY, "eff_s", "pk"): {"EXECUTE"},
    }
    public = accounts[Account("PUBLIC", "")]
    assert public.is_role
    assert public.grants == {DATABASE: {"SELECT"}}
    with closing(mariadb.root()) as root:
        clean(root, Flavour.MARIADB, ["eff_s"])
