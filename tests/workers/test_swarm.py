"""The workers of a swarm: three nodes on this machine, one of which may be cut off."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mapadmin.workers.engine import Life
from mapadmin.workers.swarm import life_of
from tests.netbed import GATEWAY, NetBed, running_netbed
from tests.servers import RunningServer
from tests.workers.fleet import Fleet, Queue, make_fleet
from tests.workers.running import wait_for

MakeFleet = Callable[..., Fleet]


@pytest.fixture(scope="module")
def bed(mariadb: RunningServer) -> Iterator[NetBed]:
    """Three nodes with the image, one of them the manager; the database is behind a relay."""
    with running_netbed("one", "two", "three") as bed, bed.relay(mariadb.port):
        first = bed.nodes[0].engine.docker
        for node in bed.nodes:
            node.engine.import_base()
        first.run("swarm", "init", "--advertise-addr", bed.nodes[0].address)
        token = first.run("swarm", "join-token", "--quiet", "worker").strip()
        for node in bed.nodes[1:]:
            node.engine.docker.run("swarm", "join", "--token", token, bed.nodes[0].address)
        yield bed


@pytest.fixture
def fleet_of(bed: NetBed, mariadb: RunningServer, tmp_path: Path) -> Iterator[MakeFleet]:
    made: list[Fleet] = []

    def make(**more: Any) -> Fleet:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "dj.json").write_text(
            json.dumps({"database.host": GATEWAY, "database.use_tls": True})
        )
        one = make_fleet(
            tmp_path / "site", mariadb, bed.nodes[0].engine,
            more='engine = "swarm"\ndatajoint = "dj.json"\n', **more,
        )  # fmt: skip
        made.append(one)
        return one

    yield make
    docker = bed.nodes[0].engine.docker
    if services := docker.run("service", "ls", "--quiet").split():
        docker.run("service", "rm", *services)
    for node in bed.nodes:
        if ids := node.engine.docker.run("ps", "--all", "--quiet").split():
            node.engine.docker.run("rm", "--force", *ids)
    for one in made:
        one.remove()


def states(fleet: Fleet) -> dict[str, str]:
    return {one["worker"]: one["state"] for one in fleet.status()["workers"]}


@pytest.mark.soak
def test_rolling_restarts_and_scaling_lose_nothing(fleet_of: MakeFleet, bed: NetBed) -> None:
    fleet = fleet_of(kinds={"compute": 3})
    fleet.ok("workers", "up")
    found = fleet.status()
    assert {one["node"] for one in found["workers"]} == {"one", "two", "three"}
    assert (found["engine"], found["healthy"]) == ("swarm", True)
    queue = Queue(fleet, 0.5, 2.5)
    queue.start()
    wait_for("jobs", lambda: Counter(states(fleet).values())["busy"] >= 2)
    fleet.ok("workers", "restart")
    assert set(states(fleet)) == {f"g2/compute-{n}" for n in (1, 2, 3)}
    for number in (5, 2):
        fleet.ok("workers", "scale", str(number))
        assert len(states(fleet)) == number
    queue.finished(90)
    assert "Nothing to do." not in fleet.ok("workers", "down").err
    counts = {
        "jobs": queue.made, "lost": fleet.lost(), "twice": fleet.twice(), **fleet.jobs()
    }  # fmt: skip
    print(counts)
    assert counts == {"jobs": queue.made, "lost": 0, "twice": 0}
    manager = bed.nodes[0].engine.docker
    for what in ("service", "secret", "config"):
        assert manager.run(what, "ls", "--quiet") == ""
    assert list((fleet.folder / "state" / "workers").iterdir()) == []


def test_what_does_not_come_up_leaves_the_old_ones(fleet_of: MakeFleet, bed: NetBed) -> None:
    fleet = fleet_of(kinds={"compute": 2})
    fleet.ok("workers", "up")
    inspected = bed.nodes[0].engine.docker.run("service", "inspect", "lab-workers-g1_compute-1")
    assert json.dumps(fleet.worker_password)[1:-1] not in inspected
    fleet.commands["compute"] = ["/opt/nothing.py"]
    fleet.write_site()
    ran = fleet.run("workers", "restart")
    assert ran.code == 1
    assert "The new worker g2/compute-1 ended with exit code" in ran.err
    assert "nothing.py" in ran.err
    assert set(states(fleet)) == {"g1/compute-1", "g1/compute-2"}
    fleet.queue({1: 0.1})
    wait_for("the job", lambda: fleet.computed() == 1)
    refused = fleet.run("workers", "stop", "--now", "--yes")
    assert refused.code == 2
    assert "A swarm cannot end workers in their jobs" in refused.err


def test_a_node_that_is_cut_off_during_a_roll_out(fleet_of: MakeFleet, bed: NetBed) -> None:
    """The roll-out goes on without it; what it computes is committed once it is back."""
    fleet = fleet_of(kinds={"compute": 3})
    fleet.ok("workers", "up")
    third = next(one for one in fleet.status()["workers"] if one["node"] == "three")
    fleet.queue(dict.fromkeys(range(12), 6.0))

    def on_third() -> list[int]:
        return [event[2] for event in fleet.events() if event[3] == third["host"]]

    wait_for("a job on the third node", on_third)
    rolling = fleet.start("workers", "restart")
    wait_for("a new worker", lambda: any("-g2-" in event[3] for event in fleet.events()))
    bed.cut(bed.nodes[2])
    out, err = rolling.communicate(timeout=180)
    assert rolling.returncode == 0, out + err
    assert {one["node"] for one in fleet.status()["workers"]} == {"one", "two"}
    bed.mend(bed.nodes[2])
    wait_for("all jobs", lambda: fleet.computed() == 12, 180)
    wait_for("no reservation", lambda: not fleet.jobs(), 60)
    gone = bed.nodes[2].engine.docker
    wait_for("the old one has left", lambda: third["host"] not in gone.run("ps", "--no-trunc"), 60)
    counts = {"lost": fleet.lost(), "twice": fleet.twice(), **fleet.jobs()}
    print(counts)
    assert counts == {"lost": 0, "twice": 0}


def test_an_engine_that_is_no_manager(fleet_of: MakeFleet, bed: NetBed) -> None:
    fleet = fleet_of(kinds={"compute": 1})
    ran = fleet.run("workers", "up", DOCKER_HOST=bed.nodes[1].engine.host)
    assert ran.code == 3
    assert "This Docker engine is no manager of a swarm" in ran.err


def test_a_stack_that_mapadmin_did_not_make(fleet_of: MakeFleet, bed: NetBed) -> None:
    fleet = fleet_of(kinds={"compute": 1})
    manager = bed.nodes[0].engine.docker
    (fleet.folder / "other.yaml").write_text(
        'version: "3.8"\nservices:\n  web:\n    image: debian-python:test\n'
        "    command: [sleep, '600']\n    networks: [outside]\n"
        "networks:\n  outside: {external: true, name: host}\n"
    )
    manager.run("stack", "deploy", "-c", str(fleet.folder / "other.yaml"), "lab-workers-g1")
    for words in (["up"], ["down"], ["status"]):
        ran = fleet.run("workers", *words)
        assert ran.code == 1
        assert "is of a stack that mapadmin did not make" in ran.err


def task(state: str, desired: str = "Running", node: str = "one", error: str = "") -> Any:
    return {
        "CurrentState": f"{state} 3 seconds ago", "DesiredState": desired, "Node": node,
        "Error": error,
    }  # fmt: skip


EXIT_2 = '"task: non-zero exit (2)"'


@pytest.mark.parametrize(
    ("wanted", "tasks", "expected"),
    [
        (False, [], (Life.CREATED, "", None)),
        (True, [], (Life.RUNNING, "", None)),  # not scheduled yet
        (True, [task("Preparing")], (Life.RUNNING, "", None)),
        (True, [task("Running")], (Life.RUNNING, "one", None)),
        (False, [task("Running", "Shutdown")], (Life.RUNNING, "one", None)),  # drains
        (False, [task("Complete", "Shutdown")], (Life.ENDED, "", 0)),
        (False, [task("Failed", "Shutdown", error=EXIT_2)], (Life.ENDED, "", 2)),
        (True, [task("Ready"), task("Failed", "Shutdown", error=EXIT_2)],
         (Life.RESTARTING, "", 2)),
        (True, [task("Rejected", "Shutdown", error="No such image: x")],
         (Life.RESTARTING, "", 1)),
        # Its drain was taken back: the new task counts, the old one leaves.
        (True, [task("Running"), task("Running", "Shutdown", "two")], (Life.RUNNING, "one", None)),
        (True, [task("Preparing"), task("Running", "Shutdown", "two")], (Life.RUNNING, "", None)),
        # On a node that is down nobody knows.
        (False, [task("Running", "Shutdown", "lost")], (Life.ENDED, "", 0)),
        (True, [task("Running", node="two"), task("Running", "Shutdown", "lost")],
         (Life.RUNNING, "two", None)),
    ],
)  # fmt: skip
def test_the_life_of_a_service(wanted: bool, tasks: list[Any], expected: object) -> None:
    assert life_of(tasks, wanted=wanted, down={"lost"}) == expected
