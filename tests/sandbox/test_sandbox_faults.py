"""`mapadmin sandbox`: killed at every step, interrupted, run twice at once."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.sandbox.box import Box, assert_nothing_runs, box, kill_up_after, kill_up_at_line


def test_killed_again_and_again_it_gets_there(fresh: Box) -> None:
    """On one folder, each time a bit later; now and then stopped in between."""
    seconds = 0.25
    kills = 0
    while kill_up_after(fresh, seconds):
        kills += 1
        if kills % 3 == 0:
            fresh.down()
            assert_nothing_runs(fresh)
        seconds *= 1.5
    assert kills > 3
    fresh.assert_whole()


@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_killed_in_each_step_of_a_first_up(tmp_path: Path, line: int) -> None:
    with box(tmp_path / "box", "mariadb") as new:
        kill_up_at_line(new, line, random.uniform(0, 0.8))
        new.run("sandbox", "status", str(new.folder))
        if line % 2 == 0:
            new.down()
            assert_nothing_runs(new)
        new.up()
        new.assert_whole()


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


def test_killed_while_it_deletes(mariadb_box: Box) -> None:
    for milliseconds in range(200, 1000, 50):
        with mariadb_box.start("sandbox", "down", str(mariadb_box.folder), "--delete") as process:
            time.sleep(milliseconds / 1000)
            process.kill()
        if not (mariadb_box.folder / "database").is_dir():
            break
    mariadb_box.up()
    mariadb_box.assert_whole()


@pytest.mark.soak
@pytest.mark.timeout(900)
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


def test_up_and_down_at_once_leave_one_or_the_other(mariadb_box: Box) -> None:
    folder = mariadb_box.folder
    for options in ((), (), ("--delete",)):
        arguments = ("sandbox", "down", str(folder), *options)
        with mariadb_box.start(*arguments) as down, mariadb_box.start_up() as up:
            errors = [down.communicate(timeout=200)[1], up.communicate(timeout=200)[1]]
        assert (down.returncode, up.returncode) == (0, 0), errors
        status = mariadb_box.status()
        assert status["up"] or not mariadb_box.processes(), status
    mariadb_box.up()
    mariadb_box.assert_whole()
