"""`mapadmin sandbox` as a person uses it, with real servers of both flavours."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from mapadmin.sandbox.programs import find_programs
from tests.lab import Ran
from tests.sandbox.box import PEOPLE, Box

SDKS = ("pymysql", "datajoint", "cryptography", "tomlkit", "rich", "jinja2", "boto3")


def assert_private(sandbox: Box, *runs: Ran) -> None:
    """No secret was shown, and nobody else can read any."""
    for ran in runs:
        for secret in sandbox.secrets():
            assert secret not in ran.out + ran.err
    for path in (sandbox.site / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert (sandbox.folder / "database" / "root.cnf").stat().st_mode & 0o777 == 0o600
    assert sandbox.folder.stat().st_mode & 0o777 == 0o700


def test_a_whole_life(fresh: Box) -> None:
    first = fresh.up()
    assert first.out.startswith("The sandbox is up.\n")
    assert f"export MAPADMIN_SITE={shlex.quote(str(fresh.site))}" in first.out
    assert f"sandbox down {shlex.quote(str(fresh.folder))}" in first.out
    fresh.assert_whole()

    again = fresh.up()
    assert again.out.startswith("The sandbox is up already.\n")
    assert again.err == ""
    assert_private(fresh, first, again)
    before = fresh.database()
    assert Path(f"/proc/{before['pid']}").exists()
    assert before["size"] > 1_000_000

    # Down and up: the same port, and everything as it was left, also what was spoilt.
    fresh.sql("DELETE FROM alice_spikes.chosen_unit LIMIT 1")
    fresh.sql("GRANT DROP ON `map\\_%`.* TO bob@'%'")
    assert fresh.down().out == "The sandbox is down.\n"
    assert fresh.down().out == "The sandbox was down already.\n"
    assert fresh.processes() == []
    stopped = fresh.run("sandbox", "status", str(fresh.folder))
    assert stopped.code == 1
    assert "stopped" in stopped.out
    fresh.up()
    after = fresh.database()
    assert (after["port"], after["pid"] != before["pid"]) == (before["port"], True)
    assert fresh.sql("SELECT COUNT(*) FROM alice_spikes.chosen_unit") == ((11,),)
    assert "revoke" in fresh.ok("--site", str(fresh.site), "db", "apply", "--dry-run").out

    fresh.down("--delete")
    assert not fresh.folder.exists()
    assert fresh.processes() == []
    gone = fresh.down("--delete")
    assert gone.out == f"There is no sandbox in {fresh.folder}.\n"
    assert fresh.run("sandbox", "status", str(fresh.folder)).code == 1


def test_the_account_is_no_root(ready: Box) -> None:
    password = (ready.site / "secrets" / "database-password").read_text().strip()
    with ready.server.connect("mapadmin", password) as own, own.cursor() as cursor:
        cursor.execute("SHOW GRANTS")
        grants = " ".join(str(row[0]) for row in cursor.fetchall())
        cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
        ((_, tls),) = cursor.fetchall()
    assert "CREATE USER" in grants
    assert not {"ALL PRIVILEGES", "SUPER", "CONNECTION_ADMIN"} & set(
        grants.split("`")[0].split(", ")
    )
    assert tls.startswith("TLSv1")
    routines = ready.sql(
        "SELECT routine_name FROM information_schema.routines WHERE routine_schema = 'mysql'"
    )
    assert {"rds_kill", "rds_kill_query"} <= {name for (name,) in routines}


READ = """
import datajoint as dj
dj.config["database.use_tls"] = True
ephys = dj.VirtualModule("ephys", "map_ephys")
spikes = dj.VirtualModule("spikes", "alice_spikes")
unit = (ephys.Unit & {"subject_id": 440001, "session": 1, "unit": 1}).fetch1()
stat = (ephys.UnitStat & unit).fetch1()
assert len(unit["spike_times"]) == stat["spike_count"] > 0
assert len(spikes.ChosenUnit * ephys.Unit) == 12
assert issubclass(ephys.UnitStat, dj.Computed) and not ephys.UnitStat().progress(display=False)[0]
print(sorted(ephys.Unit().children()))
"""


def test_the_pipeline_is_datajoints_own(ready: Box, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", READ],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={
            **os.environ, "DJ_HOST": f"127.0.0.1:{ready.database()['port']}", "DJ_USER": "alice",
            "DJ_PASS": ready.passwords()["alice"],
        },
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "['`alice_spikes`.`chosen_unit`', '`map_ephys`.`__unit_stat`']\n"
    events = ready.sql("SELECT event, version FROM map_ephys.`~log`")
    assert "Declared `map_ephys`.`_unit`" in {event for event, _ in events}
    assert {version[:5] for _, version in events} == {"0.14."}


def test_without_a_folder_it_lives_in_the_state_folder(tmp_path: Path) -> None:
    ran = Box(tmp_path / "box", "mariadb").run("sandbox", "status")
    where = tmp_path / "state" / "mapadmin" / "sandbox"
    assert (ran.code, ran.out) == (1, f"There is no sandbox in {where}.\n")
    assert not where.exists()


def test_json(mariadb_box: Box) -> None:
    ran = mariadb_box.ok("sandbox", "up", str(mariadb_box.folder), "--flavour", "mariadb", "--json")
    status = json.loads(ran.out)
    assert status == mariadb_box.status()
    assert (status["folder"], status["site"]) == (str(mariadb_box.folder), str(mariadb_box.site))
    names = [part["name"] for part in status["parts"]]
    assert names == ["database", "globus", "pipeline", "aws"]
    assert status["parts"][0]["since"].endswith("Z")
    down = mariadb_box.down("--json").json
    assert (down["exists"], down["up"]) == (True, False)
    deleted = mariadb_box.down("--delete", "--json").json
    assert (deleted["exists"], deleted["parts"]) == (False, [])


def test_what_is_lost_is_made_again(mariadb_box: Box) -> None:
    (mariadb_box.site / "secrets" / "database-password").unlink()
    assert mariadb_box.up().out.startswith("The sandbox is up.")
    mariadb_box.assert_whole()

    passwords = (mariadb_box.site / "secrets" / "initial-passwords").read_text()
    shutil.rmtree(mariadb_box.site)
    assert mariadb_box.status()["up"] is False
    mariadb_box.up()
    (mariadb_box.site / "secrets" / "initial-passwords").write_text(passwords)
    mariadb_box.assert_whole()

    os.kill(mariadb_box.database()["pid"], signal.SIGKILL)
    mariadb_box.up()
    mariadb_box.assert_whole()


def test_a_port_that_is_taken_is_given_up_and_the_site_follows(mariadb_box: Box) -> None:
    port = mariadb_box.database()["port"]
    path = mariadb_box.site / "mapadmin.toml"
    path.write_text(path.read_text().replace("# role", "# our role"))
    mariadb_box.down()
    with socket.create_server(("127.0.0.1", port)):
        mariadb_box.up()
        assert mariadb_box.database()["port"] != port
        mariadb_box.assert_whole()
    assert "# our role" in path.read_text()
    assert (
        f"port={mariadb_box.database()['port']}\n"
        in (mariadb_box.folder / "database" / "root.cnf").read_text()
    )


def test_the_servers_own_client_is_root_with_the_option_file(ready: Box) -> None:
    ran = subprocess.run(
        [
            find_programs(ready.flavour).client,
            f"--defaults-file={ready.folder / 'database' / 'root.cnf'}",
            "--batch", "--skip-column-names", "-e", "SELECT CURRENT_USER()",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "root@localhost\n"), ran.stderr


def test_people_can_be_added_and_changed(mariadb_box: Box) -> None:
    site = ("--site", str(mariadb_box.site))
    mariadb_box.ok(*site, "db", "add-user", "dana", "--role", "reader")
    mariadb_box.ok(*site, "db", "set-role", "alice", "reader")
    people = (mariadb_box.site / "people.toml").read_text()
    assert "[people.dana]" in people
    assert "# Records sessions; her own schema" in people
    mariadb_box.up()
    users = {user for (user,) in mariadb_box.sql("SELECT user FROM mysql.user")}
    assert {*PEOPLE, "dana"} <= users


def test_importing_it_is_cheap() -> None:
    code = (
        "import sys, mapadmin.sandbox.commands\n"
        f"print([name for name in {SDKS!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
