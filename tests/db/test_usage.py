"""Sizes, growth and activity: what the server knows of the use of accounts and schemas."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mapadmin.db.activity import Accounts
from mapadmin.db.commands._columns import growth, last_active, state_of
from mapadmin.db.grants import Account, Flavour
from mapadmin.db.overview import UserRow
from mapadmin.db.usage import Growth, Look, Usage, Use, schema_of_file
from tests.db.effective_tables import MARIADB, MYSQL, account, tables
from tests.lab import Lab

TODAY = date(2026, 5, 20)
MIB = 1024 * 1024


# --- pure --------------------------------------------------------------------------------------


def days_ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def test_growth_is_since_the_oldest_look() -> None:
    uses = {"a_1": Use(100), "a_2": Use(50), "new": Use(7)}
    looks = {
        "a_1": Look(days_ago(12), 40),
        "a_2": Look(days_ago(5), 60),
        "new": Look(TODAY, 7),
        "a_gone": Look(days_ago(12), 30),
    }
    found = Usage(TODAY, uses, looks)
    assert found.growth("a_1") == Growth(60, 12)
    assert found.growth("a_2") == Growth(-10, 5)
    assert found.growth("new") is None
    # a_2 was not there 12 days ago, so all of it is new; a_gone was, and is freed.
    assert found.growth_of(["a_1", "a_2"]) == Growth(110, 12)
    assert found.growth_of(["a_1", "a_2"], ["a_gone"]) == Growth(80, 12)
    assert found.growth_of([], ["a_gone"]) == Growth(-30, 12)


@pytest.mark.parametrize("looks", [{}, {"a": Look(TODAY, 3)}])
def test_without_an_earlier_day_there_is_no_growth(looks: dict[str, Look]) -> None:
    found = Usage(TODAY, {"a": Use(10)}, looks)
    assert found.growth("a") is None
    assert found.growth_of(["a"]) is None


@pytest.mark.parametrize(
    ("place", "schema"),
    [
        ("alice_own", "alice_own"),
        ("my@002dlab", "my-lab"),
        ("a@0040b@0020c", "a@b c"),
        ("zl_@6f22", "zl_漢"),
        ("zl_@0p", "zl_@0p"),
    ],
)
def test_how_a_schema_is_written_in_the_file_system(place: str, schema: str) -> None:
    assert schema_of_file(place) == schema


@pytest.mark.parametrize("flavour", [MYSQL, MARIADB])
@pytest.mark.parametrize(
    ("client", "host"),
    [
        ("10.1.2.3", "10.1.%"),
        ("10.2.2.3", "%"),
        ("localhost", "localhost"),
        ("pc.lab.example.org", "%.example.org"),
    ],
)
def test_a_session_belongs_to_the_most_specific_host(
    flavour: Flavour, client: str, host: str
) -> None:
    hosts = ("%", "10.1.%", "localhost", "%.example.org")
    found = Accounts(tables(flavour, *(account(Account("alice", one)) for one in hosts)))
    assert found.find("alice", client) == Account("alice", host)
    assert found.find("bob", client) is None


def user_row(**fields: Any) -> UserRow:
    start = datetime.now(UTC) - timedelta(days=20, hours=1)
    values: dict[str, Any] = {
        "user": "alice", "host": "%", "role": "reader", "service": False, "own": False,
        "managed": True, "unfinished": False, "locked": False, "password_expired": False,
        "expires": None, "tls_required": False, "schemas": 1, "bytes": 5, "growth_bytes": None,
        "growth_days": None, "newest_change": None, "sessions": 0, "logins": None,
        "logins_since": start, "native_roles": (),
    }  # fmt: skip
    return UserRow(**(values | fields))


def before(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days, minutes=1)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "-"),
        ({"sessions": 2, "logins": 9}, "now"),
        ({"logins": 3}, "login <21 d"),
        ({"logins": 0}, "none 20 d"),
        ({"logins": 0, "newest_change": before(3)}, "table 3 d"),
        ({"logins": 4, "newest_change": before(3)}, "table 3 d"),
        ({"logins": 4, "newest_change": before(90)}, "login <21 d"),
        ({"logins": 0, "newest_change": before(90)}, "table 90 d"),
        ({"logins": 0, "logins_since": datetime.now(UTC) - timedelta(hours=5.5)}, "none 5 h"),
        ({"logins": 0, "logins_since": datetime.now(UTC)}, "-"),
    ],
)
def test_the_last_sign_of_life_is_named(fields: dict[str, Any], text: str) -> None:
    assert last_active(user_row(**fields)) == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, ""),
        ({"own": True, "managed": False}, "mapadmin"),
        ({"managed": False}, "unmanaged"),
        ({"locked": True}, "locked"),
        ({"unfinished": True, "locked": True}, "unfinished, locked"),
        ({"expires": TODAY}, "until 2026-05-20"),
        ({"expires": days_ago(1), "locked": True}, "expired 2026-05-19"),
        ({"password_expired": True}, "password expired"),
    ],
)
def test_the_state_says_what_is_not_as_usual(fields: dict[str, Any], text: str) -> None:
    assert state_of(user_row(**fields), TODAY) == text


def test_the_days_of_growth_are_said_once_where_they_are_the_same() -> None:
    rows = [user_row(growth_bytes=5 * MIB, growth_days=12), user_row()]
    column = growth(rows)
    assert column.header == "in 12 d"
    assert [column.value(row) for row in rows] == ["+5.0 MiB", None]
    rows.append(user_row(growth_bytes=-2 * MIB, growth_days=3))
    column = growth(rows)
    assert column.header == "growth"
    assert [column.value(row) for row in rows] == ["+5.0 MiB in 12 d", None, "-2.0 MiB in 3 d"]
    assert (
        growth([user_row(growth_bytes=0, growth_days=3)]).value(
            user_row(growth_bytes=0, growth_days=3)
        )
        == "="
    )


# --- on the servers ----------------------------------------------------------------------------


def looks(lab: Lab) -> dict[Any, Any]:
    return dict(lab.server.sql("SELECT schema_name, bytes FROM mapadmin.schema_size"))  # type: ignore[arg-type]


def test_a_size_is_remembered_once_a_day_and_growth_is_seen(lab: Lab) -> None:
    lab.write_people("[people]\n")
    lab.ok("db", "add-user", "alice", "--role", "reader")
    lab.server.sql(
        "CREATE DATABASE alice_own",
        "CREATE TABLE alice_own.t (id INT PRIMARY KEY, b LONGBLOB)",
    )
    (row,) = lab.ok("db", "schemas", "alice*", "--json").json
    assert row["growth_bytes"] is None
    first = looks(lab)["alice_own"]
    lab.server.sql("INSERT INTO alice_own.t VALUES (1, REPEAT('x', 3000000))")
    lab.ok("db", "users")
    assert looks(lab)["alice_own"] == first
    assert "mysql" not in looks(lab)
    lab.server.sql("UPDATE mapadmin.schema_size SET day = day - INTERVAL 3 DAY")
    lab.server.sql(
        "INSERT INTO mapadmin.schema_size VALUES ('alice_own', UTC_DATE() - INTERVAL 40 DAY, 1),"
        " ('alice_own', UTC_DATE() - INTERVAL 367 DAY, 1)"
    )
    (row,) = lab.ok("db", "schemas", "alice*", "--json").json
    # One blob of 3 MB, which InnoDB's own estimate does not notice.
    assert row["bytes"] >= 3_000_000
    assert (row["growth_bytes"], row["growth_days"]) == (row["bytes"] - first, 3)
    assert row["newest_change"].endswith("Z")
    assert (row["owner"], row["owner_kind"], row["tables"]) == ("alice", "user", 1)
    (alice,) = [one for one in lab.ok("db", "users", "--json").json if one["user"] == "alice"]
    assert (alice["schemas"], alice["bytes"]) == (1, row["bytes"])
    assert alice["growth_bytes"] == row["growth_bytes"]
    assert lab.server.sql("SELECT COUNT(*) FROM mapadmin.schema_size WHERE schema_name='alice_own'") == ((3,),)  # fmt: skip  # noqa: E501


def test_looking_writes_nothing_where_mapadmin_has_no_schema(lab: Lab) -> None:
    lab.server.sql("CREATE DATABASE map_lab")
    lab.ok("db", "users")
    lab.ok("db", "schemas")
    assert lab.server.sql("SHOW DATABASES LIKE 'mapadmin'") == ()


def test_looking_works_with_an_account_that_may_only_look(lab: Lab) -> None:
    lab.write_people("[people]\n")
    lab.ok("db", "add-user", "alice", "--role", "reader")
    lab.server.sql(
        "CREATE USER looker@'%' IDENTIFIED BY 'Look-1'", "GRANT SELECT ON *.* TO looker@'%'"
    )
    lab.password = "Look-1"
    lab.write_site(user="looker")
    before_looking = looks(lab)
    for command in (
        ["users"], ["show-user", "alice"], ["roles"], ["grants"], ["schemas"], ["processes"],
        ["grants", "--schema", "map_lab"],
    ):  # fmt: skip
        lab.ok("db", *command)
    assert looks(lab) == before_looking


def test_logins_and_sessions_are_told_apart_by_account(lab: Lab) -> None:
    lab.server.sql(
        "CREATE USER alice@localhost IDENTIFIED BY 'Pw-1'",
        "CREATE USER alice@'10.1.%' IDENTIFIED BY 'Pw-1'",
    )
    lab.login("alice", "Pw-1").close()
    with lab.login("alice", "Pw-1"):
        rows = {one["host"]: one for one in lab.ok("db", "users", "--json").json if one["user"] == "alice"}  # fmt: skip  # noqa: E501
    assert rows["localhost"]["sessions"] == 1
    assert rows["10.1.%"]["sessions"] == 0
    counts = lab.server.sql("SELECT @@performance_schema") == ((1,),)
    assert (rows["10.1.%"]["logins"] == 0) is counts
    assert (rows["localhost"]["logins"] is None) is not counts
    if counts:
        assert rows["localhost"]["logins"] >= 2
