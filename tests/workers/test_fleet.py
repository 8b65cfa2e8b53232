"""`workers up`, `status`, `scale`, `restart`, `stop`, `down`: real containers, a real queue."""

from __future__ import annotations

import json
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import BASE, Engine
from tests.images.test_build import git
from tests.servers import RunningServer
from tests.workers.conftest import MakeFleet
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


def test_a_users_session(fleet_of: MakeFleet) -> None:
    fleet = fleet_of(kinds={"compute": 2, "ingest": 1})
    assert fleet.run("workers", "status").err == (
        "There are no workers.\nNot well: no workers run: `mapadmin workers up` starts them.\n"
    )
    planned = fleet.ok("workers", "up", "--dry-run").out
    assert "2 compute, 1 ingest; debian-python:test" in planned
    assert fleet.containers() == []
    fleet.ok("workers", "up")
    assert set(states(fleet)) == {"g1/compute-1", "g1/compute-2", "g1/ingest-1"}
    assert "Nothing to do." in fleet.ok("workers", "up").err

    fleet.queue({1: 12.0, 2: 12.0})
    at_jobs(fleet, 2)
    shown = fleet.ok("workers", "status").out
    assert shown.count("Spikes session=") == 2
    assert max(map(len, shown.splitlines())) <= 80
    found = fleet.status()
    assert (found["healthy"], found["reserved"], found["orphans"]) == (True, 2, [])
    keys = [one["job"]["key"] for one in found["workers"] if one["job"]]
    assert sorted(key["session"] for key in keys) == [1, 2]

    # Who leaves first is idle; then whoever began last.
    idle = next(name for name, state in states(fleet).items() if state != "busy")
    kind = idle.split("/")[1].split("-")[0]
    fleet.ok("workers", "scale", "0" if kind == "ingest" else "1", kind)
    assert idle not in states(fleet)
    assert fleet.lost() > 0 or fleet.computed() == 2, "it waited for others"
    if kind == "ingest":
        assert "0 ingest, where the site file says 1" in fleet.run("workers", "status").err
    fleet.ok("workers", "up")
    assert len(states(fleet)) == 3

    fleet.ok("workers", "stop")
    assert (fleet.computed(), fleet.lost(), fleet.jobs()) == (2, 0, Counter())
    assert set(states(fleet).values()) == {"stopped"}
    _logs(fleet)
    assert fleet.run("workers", "status").code == 1
    fleet.ok("workers", "up")
    assert set(states(fleet)) == {"g1/compute-1", "g1/compute-2", "g1/ingest-1"}
    fleet.ok("workers", "down")
    assert fleet.containers() == []
    assert [path.name for path in (fleet.folder / "state" / "workers").iterdir()] == []
    assert "Nothing to do." in fleet.ok("workers", "down").err
    assert "start worker" in fleet.ok("journal").out


def _logs(fleet: Fleet) -> None:
    lines = fleet.ok("workers", "logs").out.splitlines()
    said = [line.split(maxsplit=1)[1] for line in lines]
    assert sorted(said) == ["computed session 1", "computed session 2"]
    assert all(line.startswith("g1/") for line in lines)
    records = [json.loads(line) for line in fleet.ok("workers", "logs", "--json").out.splitlines()]
    assert sorted(one["line"] for one in records) == sorted(said)
    assert fleet.ok("workers", "logs", "--tail", "0").out == ""
    assert fleet.ok("workers", "logs", "--since", "2099-01-01T00:00:00").out == ""
    assert fleet.run("workers", "logs", "--since", "soon").code == 1


