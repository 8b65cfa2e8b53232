"""The runner without a server: what it runs on, what it refuses, and how it runs a script."""

from __future__ import annotations

import ast
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workers.running import RUNNER

PRINT_ACCOUNT = "import os; print(os.environ['DJ_USER'], os.environ['DJ_PASS'])"


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RUNNER), *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_it_is_python_3_6() -> None:
    """Its grammar, and, as vermin knows them, its modules, functions and arguments."""
    ast.parse(RUNNER.read_text(), feature_version=(3, 6))
    vermin = Path(sys.executable).with_name("vermin")
    done = subprocess.run(
        [vermin, "--no-tips", "--violations", "-t=3.6-", str(RUNNER)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys; print(sys.argv[1:], __name__, 'datajoint' in sys.modules)")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(RUNNER), str(script), "a", "--heartbeat"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "['a', '--heartbeat'] __main__ False\n"


def test_a_script_finds_its_neighbours_and_not_the_runners(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("print('here')")
    script = tmp_path / "script.py"
    script.write_text(
        "import neighbour, sys\n"
        f"assert {str(RUNNER.parent)!r} not in sys.path\n"
        f"assert sys.path[0] == {str(tmp_path)!r}\n"
    )
    done = run(str(script))
    assert (done.returncode, done.stdout, done.stderr) == (0, "here\n", "")


def test_a_module_is_run_as_python_does(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text("import sys; print(sys.argv[1:]); sys.exit(4)")
    done = run("-m", "work", "all", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (4, "['all']\n", "")


def test_the_account_comes_from_a_private_file(tmp_path: Path) -> None:
    secret, script = tmp_path / "secret", tmp_path / "script.py"
    secret.write_text(json.dumps({"user": "ann", "password": 'a "b" ü $c'}))
    secret.chmod(0o600)
    script.write_text(PRINT_ACCOUNT)
    done = run("--secret", str(secret), str(script))
    assert (done.stdout, done.stderr) == ('ann a "b" ü $c\n', "")


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        ('{"user": "ann", "password": "hu$h"}', 0o640, "can be read by others"),
        ('{"user": "ann", "password": "hu$h"', 0o600, "must be a JSON object"),
        ('{"user": "ann"}', 0o600, "must be a JSON object"),
        ('{"user": "ann", "password": 12}', 0o600, "must be a JSON object"),
        ('["hu$h"]', 0o600, "must be a JSON object"),
        (None, 0o600, "cannot read the secret file"),
    ],
)
def test_a_bad_secret_file(tmp_path: Path, content: str | None, mode: int, complaint: str) -> None:
    secret, script = tmp_path / "secret", tmp_path / "script.py"
    script.write_text("print('ran')")
    if content is not None:
        secret.write_text(content)
        secret.chmod(mode)
    done = run("--secret", str(secret), str(script))
    assert (done.returncode, done.stdout) == (3, "")
    assert complaint in done.stderr
    assert str(secret) in done.stderr
    assert "hu$h" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["-m"], ["--heartbeat"], ["--heartbeat", "x"], ["--unknown", "script.py"]]
)
def test_a_command_line_that_makes_no_sense(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("mapadmin worker: usage: ")


def test_a_heartbeat_that_cannot_be_written_does_not_keep_it_from_working(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('worked')")
    done = run("--heartbeat", str(tmp_path / "missing" / "beat"), str(script))
    assert (done.returncode, done.stdout, done.stderr) == (0, "worked\n", "")


def test_the_heartbeats_of_one_folder_go_by_the_host(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('worked')")
    done = run("--heartbeat", str(tmp_path / "{host}.json"), str(script))
    assert (done.returncode, done.stdout, done.stderr) == (0, "worked\n", "")
    beat = json.loads((tmp_path / f"{platform.node()}.json").read_text())
    assert (beat["host"], beat["state"], beat["exit_code"]) == (platform.node(), "ended", 0)


def test_a_long_key_does_not_break_the_heartbeat() -> None:
    from mapadmin.workers.runner import SLOT, Board

    board = Board()
    job = {"schema": "s", "table": "t", "key": {"name": "x" * SLOT}, "since": 1.0}
    entry = {"pid": board.main, "state": "busy", "since": 1.0, "jobs": [job]}
    board.write(entry)
    (read,) = board.read()
    assert read == {**entry, "jobs": [{**job, "key": None}]}


def test_a_job_of_which_nothing_was_heard_ends_with_its_populate() -> None:
    """DataJoint 0.12 loses its connection between the reservation and the job's first query."""
    from mapadmin.workers.runner import Board, Worker

    board = Board()
    worker = Worker(board)
    outermost = worker.enter()
    worker.begin_job("map_lab", "__spikes", {"session": 1})
    board.drain()
    assert not worker.refuse_job()  # what is called now is part of that job
    inner = worker.enter()
    worker.exit(inner)
    assert not worker.refuse_job()
    worker.exit(outermost)
    assert worker.refuse_job()
    (entry,) = board.read()
    assert (entry["state"], entry["jobs"]) == ("looking", [])
