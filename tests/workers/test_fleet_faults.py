"""Roll-outs that are cut short: the next one goes on, and no job is lost."""

from __future__ import annotations

import signal
import time
from collections import Counter

from tests.engine import Engine
from tests.workers.conftest import MakeFleet
from tests.workers.fleet import Fleet, Queue, at_jobs, states
from tests.workers.running import wait_for


def folder_of(fleet: Fleet, generation: int) -> bool:
    return (fleet.folder / "state" / "workers" / f"g{generation}" / "compose.yaml").exists()


def running(engine: Engine, generation: int) -> int:
    names = engine.docker.run("ps", "--format", "{{.Names}}").split()
    return sum(f"-g{generation}-" in name for name in names)


def test_a_mapadmin_that_is_killed_at_any_step(fleet_of: MakeFleet, base_engine: Engine) -> None:
    """Before the containers are there, with the first new one, with one old one gone."""
    fleet = fleet_of(kinds={"compute": 2})
    fleet.ok("workers", "up")
    queue = Queue(fleet, 1.0, 3.0)
    queue.start()
    at_jobs(fleet, 2)
    moments = {
        "the folder is there": lambda: folder_of(fleet, 2),
        "the first new one runs": lambda: running(base_engine, 2) == 1,
        "an old one has left": lambda: running(base_engine, 1) < 2,
        "all new ones run": lambda: running(base_engine, 2) == 2,
    }
    for what, when in moments.items():
        process = fleet.start("workers", "restart")
        wait_for(what, when)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert running(base_engine, 1) + running(base_engine, 2) >= 1
    wait_for("Compose to end by itself", lambda: len(fleet.containers()) >= 2)
    fleet.ok("workers", "restart")
    assert len(states(fleet)) == 2
    assert len({name.split("/")[0] for name in states(fleet)}) == 1
    folders = [path.name for path in (fleet.folder / "state" / "workers").iterdir()]
    assert folders == [next(iter(states(fleet))).split("/")[0]]
    queue.finished(90)
    fleet.ok("workers", "down")
    assert (fleet.lost(), fleet.twice(), fleet.jobs()) == (0, 0, Counter())


def test_ctrl_c_while_waiting(fleet_of: MakeFleet) -> None:
    fleet = fleet_of(kinds={"compute": 1})
    fleet.ok("workers", "up")
    fleet.queue({1: 9.0})
    at_jobs(fleet, 1)
    process = fleet.start("workers", "restart")
    wait_for("the drain", lambda: states(fleet).get("g1/compute-1") == "draining")
    second = fleet.run("workers", "scale", "2")
    assert (second.code, "Another mapadmin is at work" in second.err) == (1, True)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "The same command goes on from here." in said
    shown = fleet.run("workers", "status")
    assert "workers of generations g1 and g2: a roll-out is under way" in shown.err
    refused = fleet.run("workers", "scale", "2")
    assert "A roll-out is unfinished" in refused.err
    fleet.ok("workers", "restart")
    assert set(states(fleet)) == {"g2/compute-1"}
    assert (fleet.computed(), fleet.lost(), fleet.jobs()) == (1, 0, Counter())


def test_a_worker_that_is_killed(fleet_of: MakeFleet, base_engine: Engine) -> None:
    """Its job is lost, which status tells; the cleanup gives it to others, once."""
    fleet = fleet_of(kinds={"compute": 2}, extra="[cleanup.jobs]\ngrace = 1\nconfirm = 0.2\n")
    fleet.ok("workers", "up")
    fleet.queue({1: 5.0})
    at_jobs(fleet, 1)
    (host,) = [event[3] for event in fleet.events()]
    base_engine.docker.run("kill", f"lab-workers-{host.removeprefix('lab-')}-1")
    ran = fleet.run("workers", "status")
    assert ran.code == 1
    name = host.removeprefix("lab-").replace("-", "/", 1)
    assert f"Not well: {name} has ended with exit code 137." in ran.err
    wait_for("its session to end", lambda: len(fleet.status()["orphans"]) == 1)
    time.sleep(2)  # the grace
    fleet.ok("cleanup", "jobs")
    wait_for("the other one", lambda: fleet.computed() == 1)
    fleet.ok("workers", "up")
    assert fleet.status()["healthy"]
    assert (fleet.lost(), fleet.jobs()) == (1, Counter())


def test_a_worker_that_keeps_ending(fleet_of: MakeFleet) -> None:
    """The engine starts it again and again; status says so, and `down` ends that."""
    fleet = fleet_of(kinds={"compute": 1})
    fleet.ok("workers", "up")
    following = fleet.start("workers", "logs", "--follow")
    fleet.queue({1: 0.1})
    assert following.stdout is not None
    assert following.stdout.readline() == "g1/compute-1  computed session 1\n"
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=30)
    assert following.returncode == 130
    (fleet.work / "trouble").touch()
    (fleet.work / "trouble-lab-g1-compute-1").touch()
    wait_for("three starts", lambda: fleet.status()["workers"][0]["restarts"] >= 3)

    def said() -> bool:
        return "g1/compute-1 keeps ending, with exit code" in fleet.run("workers", "status").err

    wait_for("status to say so", said)
    fleet.ok("workers", "down")
    assert fleet.containers() == []
