"""Private servers, for real: nothing here stands in for a server, a process or a kill."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pymysql
import pytest
from pymysql.err import OperationalError

from mapadmin.core.errors import MapadminError
from mapadmin.sandbox.certificates import make_certificates
from mapadmin.sandbox.programs import FLAVOURS, Flavour, find_programs
from mapadmin.sandbox.server import PrivateServer
from tests.servers import FAST

# What a person's shell would run, one step at a time, in a process that can be killed.
SCRIPT = """
import sys
from pathlib import Path
from mapadmin.sandbox.programs import find_programs
from mapadmin.sandbox.server import PrivateServer
folder, flavour, *steps = sys.argv[1:]
server = PrivateServer(Path(folder), find_programs(flavour))
for step in steps:
    getattr(server, step)()
"""


def run(server: PrivateServer, *steps: str) -> subprocess.Popen[bytes]:
    """create, start and stop in another process."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(server.folder), server.flavour, *steps]
    )


def kill_when(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Kill the process the moment that the condition holds, or let it end before."""
    deadline = time.monotonic() + 60
    while process.poll() is None and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()


def is_gone(pid: int) -> bool:
    """No such process, or one that has ended and that nobody has asked about yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def processes_in(folder: Path) -> list[str]:
    """The command lines that speak of this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(folder) in (line := path.read_text(errors="replace")):
                found.append(line)
    return found


def works(server: PrivateServer) -> bool:
    """From whatever state it is in: create, start, use and stop it; nothing is left running."""
    server.create()
    server.start()
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        answered = cursor.fetchone() == (1,)
    process = server.process()
    assert process is not None
    stopped = server.stop()
    return answered and stopped and not server.running() and is_gone(process.pid)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Flavour, Path]:
    """One created server a flavour, never started, for tests to copy."""
    folders = {}
    for flavour in FLAVOURS:
        folders[flavour] = tmp_path_factory.mktemp("model") / flavour
        PrivateServer(folders[flavour], find_programs(flavour)).create()
    return folders


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Each flavour in turn."""
    chosen: Flavour = request.param
    return chosen


@pytest.fixture
def empty(flavour: Flavour, tmp_path: Path) -> Iterator[PrivateServer]:
    """A server that is not created yet."""
    server = PrivateServer(tmp_path / "server", find_programs(flavour), options=FAST)
    yield server
    server.stop(seconds=0)
    server.remove()


@pytest.fixture
def created(empty: PrivateServer, models: dict[Flavour, Path], flavour: Flavour) -> PrivateServer:
    """A server that is created and not started."""
    shutil.copytree(models[flavour], empty.folder)
    return empty


@pytest.fixture(scope="module")
def all_running(
    models: dict[Flavour, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Flavour, PrivateServer]]:
    """Running servers for tests that only look: with an option, a long path and a secret near."""
    servers = {}
    os.environ["AWS_SECRET_ACCESS_KEY"] = "not-for-servers"
    for flavour in FLAVOURS:
        # A socket's path may have 107 bytes.
        folder = tmp_path_factory.mktemp("running") / ("long" * 40) / ("path" * 40) / flavour
        shutil.copytree(models[flavour], folder)
        servers[flavour] = PrivateServer(
            folder, find_programs(flavour), options=(*FAST, "--max-connections=37")
        )
        servers[flavour].start()
    del os.environ["AWS_SECRET_ACCESS_KEY"]
    yield servers
    for server in servers.values():
        server.stop(seconds=0)
        server.remove()


@pytest.fixture
def running(all_running: dict[Flavour, PrivateServer], flavour: Flavour) -> PrivateServer:
    """A running server, to look at."""
    return all_running[flavour]


class TestPrograms:
    def test_the_flavour_is_what_version_says(self, flavour: Flavour) -> None:
        programs = find_programs(flavour)
        assert programs.flavour == flavour
        assert ("MariaDB" in programs.version) == (flavour == "mariadb")
        for program in (programs.server, programs.client, programs.dump):
            answer = subprocess.run([program, "--version"], capture_output=True, check=True)
            assert (b"MariaDB" in answer.stdout) == (flavour == "mariadb")

    def test_a_mysqld_of_mariadb_is_not_mysql(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mariadb = find_programs("mariadb")
        for name, program in (("mysqld", mariadb.server), ("mysql", mariadb.client)):
            (tmp_path / name).symlink_to(program)
        monkeypatch.setenv("MAPADMIN_MYSQL_DIR", str(tmp_path))
        assert find_programs("mysql").server.parent != tmp_path
        assert find_programs("mariadb").server == tmp_path / "mysqld"

    def test_when_there_is_none_the_error_says_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("MAPADMIN_MYSQL_DIR", raising=False)
        monkeypatch.setenv("MAPADMIN_CACHE", str(tmp_path))
        with pytest.raises(MapadminError, match="No MySQL server was found") as error:
            find_programs("mysql")
        assert "tools/provision mysql" in error.value.remedy

    def test_an_unknown_flavour_is_named(self) -> None:
        with pytest.raises(MapadminError, match="'oracle'"):
            find_programs("oracle")


class TestCreate:
    def test_what_it_makes_is_private(self, empty: PrivateServer) -> None:
        empty.create()
        modes = {
            path: stat.S_IMODE(empty.folder.joinpath(path).stat().st_mode)
            for path in ("", "root-password", "server.log", "tls/server-key.pem")
        }
        assert modes == {
            "": 0o700,
            "root-password": 0o600,
            "server.log": 0o600,
            "tls/server-key.pem": 0o600,
        }
        assert len(empty.root_password) == 32
        assert empty.root_password not in empty.log.read_text()
        assert not list(empty.folder.glob("*.new-*"))

    def test_creating_again_changes_nothing(self, created: PrivateServer) -> None:
        def seen() -> dict[Path, int]:
            files = [path for path in created.folder.rglob("*") if path.name != "lock"]
            return {path: path.stat().st_mtime_ns for path in files}

        before = seen()
        created.create()
        assert seen() == before

    def test_a_folder_keeps_its_flavour(self, created: PrivateServer, flavour: Flavour) -> None:
        other = next(known for known in FLAVOURS if known != flavour)
        stranger = PrivateServer(created.folder, find_programs(other))
        with pytest.raises(MapadminError, match="holds a"):
            stranger.create()
        with pytest.raises(MapadminError, match="holds a"):
            stranger.start()
        assert PrivateServer(created.folder).programs.flavour == flavour

    def test_a_failure_leaves_nothing_and_shows_the_log(self, empty: PrivateServer) -> None:
        # A password that breaks the SQL which sets it.
        empty.folder.mkdir(mode=0o700)
        (empty.folder / "root-password").write_text("it's")
        with pytest.raises(MapadminError, match=r"Could not make a \w+ data directory") as error:
            empty.create()
        assert "ERROR" in str(error.value)
        assert not empty.exists()
        assert not list(empty.folder.glob("*.new-*"))
        (empty.folder / "root-password").unlink()
        assert works(empty)

    def test_a_killed_create_is_done_again(self, empty: PrivateServer) -> None:
        killed = run(empty, "create")
        # In the midst of initializing: the server has begun to write its data directory.
        kill_when(killed, lambda: any(empty.folder.glob("*-data.new-*/ibdata1")))
        assert killed.returncode == -signal.SIGKILL
        assert not empty.exists()
        assert works(empty)
        assert not list(empty.folder.glob("*.new-*"))
        assert not processes_in(empty.folder)


class TestStart:
    def test_it_remembers_its_port_and_outlives_its_starter(self, created: PrivateServer) -> None:
        assert run(created, "start").wait() == 0
        process = created.process()
        assert process is not None
        assert os.getsid(process.pid) == process.pid
        port = created.port
        created.connect().close()
        assert created.stop()
        created.start()
        assert created.port == port

    def test_two_at_once_start_one(self, created: PrivateServer) -> None:
        starting = [run(created, "start") for _ in range(2)]
        assert [process.wait() for process in starting] == [0, 0]
        assert created.log.read_text().count("ready for connections") == 1
        created.connect().close()

    def test_before_create_it_is_refused(self, empty: PrivateServer) -> None:
        with pytest.raises(MapadminError, match="There is no database server"):
            empty.start()
        assert not empty.folder.exists()

    def test_a_bad_option_is_shown_from_the_log(
        self, created: PrivateServer, flavour: Flavour
    ) -> None:
        server = PrivateServer(
            created.folder, find_programs(flavour), options=("--no-such-option=1",)
        )
        with pytest.raises(MapadminError, match="ended while it was starting") as error:
            server.start()
        assert "no-such-option" in str(error.value)
        assert not server.running()
        assert works(created)

    def test_a_port_that_was_taken_meanwhile_is_given_up(self, created: PrivateServer) -> None:
        created.start()
        port = created.port
        created.stop()
        with socket.create_server(("127.0.0.1", port)):
            created.start()
            assert created.port != port
            created.connect().close()

    def test_a_port_lost_to_another_program_is_replaced(
        self, created: PrivateServer, flavour: Flavour
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            server = PrivateServer(
                created.folder, find_programs(flavour), options=(*FAST, f"--port={taken}")
            )
            # The option wins over every port that is tried, so all of them are lost.
            with pytest.raises(MapadminError, match="lost every port"):
                server.start()
            assert not server.running()

    def test_a_root_password_that_was_changed_is_said(self, created: PrivateServer) -> None:
        created.start()
        with created.connect() as connection, connection.cursor() as cursor:
            cursor.execute("ALTER USER root@localhost IDENTIFIED BY 'another'")
        created.stop()
        with pytest.raises(MapadminError, match="does not accept the password"):
            created.start()
        assert not created.running()
        (created.folder / "root-password").write_text("another\n")
        assert works(created)

    def test_one_that_does_not_answer_in_time_is_ended(self, created: PrivateServer) -> None:
        with pytest.raises(MapadminError, match="did not answer within 0 s"):
            created.start(seconds=0)
        assert not created.running()
        assert works(created)

    def test_a_killed_start_is_carried_on(self, created: PrivateServer) -> None:
        # Its server is there, and does not answer yet.
        kill_when(run(created, "start"), created.running)
        process = created.process()
        assert process is not None
        created.start()
        now = created.process()
        assert now is not None
        assert now.pid == process.pid
        assert works(created)

    def test_a_server_that_nobody_wrote_down_is_found(self, created: PrivateServer) -> None:
        # As when `start` is killed between starting the server and writing its state.
        created.start()
        process = created.process()
        (created.folder / "state.json").unlink()
        assert created.process() == process
        created.start()
        assert created.process() == process
        (created.folder / "state.json").write_text('{"pid": "half')
        assert created.stop()
        assert not created.running()

    def test_a_crashed_server_starts_again_with_its_data(self, created: PrivateServer) -> None:
        created.start()
        with created.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE kept")
        process = created.process()
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        created.start()
        created.connect(database="kept").close()


class TestRunning:
    """What a running server is like. None of these tests changes anything."""

    def test_root_is_the_only_account_and_has_the_password(self, running: PrivateServer) -> None:
        with running.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT user, host FROM mysql.user WHERE user NOT LIKE 'm%.%'")
            assert cursor.fetchall() == (("root", "localhost"),)
            cursor.execute("SHOW DATABASES")
            assert {name for (name,) in cursor.fetchall()} == {
                "information_schema",
                "mysql",
                "performance_schema",
                "sys",
            }
        with pytest.raises(OperationalError, match="Access denied"):
            running.connect(password="")

    def test_options_reach_it(self, running: PrivateServer) -> None:
        with running.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@max_connections, @@performance_schema, @@port")
            assert cursor.fetchone() == (37, 1, running.port)

    def test_another_that_starts_leaves_its_temporary_tables_alone(
        self, running: PrivateServer, empty: PrivateServer
    ) -> None:
        with running.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE mysql.mine (id INT) ENGINE=MyISAM")
            empty.create()
            empty.start()
            empty.stop()
            cursor.execute("DROP TABLE mysql.mine")

    def test_starting_again_is_the_same_server(self, running: PrivateServer) -> None:
        process = running.process()
        running.start()
        assert running.process() == process

    def test_it_knows_none_of_its_starters_secrets(self, running: PrivateServer) -> None:
        process = running.process()
        assert process is not None
        proc = Path(f"/proc/{process.pid}")
        assert b"not-for-servers" not in proc.joinpath("environ").read_bytes()
        assert running.root_password.encode() not in proc.joinpath("cmdline").read_bytes()


class TestStop:
    def test_stopping_twice_is_fine(self, created: PrivateServer) -> None:
        created.start()
        assert created.stop() is True
        assert created.stop() is False
        with pytest.raises(MapadminError, match="is not running"):
            _ = created.port

    def test_a_folder_that_is_not_there_is_not_made(self, empty: PrivateServer) -> None:
        assert empty.stop() is False
        empty.remove()
        assert not empty.folder.exists()

    def test_a_foreign_process_is_never_signalled(
        self, created: PrivateServer, running: PrivateServer
    ) -> None:
        other = running.process()
        assert other is not None
        with subprocess.Popen(["sleep", "60"]) as sleep:
            for pid in (sleep.pid, other.pid):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                state = {"pid": pid, "started": int(fields[19]), "port": other.port}
                (created.folder / "state.json").write_text(json.dumps(state))
                assert not created.running()
                assert created.stop() is False
            assert sleep.poll() is None
            sleep.kill()
        assert running.process() == other

    def test_a_later_process_with_the_same_pid_is_another(self, created: PrivateServer) -> None:
        created.start()
        state = json.loads((created.folder / "state.json").read_text())
        state |= {"started": state["started"] - 1, "port": 1}
        (created.folder / "state.json").write_text(json.dumps(state))
        # The state is not believed; the server is found by its data directory, with its real port.
        assert created.port != 1
        assert created.stop()

    def test_a_server_that_hangs_is_killed(self, created: PrivateServer) -> None:
        created.start()
        process = created.process()
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        assert created.stop(seconds=0.2)
        assert not Path(f"/proc/{process.pid}").exists()  # collected: it was our child

    def test_after_a_killed_stop_it_starts_anew(self, created: PrivateServer) -> None:
        created.start()
        before = created.process()
        assert before is not None
        state = created.folder / "state.json"
        kill_when(run(created, "stop"), lambda: '"stopping":true' in state.read_text())
        created.start()
        now = created.process()
        assert now is not None
        assert now.pid != before.pid
        assert works(created)

    def test_a_killed_remove_leaves_nothing_half_removed(self, created: PrivateServer) -> None:
        killed = run(created, "remove")
        kill_when(killed, lambda: any(created.folder.glob("*.new-removed")))
        assert not created.exists()
        assert works(created)
        created.remove()
        assert not created.folder.exists()

    def test_remove_takes_its_own_things_only(self, created: PrivateServer) -> None:
        created.start()
        (created.folder / "notes.txt").write_text("mine")
        created.remove()
        assert not created.running()
        assert [path.name for path in created.folder.iterdir()] == ["notes.txt"]
        created.remove()
        assert created.folder.exists()


class TestTls:
    def connection(self, server: PrivateServer, *, host: str, ca: Path) -> None:
        """Log in as a client that believes to speak with `host`."""
        connection = pymysql.connect(
            host=host,
            user="root",
            password=server.root_password,
            ssl_ca=str(ca),
            ssl_verify_cert=True,
            ssl_verify_identity=True,
            defer_connect=True,
        )
        try:
            connection.connect(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            with connection.cursor() as cursor:
                cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
                row = cursor.fetchone()
                assert row is not None
                assert row[1].startswith("TLS_")
        finally:
            if connection.open:
                connection.close()

    def test_who_it_is_is_verified(self, running: PrivateServer, tmp_path: Path) -> None:
        for host in ("127.0.0.1", "localhost"):
            self.connection(running, host=host, ca=running.ca)
        with pytest.raises(OperationalError, match=r"(?i)host ?name mismatch"):
            self.connection(running, host="db.example.org", ca=running.ca)
        make_certificates(tmp_path)
        with pytest.raises(OperationalError, match="certificate verify failed"):
            self.connection(running, host="127.0.0.1", ca=tmp_path / "ca.pem")

    def test_the_flavours_own_client_verifies_it_too(
        self, running: PrivateServer, flavour: Flavour
    ) -> None:
        verify = {"mysql": "--ssl-mode=VERIFY_IDENTITY", "mariadb": "--ssl-verify-server-cert"}
        options = [
            "--no-defaults",
            "--protocol=TCP",
            "--host=127.0.0.1",
            f"--port={running.port}",
            f"--ssl-ca={running.ca}",
            verify[flavour],
            "--user=root",
        ]
        for program, rest in (
            (running.programs.client, ["-Ne", "SELECT 'over TLS'"]),
            (running.programs.dump, ["--no-data", "mysql", "procs_priv"]),
        ):
            done = subprocess.run(
                [program, *options, *rest],
                env={"PATH": os.environ["PATH"], "MYSQL_PWD": running.root_password},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert "over TLS" in done.stdout or "CREATE TABLE" in done.stdout


def test_another_users_folder_is_left_alone(created: PrivateServer, tmp_path: Path) -> None:
    # Not even root takes over: it would leave files behind that the owner's server cannot open.
    outside = PrivateServer(Path("/proc/1") if os.geteuid() else tmp_path / "other")
    if os.geteuid() == 0:
        shutil.copytree(created.folder, outside.folder)
        os.chown(outside.folder, 65534, 65534)
    for refused in (outside.create, outside.start, outside.stop, outside.remove):
        with pytest.raises(MapadminError, match="belongs to another user"):
            refused()


@pytest.mark.soak
def test_killed_at_any_moment(empty: PrivateServer) -> None:
    """create, start and stop, killed at random moments, forty times in a row."""
    chance = random.Random(20261)
    for _ in range(40):
        process = run(empty, "create", "start", "stop")
        # Up to the time that all three take.
        time.sleep(chance.uniform(0.1, 6.0 if empty.flavour == "mysql" else 2.0))
        process.kill()
        process.wait()
        if chance.random() < 0.3:
            assert works(empty)
        if chance.random() < 0.5:
            empty.remove()
    assert works(empty)
    assert not processes_in(empty.folder)
