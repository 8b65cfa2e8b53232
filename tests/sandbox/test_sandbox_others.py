"""`mapadmin sandbox`: run by others, and pointed at what is not its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mapadmin.sandbox.programs import find_programs
from tests.sandbox.box import Box, assert_nothing_runs, box, kill_up_at_line

NOBODY = 65534


@contextmanager
def ordinary(folder: Path, flavour: str) -> Iterator[Box]:
    """A box of an ordinary user: whoever runs the tests, or nobody when that is root."""
    home = folder.parent / "home"
    home.mkdir()
    programs = find_programs(flavour).server.parent
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        shutil.chown(folder.parent, NOBODY, NOBODY)
        shutil.chown(home, NOBODY, NOBODY)
        # This Python may lie in root's home: nobody gets to read it, and to do nothing else.
        prefix = (
            "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
            "--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search",
            "--bounding-set=-all,+dac_read_search", "--no-new-privs",
            "--securebits=+no_setuid_fixup",  # access(2) would not count it otherwise
        )  # fmt: skip
    with box(folder, flavour, prefix, HOME=str(home), MAPADMIN_MYSQL_DIR=str(programs)) as new:
        yield new


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_an_ordinary_user_has_one(tmp_path: Path, flavour: str) -> None:
    with ordinary(tmp_path / "box", flavour) as new:
        new.up()
        owners = {path.lstat().st_uid for path in [new.folder, *new.folder.rglob("*")]}
        assert owners == {NOBODY if os.geteuid() == 0 else os.geteuid()}
        pid = new.database()["pid"]
        assert Path(f"/proc/{pid}").stat().st_uid in owners
        new.down()
        assert "is up." in new.up().out
        assert new.status()["up"]
        if os.geteuid() == 0:
            # Not even root, who could.
            for command in ("up", "down", "status"):
                ran = Box(new.folder, flavour).run("sandbox", command, str(new.folder))
                assert ran.code == 2
                assert "belongs to another user" in ran.err
        new.down("--delete")
        assert not new.folder.exists()
        assert new.processes() == []


# --- what is not its own -----------------------------------------------------------------------


@contextmanager
def bystander(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with it."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_down_ends_no_other_process(mariadb_box: Box, tmp_path: Path) -> None:
    pid = mariadb_box.database()["pid"]
    os.kill(pid, signal.SIGKILL)
    while any(found == pid for found, _ in mariadb_box.processes()):
        time.sleep(0.05)
    state = mariadb_box.folder / "database" / "state.json"
    with bystander(f"--datadir={tmp_path}/mariadb-data", "--port=3306") as other:
        state.write_text(state.read_text().replace(str(pid), str(other.pid)))
        mariadb_box.down()
        assert other.poll() is None
        assert_nothing_runs(mariadb_box)
        assert mariadb_box.down().out == "The sandbox was down already.\n"
        mariadb_box.up()
        mariadb_box.down("--delete")
        assert other.poll() is None


@pytest.mark.parametrize("command", ["up", "down", "status"])
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, command: str) -> None:
    other = Box(tmp_path / "papers", "mariadb")
    other.folder.mkdir()
    (other.folder / "thesis.tex").write_text("years of work")
    options = ("--delete",) if command == "down" else ()
    ran = other.run("sandbox", command, str(other.folder), *options)
    assert ran.code == 2
    assert "is no sandbox, and not empty (thesis.tex is in it)" in ran.err
    assert [path.name for path in other.folder.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    other = Box(tmp_path / "file", "mariadb")
    other.folder.write_text("")
    for command in ("up", "down", "status"):
        ran = other.run("sandbox", command, str(other.folder))
        assert (ran.code, "cannot be a sandbox" in ran.err) == (2, True), ran


def test_a_folder_that_was_there_stays_when_its_contents_are_deleted(tmp_path: Path) -> None:
    with box(tmp_path / "box", "mariadb") as new:
        new.folder.mkdir()
        kill_up_at_line(new, 1, 0)
        new.down("--delete")
        assert list(new.folder.iterdir()) == []


def test_another_flavour_is_refused(mariadb_box: Box) -> None:
    ran = mariadb_box.run("sandbox", "up", str(mariadb_box.folder), "--flavour", "mysql")
    assert ran.code == 2
    assert "holds a MariaDB server already" in ran.err
    assert "--delete" in ran.err


def test_without_a_server_to_be_found_nothing_is_made(tmp_path: Path) -> None:
    new = Box(tmp_path / "box", "mysql")
    new.environment = {"PATH": "/nowhere", "MAPADMIN_CACHE": "/nowhere", "MAPADMIN_MYSQL_DIR": ""}
    ran = new.run("sandbox", "up", str(new.folder), "--flavour", "mysql")
    assert ran.code == 1
    assert "tools/provision mysql" in ran.err
    assert not new.folder.exists()


def test_a_site_file_that_was_spoilt_is_named(mariadb_box: Box) -> None:
    path = mariadb_box.site / "mapadmin.toml"
    path.write_text("[database\n")
    ran = mariadb_box.run("sandbox", "up", str(mariadb_box.folder))
    assert ran.code == 1
    assert f"{path} is not valid TOML" in ran.err
    path.unlink()
    mariadb_box.up()
    mariadb_box.assert_whole()
