"""`audit` on real servers: what is planted is found, a clean site is clean, nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from mapadmin.core.errors import ExitCode
from mapadmin.db.findings import Severity
from tests.lab import Lab, Ran
from tests.servers import RunningServer

PEOPLE = """
[people.alice]
role = "reader"
[people.bob]
role = "experimenter"
[services.worker]
role = "worker"
"""
DRIFT = int(ExitCode.DRIFT)
AS = "IDENTIFIED BY 'Pw-12345678'"


def converged(lab: Lab, people: str = PEOPLE, **settings: object) -> None:
    """A site where all is as it should be."""
    lab.write_site(ignore_accounts=["root"], **settings)
    lab.server.sql(
        "CREATE DATABASE map_lab", "CREATE TABLE map_lab.subject (id INT PRIMARY KEY)",
        "CREATE DATABASE bob_own",
    )  # fmt: skip
    lab.write_people(people)
    lab.ok("db", "apply")


def found(ran: Ran) -> set[tuple[str, str, str]]:
    return {(one["id"], one["severity"], one["subject"]) for one in ran.json["findings"]}


def test_a_clean_site_is_clean(lab: Lab) -> None:
    with secure_transport(lab.server):
        converged(lab)
        ran = lab.ok("db", "audit")
    # An installation of MariaDB leaves proxies of root behind: root is somebody else's affair.
    assert ran.err.startswith("No drift, no findings. (")
    assert "3 of them managed" in ran.err
    assert ran.out == ""


@contextmanager
def secure_transport(server: RunningServer) -> Iterator[None]:
    server.sql("SET GLOBAL require_secure_transport = ON")
    try:
        yield
    finally:
        server.sql("SET GLOBAL require_secure_transport = OFF")


# --- the difference from people.toml -----------------------------------------------------------


def test_drift_is_what_apply_would_do(lab: Lab) -> None:
    converged(lab)
    lab.server.sql(
        r"REVOKE SELECT ON `map\_%`.* FROM alice@'%'", r"GRANT INSERT ON `map\_lab`.* TO alice@'%'",
        "ALTER USER bob@'%' ACCOUNT LOCK", "DROP USER worker@'%'",
    )  # fmt: skip
    would = lab.ok("db", "apply", "--dry-run", "--json").json["steps"]
    ran = lab.run("db", "audit", "--json")
    assert ran.code == DRIFT
    assert ran.json["drift"] == [
        {key: step[key] for key in ("action", "target", "detail")} for step in would
    ]
    assert len(would) > 4
    table = lab.run("db", "audit")
    assert table.code == DRIFT
    assert re.search(r"unlock account +bob@%", table.out)
    assert f"{len(would)} differences from people.toml" in table.err
    lab.ok("db", "apply")
    assert lab.ok("db", "audit", "--json").json["drift"] == []


def test_leavers_and_strangers(lab: Lab) -> None:
    converged(lab)
    lab.server.sql(f"CREATE USER carol@'%' {AS}")
    lab.write_people(PEOPLE.replace("[people.bob]", "[people.carol]"))
    ran = lab.run("db", "audit", "--json")
    assert ran.code == DRIFT
    assert ran.json["leavers"] == ["bob@%"]
    assert ran.json["strangers"] == ["carol@%"]
    assert ("not-taken-over", "medium", "carol@%") in found(ran)
    assert "apply --prune" in lab.run("db", "audit").err


def test_nothing_is_changed(lab: Lab) -> None:
    converged(lab)
    lab.server.sql(r"GRANT INSERT ON `map\_lab`.* TO alice@'%'", "DROP USER worker@'%'")
    before = state_of(lab)
    lab.run("db", "audit")
    assert state_of(lab) == before


def state_of(lab: Lab) -> object:
    tables = ["mysql.user", "mysql.db", "mapadmin.account", "mapadmin.journal"]
    rows = [lab.server.sql(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in tables]
    return rows, lab.people(), (lab.folder / "mapadmin.toml").read_text()


# --- findings ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plant:
    """Something bad, how it is planted and taken away, and what the audit must say of it."""

    id: str
    severity: str
    subject: str
    sql: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    on: tuple[str, ...] = ("mysql", "mariadb")
    says: str = ""


def new(user: str, *more: str, how: str = AS) -> tuple[str, ...]:
    return (f"CREATE USER {user}@'%' {how}", *more)


def row(user: str, pattern: str, privilege: str) -> tuple[str, ...]:
    """A row of mysql.db whose account there is not."""
    values = f"('%', '{pattern}', '{user}', 'Y')"
    insert = f"INSERT INTO mysql.db (Host, Db, User, {privilege}_priv) VALUES {values}"
    return insert, "FLUSH PRIVILEGES"


def plugin(name: str, user: str) -> tuple[str, ...]:
    return f"UPDATE mysql.user SET plugin = '{name}' WHERE User = '{user}'", "FLUSH PRIVILEGES"


# What is planted together does not hide each other.
LOGINS = [
    Plant("unknown-account", "medium", "eve@%", new("eve")),
    Plant("unknown-account", "low", "fay@%", new("fay", how=f"{AS} ACCOUNT LOCK")),
    Plant(
        "anonymous-account",
        "critical",
        "''@far.example.org",
        ("CREATE USER ''@'far.example.org'",),
        ("DROP USER ''@'far.example.org'",),
    ),
    Plant("empty-password", "critical", "gil@%", new("gil", how="IDENTIFIED BY ''")),
    Plant("empty-password", "low", "hal@%", new("hal", how="ACCOUNT LOCK")),
    Plant(
        "empty-password",
        "critical",
        "ian@%",
        new("ian", how="IDENTIFIED VIA unix_socket OR mysql_native_password"),
        on=("mariadb",),
    ),
    Plant("names-differ-by-case", "low", "Alice, alice", new("Alice")),
    Plant("clear-connections", "info", "require_secure_transport"),
    Plant(
        "native-password",
        "medium",
        "alice@%",
        plugin("mysql_native_password", "alice"),
        on=("mysql",),
        says="no longer has",
    ),
    Plant("missing-plugin", "medium", "bob@%", plugin("gone", "bob"), on=("mysql",)),
    Plant(
        "grant-makes-accounts",
        "medium",
        "sql_mode",
        ("SET GLOBAL sql_mode = ''",),
        ("SET GLOBAL sql_mode = DEFAULT",),
        on=("mariadb",),
    ),
    Plant(
        "partial-revokes",
        "high",
        "partial_revokes",
        ("SET GLOBAL partial_revokes = ON",),
        ("SET GLOBAL partial_revokes = OFF",),
        on=("mysql",),
    ),
]
PATTERNS = [
    Plant(
        "public-grants",
        "high",
        "''@%",
        row("", r"test\_%", "Insert"),
        ("DROP USER ''@'%'",),
        says="INSERT on test_*",
    ),
    Plant(
        "public-grants",
        "medium",
        "PUBLIC",
        ("GRANT SELECT ON test.* TO PUBLIC",),
        (
            "REVOKE SELECT ON test.* FROM PUBLIC",
            "DELETE FROM mysql.global_priv WHERE User = 'PUBLIC'",
            "FLUSH PRIVILEGES",
        ),
        on=("mariadb",),
        says="SELECT on test",
    ),
    Plant(
        "orphan-grants",
        "medium",
        "ghost@%",
        row("ghost", r"map\_%", "Select"),
        ("DROP USER ghost@'%'",),
        says="SELECT on map_*",
    ),
    Plant(
        "grant-on-nothing",
        "medium",
        "alice@%",
        (r"GRANT SELECT ON `gone\_%`.* TO alice@'%'",),
        says="gone_*",
    ),
    Plant(
        "unescaped-underscore",
        "high",
        "map_lab",
        ("CREATE DATABASE mapXlab", "GRANT SELECT ON map_lab.* TO alice@'%'"),
        says="mapXlab; held by alice@%",
    ),
    Plant("unescaped-underscore", "medium", "bob_own", ("GRANT SELECT ON bob_own.* TO alice@'%'",)),
    Plant(
        "prefix-collision",
        "high",
        "al",
        (
            *new("al", r"GRANT ALL ON `al\_%`.* TO al@'%'"),
            *new("al_ice", r"GRANT ALL ON `al\_ice\_%`.* TO al_ice@'%'"),
        ),
        says="al_ice",
    ),
    Plant(
        "prefix-collision",
        "high",
        "map",
        new("map", r"GRANT ALL ON `map\_%`.* TO map@'%'"),
        says="the project",
    ),
]
POWER = [
    Plant("global-privilege", "high", "alice@%", ("GRANT SUPER ON *.* TO alice@'%'",)),
    Plant("global-privilege", "high", "bob@%", ("GRANT FILE ON *.* TO bob@'%'",)),
    Plant("global-privilege", "medium", "eve@%", new("eve", "GRANT PROCESS ON *.* TO eve@'%'")),
    Plant(
        "grant-option", "medium", "alice@%",
        (r"GRANT SELECT ON `alice\_%`.* TO alice@'%' WITH GRANT OPTION",), says="alice_*",
    ),
    Plant("proxy", "medium", "eve@%", ("GRANT PROXY ON bob@'%' TO eve@'%'",), says="bob@%"),
    Plant(
        "native-role", "medium", "worker@%",
        (
            "CREATE ROLE analyst", r"GRANT SELECT ON `bob\_own`.* TO analyst",
            "GRANT analyst TO worker@'%'",
        ),
        ("DROP ROLE analyst",), says="which gives SELECT on bob_own",
    ),
    Plant("reaches-beyond", "medium", "worker@%", says="it has SELECT on bob_own, which people"),
    Plant(
        "reaches-beyond", "high", "alice@%", (r"GRANT INSERT ON `bob\_%`.* TO alice@'%'",),
        says="it has INSERT on bob_own",
    ),
    Plant("role-on-nothing", "info", "map_*", ("DROP DATABASE map_lab",)),
    Plant("tls-not-required", "medium", "alice@%"),
    Plant(
        "mandatory-role", "medium", "everybody@%",
        ("CREATE ROLE everybody", "SET GLOBAL mandatory_roles = 'everybody'"),
        ("SET GLOBAL mandatory_roles = ''",), on=("mysql",),
    ),
]  # fmt: skip
ROUNDS = {"logins": LOGINS, "patterns": PATTERNS, "power": POWER}


@pytest.mark.parametrize("round_", ROUNDS)
def test_what_is_planted_is_found(lab: Lab, round_: str) -> None:
    converged(lab)
    lab.write_site(require_tls=round_ == "power")
    plants = [plant for plant in ROUNDS[round_] if lab.server.flavour in plant.on]
    before = found(lab.run("db", "audit", "--json"))
    with planted(lab.server, plants):
        ran = lab.run("db", "audit", "--json")
        table = lab.run("db", "audit")
    for plant in plants:
        key = (plant.id, plant.severity, plant.subject)
        assert key not in before or not plant.sql, plant
        details = [
            one["detail"]
            for one in ran.json["findings"]
            if (one["id"], one["severity"], one["subject"]) == key
        ]
        assert any(plant.says in detail for detail in details), (plant, ran.json["findings"])
        assert plant.id in table.out
        assert table.err.count(f"{plant.id}: ") == 1  # the remedy, once
    assert ran.code == table.code == DRIFT


@contextmanager
def planted(server: RunningServer, plants: list[Plant]) -> Iterator[None]:
    with ExitStack() as undo:
        for plant in plants:
            for statement in plant.sql:
                server.sql(statement)
            for statement in reversed(plant.undo):
                undo.callback(server.sql, statement)
        yield


def test_guests_whose_time_is_over(lab: Lab) -> None:
    converged(lab, PEOPLE.replace("[people.bob]", "expires = 2099-01-01\n[people.bob]"))
    lab.server.sql("UPDATE mapadmin.account SET expires = '2020-01-01' WHERE user = 'alice'")
    lab.write_people(PEOPLE.replace("[people.bob]", "expires = 2020-01-01\n[people.bob]"))
    ran = lab.run("db", "audit", "--json")
    assert ("expired-account", "high", "alice@%") in found(ran)
    assert [step["action"] for step in ran.json["drift"]] == ["lock account"]
    lab.ok("db", "apply")
    assert "expired" not in lab.ok("db", "audit", "--json").out


def test_accounts_that_were_never_finished(lab: Lab) -> None:
    converged(lab)
    lab.server.sql("UPDATE mapadmin.account SET state = 'creating' WHERE user = 'alice'")
    assert ("unfinished-account", "medium", "alice@%") in found(lab.run("db", "audit", "--json"))


# --- how it is asked ---------------------------------------------------------------------------


def test_the_threshold(lab: Lab) -> None:
    converged(lab)
    lab.server.sql(f"CREATE USER eve@'%' {AS}")  # medium
    for severity in Severity:
        ran = lab.run("db", "audit", "--severity", severity)
        assert ran.code == (DRIFT if severity.rank >= Severity.MEDIUM.rank else 0), severity
    assert "none of them high or worse" in lab.run("db", "audit", "--severity", "high").err
    assert lab.run("db", "audit", "--severity", "terrible").code == int(ExitCode.USAGE)


def test_the_document(lab: Lab) -> None:
    converged(lab)
    lab.server.sql(f"CREATE USER eve@'%' {AS}")
    ran = lab.run("db", "audit", "--json")
    assert set(ran.json) == {"drift", "leavers", "strangers", "findings"}
    assert all(
        set(one) == {"id", "severity", "subject", "detail", "remedy"}
        for one in ran.json["findings"]
    )
    assert ran.err == ""


def test_an_account_that_only_reads(lab: Lab) -> None:
    converged(lab)
    lab.server.sql(
        f"CREATE USER looker@'%' {AS}",
        "GRANT SELECT ON mysql.* TO looker@'%'",
        "GRANT SHOW DATABASES ON *.* TO looker@'%'",
        "GRANT SELECT ON mapadmin.* TO looker@'%'",
    )
    lab.password = "Pw-12345678"
    lab.write_site(user="looker", ignore_accounts=["root", "admin"])
    ran = lab.ok("db", "audit", "--json")
    # What the master account may not grant is no drift because somebody else looks.
    assert ran.json["drift"] == []
    assert {one[0] for one in found(ran)} == {"clear-connections"}


def test_a_server_that_mapadmin_never_changed(lab: Lab) -> None:
    lab.write_site(ignore_accounts=["root"])
    lab.server.sql(f"CREATE USER eve@'%' {AS}", "CREATE DATABASE map_lab")
    ran = lab.run("db", "audit", "--json")
    assert ran.code == DRIFT
    assert (ran.json["drift"], ran.json["leavers"], ran.json["strangers"]) == ([], [], [])
    assert ("unknown-account", "medium", "eve@%") in found(ran)
    assert "No people.toml to compare with" in lab.run("db", "audit").err
    assert lab.server.sql("SHOW DATABASES LIKE 'mapadmin'") == ()


def test_hostile_names_do_not_drive_the_terminal(lab: Lab) -> None:
    converged(lab)
    with lab.server.root() as root, root.cursor() as cursor:
        cursor.execute("CREATE USER %s@%s", ("eve\x1b[31m\nx", "%"))
    ran = lab.run("db", "audit")
    assert "\x1b" not in ran.out + ran.err
    assert r"eve\x1b[31m" in ran.out


def test_few_queries_whatever_the_number_of_accounts(lab: Lab) -> None:
    converged(lab)
    few = queries(lab)
    people = "".join(f'[people.user{number:03}]\nrole = "reader"\n' for number in range(150))
    lab.write_people(PEOPLE + people)
    lab.ok("db", "apply", "--password-file", str(lab.folder.parent / "passwords"))
    assert queries(lab) == few <= 10


def queries(lab: Lab) -> int:
    """The SELECT and SHOW statements of one audit, all told (the probe itself is a SHOW)."""
    before = counted(lab)
    lab.ok("db", "audit")
    return counted(lab) - before - 1


def counted(lab: Lab) -> int:
    rows = lab.server.sql("SHOW GLOBAL STATUS WHERE Variable_name RLIKE '^Com_(select|show_.*)$'")
    return sum(int(str(value)) for _, value in rows)
