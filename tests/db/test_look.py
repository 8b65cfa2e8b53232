"""users, show-user, roles, grants, schemas: on both servers, as a person types them."""

from __future__ import annotations

import re
from typing import Any

import pexpect
import pytest

from tests.lab import Lab
from tests.zygote import MAPADMIN

PEOPLE = """
[people.alice]
role = "experimenter"
expires = 2096-06-30
[people.bob]
role = "reader"
expires = 2020-01-01
[services.worker]
role = "worker"
"""


@pytest.fixture
def site(lab: Lab) -> Lab:
    """A site with people, a service, a stranger, a native role, and schemas of all kinds."""
    lab.server.sql(
        *(f"CREATE DATABASE map_v1_{number:02}" for number in range(17)),
        "CREATE DATABASE map_lab",
        "CREATE TABLE map_lab.subject (id INT PRIMARY KEY)",
        "CREATE DATABASE alice_own",
        "CREATE DATABASE nobodys",
        "CREATE USER dave@'%' IDENTIFIED BY 'Dave-1'",
        "GRANT SELECT ON map_lab.subject TO dave@'%'",
        "CREATE ROLE analysts",
        r"GRANT SELECT ON `map\_v1\_%`.* TO analysts",
        "GRANT analysts TO dave@'%'",
        f"SET DEFAULT ROLE analysts {'TO' if lab.server.flavour == 'mysql' else 'FOR'} dave@'%'",
    )
    lab.write_people(PEOPLE)
    lab.ok("db", "apply", "--password-file", str(lab.folder / "passwords"))
    return lab


def by(rows: list[dict[str, Any]], *keys: str) -> dict[Any, dict[str, Any]]:
    """Rows by one field, or by several."""
    return {tuple(row[key] for key in keys) if keys[1:] else row[keys[0]]: row for row in rows}


# --- users -------------------------------------------------------------------------------------


def test_every_account_is_listed_with_what_is_known_of_it(site: Lab) -> None:
    rows = by(site.ok("db", "users", "--json").json, "user")
    assert set(rows) == {"alice", "bob", "worker", "dave", "admin", "root"}
    alice, bob, worker, dave = (rows[name] for name in ("alice", "bob", "worker", "dave"))
    assert (alice["role"], alice["managed"], alice["schemas"]) == ("experimenter", True, 1)
    assert (alice["locked"], alice["expires"]) == (False, "2096-06-30")
    assert (bob["locked"], bob["expires"]) == (True, "2020-01-01")
    assert (worker["service"], alice["service"]) == (True, False)
    assert (dave["managed"], dave["role"]) == (False, "")
    assert [role.partition("@")[0] for role in dave["native_roles"]] == ["analysts"]
    assert rows["admin"]["own"]
    shown = site.ok("db", "users").out
    for pattern in (
        r"alice +experimenter +until 2096-06-30",
        r"bob +reader +expired 2020-01-01",
        r"dave +- +unmanaged",
        r"admin +- +mapadmin",
    ):
        assert re.search(pattern, shown), pattern


def test_without_people_toml_it_is_what_the_server_remembers(site: Lab) -> None:
    (site.folder / "people.toml").unlink()
    rows = by(site.ok("db", "users", "--json").json, "user")
    assert (rows["alice"]["role"], rows["alice"]["expires"]) == ("experimenter", "2096-06-30")
    assert rows["worker"]["service"]
    roles = by(site.ok("db", "roles", "--json").json, "role")
    assert roles["reader"]["members"] == ["bob"]


def test_an_unfinished_account_and_tls_are_seen(site: Lab) -> None:
    site.server.sql(
        "UPDATE mapadmin.account SET state = 'creating' WHERE user = 'alice'",
        "ALTER USER bob@'%' REQUIRE SSL",
    )
    rows = by(site.ok("db", "users", "--json").json, "user")
    assert rows["alice"]["unfinished"]
    assert rows["bob"]["tls_required"]
    assert not rows["alice"]["tls_required"]


