"""The runner: one at a time, a record, metrics, time limits; one part that fails stops no other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.cleanup.made import job_table, jobs_left, reserve
from tests.lab import Lab
from tests.servers import RunningServer
from tests.zygote import MAPADMIN

DEAD = "\n[cleanup.jobs]\ngrace = 1\nconfirm = {confirm}\n"


@pytest.fixture
def lab(mariadb: RunningServer, tmp_path: Path) -> Lab:
    """The runner is the same on both servers: one will do, and its fixture is the faster."""
    from tests.servers import master_account

    mariadb.wipe()
    return Lab(tmp_path / "site", mariadb, *master_account(mariadb), roles=DEAD.format(confirm=0.1))


@contextmanager
def busy(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """A cleanup that is in the middle of its two looks."""
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 1)
    lab.roles = DEAD.format(confirm=30)
    lab.write_site()
    running = lab.start("cleanup", "jobs")
    journal = lab.folder / "state" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and "begin" in journal.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def test_one_at_a_time(lab: Lab) -> None:
    with busy(lab) as running:
        refused = lab.run("cleanup")
        assert refused.code == 1
        assert re.search(r"at work: .* has been running `mapadmin cleanup jobs`", refused.err)
        skipped = lab.ok("cleanup", "--skip-locked")
        assert skipped.err.startswith("Skipped: ")
        assert lab.ok("cleanup", "--skip-locked", "--quiet").err == ""
        # The same site from another machine: another state folder, the same server.
        other = Lab(
            lab.folder.parent / "other", lab.server, lab.user, lab.password, roles=lab.roles
        )
        elsewhere = other.run("cleanup")
        assert (elsewhere.code, "is cleaning up on this server" in elsewhere.err) == (1, True)
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=30)
        assert (running.returncode, "Interrupted." in err) == (130, True), err
    assert jobs_left(lab, "map_lab") == 1
    ends = lab.ok("journal", "--json").json
    assert ends[-1]["error"] == "interrupted"
    assert "jobs 0 items, not finished" in json.dumps(ends[-1])


def test_quiet_when_there_is_nothing(lab: Lab) -> None:
    job_table(lab, "map_lab")
    assert lab.ok("cleanup", "--quiet").err == ""
    assert lab.ok("cleanup").err.startswith("Cleaned up: jobs 0 items. (")
    reserve(lab, "map_lab", 2)
    ran = lab.ok("cleanup", "--quiet")
    assert re.fullmatch(r"Cleaned up: jobs 2 items\. \(\d+\.\d s\)\n", ran.err)


def test_json_has_one_shape(lab: Lab) -> None:
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 2)
    planned = lab.ok("cleanup", "--dry-run", "--json").json
    done = lab.ok("cleanup", "--json").json
    fields = {"site", "dry_run", "seconds", "parts", "notes", "summary", "quiet"}
    assert set(planned) == set(done) == fields
    (before,), (after,) = planned["parts"], done["parts"]
    assert set(before) == set(after)
    assert (before["items"], len(before["planned"])) == (after["items"], 2) == (2, 2)
    assert before["details"]["dead"] == 2
    assert jobs_left(lab, "map_lab") == 0


def test_metrics_keep_the_last_success(lab: Lab, tmp_path: Path) -> None:
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 3)
    path = tmp_path / "mapadmin.prom"

    def metric(name: str) -> float:
        (value,) = re.findall(
            rf'^mapadmin_cleanup_{name}{{site="lab",part="jobs"}} (\S+)$', path.read_text(), re.M
        )
        return float(value)

    lab.ok("cleanup", "--metrics", str(path))
    assert (metric("items"), metric("failures"), metric("finished")) == (3, 0, 1)
    assert abs(metric("last_success_timestamp_seconds") - time.time()) < 60
    success = metric("last_success_timestamp_seconds")
    lab.server.sql("ALTER TABLE map_lab.`~jobs` DROP COLUMN pid")
    assert lab.run("cleanup", "--metrics", str(path)).code == 1
    assert (metric("failures"), metric("last_success_timestamp_seconds")) == (1, success)
    assert metric("last_run_timestamp_seconds") > success
    assert path.stat().st_mode & 0o777 == 0o644
    assert 'what="dead"' not in path.read_text()
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+\{([a-z]+="[a-z_]+",?)+\} [\d.]+', line) for line in lines)
    ran = lab.run("cleanup", "--metrics", "/nowhere/x.prom")
    assert (ran.code, "Cannot write" in ran.err) == (1, True)


def test_a_part_that_fails_stops_no_other(lab: Lab) -> None:
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 1)
    lab.roles = (
        "[cleanup]\nparts = ['outdated', 'jobs']\n" + DEAD.format(confirm=0.1)
        + "[[cleanup.outdated]]\nname = 'x'\nschema = 'map_none'\ntable = 'T'\nquery = 'SELECT 1'\n"
    )  # fmt: skip
    lab.write_site()
    ran = lab.run("cleanup")
    assert ran.code == 1
    assert "Error: outdated: rule 'x': There is no schema 'map_none'" in ran.err
    assert "Cleaned up: outdated 0 items, 1 failure; jobs 1 item." in ran.err
    entries = lab.ok("journal", "--json").json
    assert "no schema 'map_none'" in entries[-1]["error"]
    assert "jobs 1 item" in entries[-1]["detail"]
    shared = lab.server.sql("SELECT detail FROM mapadmin.journal WHERE event = 'end'")
    assert "jobs 1 item" in str(shared)


def test_the_time_limit_stops_between_items(lab: Lab) -> None:
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 400)
    done = lab.ok("cleanup", "--json", "--time-limit", "0.6").json["parts"][0]
    assert not done["finished"]
    assert jobs_left(lab, "map_lab") == 400 - done["items"] > 0
    assert "not finished" in lab.ok("cleanup", "--time-limit", "0.01").err
    lab.ok("cleanup")
    assert jobs_left(lab, "map_lab") == 0


def test_a_limit_on_how_much_one_run_clears(lab: Lab) -> None:
    lab.roles += "max_items = 5\n"
    lab.write_site()
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 7)
    assert "jobs 5 items, not finished" in lab.ok("cleanup").err
    assert "jobs 2 items." in lab.ok("cleanup").err


def test_it_does_not_run_beside_the_old_worker(lab: Lab) -> None:
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 1)
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)", "automate-sync-and-cleanup"]
    ) as worker:
        try:
            ran = lab.run("cleanup")
        finally:
            worker.kill()
    assert ran.code == 1
    assert f"still runs: process {worker.pid} of this machine" in ran.err
    assert jobs_left(lab, "map_lab") == 1
    lab.server.sql("CREATE USER old@'%' IDENTIFIED BY 'x'")
    lab.roles = "[cleanup]\nlegacy_account = 'old'\n" + lab.roles
    lab.write_site()
    with lab.login("old", "x"):
        ran = lab.run("cleanup")
        assert (ran.code, "old is connected from" in ran.err) == (1, True)
    assert jobs_left(lab, "map_lab") == 1


OLD = "python scripts/mapshell.py automate-sync-and-cleanup"
COMMANDS = [
    (f'"{OLD}"', True),
    (f"\"/bin/bash -c '{OLD}'\"", True),
    (f'"/bin/sh -c {OLD}; sleep 9"', True),
    ('"vi automate-sync-and-cleanup.md"', False),
    ('"python do-not-automate-sync-and-cleanup"', False),
]


def fake_docker(folder: Path, script: str) -> str:
    """A PATH with a program in Docker's place."""
    docker = folder / "bin" / "docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)
    return f"{docker.parent}:{os.environ['PATH']}"


