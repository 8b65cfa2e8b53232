"""`dump`: loaded into another server of the same flavour, everybody is there and can log in."""

from __future__ import annotations

import os
import pty
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pymysql
import pytest

from mapadmin.db.account_details import Details, read_details
from mapadmin.db.grants import Account, AccountState, Flavour
from mapadmin.db.inspect import inspect
from tests.lab import Lab
from tests.servers import RunningServer, running_server
from tests.zygote import MAPADMIN

SCHEMA = (
    "CREATE DATABASE map_lab",
    "CREATE TABLE map_lab.subject (id INT PRIMARY KEY, name VARCHAR(20))",
    "CREATE TABLE map_lab.`od``d %s` (id INT PRIMARY KEY, `co``l %` INT)",
    "CREATE PROCEDURE map_lab.`tidy %`() SELECT 1",
    "CREATE FUNCTION map_lab.f() RETURNS INT DETERMINISTIC RETURN 1",
)
COMMON = (
    "CREATE USER plain@'%' IDENTIFIED BY 'pw-Plain 1'",
    "CREATE USER plain@'10.0.0.0/255.0.0.0' IDENTIFIED BY 'pw-Plain 2' ACCOUNT LOCK",
    "CREATE USER `o'dd\\\\ \"%s\n``é`@'%.example.org' IDENTIFIED BY 'x'",
    "CREATE USER tls@'%' REQUIRE SSL",
    "CREATE USER x509@'%' REQUIRE X509",
    "CREATE USER spec@'%' REQUIRE SUBJECT '/CN=o''spec' AND ISSUER '/CN=ca' AND CIPHER 'A:B'",
    ("CREATE USER limits@'%' WITH MAX_QUERIES_PER_HOUR 11 MAX_UPDATES_PER_HOUR 12"
    " MAX_CONNECTIONS_PER_HOUR 13 MAX_USER_CONNECTIONS 14"),
    "CREATE USER old@'%' IDENTIFIED BY 'pw-Old 1' PASSWORD EXPIRE",
    "CREATE USER never@'%' PASSWORD EXPIRE NEVER",
    "CREATE USER days@'%' PASSWORD EXPIRE INTERVAL 90 DAY",
    "CREATE USER everything@'%'", "GRANT ALL ON *.* TO everything@'%' WITH GRANT OPTION",
    "CREATE USER giver@'%'", "GRANT USAGE ON *.* TO giver@'%' WITH GRANT OPTION",
    "CREATE USER levels@'%'",
    "GRANT PROCESS, SHOW DATABASES, REPLICATION CLIENT ON *.* TO levels@'%'",
    r"GRANT ALL ON `levels\_%`.* TO levels@'%'",
    r"GRANT SELECT, REFERENCES ON `map\_%`.* TO levels@'%' WITH GRANT OPTION",
    "GRANT SELECT, CREATE TEMPORARY TABLES, LOCK TABLES ON `a%b_c```.* TO levels@'%'",
    "GRANT INSERT, SHOW VIEW ON map_lab.subject TO levels@'%' WITH GRANT OPTION",
    "GRANT UPDATE ON map_lab.`od``d %s` TO levels@'%'",
    "GRANT SELECT (id), UPDATE (id, name), REFERENCES (name) ON map_lab.subject TO levels@'%'",
    "GRANT SELECT (`co``l %`) ON map_lab.`od``d %s` TO plain@'%'",
    "GRANT EXECUTE ON PROCEDURE map_lab.`tidy %` TO levels@'%'",
    "GRANT ALTER ROUTINE, EXECUTE ON FUNCTION map_lab.f TO levels@'%' WITH GRANT OPTION",
    "GRANT PROXY ON plain@'%' TO levels@'%' WITH GRANT OPTION",
    "GRANT PROXY ON limits@'%' TO plain@'%'",
    "GRANT SELECT ON nowhere.* TO plain@'%'",
    "CREATE ROLE crew", "CREATE ROLE `cap``tain %`", "GRANT SELECT ON `map\\_%`.* TO crew",
    "GRANT INSERT ON `map\\_%`.* TO `cap``tain %`", "GRANT crew TO `cap``tain %`",
    "GRANT crew TO plain@'%'", "GRANT `cap``tain %` TO levels@'%' WITH ADMIN OPTION",
)  # fmt: skip
MYSQL = (
    "ALTER USER plain@'%' DEFAULT ROLE crew",
    "ALTER USER levels@'%' DEFAULT ROLE `cap``tain %`",
    (
        "CREATE USER ages@'%' PASSWORD HISTORY 3 PASSWORD REUSE INTERVAL 0 DAY"
        " PASSWORD REQUIRE CURRENT FAILED_LOGIN_ATTEMPTS 4 PASSWORD_LOCK_TIME UNBOUNDED"
    ),
    (
        "CREATE USER free@'%' PASSWORD REQUIRE CURRENT OPTIONAL FAILED_LOGIN_ATTEMPTS 4"
        " PASSWORD_LOCK_TIME 2"
    ),
    "CREATE USER noted@'%' ATTRIBUTE '{\"comment\": \"o''clock é\", \"n\": [1, null]}'",
    "CREATE USER two@'%' IDENTIFIED BY 'pw-First 1'",
    "ALTER USER two@'%' IDENTIFIED BY 'pw-Second 1' RETAIN CURRENT PASSWORD",
    "CREATE USER dyn@'%'",
    "GRANT SELECT ON *.* TO dyn@'%'",
    "GRANT BACKUP_ADMIN, XA_RECOVER_ADMIN ON *.* TO dyn@'%'",
    "GRANT ROLE_ADMIN, CONNECTION_ADMIN ON *.* TO dyn@'%' WITH GRANT OPTION",
    "CREATE USER dynonly@'%'",
    "GRANT BINLOG_ADMIN ON *.* TO dynonly@'%' WITH GRANT OPTION",
    "SET GLOBAL partial_revokes = ON",
    "CREATE USER part@'%'",
    "GRANT SELECT, INSERT, CREATE ON *.* TO part@'%'",
    "REVOKE INSERT, CREATE ON map_lab.* FROM part@'%'",
    "REVOKE SELECT ON `an_other%`.* FROM part@'%'",
)
MARIADB = (
    "SET DEFAULT ROLE crew FOR plain@'%'",
    "SET DEFAULT ROLE `cap``tain %` FOR levels@'%'",
    (
        "CREATE USER ways@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('pw-Ways 1')"
        " OR unix_socket"
    ),
    (
        "CREATE USER turned@'%' IDENTIFIED VIA unix_socket OR mysql_native_password"
        " USING PASSWORD('pw-Turned 1')"
    ),
    "CREATE USER socket@'localhost' IDENTIFIED VIA unix_socket",
    "CREATE USER nothing@'%' IDENTIFIED VIA mysql_native_password USING 'invalid'",
    "CREATE USER slow@'%' WITH MAX_STATEMENT_TIME 1.5 MAX_USER_CONNECTIONS 3",
    "CREATE USER ''@'nowhere.example.org'",
    r"GRANT SELECT ON `shared\_%`.* TO PUBLIC",
)


