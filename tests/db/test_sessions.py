"""processes and kill, on both servers, as an account without SUPER or CONNECTION ADMIN."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pexpect
import pymysql
import pytest

from mapadmin.db.processes import Session, SessionKind, kill_step, kind_of, one_line
from tests.lab import Lab
from tests.zygote import MAPADMIN

PASSWORD = "Somebody-1"


def people(lab: Lab, *names: str) -> None:
    for name in names:
        lab.server.sql(f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'")


@contextmanager
def running(lab: Lab, user: str, sql: str | bytes) -> Iterator[list[str]]:
    """A session that runs a statement for the body; the errors that it was ended with."""
    errors: list[str] = []
    connection: Any = lab.login(user, PASSWORD)

    def work() -> None:
        try:
            connection.cursor().execute(sql)
        except (pymysql.err.MySQLError, OSError, AttributeError) as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        eventually(lambda: any(row["query"] for row in processes(lab, "--user", user)))
        yield errors
    finally:
        with suppress(pymysql.err.MySQLError):
            lab.server.sql(f"KILL {connection.thread_id()}")
        thread.join()
        if connection.open:
            connection.close()


def processes(lab: Lab, *options: str) -> list[dict[str, Any]]:
    rows = lab.ok("db", "processes", "--json", *options).json
    assert isinstance(rows, list)
    return rows


def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(50):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it never came about")


# --- pure --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"SELECT  1\n\tFROM x", "SELECT 1 FROM x"),
        (b"INSERT INTO t VALUES (_binary'\xff\x00')", "INSERT INTO t VALUES (_binary'\ufffd\x00')"),
        (b"CREATE USER 'a'@'%' IDENTIFIED BY 'secret'", "CREATE USER 'a'@'%' IDENTIFIED ****"),
        (b"alter user a identified via x using 'secret'", "alter user a identified ****"),
        (b"SET PASSWORD FOR a = 'secret', b = 'secret'", "SET PASSWORD ****"),
        (b"SET PASSWORD\n= PASSWORD('secret')", "SET PASSWORD ****"),
        (b"CHANGE MASTER TO MASTER_PASSWORD='secret'", "CHANGE MASTER TO MASTER_PASSWORD ****"),
        (b"GRANT SELECT ON * TO a IDENTIFIED/**/BY 's'", "GRANT SELECT ON * TO a IDENTIFIED ****"),
        (rb"PREPARE s FROM 'SET PASSWORD = \'s\''", "PREPARE s FROM 'SET PASSWORD ****"),
        (b"SET x.authentication_string='*AA'", "SET x.authentication_string ****"),
        (b"", ""),
    ],
)
def test_a_statement_is_shown_on_one_line_and_without_passwords(query: bytes, shown: str) -> None:
    assert one_line(query) == shown


def test_a_long_statement_is_masked_in_no_time() -> None:
    begun = time.monotonic()
    one_line(b"SELECT '" + b"a" * 4096 + b"passwor" * 300)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("user", "command", "kind"),
    [
        ("alice", "Query", SessionKind.CLIENT),
        ("alice", "Sleep", SessionKind.CLIENT),
        ("unauthenticated user", "Connect", SessionKind.CLIENT),
        ("system user", "Connect", SessionKind.SYSTEM),
        ("system user", "Daemon", SessionKind.SYSTEM),
        ("event_scheduler", "Daemon", SessionKind.SYSTEM),
        ("rdsadmin", "Sleep", SessionKind.SYSTEM),
        ("rdsrepladmin", "Binlog Dump", SessionKind.SYSTEM),
        ("replica", "Binlog Dump GTID", SessionKind.REPLICATION),
        ("replica", "Sleep", SessionKind.CLIENT),
    ],
)
def test_whose_a_session_is(user: str, command: str, kind: SessionKind) -> None:
    assert kind_of(user, command) is kind


@pytest.mark.parametrize(
    ("rds", "query", "sql"),
    [
        (False, False, "KILL CONNECTION 7"),
        (False, True, "KILL QUERY 7"),
        (True, False, "CALL mysql.rds_kill(7)"),
        (True, True, "CALL mysql.rds_kill_query(7)"),
    ],
)
def test_how_a_session_is_ended(rds: bool, query: bool, sql: str) -> None:
    session = Session(
        7, "alice", "10.1.2.3", "map_lab", "Query", "", 1, None, "", SessionKind.CLIENT
    )
    step = kill_step(session, rds=rds, query=query)
    assert [str(statement) for statement in step.statements] == [sql]
    assert (step.target, step.detail, step.destroys) == ("alice@10.1.2.3", "id 7, in map_lab", True)


# --- processes ---------------------------------------------------------------------------------


def test_who_does_what_is_shown_and_who_idles_is_not(lab: Lab) -> None:
    people(lab, "alice", "bob")
    with lab.login("bob", PASSWORD), running(lab, "alice", "SELECT SLEEP(\n60) AS slow"):
        (row,) = processes(lab)
        assert (row["user"], row["client"]) == ("alice", "localhost")
        assert row["query"] == "SELECT SLEEP( 60) AS slow"
        assert row["command"] == "Query"
        assert row["seconds"] >= 0
        assert {one["user"] for one in processes(lab, "--all")} >= {"alice", "bob"}
        assert processes(lab, "--user", "bob") == []
        (bob,) = processes(lab, "--user", "bob", "--all")
        assert (bob["command"], bob["kind"]) == ("Sleep", "client")
        shown = lab.ok("db", "processes").out
        assert "alice" in shown
        assert "SLEEP( 60)" in shown
        assert "admin" not in shown  # mapadmin's own session


def test_a_statement_with_a_blob_does_not_hide_the_others(lab: Lab) -> None:
    """It is not UTF-8; MySQL even refuses to list the transactions while it runs."""
    people(lab, "alice", "bob")
    lab.server.sql("CREATE DATABASE map_lab", "CREATE TABLE map_lab.t (id INT PRIMARY KEY)")
    lab.server.sql("GRANT ALL ON map_lab.* TO bob@'%'")
    with (
        running(lab, "alice", b"SELECT SLEEP(60), _binary'\xff\xfe\x80abc'"),
        lab.login("bob", PASSWORD) as bob,
    ):
        bob.begin()
        bob.cursor().execute("INSERT INTO map_lab.t VALUES (1)")
        time.sleep(1.1)
        rows = {row["user"]: row for row in processes(lab)}
        assert rows["alice"]["query"].startswith("SELECT SLEEP(60), _binary'")
        # Idle, but it holds locks: shown, with how long.
        assert rows["bob"]["command"] == "Sleep"
        assert rows["bob"]["transaction"] >= 1
        assert "in transaction" in lab.ok("db", "processes").out


def test_passwords_in_statements_are_not_shown(lab: Lab) -> None:
    people(lab, "alice")
    sql = "SELECT SLEEP(60), 'SET PASSWORD = ''Hush-77'''"
    with running(lab, "alice", sql):
        for options in ([], ["--json"], ["--all"]):
            shown = lab.ok("db", "processes", *options)
            assert "Hush-77" not in shown.out + shown.err
            assert "****" in shown.out


def test_nobody_doing_anything_is_said(lab: Lab) -> None:
    ran = lab.ok("db", "processes")
    assert ran.out == ""
    assert "Nobody is doing anything" in ran.err
    assert lab.run("db", "processes", "5").code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_in_a_pipe_prints_table_after_table(lab: Lab, number: signal.Signals) -> None:
    people(lab, "alice")
    with running(lab, "alice", "SELECT SLEEP(60)"):
        watching = lab.start("db", "processes", "--watch", "0.2")
        assert watching.stdout is not None
        seen = "".join(watching.stdout.readline() for _ in range(8))
        watching.send_signal(number)
        _, err = watching.communicate(timeout=10)
    assert seen.count("SELECT SLEEP(60)") >= 2
    assert (watching.returncode, err) == (0, "")


def test_watching_on_a_terminal_gives_it_back_as_it_was(lab: Lab) -> None:
    people(lab, "alice")
    with running(lab, "alice", f"SELECT SLEEP(60), '{'long ' * 40}'"):
        terminal = pexpect.spawn(
            MAPADMIN, ["db", "processes", "--watch"], env={**lab.environment, "TERM": "xterm"},
            dimensions=(24, 80), encoding="utf-8", timeout=20,
        )  # fmt: skip
        terminal.expect_exact("\x1b[?1049h")  # the other screen
        terminal.expect("SELECT SLEEP.*…")  # one line, cut
        terminal.sendintr()
        terminal.expect_exact("\x1b[?1049l")
        terminal.expect(pexpect.EOF)
        terminal.close()
    assert terminal.exitstatus == 0
    assert "Traceback" not in (terminal.before or "")
