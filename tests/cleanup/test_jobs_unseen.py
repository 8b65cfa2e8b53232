"""`cleanup jobs` where the server does not show what sessions say of themselves: more careful."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cleanup.made import job_table, jobs_left, reserve
from tests.lab import Lab
from tests.servers import RunningServer, master_account, running_server

SITE = "[cleanup.jobs]\ngrace = 2\nconfirm = 0.1\n[cleanup]\nlegacy_command = ''\n"
UNSEEN = "while nobody at all is connected with its account"


@pytest.fixture(scope="session", params=["mariadb", "mysql"])
def without(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server whose performance_schema is off, as it is by default on MariaDB."""
    folder = tmp_path_factory.mktemp(f"without-{request.param}")
    with running_server(request.param, folder, "--performance-schema=OFF") as server:
        yield server


def judged(lab: Lab, worker: Lab) -> tuple[int, int]:
    """Dead and spared, of one reservation, while its account has a session from elsewhere."""
    with worker.server.connect(worker.user, worker.password):
        part = lab.ok("cleanup", "jobs", "--json").json["parts"][0]
        assert any(UNSEEN in note for note in part["notes"])
        first = part["details"].get("spared", 0)
        assert (part["items"], jobs_left(lab, "map_lab")) == (0, 1)
    ids = f"SELECT id FROM information_schema.processlist WHERE user = '{worker.user}'"
    while lab.server.sql(ids):
        time.sleep(0.05)
    return lab.ok("cleanup", "jobs", "--json").json["parts"][0]["details"]["dead"], first


def test_off(without: RunningServer, tmp_path: Path) -> None:
    lab = Lab(tmp_path / "site", without, *master_account(without), roles=SITE)
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 1)  # by worker@10.0.0.5, which is not where these tests run
    without.sql("CREATE USER worker@'%' IDENTIFIED BY 'x'")
    assert judged(lab, Lab(tmp_path / "other", without, "worker", "x")) == (1, 1)
    assert jobs_left(lab, "map_lab") == 0


def test_not_for_this_account(server: RunningServer, tmp_path: Path) -> None:
    server.wipe()
    server.sql(
        "CREATE USER worker@'%' IDENTIFIED BY 'x'", "CREATE USER keeper@'%' IDENTIFIED BY 'x'",
        "GRANT PROCESS ON *.* TO keeper@'%'", "GRANT ALL ON `map\\_%`.* TO keeper@'%'",
        "GRANT ALL ON mapadmin.* TO keeper@'%'",
    )  # fmt: skip
    lab = Lab(tmp_path / "site", server, "keeper", "x", roles=SITE)
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 1)
    assert judged(lab, Lab(tmp_path / "other", server, "worker", "x")) == (1, 1)


def test_full(mysql: RunningServer, tmp_path: Path) -> None:
    """A session whose words did not fit in may be a worker's: nobody is told from another."""
    with running_server(
        "mysql", tmp_path / "full", "--performance-schema-session-connect-attrs-size=64"
    ) as server:
        lab = Lab(tmp_path / "site", server, *master_account(server), roles=SITE)
        job_table(lab, "map_lab")
        reserve(lab, "map_lab", 1)
        server.sql("CREATE USER worker@'%' IDENTIFIED BY 'x'")
        assert judged(lab, Lab(tmp_path / "other", server, "worker", "x")) == (1, 1)
