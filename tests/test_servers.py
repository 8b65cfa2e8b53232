"""The servers that the other tests rely on are what they are said to be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pymysql
import pytest

from tests.servers import MASTER, RunningServer


def test_it_answers_over_tls(server: RunningServer) -> None:
    with server.root() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        row = cursor.fetchone()
        assert row is not None
        assert ("MariaDB" in row[0]) == (server.flavour == "mariadb")
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        row = cursor.fetchone()
        assert row is not None
        assert row[1]


def test_the_master_may_what_an_rds_master_may(
    server: RunningServer, master: tuple[str, str]
) -> None:
    server.wipe()
    with server.connect(*master) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE made")
        cursor.execute("CREATE USER reader@'%' IDENTIFIED BY 'Secret-12345'")
        cursor.execute("GRANT SELECT ON `ma\\_%`.* TO reader@'%'")
        cursor.execute("SELECT user FROM mysql.user WHERE user = 'reader'")
        assert cursor.fetchone() == ("reader",)
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            cursor.execute("GRANT ALL ON *.* TO reader@'%'")
        with pytest.raises(pymysql.err.OperationalError, match=r"SUPER|SYSTEM_VARIABLES_ADMIN"):
            cursor.execute("SET GLOBAL max_connections = 10")
        # RDS for MariaDB refuses this too, RDS for MySQL does not.
        if server.flavour == "mariadb":
            with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
                cursor.execute("GRANT ALL ON made.* TO reader@'%'")
        else:
            cursor.execute("GRANT ALL ON made.* TO reader@'%'")
    server.wipe()


def test_the_master_kills_through_the_procedures_only(
    server: RunningServer, master: tuple[str, str]
) -> None:
    server.sql("CREATE USER sleeper@'%' IDENTIFIED BY 'Secret-12345'")
    victim = server.connect("sleeper", "Secret-12345")
    with victim.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        number = cursor.fetchall()[0][0]
    with server.connect(*master) as connection, connection.cursor() as cursor:
        with pytest.raises(pymysql.err.OperationalError, match="not owner"):
            cursor.execute(f"KILL {number}")
        victim.ping(reconnect=False)
        cursor.execute("CALL mysql.rds_kill_query(%s)", (number,))
        victim.ping(reconnect=False)
        cursor.execute("CALL mysql.rds_kill(%s)", (number,))
    with pytest.raises(pymysql.err.Error):
        victim.ping(reconnect=False)
    server.wipe()


def test_wipe_leaves_the_server_as_new(server: RunningServer, master: tuple[str, str]) -> None:
    server.wipe()
    accounts = server.sql("SELECT user, host FROM mysql.user ORDER BY user, host")
    assert (MASTER, "%") in accounts
    server.sql(
        "CREATE DATABASE `odd``name`",
        "CREATE TABLE `odd``name`.t (id int)",
        "CREATE USER 'odd''name'@'10.%' IDENTIFIED BY 'Secret-12345'",
        "CREATE ROLE some_role",
        "GRANT some_role TO 'odd''name'@'10.%'",
    )
    holder = server.root()
    with holder.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM `odd``name`.t")
    server.wipe()
    assert server.sql("SELECT user, host FROM mysql.user ORDER BY user, host") == accounts
    assert not server.sql("SHOW DATABASES LIKE 'odd%'")
    server.connect(*master).close()


def test_a_killed_test_run_leaves_no_server(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from tests.servers import running_server
with running_server("mariadb", Path(sys.argv[1])) as server:
    print(server.private.process().pid, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "server")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    ) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        os.kill(pid, 0)
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    cmdline = Path(f"/proc/{pid}/cmdline")  # of a zombie: empty
    while cmdline.exists() and cmdline.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