LOGINS = (
    ("plain", "pw-Plain 1"),
    ("two", "pw-First 1"),
    ("two", "pw-Second 1"),
    ("ways", "pw-Ways 1"),
    ("turned", "pw-Turned 1"),
)


@pytest.fixture
def second(lab: Lab, tmp_path: Path) -> Iterator[RunningServer]:
    """Another server of the same flavour, as good as new but for the schemas."""
    with running_server(lab.server.flavour, tmp_path / "second") as server:
        server.sql(*SCHEMA)
        yield server


@pytest.fixture
def populated(lab: Lab) -> Iterator[Lab]:
    """A site on a server with accounts of every kind, made by hand."""
    lab.server.sql(*SCHEMA)
    mysql = lab.server.flavour == "mysql"
    try:
        lab.server.sql("SET SESSION sql_mode = ''", *COMMON, *(MYSQL if mysql else MARIADB))
        yield lab
    finally:
        if mysql:
            lab.server.sql("DROP USER IF EXISTS part@'%'", "SET GLOBAL partial_revokes = OFF")
        else:  # a role that cannot be dropped
            lab.server.sql(
                "REVOKE ALL PRIVILEGES, GRANT OPTION FROM PUBLIC",
                "DELETE FROM mysql.global_priv WHERE User = 'PUBLIC'",
                "FLUSH PRIVILEGES",
            )


