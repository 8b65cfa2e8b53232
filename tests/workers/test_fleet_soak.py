"""Hours of an administrator's work in minutes, under a steady queue; prints what it counted."""

from __future__ import annotations

import os
import shutil
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapadmin.site import load_site
from mapadmin.workers.configuration import datajoint_files
from tests.engine import BASE, Engine, running_engine, stopped_and_started
from tests.servers import RunningServer, running_server
from tests.workers.fleet import (
    SCHEMA,
    SCRIPT,
    USER,
    Fleet,
    Queue,
    Watcher,
    at_jobs,
    make_fleet,
    states,
)
from tests.workers.running import wait_for

RESTARTS = int(os.environ.get("FLEET_RESTARTS", "20"))
pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
_CLEANUP = "[cleanup.jobs]\ngrace = 1\nconfirm = 0.2\n"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningServer]:
    """A database that may be stopped."""
    with running_server("mariadb", tmp_path / "database") as server:
        yield server


@pytest.fixture
def own_engine() -> Iterator[Engine]:
    with running_engine() as engine:
        engine.import_base()
        yield engine


def counts(fleet: Fleet, queue: Queue, what: str, begun: float) -> str:
    jobs = fleet.jobs()
    return (
        f"{what}: {queue.made} jobs in {time.monotonic() - begun:.0f} s; "
        f"begun and not ended {fleet.lost()}, run twice {fleet.twice()}, "
        f"reserved left {jobs['reserved']}, errors {jobs['error']}"
    )


def test_everything_under_a_queue(
    own_server: RunningServer, own_engine: Engine, tmp_path: Path
) -> None:
    fleet = make_fleet(
        tmp_path / "site", own_server, own_engine, kinds={"compute": 4}, extra=_CLEANUP
    )
    queue = Queue(fleet, 1.0, 20.0, waiting=12)
    begun = time.monotonic()
    try:
        fleet.ok("workers", "up")
        queue.start()
        at_jobs(fleet, 4)
        _rolling(fleet, own_engine)
        print(f"{RESTARTS} rolling restarts in {time.monotonic() - begun:.0f} s")
        for number in (2, 8, 3):
            fleet.ok("workers", "scale", str(number))
            assert len(states(fleet)) == number
        good, fleet.image = fleet.image, 'image = "bad:1"'
        own_engine.docker.run("tag", BASE, "bad:1")
        (fleet.work / "trouble").touch()
        fleet.write_site()
        before = set(states(fleet))
        assert fleet.run("workers", "restart").code == 1
        assert set(states(fleet)) == before
        (fleet.work / "trouble").unlink()
        fleet.image = good
        fleet.write_site()
        queue.finished(200)
        what = f"{RESTARTS} rolling restarts, scale 2, 8, 3, a bad image"
        print(counts(fleet, queue, what, begun))
        assert (fleet.lost(), fleet.twice(), fleet.jobs()) == (0, 0, Counter())
        _lost_database(fleet, own_server)
    finally:
        queue.stop()
        fleet.remove()


def _rolling(fleet: Fleet, engine: Engine) -> None:
    watcher, seconds = Watcher(engine), []
    for number in range(RESTARTS):
        begun = time.monotonic()
        fleet.ok("workers", "restart", "--surge", str(number % 3))
        seconds.append(time.monotonic() - begun)
    gaps = watcher.stop(4)
    print(
        f"restarts of 4 took {min(seconds):.1f} to {max(seconds):.1f} s; fewer than 4 ran "
        f"{len(gaps)} times, for {max(gaps, default=0.0):.2f} s at most"
    )


