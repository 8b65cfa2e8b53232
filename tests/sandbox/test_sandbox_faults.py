"""`mapadmin sandbox`: killed at every step, run by others, pointed at what is not its own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mapadmin.sandbox.server import find_programs
from tests.sandbox.box import Box, box

NOBODY = 65534


@pytest.fixture(params=["mariadb", "mysql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Box]:
    """No sandbox yet; each flavour in turn."""
    with box(tmp_path / "box", request.param) as new:
        yield new


def kill_up_after(sandbox: Box, seconds: float) -> bool:
    """Start `up` and kill it after some time; False when it was done by then."""
    with sandbox.start_up() as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    assert process.returncode == 0
    return False


def kill_up_at_line(sandbox: Box, number: int, seconds: float) -> None:
    """Start `up` and kill it some time after it printed that line (from 1) of what it does."""
    with sandbox.start_up() as process:
        assert process.stderr is not None
        for _ in range(number):
            assert process.stderr.readline()
        time.sleep(seconds)
        process.kill()


def assert_nothing_runs(sandbox: Box) -> None:
    """Not even what a killed `up` had begun; it may take some seconds to notice."""
    deadline = time.monotonic() + 30
    while found := sandbox.processes():
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_killed_again_and_again_it_gets_there(fresh: Box) -> None:
    """On one folder, each time a bit later; now and then stopped in between."""
    seconds = 0.2
    kills = 0
    while kill_up_after(fresh, seconds):
        kills += 1
        if kills % 3 == 0:
            fresh.down()
            assert_nothing_runs(fresh)
        seconds *= 1.3
    assert kills > 3
    fresh.assert_whole()


@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_killed_in_each_step_of_a_first_up(fresh: Box, line: int) -> None:
    kill_up_at_line(fresh, line, random.uniform(0, 0.8))
    fresh.run("sandbox", "status", str(fresh.folder))
    if line % 2 == 0:
        fresh.down()
        assert_nothing_runs(fresh)
    fresh.up()
    fresh.assert_whole()


def test_killed_before_it_did_anything(tmp_path: Path) -> None:
    """Whatever an `up` has left that was killed before it had written its marker."""
    with box(tmp_path / "box", "mariadb") as new:
        new.folder.mkdir()
        (new.folder / ".sandbox.json.x1y2z3").touch()
        new.down("--delete")
        for milliseconds in range(150, 600, 50):
            kill_up_after(new, milliseconds / 1000)
            new.down("--delete")
            assert_nothing_runs(new)


def test_killed_while_it_deletes(tmp_path: Path) -> None:
    with box(tmp_path / "box", "mariadb") as new:
        new.up()
        for milliseconds in (250, 300, 350, 400, 450, 500, 600):
            down = new.start("sandbox", "down", str(new.folder), "--delete")
            with down as process:
                time.sleep(milliseconds / 1000)
                process.kill()
            if not (new.folder / "database").is_dir():
                break
        new.up()
        new.assert_whole()


@pytest.mark.soak
def test_killed_at_random_moments(fresh: Box) -> None:
    counted = 0
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        for _ in range(random.randint(1, 4)):
            counted += kill_up_after(fresh, random.uniform(0.1, 9))
            fresh.down(*random.choice([(), (), ("--delete",)]))
        fresh.up()
        fresh.assert_whole()
        fresh.down("--delete")
        assert_nothing_runs(fresh)
    print(f"{fresh.flavour}: killed `sandbox up` {counted} times")


def test_interrupted_it_says_so_and_carries_on(tmp_path: Path) -> None:
    with box(tmp_path / "box", "mariadb") as new:
        with new.start_up() as process:
            assert process.stderr is not None
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert "Interrupted." in process.stderr.read()
        assert process.returncode == 130
        new.up()
        new.assert_whole()


def test_two_at_once_make_one(tmp_path: Path) -> None:
    with box(tmp_path / "box", "mariadb") as new:
        with new.start_up() as first, new.start_up() as second:
            outputs = [first.communicate(timeout=200), second.communicate(timeout=200)]
        assert (first.returncode, second.returncode) == (0, 0), outputs
        assert sorted(out.splitlines()[0] for out, _ in outputs) == [
            "The sandbox is up already.",
            "The sandbox is up.",
        ]
        assert len([line for _, line in new.processes() if "mariadbd" in line]) == 1
        new.assert_whole()


def test_up_and_down_at_once_leave_one_or_the_other(tmp_path: Path) -> None:
    with box(tmp_path / "box", "mariadb") as new:
        new.up()
        for _ in range(4):
            arguments = ("sandbox", "down", str(new.folder), "--delete")
            with new.start(*arguments) as down, new.start_up() as up:
                assert down.wait(200) == 0
                # Either it was first, or made a new one, or found the folder just deleted.
                assert up.wait(200) in (0, 1)
            if new.folder.exists():
                assert new.status()["up"]
        new.up()
        new.assert_whole()


# --- run by others -----------------------------------------------------------------------------


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


def test_down_ends_no_other_process(tmp_path: Path) -> None:
    with box(tmp_path / "box", "mariadb") as new:
        new.up()
        pid = new.database()["pid"]
        os.kill(pid, signal.SIGKILL)
        assert_nothing_runs(new)
        state = new.folder / "database" / "state.json"
        with bystander(f"--datadir={tmp_path}/mariadb-data", "--port=3306") as other:
            state.write_text(state.read_text().replace(str(pid), str(other.pid)))
            assert new.down().out == "The sandbox was down already.\n"
            new.up()
            new.down("--delete")
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


def test_another_flavour_is_refused(fresh: Box) -> None:
    fresh.up()
    other = "mysql" if fresh.flavour == "mariadb" else "mariadb"
    ran = fresh.run("sandbox", "up", str(fresh.folder), "--flavour", other)
    assert ran.code == 2
    assert "server already" in ran.err
    assert "--delete" in ran.err


def test_without_a_server_to_be_found_nothing_is_made(tmp_path: Path) -> None:
    new = Box(tmp_path / "box", "mysql")
    new.environment = {"PATH": "/nowhere", "MAPADMIN_CACHE": "/nowhere", "MAPADMIN_MYSQL_DIR": ""}
    ran = new.run("sandbox", "up", str(new.folder), "--flavour", "mysql")
    assert ran.code == 1
    assert "tools/provision mysql" in ran.err
    assert not new.folder.exists()


def test_a_site_file_that_was_spoilt_is_named(tmp_path: Path) -> None:
    with box(tmp_path / "box", "mariadb") as new:
        new.up()
        (new.site / "mapadmin.toml").write_text("[database\n")
        ran = new.run("sandbox", "up", str(new.folder))
        assert ran.code == 1
        assert f"{new.site / 'mapadmin.toml'} is not valid TOML" in ran.err
        (new.site / "mapadmin.toml").unlink()
        new.up()
        new.assert_whole()
