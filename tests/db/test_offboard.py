"""`remove-user`: who leaves, what stays, and everything that is in the way."""

from __future__ import annotations

import threading
import time
from typing import Any

import pymysql
import pytest
from pymysql.connections import Connection

from tests.db.leaving import (
    PLAIN,
    accounts_of,
    everything,
    plain,
    prepare,
    schemas_of,
)
from tests.lab import Lab

PEOPLE = """# The people of the lab

# alice wrote the tracker
[people.alice]
role = "experimenter"
email = "a@example.org"  # her own

# (the robot)
[services.robot]
role = "worker"
"""


def state(lab: Lab) -> object:
    """All accounts, grants and schemas, to see that nothing has changed."""
    tables = ["db", "tables_priv", "procs_priv"]
    tables.append("global_priv" if lab.server.flavour == "mariadb" else "user")
    rows = [lab.server.sql(f"SELECT * FROM mysql.{table} ORDER BY 1, 2, 3") for table in tables]
    return rows, schemas_of(lab.server, "")


def refused(lab: Lab, *args: str, code: int = 1) -> str:
    """What a `remove-user` that must change nothing complains about."""
    people = lab.people() if (lab.folder / "people.toml").exists() else ""
    before = state(lab)
    ran = lab.run("db", "remove-user", *args, "--yes")
    assert ran.code == code, (ran.out, ran.err)
    assert state(lab) == before
    assert (lab.people() if people else "") == people
    return ran.err


def removed(lab: Lab, name: str = "alice") -> bool:
    """Whether there is nothing left of an account."""
    remembered = lab.server.sql(f"SELECT COUNT(*) FROM mapadmin.account WHERE user = '{name}'")
    rights = lab.server.sql(f"SELECT COUNT(*) FROM mysql.db WHERE user = '{name}'")
    return not accounts_of(lab.server, name) and remembered == rights == ((0,),)


# --- what happens ------------------------------------------------------------------------------


def test_the_account_goes_and_the_schemas_stay(lab: Lab) -> None:
    lab.write_people(PEOPLE.replace("# alice wrote", "# bob wrote").replace("alice]", "bob]"))
    password = prepare(lab)
    plain(lab, password)
    before = everything(lab.server, PLAIN)
    session = lab.login("alice", password, PLAIN)
    session.begin()
    session.cursor().execute("DELETE FROM t")
    ran = lab.ok("db", "remove-user", "alice", "--yes")
    assert "schemas that stay" in ran.err
    assert PLAIN in ran.err
    assert "KiB" in ran.err
    assert removed(lab)
    with pytest.raises(pymysql.err.OperationalError):
        session.cursor().execute("SELECT 1")
    assert everything(lab.server, PLAIN) == before
    text = lab.people()
    assert "alice" not in text
    assert "# bob wrote the tracker" in text
    assert "# (the robot)" in text
    again = lab.ok("db", "remove-user", "alice", "--yes")
    assert "Nothing to do." in again.err
    assert "there is no account of alice" in again.err
    assert PLAIN in again.err


def test_a_dry_run_changes_nothing_and_says_the_same(lab: Lab) -> None:
    password = prepare(lab)
    plain(lab, password)
    before, people = state(lab), lab.people()
    planned = lab.ok("db", "remove-user", "alice", "--drop-schemas", "--dry-run", "--json").json
    assert (state(lab), lab.people()) == (before, people)
    done = lab.ok("db", "remove-user", "alice", "--drop-schemas", "--yes", "--json").json
    keys = ("action", "target", "detail", "destroys")
    assert [[s[k] for k in keys] for s in planned["steps"]] == [
        [s[k] for k in keys] for s in done["steps"]
    ]
    assert [step["action"] for step in done["steps"]] == [
        "write people.toml", "lock account", "end sessions", "drop schema", "revoke everything",
        "drop account", "forget",
    ]  # fmt: skip
    assert {step["state"] for step in done["steps"]} == {"done"}
    assert planned["notes"] == done["notes"]


def test_it_asks_first(lab: Lab) -> None:
    prepare(lab)
    before = state(lab)
    ran = lab.run("db", "remove-user", "alice")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert state(lab) == before