def test_the_password_is_in_one_file_only(fleet_of: MakeFleet, base_engine: Engine) -> None:
    fleet = fleet_of(kinds={"compute": 1})
    ran = fleet.ok("workers", "up", "--json")
    folder = fleet.folder / "state" / "workers" / "g1"
    secret = folder / "secret.json"
    assert json.loads(secret.read_text())["password"] == fleet.worker_password
    found = secret.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (USER, 0o600)
    seen = ran.out + ran.err + (fleet.folder / "state" / "journal.jsonl").read_text()
    ids = base_engine.docker.run("ps", "--quiet").split()
    seen += base_engine.docker.run("inspect", *ids) + base_engine.docker.run("top", ids[0])
    seen += "".join(
        path.read_text() for path in folder.iterdir() if path.is_file() and path != secret
    )
    for shape in (fleet.worker_password, json.dumps(fleet.worker_password)[1:-1]):
        assert shape not in seen


def test_restarts_under_a_queue_lose_nothing(fleet_of: MakeFleet, base_engine: Engine) -> None:
    fleet = fleet_of(kinds={"compute": 2})
    fleet.ok("workers", "up")
    queue = Queue(fleet, 0.5, 2.0)
    queue.start()
    at_jobs(fleet, 2)
    watcher = Watcher(base_engine)
    fleet.ok("workers", "restart")
    fleet.ok("workers", "restart", "--surge", "1")
    gaps = watcher.stop(2)
    assert set(states(fleet)) == {"g3/compute-1", "g3/compute-2"}
    for number in (3, 1):
        fleet.ok("workers", "scale", str(number))
        assert len(states(fleet)) == number
    queue.finished(90)
    fleet.ok("workers", "down")
    print(f"{queue.made} jobs; gaps of {[round(gap, 2) for gap in gaps]} s")
    assert (fleet.lost(), fleet.twice(), fleet.jobs()) == (0, 0, Counter())
    assert fleet.happened()["end"] == queue.made
    assert gaps == [] or max(gaps) < 10, "a place was empty for longer than a container starts"


def test_what_does_not_come_up_changes_nothing(fleet_of: MakeFleet) -> None:
    """Of two kinds the new image suits one: its worker has taken a job by then, and ends it."""
    fleet = fleet_of(kinds={"compute": 2, "ingest": 1})
    fleet.ok("workers", "up")
    fleet.queue(dict.fromkeys(range(9), 3.0))
    at_jobs(fleet, 3)
    fleet.commands["ingest"] = ["-c", "-m"]
    fleet.write_site()
    assert "must begin with a script" in fleet.run("workers", "restart").err
    fleet.commands["ingest"] = ["/opt/nothing.py"]
    fleet.write_site()
    ran = fleet.run("workers", "restart")
    assert ran.code == 1
    assert "The new worker g2/ingest-1 ended with exit code" in ran.err
    assert "  | " in ran.err
    assert "nothing.py" in ran.err
    assert "The workers that there were go on as before." in ran.err
    assert set(states(fleet)) == {"g1/compute-1", "g1/compute-2", "g1/ingest-1"}
    assert not (fleet.folder / "state" / "workers" / "g2").exists()
    assert "other settings than the site file has now" in fleet.ok("workers", "up").err
    # The old ones are not to be drained, and go on to the end of the queue.
    wait_for("all jobs", lambda: fleet.computed() == 9)
    # With --drain-first they had all left before that was found out: they are started again.
    assert fleet.run("workers", "restart", "--drain-first").code == 1
    assert set(states(fleet)) == {"g1/compute-1", "g1/compute-2", "g1/ingest-1"}
    fleet.queue({9: 0.1})
    wait_for("one more", lambda: fleet.computed() == 10)
    assert (fleet.lost(), fleet.twice(), fleet.jobs()) == (0, 0, Counter())