def test_it_does_not_run_beside_the_old_workers_container(lab: Lab, tmp_path: Path) -> None:
    """Docker's own words, from a program in its place on PATH."""
    for command, seen in COMMANDS:
        answer = json.dumps({"Command": command, "Names": "map_sync_1"})
        ran = lab.run("cleanup", PATH=fake_docker(tmp_path, f"cat <<'END'\n{answer}\nEND"))
        said = "still runs: container map_sync_1" in ran.err
        assert (ran.code, said) == (int(seen), seen), command


def test_a_docker_that_does_not_answer_is_told_of(lab: Lab, tmp_path: Path) -> None:
    denied = "echo 'permission denied while trying to connect at unix:///run/docker.sock' >&2"
    down = "echo 'Cannot connect to unix:///run/docker.sock. Is the docker daemon running?' >&2"
    path = fake_docker(tmp_path, f"{denied}; exit 1")
    ran = lab.run("cleanup", "--quiet", PATH=path)
    assert (ran.code, "docker ps: permission denied" in ran.err) == (0, True), ran.err
    assert "cannot be seen" in lab.run("cleanup", "--json", PATH=path).json["notes"][0]
    # Without a daemon, nothing runs in one.
    ran = lab.run("cleanup", "--quiet", PATH=fake_docker(tmp_path, f"{down}; exit 1"))
    assert (ran.code, ran.err) == (0, "")