def _lost_database(fleet: Fleet, server: RunningServer) -> None:
    """Stopped in the middle of jobs and of a roll-out: what was computed is kept, once."""
    number = 1_000_000
    fleet.queue({number + n: 4.0 for n in range(12)})
    at_jobs(fleet, 3)
    server.private.stop()
    ran = fleet.run("workers", "restart")
    assert ran.code == 4
    assert fleet.run("workers", "status").code == 1
    time.sleep(6)
    server.private.start()
    fleet.ok("workers", "restart")
    time.sleep(2)  # the cleanup's grace
    fleet.ok("cleanup", "jobs")
    fleet.ok("workers", "retry", "--all")
    wait_for(
        "all jobs", lambda: fleet.server.sql(
            f"SELECT 1 FROM {SCHEMA}.__spikes WHERE session >= {number} HAVING COUNT(*) = 12"
        ), 200,
    )  # fmt: skip
    jobs = fleet.jobs()
    print(
        f"a database lost for 6 s: 12 jobs computed, {fleet.lost()} of them in a second attempt; "
        f"reserved left {jobs['reserved']}, errors {jobs['error']}"
    )
    assert jobs == Counter()
    fleet.ok("workers", "down")


def test_an_engine_that_is_stopped(
    mariadb: RunningServer, own_engine: Engine, tmp_path: Path
) -> None:
    """It stops the workers by their stop signal, waits for their jobs, and starts them again."""
    fleet = make_fleet(tmp_path / "site", mariadb, own_engine, kinds={"compute": 3})
    removed = False
    try:
        fleet.ok("workers", "up")
        fleet.queue(dict.fromkeys(range(9), 6.0))
        at_jobs(fleet, 3)
        with stopped_and_started(own_engine):
            at_jobs(fleet, 3)
            wait_for("all jobs", lambda: fleet.computed() == 9, 120)
            assert fleet.status()["healthy"]
            fleet.ok("workers", "restart")
            print(
                f"an engine stopped with 3 at jobs, and started: lost {fleet.lost()}, "
                f"run twice {fleet.twice()}, rows left {sum(fleet.jobs().values())}"
            )
            assert (fleet.lost(), fleet.twice(), fleet.jobs()) == (0, 0, Counter())
            fleet.remove()
            removed = True
    finally:
        if not removed:
            shutil.rmtree(fleet.work, ignore_errors=True)


def test_the_same_with_compose_alone(
    mariadb: RunningServer, own_engine: Engine, tmp_path: Path
) -> None:
    """`docker compose restart` of the legacy file, 5 times: what mapadmin is there for."""
    fleet = make_fleet(tmp_path / "site", mariadb, own_engine, kinds={"compute": 4})
    state = tmp_path / "legacy"
    state.mkdir()
    for name, text in datajoint_files(load_site(fleet.folder)).items():
        (state / name).write_text(text)
    (state / "ca.pem").write_text(mariadb.ca.read_text())
    (fleet.work / "dj_local_conf.json").touch()
    variables = {
        "IMAGE": BASE, "USER_ID": str(USER), "PASSWORD": fleet.worker_password,
        "PACKAGES": sysconfig.get_path("purelib"), "SCRIPT": str(SCRIPT), "WORK": str(fleet.work),
        "STATE": str(state), "SCHEMA": SCHEMA,
    }  # fmt: skip
    file = tmp_path / "variables"
    file.write_text(
        "".join(
            f"{key}='{value.replace(chr(39), chr(92) + chr(39))}'\n"
            for key, value in variables.items()
        )
    )
    compose = ["compose", "--env-file", str(file), "--project-name", "legacy", "--file",
               str(Path(__file__).parent / "legacy" / "compose.yaml")]  # fmt: skip
    queue = Queue(fleet, 1.0, 20.0, waiting=12)
    begun = time.monotonic()
    try:
        own_engine.docker.run(*compose, "up", "--detach", "--scale", "worker=4", seconds=120)
        queue.start()
        wait_for("jobs", lambda: fleet.happened()["begin"] >= 4)
        for _ in range(5):
            time.sleep(10)
            own_engine.docker.run(*compose, "restart", "--timeout", "2", seconds=120)
        queue.stop()
        own_engine.docker.run(*compose, "kill", seconds=120)
        print(counts(fleet, queue, "5 times docker compose restart of 4", begun))
        assert fleet.lost() > 5, "the comparison compares nothing"
    finally:
        queue.stop()
        fleet.remove()
