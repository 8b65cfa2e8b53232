"""Roles, settings, orphans and odd names as `inspect` tells them; its cost for many accounts."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from mapadmin.db.global_priv import privileges
from mapadmin.db.grants import GRANT_OPTION, Account, Flavour, Level, Scope
from mapadmin.db.inspect import inspect
from mapadmin.db.rights.effective import Resolver
from tests.db.probes import Reader, quoted, run
from tests.servers import RunningServer

if TYPE_CHECKING:
    from pymysql.connections import Connection

MANY = 10_000
NAMES = (
    "o'brien",
    'quo"te',
    "back`tick",
    "back\\slash",
    "per%cent",
    "é_ß_ž",
    "日本",
    "a b@c",
)
EVERYTHING = 2**64 - 1


@pytest.fixture
def root(server: RunningServer) -> Iterator[Connection[Any]]:
    server.wipe()
    with closing(server.root()) as connection:
        yield connection
    server.wipe()


def role(name: str, server: RunningServer) -> Account:
    return Account(name, "%" if server.flavour == "mysql" else "")


def test_odd_names_come_back_as_they_are(root: Connection[Any]) -> None:
    for name in NAMES:
        run(root, f"CREATE USER {quoted(name)}@'%'")
        run(root, f"CREATE DATABASE {quoted(name)}")
        run(root, f"CREATE TABLE {quoted(name)}.{quoted(name)} (a INT)")
        run(root, f"GRANT SELECT ON {quoted(name)}.* TO {quoted(name)}@'%'")
        run(root, f"GRANT INSERT ON {quoted(name)}.{quoted(name)} TO {quoted(name)}@'%'")
    tables = inspect(Reader(root))
    assert tables.schemas.issuperset(NAMES)
    for name in NAMES:
        assert tables.accounts[Account(name)].grants == {
            Scope(Level.DATABASE, name): {"SELECT"},
            Scope(Level.TABLE, name, name): {"INSERT"},
        }


def test_roles(server: RunningServer, root: Connection[Any]) -> None:
    for statement in (
        "CREATE ROLE eff_reader",
        "CREATE ROLE eff_writer",
        "CREATE USER eff_ann IDENTIFIED BY 'x'",
        "CREATE USER eff_new ACCOUNT LOCK",
        "GRANT eff_reader TO eff_writer",
        "GRANT eff_reader TO eff_ann",
        "GRANT eff_writer TO eff_ann WITH ADMIN OPTION",
        f"SET DEFAULT ROLE eff_reader {'TO' if server.flavour == 'mysql' else 'FOR'} eff_ann",
    ):
        run(root, statement)
    accounts = inspect(Reader(root)).accounts
    reader, writer = role("eff_reader", server), role("eff_writer", server)
    ann = accounts[Account("eff_ann")]
    assert ann.roles == {reader, writer}
    assert ann.admin_roles == {writer}
    assert ann.default_roles == {reader}
    assert accounts[writer].roles == {reader}
    assert {name for name in accounts if accounts[name].is_role} >= {reader, writer}
    assert not any(accounts[Account(name)].is_role for name in ("eff_ann", "eff_new"))


def test_settings_and_orphans(server: RunningServer, root: Connection[Any]) -> None:
    row = ["%", "gone\\_%", "eff_gone"]
    run(root, "INSERT INTO mysql.db (Host, Db, User, Select_priv) VALUES (%s, %s, %s, 'Y')", row)
    tables = inspect(Reader(root))
    run(root, "DELETE FROM mysql.db WHERE User = 'eff_gone'")
    assert tables.orphans[Account("eff_gone")] == {Scope(Level.DATABASE, "gone\\_%"): {"SELECT"}}
    assert tables.flavour is Flavour(server.flavour)
    assert tables.version >= ((8, 0) if server.flavour == "mysql" else (10, 6))
    assert run(root, "SELECT @@GLOBAL.sql_mode, @@lower_case_table_names") == [
        (tables.sql_mode, tables.lower_case_table_names)
    ]
    assert tables.activate_mandatory_roles is (server.flavour == "mysql")
    assert not (tables.partial_revokes or tables.activate_all_roles or tables.skip_name_resolve)
    assert tables.database_privileges >= {"SELECT", "CREATE TEMPORARY TABLES", "EVENT"}
    assert GRANT_OPTION not in tables.database_privileges


def test_mandatory_roles(mysql: RunningServer) -> None:
    text = "`a``b`@`%`, plain,'it''s'@'h.%' , \"q\"@localhost,x@10.0.0.1"
    mysql.sql("SET GLOBAL mandatory_roles = '" + text.replace("'", "''") + "'")
    try:
        with closing(mysql.root()) as root:
            found = inspect(Reader(root)).mandatory_roles
    finally:
        mysql.sql("SET GLOBAL mandatory_roles = DEFAULT")
    assert found == {
        Account("a`b"),
        Account("plain"),
        Account("it's", "h.%"),
        Account("q", "localhost"),
        Account("x", "10.0.0.1"),
    }


def test_select_on_the_grant_tables_is_enough(server: RunningServer, root: Connection[Any]) -> None:
    run(root, "CREATE USER eff_reader IDENTIFIED BY 'Eff-1.pw'")
    run(root, "GRANT SELECT ON mysql.* TO eff_reader")
    with closing(server.connect("eff_reader", "Eff-1.pw")) as connection:
        tables = inspect(Reader(connection))
    everything = inspect(Reader(root))
    assert (tables.accounts, tables.orphans) == (everything.accounts, everything.orphans)
    assert tables.database_privileges == everything.database_privileges


def test_mariadb_reads_rows_of_older_servers_as_the_server_does(mariadb: RunningServer) -> None:
    """Also every single bit; the server's own answer is in information_schema."""
    rng = random.Random(1)
    versions = (0, 100400, 100501, 100502, 100507, 100508, 100509, 100600, 101099, 101100, 110300)
    accesses = [1 << bit for bit in range(41)]
    accesses += [EVERYTHING, (1 << 30) - 1, 1 << 15 | 1 << 19, 1 << 19 | 1 << 20]
    accesses += [rng.getrandbits(39) for _ in range(20)]
    cases = [(101119, access) for access in accesses]
    cases += rng.sample(list(itertools.product((*versions, -1, 99, 1000000), accesses)), 150)
    with closing(mariadb.root()) as root:
        run(root, "CREATE OR REPLACE USER eff_bits")
        version = inspect(Reader(root)).version
        for row_version, access in cases:
            expected = _told(root, row_version, access)
            assert privileges(access, row_version, version) == expected, (row_version, access)
    mariadb.wipe()


