"""The runner as a container's command: process number 1, with a mounted secret, stopped by Docker.

The image is Debian with Python; the pipeline's packages are mounted, as nothing can be pulled. The
engine's containers have the machine's network, and so see the test's database.
"""

from __future__ import annotations

import json
import os
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapadmin.pipeline.threads import worker_name
from tests.engine import BASE, Engine
from tests.servers import RunningServer
from tests.workers.running import RUNNER, SCRIPT, Laboratory, account_sees, wait_for

USER = 4711  # nobody in particular
NAME = "worker"


@pytest.fixture
def laboratory(mariadb: RunningServer, tmp_path: Path) -> Iterator[Laboratory]:
    """Its folder is what the container's user owns; the secret is for that user only."""
    one = Laboratory(mariadb, tmp_path / "worker", 0, sessions=[(n, 3.0) for n in range(4)])
    for folder in tmp_path.resolve().parents:  # pytest's own are for root only
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    for path in (tmp_path, one.folder, one.secret):
        os.chown(path, USER, USER)
    yield one


@pytest.fixture(autouse=True)
def removed(base_engine: Engine) -> Iterator[None]:
    """No container of a test is there for the next one."""
    yield
    base_engine.docker.run("rm", "--force", NAME)


def start(engine: Engine, laboratory: Laboratory, *command: str, stop: str) -> None:
    """A container of the pipeline; `stop` is its stop signal."""
    packages = sysconfig.get_path("purelib")
    mounts = [
        f"{packages}:/packages:ro", f"{RUNNER}:/opt/runner.py:ro", f"{SCRIPT}:/opt/script.py:ro",
        f"{laboratory.secret}:/run/secret.json:ro", f"{laboratory.folder}:/work",
        f"{laboratory.server.ca}:/opt/ca.pem:ro",
    ]  # fmt: skip
    engine.docker.run(
        "run", "--detach", "--name", NAME, "--network", "host", "--hostname", "box",
        "--user", str(USER), "--workdir", "/work", "--env", "PYTHONPATH=/packages",
        "--env", "HOME=/work", "--stop-signal", stop, "--stop-timeout", "60",
        *(part for mount in mounts for part in ("--volume", mount)), BASE, *command,
    )  # fmt: skip


def request_of(laboratory: Laboratory) -> str:
    return json.dumps(
        {
            "do": "loop", "schema": laboratory.schema, "sessions": laboratory.sessions,
            "log": "/work/log", "ca": "/opt/ca.pem",
        }
    )  # fmt: skip


def events(laboratory: Laboratory) -> Counter[str]:
    log = laboratory.folder / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(json.loads(line)[0] for line in lines)


def state(engine: Engine) -> dict[str, object]:
    (found,) = engine.docker.records("inspect", "--format", "{{json .State}}", NAME)
    return found


def test_docker_stop_waits_for_the_job(base_engine: Engine, laboratory: Laboratory) -> None:
    runner = ["python3", "/opt/runner.py", "--secret", "/run/secret.json", "--heartbeat"]
    start(
        base_engine, laboratory, *runner, "/work/beat.json", "/opt/script.py",
        request_of(laboratory), stop="SIGUSR1",
    )  # fmt: skip
    wait_for("a job", lambda: events(laboratory)["begin"])
    names = {worker_name(text) for text in account_sees(laboratory.server).values()}
    assert ("box", 1) in {(name.host, name.pid) for name in names if name}
    beat = laboratory.folder / "beat.json"
    wait_for("busy", lambda: json.loads(beat.read_text())["state"] == "busy")
    shown = base_engine.docker.run("inspect", NAME) + base_engine.docker.run("top", NAME)
    assert json.dumps(laboratory.password)[1:-1] not in shown
    assert laboratory.password not in shown

    base_engine.docker.run("stop", NAME)
    assert state(base_engine)["ExitCode"] == 0, base_engine.docker.run("logs", NAME)
    happened = events(laboratory)
    assert happened["begin"] == happened["end"] == 1
    assert laboratory.jobs() == Counter()
    last = json.loads(beat.read_text())
    assert (last["host"], last["pid"], last["state"]) == ("box", 1, "ended")


def test_the_legacy_command_loses_it(base_engine: Engine, laboratory: Laboratory) -> None:
    """What MAP's compose file runs: a shell is process 1, ignores the signal, and is killed."""
    account = json.loads(laboratory.secret.read_text())
    config = laboratory.folder / "dj_local_conf.json"
    whole = {f"database.{key}": value for key, value in account.items()}
    config.write_text(json.dumps({**json.loads(config.read_text()), **whole}))
    start(
        base_engine, laboratory, "sh", "-c", 'python3 /opt/script.py "$1"; exit $?', "sh",
        request_of(laboratory), stop="SIGTERM",
    )  # fmt: skip
    wait_for("a job", lambda: events(laboratory)["begin"])
    base_engine.docker.run("stop", "--time", "1", NAME)
    assert state(base_engine)["ExitCode"] == 137
    happened = events(laboratory)
    assert (happened["begin"], happened["end"]) == (1, 0)
    assert laboratory.jobs() == Counter(reserved=1)


def test_a_secret_that_its_user_cannot_read_is_said(
    base_engine: Engine, laboratory: Laboratory
) -> None:
    os.chown(laboratory.secret, 0, 0)
    start(
        base_engine, laboratory, "python3", "/opt/runner.py", "--secret", "/run/secret.json",
        "/opt/script.py", "{}", stop="SIGUSR1",
    )  # fmt: skip
    end = time.monotonic() + 30
    while state(base_engine)["Running"] and time.monotonic() < end:
        time.sleep(0.1)
    assert state(base_engine)["ExitCode"] == 3
    (line,) = base_engine.docker.lines("logs", NAME)
    complaint = "cannot read the secret file /run/secret.json: Permission denied"
    assert line == f"mapadmin worker: {complaint}"