def test_without_a_people_file(lab: Lab) -> None:
    password = prepare(lab)
    (lab.folder / "people.toml").unlink()
    plain(lab, password)
    lab.ok("db", "remove-user", "alice", "--drop-schemas", "--yes")
    assert removed(lab)
    assert schemas_of(lab.server) == []
    assert not (lab.folder / "people.toml").exists()


def test_sessions_that_come_back_until_the_lock_are_ended(lab: Lab) -> None:
    """Somebody's program logs in again and again while they are removed."""
    password = prepare(lab)
    stop = threading.Event()
    connected: list[Connection[Any]] = []

    def reconnect() -> None:
        while not stop.is_set():
            try:
                connected.append(lab.login("alice", password))
            except pymysql.err.OperationalError:
                time.sleep(0.005)

    thread = threading.Thread(target=reconnect)
    thread.start()
    try:
        lab.ok("db", "remove-user", "alice", "--yes")
    finally:
        stop.set()
        thread.join()
    # Not by the process list, which also shows the log-ins that are just being refused.
    assert connected
    for connection in connected:
        with pytest.raises(pymysql.err.Error):
            connection.ping(reconnect=False)
    assert removed(lab)


def test_one_host_of_several(lab: Lab) -> None:
    password = prepare(lab)
    lab.ok("db", "add-user", "alice", "--role", "experimenter", "--host", "10.%")
    plain(lab, password)
    complaint = refused(lab, "alice", "--host", "10.%", "--drop-schemas", code=2)
    assert "alice@%" in complaint
    assert "There is no account of alice at '10.2.%'" in refused(
        lab, "alice", "--host", "10.2.%", code=2
    )
    ran = lab.ok("db", "remove-user", "alice", "--host", "10.%", "--yes")
    assert "alice stays as alice@%" in ran.err
    assert accounts_of(lab.server) == ["%"]
    assert 'hosts = ["%"]' in lab.people() or "hosts" not in lab.people()
    assert "Nothing to do." in lab.ok("db", "apply").err
    lab.login("alice", password).close()
    lab.ok("db", "remove-user", "alice", "--host", "%", "--drop-schemas", "--yes")
    assert removed(lab)
    assert "alice" not in lab.people()
    assert schemas_of(lab.server) == []


# --- whose schemas ------------------------------------------------------------------------------


def test_only_their_own_schemas_go_whatever_the_grants_say(lab: Lab) -> None:
    password = prepare(lab)
    lab.write_people(lab.people() + '[people.al]\nrole = "reader"\n[services.alice_bot]\n')
    plain(lab, password)
    others = [
        "al_own", "alice", "alicia_x", "aliceXplain", "ALICE_x", "alice_bot_x", "bob_x",
        "map_x", "map",
    ]  # fmt: skip
    lab.server.sql(
        *(f"CREATE DATABASE `{name}`" for name in others),
        *(f"GRANT ALL ON `{name}`.* TO alice@'%'" for name in [*others, "mapadmin", "al%"]),
    )
    before = set(schemas_of(lab.server, ""))
    ran = lab.ok("db", "remove-user", "alice", "--drop-schemas", "--yes")
    assert before - set(schemas_of(lab.server, "")) == {PLAIN}
    assert f"schemas that are dropped: {PLAIN}" in ran.err
    assert removed(lab)


def test_a_service_owns_nothing_unless_it_is_said(lab: Lab) -> None:
    prepare(lab)
    people = lab.people() + "[services.robot]\n[services.store]\nown_schemas = true\n"
    lab.write_people(people + "[people.guest]\nown_schemas = false\n")
    lab.ok("db", "apply", "--password-file", str(lab.folder / "passwords"))
    lab.server.sql(*(f"CREATE DATABASE {name}_x" for name in ("robot", "store", "guest")))
    assert (
        "robot has no schemas"
        in lab.ok("db", "remove-user", "robot", "--drop-schemas", "--yes").err
    )
    lab.ok("db", "remove-user", "guest", "--drop-schemas", "--yes")
    lab.ok("db", "remove-user", "store", "--drop-schemas", "--yes")
    found = set(schemas_of(lab.server, ""))
    assert {"robot_x", "guest_x"} <= found
    assert "store_x" not in found


