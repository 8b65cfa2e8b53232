"""`workers check`: what workers would find in their containers, and what is said of it."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mapadmin.core.checks import State
from mapadmin.workers import probe
from mapadmin.workers.checks import (
    FILLING,
    READING,
    judge_connection,
    judge_datajoint,
    judge_privileges,
)
from mapadmin.workers.inside import Inside, Tables
from tests.engine import Engine
from tests.lab import Ran
from tests.servers import RunningServer
from tests.workers.fleet import SCHEMA, USER, Fleet, make_fleet

PROBE = Path(str(probe.__file__))
PASSED = ["container", "datajoint", "connection", "privileges", "stores", "modules"]


@pytest.fixture
def fleet(mariadb: RunningServer, base_engine: Engine, tmp_path: Path) -> Iterator[Fleet]:
    one = make_fleet(tmp_path / "site", mariadb, base_engine, kinds={"compute": 1})
    yield one
    one.remove()


def states(ran: Ran) -> dict[str, str]:
    return {one["name"].removeprefix("compute: "): one["state"] for one in ran.json}


def of(ran: Ran, name: str) -> dict[str, Any]:
    (found,) = [one for one in ran.json if one["name"] == f"compute: {name}"]
    return dict(found)


def configure(fleet: Fleet, **settings: object) -> None:
    """More DataJoint settings, in the file that [workers] datajoint names."""
    (fleet.folder / "dj.json").write_text(json.dumps(settings))
    if 'datajoint = "dj.json"' not in fleet.more:
        fleet.more += '\ndatajoint = "dj.json"\n'
    fleet.write_site()


def containers(engine: Engine) -> str:
    return engine.docker.run("ps", "--all", "--quiet")


def test_all_is_well_and_nothing_is_left(fleet: Fleet, base_engine: Engine) -> None:
    fleet.server.sql(f"CREATE TABLE {SCHEMA}.__spikes (session int PRIMARY KEY)")
    store = fleet.work / "figures"
    store.mkdir()
    os.chown(store, USER, USER)
    configure(fleet, stores={"figures": {"protocol": "file", "location": "/work/figures"}})
    ran = fleet.ok("workers", "check", "--json")
    assert states(ran) == dict.fromkeys(PASSED, "ok"), ran.out
    assert "DataJoint 0.14" in of(ran, "datajoint")["detail"]
    assert of(ran, "connection")["detail"] == "as worker@%"
    assert of(ran, "stores")["detail"] == "figures: a file could be written, and removed"
    assert list(store.iterdir()) == []
    assert containers(base_engine) == ""
    assert list((fleet.folder / "state" / "workers").iterdir()) == []
    tables = fleet.server.sql(
        f"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{SCHEMA}'"
    )
    assert sorted(str(name) for (name,) in tables) == ["__spikes", "session"]
    assert fleet.worker_password not in ran.out + ran.err
    shown = fleet.ok("workers", "check").out
    assert "compute: privileges" in shown


def test_what_is_wrong_is_said_with_its_remedy(fleet: Fleet) -> None:
    fleet.server.sql(
        f"CREATE TABLE {SCHEMA}.__spikes (session int PRIMARY KEY,"
        " report binary(16) COMMENT ':filepath@reports:')",
        "REVOKE ALL ON `map\\_%`.* FROM worker@'%'",
        "GRANT SELECT, CREATE, REFERENCES, UPDATE ON `map\\_%`.* TO worker@'%'",
    )
    (fleet.work / "stage").mkdir()  # root's
    fleet.commands["compute"] = ["/opt/nothing.py"]
    configure(fleet, stores={
        "missing": {"protocol": "file", "location": "/nowhere"},
        "closed": {"protocol": "file", "location": "/work/stage"},
        "off": {"protocol": "file", "location": "/work", "stage": "/work"},
    })  # fmt: skip
    with (fleet.folder / "mapadmin.toml").open("a") as file:
        file.write('\n[pipeline]\nmodules = ["map_pipeline.ingest"]\n')
    ran = fleet.run("workers", "check", "--json")
    assert ran.code == 1
    assert states(ran) == {
        "container": "fail", "datajoint": "ok", "connection": "ok", "privileges": "fail",
        "stores": "fail", "modules": "fail",
    }, ran.out  # fmt: skip
    assert of(ran, "container")["detail"] == "/opt/nothing.py is not in the image"
    assert of(ran, "privileges")["detail"] == f"lacks DELETE, INSERT on {SCHEMA}"
    detail = of(ran, "stores")["detail"]
    for part in (
        "missing: cannot write into /nowhere: No such file or directory",
        "closed: cannot write into /work/stage: Permission denied",
        "off: its filepath columns are switched off: DJ_SUPPORT_FILEPATH_MANAGEMENT is not TRUE",
        "reports: is used by the pipeline's tables, and not in the workers' configuration",
    ):  # fmt: skip
        assert part in detail
    assert "No module named 'map_pipeline'" in of(ran, "modules")["detail"]
    assert all(one["remedy"] for one in ran.json if one["state"] == "fail")


def test_who_cannot_log_in(fleet: Fleet) -> None:
    fleet.server.sql("ALTER USER worker@'%' IDENTIFIED BY 'another'")
    ran = fleet.run("workers", "check", "--json")
    assert ran.code == 1
    assert "Access denied" in of(ran, "connection")["detail"]
    assert [states(ran)[name] for name in ("privileges", "stores", "modules")] == ["unknown"] * 3
    assert fleet.worker_password not in ran.out + ran.err


def test_workers_are_not_started_for_nothing(fleet: Fleet, base_engine: Engine) -> None:
    fleet.server.sql("ALTER USER worker@'%' IDENTIFIED BY 'another'")
    ran = fleet.run("workers", "up")
    assert ran.code == 1
    assert "Workers could not do their work:\n  compute: connection: " in ran.err
    assert containers(base_engine) == ""


def test_an_image_without_datajoint(fleet: Fleet) -> None:
    fleet.write_site()
    path = fleet.folder / "mapadmin.toml"
    path.write_text(path.read_text().replace('PYTHONPATH = "/packages", ', ""))
    ran = fleet.run("workers", "check", "--json")
    assert ran.code == 1
    assert "No module named 'datajoint'" in of(ran, "datajoint")["detail"]
    assert states(ran)["connection"] == "unknown"


def test_no_engine(fleet: Fleet, tmp_path: Path) -> None:
    ran = fleet.run("workers", "check", DOCKER_HOST=f"unix://{tmp_path}/d.sock")
    assert ran.code == 4
    assert "No Docker engine answers" in ran.err


def test_an_image_that_is_not_there(fleet: Fleet) -> None:
    fleet.image = 'image = "nothing:1"'
    fleet.write_site()
    ran = fleet.run("workers", "check")
    assert ran.code == 1
    assert "There is no image nothing:1 on this engine" in ran.err


def test_a_container_that_says_nothing(fleet: Fleet) -> None:
    path = fleet.folder / "mapadmin.toml"
    path.write_text(path.read_text().replace("[workers]\n", '[workers]\npython = "true"\n', 1))
    ran = fleet.run("workers", "check", "--json")
    assert of(ran, "container")["detail"] == "The container ended without an answer."
    folder = fleet.folder / "state" / "workers"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == []  # the secret file was there


def test_the_probe_is_python_3_6() -> None:
    ast.parse(PROBE.read_text(), feature_version=(3, 6))
    vermin = Path(sys.executable).with_name("vermin")
    done = subprocess.run(
        [vermin, "--no-tips", "--violations", "-t=3.6-", str(PROBE)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("version", "server", "tables", "state"),
    [
        ("0.14.10", "10.11.6-MariaDB", Tables(computed=3, jobs=1), State.OK),
        ("0.12.9", "8.0.36", Tables(), State.OK),
        ("2.3.5", "8.0.36", Tables(jobs_2=2), State.OK),
        ("2.3.5", "8.0.12", Tables(), State.FAIL),
        ("2.3.5", "5.7.44-log", Tables(), State.FAIL),
        ("2.3.5", "10.11.6-MariaDB", Tables(), State.FAIL),
        ("2.3.5", "8.4.0", Tables(computed=3, jobs=1), State.WARN),
        ("0.14.10", "8.4.0", Tables(jobs_2=1), State.WARN),
    ],
)
def test_which_datajoint_suits(version: str, server: str, tables: Tables, state: State) -> None:
    found = Inside(
        python="3.9.2", scripts={}, datajoint=version, server=server, tables={"map_a": tables}
    )
    assert judge_datajoint(found).state is state


@pytest.mark.parametrize(
    ("tables", "held", "detail"),
    [
        (Tables(computed=1), FILLING, ""),
        (Tables(jobs=1), FILLING - {"CREATE"}, "lacks CREATE on map_a"),
        (Tables(), READING, ""),
        (Tables(), frozenset(), "lacks SELECT on map_a"),
        (Tables(computed=1), frozenset({"SELECT"}), "lacks CREATE, DELETE, INSERT, REFERENCES"),
    ],
)
def test_privileges_by_what_a_schema_is_for(
    tables: Tables, held: frozenset[str], detail: str
) -> None:
    found = Inside(python="3.9.2", scripts={}, tables={"map_a": tables})
    finding = judge_privileges(found, {"map_a": held})
    assert finding.state is (State.FAIL if detail else State.OK)
    assert finding.detail.startswith(detail)


def test_a_session_that_is_somebody_elses() -> None:
    found = Inside(python="3.9.2", scripts={}, datajoint="0.14.4", account="@localhost")
    assert judge_connection(found, "worker").state is State.FAIL