def _told(root: Connection[Any], row_version: int, access: int) -> set[str]:
    document = f'{{"access": {access}, "version_id": {row_version}, "plugin": "",'
    document += ' "authentication_string": ""}'
    run(root, "UPDATE mysql.global_priv SET Priv = %s WHERE User = 'eff_bits'", [document])
    run(root, "FLUSH PRIVILEGES")
    rows = run(
        root,
        "SELECT privilege_type, is_grantable FROM information_schema.user_privileges"
        " WHERE grantee LIKE '%eff_bits%'",
    )
    told = {name for name, _ in rows} - {"USAGE"}
    return told | ({GRANT_OPTION} if rows[0][1] == "YES" else set())


def test_ten_thousand_accounts(
    server: RunningServer, root: Connection[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Seven queries, well under 100 MB, and time that is spent in the driver."""
    reader = Reader(root)
    before = inspect(reader)
    queries = reader.count
    make_many(root, server.flavour)
    try:
        reader = Reader(root)
        start, cpu = time.perf_counter(), time.process_time()
        tables = inspect(reader)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        tracemalloc.start()
        inspect(Reader(root))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    finally:
        forget_many(root, server.flavour)
    start_answers = time.process_time()
    resolver = Resolver(tables)
    for account in tables.accounts:
        session = resolver.default_session(account)
        for schema in ("map_lab", "other", f"{account.user}_x"):
            resolver.effective(session, schema)
    answers = time.process_time() - start_answers
    with capsys.disabled():
        print(
            f"\n{server.flavour}: {len(tables.accounts)} accounts in {reader.count} queries,"
            f" {seconds:.2f} s ({cpu:.2f} s of CPU), peak {peak / 1e6:.0f} MB;"
            f" {len(tables.accounts) * 3} answers in {answers:.2f} s of CPU"
        )
    assert reader.count == queries <= 8
    assert len(tables.accounts) == len(before.accounts) + MANY
    assert tables.accounts[Account("eff_00042")].grants == {
        Scope(Level.DATABASE, "eff_00042\\_%"): {"SELECT", "INSERT"},
        Scope(Level.DATABASE, "map\\_%"): {"SELECT", "INSERT"},
        Scope(Level.DATABASE, "lab\\_%"): {"SELECT", "INSERT"},
    }
    assert cpu < 2
    assert answers < 15
    assert peak < 100e6


_DIGIT = " UNION ALL ".join(f"SELECT {n} AS n" for n in range(10))
_NUMBERS = (
    "SELECT CONCAT('eff_', LPAD(a.n * 1000 + b.n * 100 + c.n * 10 + d.n, 5, '0')) AS name"
    f" FROM ({_DIGIT}) a JOIN ({_DIGIT}) b JOIN ({_DIGIT}) c JOIN ({_DIGIT}) d"
)


def make_many(root: Connection[Any], flavour: str) -> None:
    """10,000 accounts and 25,000 rows in mysql.db, written past the server's cache."""
    if flavour == "mysql":
        run(
            root,
            "INSERT INTO mysql.user (Host, User, plugin, authentication_string, ssl_cipher,"
            " x509_issuer, x509_subject) SELECT '%', name, 'caching_sha2_password',"
            f" REPEAT('x', 70), '', '', '' FROM ({_NUMBERS}) numbers",
        )
    else:
        run(
            root,
            "INSERT INTO mysql.global_priv (Host, User, Priv) SELECT '%', name, "
            '\'{"access":0,"version_id":101106,"plugin":"mysql_native_password",'
            '"authentication_string":"*19A4904A05D0ECDE0903BCF4B5072C531715E2E5",'
            f'"password_last_changed":1795459775}}\' FROM ({_NUMBERS}) numbers',
        )
    for pattern, where in (
        (r"CONCAT(name, '\\_%')", ""),
        (r"'map\\_%'", ""),
        (r"'lab\\_%'", " WHERE name < 'eff_05000'"),
    ):
        run(
            root,
            "INSERT INTO mysql.db (Host, Db, User, Select_priv, Insert_priv)"
            f" SELECT '%', {pattern}, name, 'Y', 'Y' FROM ({_NUMBERS}) numbers{where}",
        )


def forget_many(root: Connection[Any], flavour: str) -> None:
    table = "user" if flavour == "mysql" else "global_priv"
    for name in (table, "db"):
        run(root, f"DELETE FROM mysql.{name} WHERE User LIKE 'eff\\_0%'")
    run(root, "FLUSH PRIVILEGES")