def test_schemas_that_refer_to_each_other_go_in_the_right_order(lab: Lab) -> None:
    prepare(lab)
    table = "(id INT PRIMARY KEY, other INT) ENGINE=InnoDB"
    key = "ADD FOREIGN KEY (other) REFERENCES"
    lab.server.sql(
        *(f"CREATE DATABASE alice_{n}" for n in "abcde"),
        *(f"CREATE TABLE alice_{n}.t {table}" for n in "abcde"),
        # b -> a -> c, and d and e to each other; all of that to the project
        f"ALTER TABLE alice_b.t {key} alice_a.t (id)",
        f"ALTER TABLE alice_a.t {key} alice_c.t (id)",
        f"ALTER TABLE alice_d.t {key} alice_e.t (id)",
        f"ALTER TABLE alice_e.t {key} alice_d.t (id)",
        f"ALTER TABLE alice_c.t {key} map_lab.session (id)",
    )  # fmt: skip
    ran = lab.ok("db", "remove-user", "alice", "--drop-schemas", "--yes", "--json").json
    dropped = [step["target"] for step in ran["steps"] if step["action"] == "drop schema"]
    assert dropped[:3] == ["alice_b", "alice_a", "alice_c"]
    assert schemas_of(lab.server) == []
    assert lab.server.sql("SELECT COUNT(*) FROM map_lab.session") == ((2,),)


# --- what is in the way -------------------------------------------------------------------------


def test_definers_of_what_stays(lab: Lab) -> None:
    prepare(lab)
    definer = "DEFINER=alice@'%'"
    lab.server.sql(
        f"CREATE {definer} VIEW map_lab.v AS SELECT * FROM map_lab.session",
        f"CREATE {definer} PROCEDURE map_lab.p() SELECT 1",
        f"CREATE {definer} FUNCTION map_lab.f() RETURNS INT DETERMINISTIC RETURN 1",
        f"CREATE {definer} TRIGGER map_lab.t BEFORE INSERT ON map_lab.session"
        " FOR EACH ROW SET @a = 1",
        f"CREATE {definer} EVENT map_lab.e ON SCHEDULE EVERY 1 DAY DO DO 1",
    )
    complaint = refused(lab, "alice")
    for one in ("view map_lab.v", "procedure map_lab.p", "function map_lab.f", "trigger map_lab.t",
                "event map_lab.e", "alice@%", "mapadmin db lock alice"):  # fmt: skip
        assert one in complaint
    if lab.server.flavour == "mysql":
        assert "MySQL does not drop" in refused(lab, "alice", "--force")
        lab.server.sql(f"GRANT ALLOW_NONEXISTENT_DEFINER ON *.* TO {lab.user}@'%'")
    try:
        ran = lab.ok("db", "remove-user", "alice", "--force", "--yes")
    finally:
        if lab.server.flavour == "mysql":
            lab.server.sql(f"REVOKE ALLOW_NONEXISTENT_DEFINER ON *.* FROM {lab.user}@'%'")
    assert "will stop working" in ran.err
    assert "event map_lab.e" in ran.err
    assert removed(lab)


def test_definers_inside_schemas_that_go_do_not_count(lab: Lab) -> None:
    password = prepare(lab)
    plain(lab, password)
    with lab.login("alice", password, PLAIN) as alice, alice.cursor() as cursor:
        cursor.execute("CREATE VIEW v AS SELECT id FROM t")
    assert f"view {PLAIN}.v" in refused(lab, "alice")
    lab.ok("db", "remove-user", "alice", "--drop-schemas", "--yes")
    assert removed(lab)


@pytest.mark.parametrize("fate", ["--drop-schemas", "--archive"])
def test_tables_of_others_that_refer_to_theirs(lab: Lab, fate: str) -> None:
    password = prepare(lab)
    plain(lab, password)
    lab.ok("db", "add-user", "bob", "--role", "reader")
    lab.server.sql(
        "CREATE DATABASE bob_x",
        f"CREATE TABLE bob_x.mine (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES {PLAIN}.t (id))"
        " ENGINE=InnoDB",
    )
    options = [fate, str(lab.folder / "archives")] if fate == "--archive" else [fate]
    complaint = refused(lab, "alice", *options)
    assert f"bob_x.mine (to {PLAIN}.t), of bob" in complaint
    assert not (lab.folder / "archives").exists()
    lab.ok("db", "remove-user", "alice", "--yes")  # they stay, so nothing breaks
    assert schemas_of(lab.server) == [PLAIN]


