"""`db kill`: through RDS's procedures, for clients only, and twice is once."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.constants import COMMAND

from mapadmin.admin import Admin
from mapadmin.core.errors import MapadminError
from mapadmin.db.database import open_database
from mapadmin.db.processes import execute_kills, kill_steps, sessions_of
from tests.db.test_sessions import PASSWORD, eventually, people, processes, running
from tests.lab import Lab
from tests.servers import RunningServer, master_account


def number_of(connection: Any) -> int:
    """The id of a session."""
    return int(connection.thread_id())


def is_open(connection: Any) -> bool:
    try:
        connection.cursor().execute("DO 1")
    except pymysql.err.MySQLError:
        return False
    return True


def gone(lab: Lab, user: str) -> None:
    eventually(lambda: not processes(lab, "--all", "--user", user))


def test_all_sessions_of_a_user_are_ended_and_nobody_elses(lab: Lab) -> None:
    people(lab, "alice", "bob")
    with lab.login("bob", PASSWORD) as bob, running(lab, "alice", "SELECT SLEEP(60)") as errors:
        idle = lab.login("alice", PASSWORD)
        ran = lab.run("db", "kill", "--user", "alice")
        assert ran.code == 2  # no terminal to ask on
        assert is_open(idle)
        planned = lab.ok("db", "kill", "--user", "alice", "--dry-run")
        assert planned.out.count("kill session") == 2
        assert is_open(idle)
        done = lab.ok("db", "kill", "--user", "alice", "--yes", "--json").json
        assert [step["state"] for step in done["steps"] if step["action"] == "kill session"] == [
            "done",
            "done",
        ]
        assert not is_open(idle)
        gone(lab, "alice")
        assert errors
        assert is_open(bob)
        again = lab.ok("db", "kill", "--user", "alice", "--yes")
        assert "Nothing to do." in again.err


def test_the_account_may_not_kill_by_itself(lab: Lab) -> None:
    """Else these tests would not show that it goes through RDS's procedures."""
    people(lab, "alice")
    with (
        lab.login("alice", PASSWORD) as alice,
        lab.login(lab.user, lab.password) as master,
        pytest.raises(pymysql.err.MySQLError, match=r"(?i)not owner"),
    ):
        master.cursor().execute(f"KILL {number_of(alice)}")


def test_one_session_is_ended_by_its_id(lab: Lab) -> None:
    people(lab, "alice")
    with lab.login("alice", PASSWORD) as stays:
        leaves = lab.login("alice", PASSWORD)
        lab.ok("db", "kill", str(number_of(leaves)), "--yes")
        assert not is_open(leaves)
        assert is_open(stays)
        # It is as it should be, also together with one that is there.
        ran = lab.ok("db", "kill", str(number_of(leaves)), str(number_of(stays)), "--yes")
        assert f"there is no session {number_of(leaves)}" in ran.err
        assert not is_open(stays)


def test_a_statement_is_ended_and_its_session_stays(lab: Lab) -> None:
    people(lab, "alice")
    with running(lab, "alice", "SELECT SLEEP(60) FROM (SELECT 1 UNION SELECT 2) AS two"):
        lab.ok("db", "kill", "--user", "alice", "--query", "--yes")
        eventually(lambda: not processes(lab, "--user", "alice"))
        assert len(processes(lab, "--all", "--user", "alice")) == 1
        ran = lab.ok("db", "kill", "--user", "alice", "--query", "--yes")
        assert "Nothing to do." in ran.err


def test_the_servers_own_threads_are_refused(lab: Lab) -> None:
    own = [row for row in processes(lab, "--all") if row["kind"] == "system"]
    for row in own:
        ran = lab.run("db", "kill", str(row["id"]), "--yes")
        assert ran.code == 2
        assert "thread of the server's own" in ran.err
    assert own or lab.server.flavour == "mariadb"


def test_a_replica_is_refused(mysql: RunningServer, tmp_path: Path) -> None:
    """Only MySQL writes a binary log unless it is told not to."""
    mysql.wipe()
    lab = Lab(tmp_path / "site", mysql, *master_account(mysql))
    people(lab, "replica")
    mysql.sql("GRANT REPLICATION SLAVE ON *.* TO replica@'%'")
    replica: Any
    with lab.login("replica", PASSWORD) as replica:
        replica.cursor().execute("SET @source_binlog_checksum = @@global.binlog_checksum")
        ((file, position, *_),) = mysql.sql("SHOW BINARY LOG STATUS")
        # What a replica sends: position, flags, its number, the file; the answer has no end.
        request = struct.pack("<IHI", position, 0, 77) + str(file).encode()
        replica._execute_command(COMMAND.COM_BINLOG_DUMP, request)
        eventually(lambda: "replication" in kinds(lab, "replica"))
        assert processes(lab, "--user", "replica") == []
        ran = lab.run("db", "kill", "--user", "replica", "--yes")
        assert ran.code == 2
        assert "a replica reading the binary log" in ran.err


def kinds(lab: Lab, user: str) -> list[str]:
    return [row["kind"] for row in processes(lab, "--all", "--user", user)]


def test_which_sessions_must_be_said_once(lab: Lab) -> None:
    assert lab.run("db", "kill").code == 2
    assert lab.run("db", "kill", "5", "--user", "alice").code == 2
    assert lab.run("db", "kill", "x").code == 2


def test_a_hostile_user_name_is_only_a_name(lab: Lab) -> None:
    name = "a'b\n\x1b[31m"
    with lab.server.root() as root, root.cursor() as cursor:
        cursor.execute("CREATE USER %s@'%%' IDENTIFIED BY %s", (name, PASSWORD))
    connection = lab.login(name, PASSWORD)
    shown = lab.ok("db", "processes", "--all").out
    assert "\x1b" not in shown
    assert "a'b\\n\\x1b[31m" in shown
    lab.ok("db", "kill", "--user", name, "--yes")
    assert not is_open(connection)


def test_steps_for_a_session_that_ended_meanwhile_are_done(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `remove-user` relies on: it finds the sessions, and some end before they are killed."""
    people(lab, "alice")
    monkeypatch.setenv("LAB_PASSWORD", lab.password)
    admin = Admin(site_option=str(lab.folder))
    database = open_database(admin)
    try:
        connection = lab.login("alice", PASSWORD)
        found = sessions_of(database.server, ["alice"])
        assert [session.id for session in found] == [number_of(connection)]
        steps = kill_steps(database.server, found)
        assert "rds_kill" in str(steps[0].statements[0])
        connection.close()
        gone(lab, "alice")
        assert len(list(execute_kills(database.server, steps))) == 1
        # One that is there and cannot be ended is an error.
        other = lab.login("alice", PASSWORD)
        lab.server.sql("DROP PROCEDURE mysql.rds_kill")
        try:
            steps = kill_steps(database.server, sessions_of(database.server, ["alice"]))
            assert "KILL CONNECTION" in str(steps[0].statements[0])
            with pytest.raises(MapadminError):
                list(execute_kills(database.server, steps))
        finally:
            lab.server.sql(
                "CREATE PROCEDURE mysql.rds_kill(thread BIGINT) SQL SECURITY DEFINER KILL thread"
            )
        other.close()
    finally:
        admin.close()


def test_a_kill_is_in_the_journal(lab: Lab) -> None:
    people(lab, "alice")
    with lab.login("alice", PASSWORD):
        lab.ok("db", "kill", "--user", "alice", "--yes")
    entries = json.loads(lab.ok("journal", "--json").out)
    assert any((e["action"], e["event"]) == ("kill session", "done") for e in entries)