def load(server: RunningServer, dump: str) -> None:
    done = subprocess.run(
        [
            server.programs.client, "--no-defaults", "--host=127.0.0.1", f"--port={server.port}",
            "--protocol=tcp", "--user=root", f"--password={server.root_password}",
            f"--ssl-ca={server.ca}", "--binary-mode",
        ],
        input=dump, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class Asking:
    """What `inspect` and `read_details` read from, as root."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self.flavour = Flavour(server.flavour)

    def query(self, sql: str, args: object = None) -> list[tuple[Any, ...]]:
        assert not args
        return list(self._server.sql(sql))


def held(server: RunningServer, *without: str) -> dict[Account, tuple[AccountState, Details]]:
    """Everything about all accounts; the server's own and the tests' own are left out."""
    asking = Asking(server)
    tables = inspect(asking)
    details = read_details(asking)  # type: ignore[arg-type]
    skipped = {"root", "mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", *without}
    states = dict(tables.accounts)
    for account, grants in tables.orphans.items():
        states[account] = AccountState(account, grants)
    return {
        account: (state, details.get(account, Details()))
        for account, state in states.items()
        if account.user not in skipped
    }


def test_another_server_then_holds_the_same(populated: Lab, second: RunningServer) -> None:
    lab = populated
    ran = lab.ok("db", "dump")
    print(ran.out)
    if lab.server.flavour == "mysql":
        second.sql("SET GLOBAL partial_revokes = ON")
    load(second, ran.out)
    wanted, found = held(lab.server, lab.user), held(second)
    assert found.keys() == wanted.keys()
    for account, about in wanted.items():
        assert found[account] == about, account
    for user, password in LOGINS:
        if any(account.user == user for account in wanted):
            second.connect(user, password).close()
    with pytest.raises(pymysql.err.OperationalError):
        second.connect("plain", "pw-Plain 2")
    load(second, ran.out)  # once more changes nothing
    assert held(second) == found


def test_people_of_a_site_move_with_their_passwords(lab: Lab, second: RunningServer) -> None:
    lab.write_people("")
    lab.server.sql(SCHEMA[0])
    passwords = {
        name: lab.password_of(lab.ok("db", "add-user", name, "--role", "reader"))
        for name in ("alice", "bob")
    }
    lab.ok("db", "lock", "bob")
    out = lab.folder / "accounts.sql"
    ran = lab.ok("db", "dump", "--out", str(out))
    assert ran.out == ""
    assert "2 accounts and roles" in ran.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    lab.ok("db", "dump", "--out", str(out))
    load(second, out.read_text())
    second.connect("alice", passwords["alice"]).close()
    with pytest.raises(pymysql.err.OperationalError, match="lock"):
        second.connect("bob", passwords["bob"])
    assert held(second) == held(lab.server, lab.user)


def test_only_those_that_are_named_with_their_roles(populated: Lab) -> None:
    lab = populated
    text = lab.ok("db", "dump", "levels", "tls").out
    users = set(re.findall(r"^CREATE (?:USER|ROLE) IF NOT EXISTS ['`](\w+)", text, re.MULTILINE))
    assert users == {"levels", "tls", "crew", "cap"}
    assert "CREATE USER IF NOT EXISTS 'root'" in lab.ok("db", "dump", "root").out
    assert "CREATE USER IF NOT EXISTS 'root'" not in lab.ok("db", "dump").out
    for name in (lab.user, "mysql.sys", "mariadb.sys", "rdsadmin"):
        ran = lab.run("db", "dump", name)
        assert (ran.code, ran.out) == (2, "")
        assert "own account" in ran.err
    ran = lab.run("db", "dump", "nobody-here")
    assert (ran.code, ran.out) == (2, "")
    assert "There is no account of nobody-here." in ran.err


def test_a_terminal_is_shown_no_hashes_unless_asked(lab: Lab) -> None:
    lab.server.sql("CREATE USER plain@'%' IDENTIFIED BY 'pw-Plain 1'")
    assert "IDENTIFIED" in lab.ok("db", "dump").out  # into a pipe

    def on_terminal(*args: str) -> tuple[int, str]:
        primary, secondary = pty.openpty()
        done = subprocess.run(
            [MAPADMIN, "db", "dump", *args],
            stdout=secondary, stderr=secondary, stdin=subprocess.DEVNULL, env=lab.environment,
            check=False,
        )  # fmt: skip
        os.close(secondary)
        text = b""
        try:
            while part := os.read(primary, 4096):
                text += part
        except OSError:
            pass
        os.close(primary)
        return done.returncode, text.decode()

    code, text = on_terminal()
    assert code == 2
    assert "--out" in text
    assert "IDENTIFIED" not in text
    code, text = on_terminal("--stdout")
    assert code == 0
    assert "IDENTIFIED" in text
    ran = lab.run("db", "dump", "--stdout", "--out", str(lab.folder / "x"))
    assert ran.code == 2
    assert not (lab.folder / "x").exists()


def test_a_file_that_cannot_be_written(lab: Lab) -> None:
    ran = lab.run("db", "dump", "--out", str(lab.folder / "nowhere" / "x.sql"))
    assert ran.code == 1
    assert "Cannot write" in ran.err


def test_details_tell_apart_what_they_say() -> None:
    """The comparison above is worth something: a difference in any field is one."""
    plain = Details()
    changed: dict[str, Any] = {
        "tls": "SSL", "cipher": "x", "issuer": "x", "subject": "x", "limits": {"X": 1},
        "lifetime": 1, "history": 1, "reuse_days": 1, "require_current": True, "failed_logins": 1,
        "lock_days": 1, "attribute": "{}", "second_auth": "00", "factors": 2,
    }  # fmt: skip
    assert set(changed) == set(Details.__struct_fields__)
    for name, value in changed.items():
        assert msgspec.structs.replace(plain, **{name: value}) != plain