def test_what_is_only_to_be_known(lab: Lab) -> None:
    """Foreign keys of schemas that stay into the project; views of others that read what goes."""
    password = prepare(lab)
    plain(lab, password)
    lab.server.sql(
        f"CREATE TABLE {PLAIN}.mine (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES"
        " map_lab.session (id)) ENGINE=InnoDB",
        f"CREATE VIEW map_lab.reads AS SELECT id FROM {PLAIN}.t",
    )
    kept = lab.ok("db", "remove-user", "alice", "--dry-run")
    assert f"still cannot be deleted: {PLAIN}.mine (to map_lab.session)" in kept.err
    dropped = lab.ok("db", "remove-user", "alice", "--drop-schemas", "--dry-run")
    assert f"views of others that will no longer work: map_lab.reads (reads {PLAIN})" in dropped.err
    lab.ok("db", "remove-user", "alice", "--drop-schemas", "--yes")


def test_accounts_that_are_not_for_mapadmin_to_remove(lab: Lab) -> None:
    prepare(lab)
    lab.server.sql("CREATE USER stranger@'%'", "CREATE USER alice@'10.%'", "CREATE ROLE crew")
    assert "`mapadmin db import stranger`" in refused(lab, "stranger", code=2)
    assert "does not manage alice@10.%" in refused(lab, "alice", "--force", code=2)
    assert "a role of the server's own" in refused(lab, "crew", code=2)
    assert "mapadmin's own account" in refused(lab, lab.user, code=2)
    assert "does not manage root@" in refused(lab, "root", "--force", code=2)
    for name in ("mysql.sys", "mariadb.sys", "rdsadmin"):
        assert "an account of the server's own" in refused(lab, name, code=2)
    assert "Choose one of" in refused(lab, "alice", "--drop-schemas", "--archive", "x", code=2)
    lab.ok("db", "remove-user", "alice", "--host", "%", "--yes")
    assert accounts_of(lab.server) == ["10.%"]


def test_a_name_that_nobody_has(lab: Lab) -> None:
    prepare(lab)
    lab.server.sql("CREATE DATABASE alcie_x")
    before = state(lab)
    ran = lab.ok("db", "remove-user", "alcie", "--drop-schemas", "--yes")
    assert "there is no account of alcie" in ran.err
    assert "still there: alcie_x" in ran.err
    assert state(lab) == before


def test_rights_of_every_kind_are_revoked(lab: Lab) -> None:
    """Also those that mapadmin's own account does not have, and the server's own roles."""
    prepare(lab)
    lab.server.sql(
        "CREATE ROLE crew", "GRANT crew TO alice@'%'",
        "GRANT PROCESS, FILE, SHUTDOWN ON *.* TO alice@'%' WITH GRANT OPTION",
        "GRANT SELECT ON map_lab.session TO alice@'%'",
        "GRANT UPDATE (note) ON map_lab.session TO alice@'%'",
        "GRANT PROXY ON crew@'%' TO alice@'%'" if lab.server.flavour == "mysql" else "DO 1",
        "GRANT BACKUP_ADMIN ON *.* TO alice@'%'" if lab.server.flavour == "mysql" else "DO 1",
    )  # fmt: skip
    lab.ok("db", "remove-user", "alice", "--yes")
    assert removed(lab)
    for table in ("tables_priv", "columns_priv", "proxies_priv"):
        assert lab.server.sql(f"SELECT * FROM mysql.{table} WHERE user = 'alice'") == ()


# --- one account of several --------------------------------------------------------------------


def test_sessions_of_an_account_that_stays_go_on(lab: Lab) -> None:
    password = prepare(lab)
    add = ("db", "add-user", "alice", "--role", "experimenter", "--host")
    lab.ok(*add, "10.9.9.9")
    with lab.login("alice", password) as staying:
        ran = lab.ok("db", "remove-user", "alice", "--host", "10.9.9.9", "--yes")
        assert "stays as alice@%, and sessions of that go on" in ran.err
        staying.cursor().execute("SELECT 1")
    local = lab.login("alice", lab.password_of(lab.ok(*add, "localhost")))
    lab.ok("db", "remove-user", "alice", "--host", "localhost", "--yes")
    with pytest.raises(pymysql.err.OperationalError):
        local.cursor().execute("SELECT 1")
    assert accounts_of(lab.server) == ["%"]