def test_now_loses_jobs_and_says_which(fleet_of: MakeFleet) -> None:
    fleet = fleet_of(kinds={"compute": 1})
    fleet.ok("workers", "up")
    fleet.queue({7: 120.0})
    at_jobs(fleet, 1)
    late = fleet.run("workers", "restart", "--timeout", "5s")
    assert late.code == 1
    assert "1 worker still there:\n  g1/compute-1 (map_fleet.Spikes for" in late.err
    assert "Nothing is lost" in late.err
    asked = fleet.run("workers", "stop", "--now")
    assert asked.code == 2
    assert "LOSES the job at map_fleet.Spikes for" in asked.out
    assert fleet.lost() == 1  # begun, and not ended yet
    fleet.ok("workers", "restart", "--now", "--yes")
    found = fleet.status()
    assert [one["worker"] for one in found["workers"]] == ["g2/compute-1"]
    assert [one["host"] for one in found["orphans"]] == ["lab-g1-compute-1"]
    assert fleet.run("workers", "status").code == 1
    assert "Nobody's: a job of map_fleet.Spikes" in fleet.run("workers", "status").err


def test_what_the_site_file_says_by_now_is_for_the_next_restart(fleet_of: MakeFleet) -> None:
    fleet = fleet_of(kinds={"compute": 1})
    fleet.ok("workers", "up")
    fleet.commands["compute"] = ["/opt/nothing.py"]
    fleet.kinds = {"compute": 2, "ingest": 1}
    fleet.write_site()
    fleet.ok("workers", "scale", "2")
    assert fleet.status()["healthy"]
    assert "ingest is a new kind" in fleet.ok("workers", "up").err
    del fleet.commands["compute"]
    fleet.write_site()
    fleet.ok("workers", "restart")
    assert set(states(fleet)) == {"g2/compute-1", "g2/compute-2", "g2/ingest-1"}


@pytest.mark.soak
def test_a_drain_that_is_taken_back_leaves_a_worker_as_it_was(fleet_of: MakeFleet) -> None:
    """It goes on after its job, and the engine starts it again should it crash."""
    fleet = fleet_of(kinds={"compute": 2})
    fleet.ok("workers", "up")
    fleet.queue({1: 2.0, 2: 12.0})
    wait_for("both jobs", lambda: fleet.happened()["begin"] == 2)
    (host,) = [event[3] for event in fleet.events() if event[1:3] == ("begin", 2)]
    long = host.removeprefix("lab-").replace("-", "/", 1)
    process = fleet.start("workers", "restart", "--surge", "1")
    wait_for("the first new one", lambda: states(fleet).get("g2/compute-1") in ("looking", "busy"))
    (fleet.work / "trouble").touch()
    assert process.wait(60) == 1, process.communicate()
    assert "The new worker g2/compute-2 ended with exit code 4" in process.communicate()[1]
    (fleet.work / "trouble").unlink()
    assert set(states(fleet)) == {"g1/compute-1", "g1/compute-2"}
    wait_for("the long job", lambda: fleet.computed() == 2)
    crash = fleet.work / f"trouble-{host}"
    crash.touch()

    def again() -> bool:
        restarts = {one["worker"]: one["restarts"] for one in fleet.status()["workers"]}
        return bool(restarts[long] == 1 and states(fleet)[long] in ("looking", "idle"))

    wait_for("it to be started again", again)
    fleet.ok("workers", "stop")
    assert set(states(fleet).values()) == {"stopped"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["scale", "2", "nobody"], 2, "There is no kind of workers 'nobody'"),
        (["scale", "2"], 2, "Say which kind of workers."),
        (["scale", "compute", "-1"], 2, "No such option: -1"),
        (["scale", "--", "-1", "compute"], 2, "There cannot be -1 workers."),
        (["restart", "--image", "nobody/nothing:1"], 1, "There is no image nobody/nothing:1"),
        (["restart", "--ref", "main"], 2, "does not say how an image is built"),
        (["restart", "--image", "a", "--ref", "b"], 2, "exclude each other"),
        (["restart", "--surge", "-1"], 2, "Invalid value"),
        (["restart", "--timeout", "soon"], 2, "is no time"),
        (["logs", "nobody"], 2, "There is no kind of workers 'nobody'"),
    ],
)
def test_bad_input(bad_fleet: Fleet, words: list[str], code: int, says: str) -> None:
    before = bad_fleet.containers()
    ran = bad_fleet.run("workers", *words)
    assert (ran.code, says in ran.err) == (code, True), ran.err
    assert bad_fleet.containers() == before
    assert len(before) == 2