def test_the_number_of_queries_does_not_grow_with_the_accounts(site: Lab) -> None:
    def queries(*command: str) -> int:
        site.ok("db", *command)
        before = questions()
        site.ok("db", *command)
        return questions() - before

    def questions() -> int:
        (row,) = site.server.sql("SHOW GLOBAL STATUS LIKE 'Queries'")
        return int(str(row[1]))

    commands = (["users"], ["schemas"], ["grants"], ["roles"], ["grants", "--schema", "map_lab"])
    few = [queries(*command) for command in commands]
    for number in range(60):
        site.server.sql(
            f"CREATE USER more{number}@'%'",
            f"GRANT SELECT ON `more{number}\\_%`.* TO more{number}@'%'",
            f"CREATE DATABASE more{number}_x",
        )
    assert [queries(*command) for command in commands] == few
    assert max(few) < 40


def test_hostile_names_do_not_drive_the_terminal(lab: Lab) -> None:
    name = "x'`\\%\n\x1b[2J"
    with lab.server.root() as root, root.cursor() as cursor:
        cursor.execute("CREATE USER %s@'%%'", (name,))
        schema = name.replace("`", "``").replace("%", "%%")
        cursor.execute(f"CREATE DATABASE `{schema}`", ())
        cursor.execute(f"GRANT SELECT ON `{schema}`.* TO %s@'%%'", (name,))
    for command in (
        ["users", "--wide"], ["show-user", name], ["grants"], ["schemas"],
        ["grants", "--schema", name],
    ):  # fmt: skip
        ran = lab.ok("db", *command)
        assert "\x1b" not in ran.out + ran.err
        assert "\\n\\x1b[" in ran.out
    assert name in by(lab.ok("db", "users", "--json").json, "user")
    missing = lab.run("db", "show-user", name + "2")
    assert missing.code == 2
    assert "\x1b" not in missing.err


@pytest.mark.parametrize(
    "command", [["users"], ["schemas"], ["show-user", "alice"], ["roles"], ["grants"]]
)
def test_tables_can_be_read_at_80_columns(site: Lab, command: list[str]) -> None:
    terminal = pexpect.spawn(
        MAPADMIN, ["db", *command], env={**site.environment, "TERM": "xterm", "NO_COLOR": "1"},
        dimensions=(100, 80), encoding="utf-8", timeout=20,
    )  # fmt: skip
    terminal.expect(pexpect.EOF)
    terminal.close()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.before or "")
    assert terminal.exitstatus == 0
    assert max(map(len, text.splitlines())) <= 80
    wanted = {"users": "experimenter", "schemas": "map_v1_00"}.get(command[0], "map_*")
    assert wanted in text


# --- show-user ---------------------------------------------------------------------------------


def test_what_a_person_reaches_is_short_and_says_why(site: Lab) -> None:
    shown = site.ok("db", "show-user", "alice").out
    assert re.search(r"alice_\* \(1 schema\) +ALL +alice_\*", shown)
    assert re.search(r"map_\* \(18 schemas\) +DELETE, INSERT, REFERENCES, SELECT, UPDATE", shown)
    assert "Own schemas" in shown
    everything = site.ok("db", "show-user", "alice", "--all").out
    assert re.search(r"map_v1_07 +DELETE", everything)
    document = site.ok("db", "show-user", "alice", "--json").json
    (detail,) = document["accounts"]
    assert detail["account"]["role"] == "experimenter"
    assert [schema["schema"] for schema in document["schemas"]] == ["alice_own"]
    reach = by(detail["reaches"], "on")["map_*"]
    assert len(reach["schemas"]) == 18
    assert reach["origin"] == {"on": "map_*", "holder": "alice@%", "held": "own"}