def test_options_before_the_part_are_refused(lab: Lab) -> None:
    """`cleanup --dry-run jobs` would else be no dry run."""
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 1)
    ran = lab.run("cleanup", "--dry-run", "jobs")
    assert (ran.code, "Options go behind the part" in ran.err) == (2, True)
    assert jobs_left(lab, "map_lab") == 1


def test_a_cron_line_and_systemd_units(lab: Lab, tmp_path: Path) -> None:
    crontab = lab.ok("cleanup", "schedule", "--at", "4:05").out
    (line,) = [one for one in crontab.splitlines() if one.startswith("05 04 * * *  root  ")]
    command = line.partition("root  ")[2]
    # It does what it says, in cron's own surroundings.
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 1)
    done = subprocess.run(
        ["/bin/sh", "-c", command], env={"PATH": "/usr/bin:/bin", "LAB_PASSWORD": lab.password},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert jobs_left(lab, "map_lab") == 0
    assert "# LAB_PASSWORD=" in crontab
    lab.roles += (
        "\n[stores.s]\nprotocol = 's3'\nendpoint = 'host'\nbucket = 'b'\nlocation = 'l'\n"
        "access_key = 'env:STORE_KEY'\nsecret_key = 'env:STORE_SECRET'\n"
    )
    lab.write_site()
    named = lab.ok("cleanup", "schedule").out
    assert all(f"# {name}=" in named for name in ("LAB_PASSWORD", "STORE_KEY", "STORE_SECRET"))
    assert lab.password not in crontab
    units = lab.ok("cleanup", "schedule", "systemd", "--at", "4:05").out
    assert f"ExecStart={command}" in units
    assert "OnCalendar=*-*-* 04:05:00" in units
    assert lab.run("cleanup", "schedule", "--at", "25:00").code == 2


def test_on_a_terminal_at_80_columns(lab: Lab) -> None:
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 2)
    shown = pexpect.run(
        f"{MAPADMIN} cleanup --dry-run", env=lab.environment, encoding="utf-8",
        dimensions=(40, 80), timeout=60,
    )  # fmt: skip
    text = re.sub(r"\x1b\[[\d;]*m", "", str(shown))
    assert "Would clean up: jobs 2 items." in text
    assert max(map(len, text.splitlines())) <= 80


BAD_SETTINGS = [
    ("[cleanup]\nparts = ['job']\n", "cleanup.parts has 'job', and must be of: jobs, figures"),
    ("[cleanup]\nparts = ['jobs', 'jobs']\n", "each part once"),
    ("[cleanup]\ntime_limit = -1\n", "0 or more"),
    ("[cleanup.jobs]\nerrors = ['%']\n", "every message matches"),
    ("[cleanup.jobs]\ngrace = 0\n", "1 second or more"),
    ("[cleanup.jobs]\nretry = 3\n", "no setting 'retry'"),
    (
        "[[cleanup.outdated]]\nname = 'a'\nschema = 'b'\ntable = 'c'\n",
        "or query must be given",
    ),
    ("[pipeline]\ncommand = ['']\n", "must begin with a program"),
    ("[pipeline]\nmodules = ['a;b']\n", "names of Python modules"),
]


def test_settings_that_cannot_be(lab: Lab) -> None:
    for text, complaint in BAD_SETTINGS:
        lab.roles = text
        lab.write_site()
        ran = lab.run("cleanup", "--dry-run")
        assert (ran.code, complaint in ran.err) == (3, True), (text, ran.err)