@pytest.fixture(scope="module")
def bad_fleet(
    mariadb: RunningServer, base_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Two workers that no bad input may touch."""
    fleet = make_fleet(
        tmp_path_factory.mktemp("bad") / "site", mariadb, base_engine,
        kinds={"compute": 1, "ingest": 1},
    )  # fmt: skip
    fleet.ok("workers", "up")
    yield fleet
    fleet.remove()


def test_a_project_of_that_name_that_is_not_ours(
    fleet_of: MakeFleet, base_engine: Engine, tmp_path: Path
) -> None:
    fleet = fleet_of(kinds={"compute": 1})
    (tmp_path / "compose.yaml").write_text(
        f"services:\n  web:\n    image: {BASE}\n    network_mode: none\n"
        "    command: [sleep, '99']\n"
    )
    base_engine.docker.run(
        "compose", "--project-name", "lab-workers-g1", "up", "--detach", cwd=tmp_path
    )
    before = fleet.containers()
    for words in (["up"], ["down"], ["status"]):
        ran = fleet.run("workers", *words)
        assert ran.code == 1
        assert "lab-workers-g1-web-1 is of a compose project lab-workers-g1" in ran.err
    assert fleet.containers() == before
    base_engine.docker.run("compose", "--project-name", "lab-workers-g1", "kill", cwd=tmp_path)


def test_no_engine_no_compose_no_database(
    fleet_of: MakeFleet, base_engine: Engine, tmp_path: Path
) -> None:
    fleet = fleet_of(kinds={"compute": 1})
    ran = fleet.run("workers", "up", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert (ran.code, "No Docker engine answers at" in ran.err) == (4, True)
    ran = fleet.run("workers", "up", DOCKER_CONFIG=str(tmp_path), HOME=str(tmp_path))
    assert ran.code in (0, 3)  # where the machine has a Compose of its own, that one is used
    if ran.code == 0:
        fleet.ok("workers", "down")
    fleet.write_site(port=1)
    ran = fleet.run("workers", "up")
    assert ran.code == 4
    assert fleet.containers() == []


def test_an_image_from_a_commit(fleet_of: MakeFleet, tmp_path: Path) -> None:
    """The repository's own script, of the commit that was named; from a clean tree only."""
    repository = tmp_path / "pipeline"
    repository.mkdir()
    shutil.copy(SCRIPT, repository / "compute.py")
    git(repository, "init", "--quiet", "--initial-branch", "main")
    commits = []
    for version in ("one", "two"):
        (repository / "version").write_text(version)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", version)
        commits.append(git(repository, "rev-parse", "HEAD"))
    fleet = fleet_of(
        kinds={"compute": 1},
        image=f'build = {{ repository = "{repository}", ref = "main~1", base = "{BASE}" }}',
        commands={"compute": ["compute.py", SCHEMA, "/work/log", "1"]},
    )
    planned = fleet.ok("workers", "up", "--dry-run").out
    assert f"build image        lab-workers:{commits[0][:12]}" in planned
    fleet.ok("workers", "up")
    fleet.ok("workers", "restart", "--ref", "main")
    (one,) = fleet.status()["workers"]
    assert (one["commit"], one["image"]) == (commits[1], f"lab-workers:{commits[1][:12]}")
    assert "build image" not in fleet.ok("workers", "restart", "--ref", "main", "--dry-run").out
    for words in (["restart", "--ref", "nothing"], ["restart", "--surge", "1", "--ref", "v9"]):
        ran = fleet.run("workers", *words)
        assert (ran.code, "has no commit" in ran.err) == (2, True)
    (repository / "version").write_text("three")
    ran = fleet.run("workers", "restart", "--ref", "main")
    assert (ran.code, "1 change that no commit has" in ran.err) == (1, True)
    assert [worker["worker"] for worker in fleet.status()["workers"]] == ["g2/compute-1"]