def test_native_roles_and_tables_are_named_as_sources(site: Lab) -> None:
    (detail,) = site.ok("db", "show-user", "dave", "--json").json["accounts"]
    reaches = by(detail["reaches"], "on")
    assert reaches["map_v1_*"]["origin"]["held"] == "role"
    assert len(reaches["map_v1_*"]["schemas"]) == 17
    assert reaches["map_lab.subject"]["level"] == "table"
    assert [role.partition("@")[0] for role in detail["roles_by_default"]] == ["analysts"]
    # And the server agrees.
    with site.login("dave", "Dave-1") as dave, dave.cursor() as cursor:
        cursor.execute("SHOW DATABASES LIKE 'map%'")
        assert len(cursor.fetchall()) == 18


def test_open_sessions_are_shown(site: Lab) -> None:
    with site.login("dave", "Dave-1") as dave:
        (detail,) = site.ok("db", "show-user", "dave", "--json").json["accounts"]
        assert [s["id"] for s in detail["sessions"]] == [int(dave.thread_id())]  # type: ignore[no-untyped-call]
        assert "Open sessions" in site.ok("db", "show-user", "dave").out


def test_one_who_is_not_there_is_an_error_with_a_remedy(site: Lab) -> None:
    ran = site.run("db", "show-user", "nobody")
    assert (ran.code, ran.out) == (2, "")
    assert "mapadmin db users" in ran.err


# --- roles, grants, schemas --------------------------------------------------------------------


def test_roles_with_who_has_them(site: Lab) -> None:
    rows = by(site.ok("db", "roles", "--json").json, "role")
    assert rows["worker"]["privileges"] == ["ALL"]
    assert (rows["worker"]["members"], rows["worker"]["on"]) == (["worker"], "map_*")
    native = next(row for name, row in rows.items() if name.startswith("analysts"))
    assert native["native"]
    assert "dave@%" in native["members"]
    shown = site.ok("db", "roles").out
    assert re.search(r"worker +map_\* +ALL +1 +worker", shown)


def test_grants_as_they_are_stored(site: Lab) -> None:
    rows = by(site.ok("db", "grants", "--json").json, "user", "on")
    assert rows["alice", "map_*"]["privileges"] == [
        "DELETE", "INSERT", "REFERENCES", "SELECT", "UPDATE",
    ]  # fmt: skip
    assert rows["dave", "map_lab.subject"]["level"] == "table"
    assert rows["analysts", "map_v1_*"]["holder"] == "role"
    assert not any(user.startswith("mysql.") for user, _ in rows)
    assert {row["user"] for row in site.ok("db", "grants", "a*e", "--json").json} == {"alice"}
    assert re.search(r"alice +alice_\* +ALL", site.ok("db", "grants", "alice").out)
    assert re.search(r"dave +role analysts\S* +member", site.ok("db", "grants", "dave").out)


def test_who_can_reach_a_schema_and_how(site: Lab) -> None:
    rows = by(site.ok("db", "grants", "--schema", "map_lab", "--json").json, "user", "on")
    assert rows["bob", "map_lab"]["privileges"] == ["REFERENCES", "SELECT"]
    assert rows["bob", "map_lab"]["origin"]["on"] == "map_*"
    assert rows["dave", "map_lab.subject"]["privileges"] == ["SELECT"]
    assert ("dave", "map_lab") not in rows
    future = site.ok("db", "grants", "al*", "--schema", "alice_new", "--json")
    assert [row["user"] for row in future.json] == ["alice"]
    assert "there is no schema 'alice_new' now" in future.err


def test_schemas_with_their_owners(site: Lab) -> None:
    rows = by(site.ok("db", "schemas", "--json").json, "schema")
    kinds = {name: row["owner_kind"] for name, row in rows.items()}
    assert kinds["alice_own"] == "user"
    assert (kinds["map_lab"], kinds["mapadmin"], kinds["mysql"], kinds["nobodys"]) == (
        "project", "mapadmin", "system", "nobody",
    )  # fmt: skip
    assert rows["map_lab"]["tables"] == 1
    assert rows["map_lab"]["newest_change"] is not None
    assert set(by(site.ok("db", "schemas", "map_v1_*", "--json").json, "schema")) == {
        f"map_v1_{number:02}" for number in range(17)
    }
    assert "no such schemas" in site.ok("db", "schemas", "none*").err
