"""Fixtures for tests of `mapadmin workers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine
from tests.lab import Lab
from tests.pipeline.environments import Pipeline
from tests.servers import RunningServer, master_account
from tests.workers.fleet import Fleet, make_fleet
from tests.workers.running import Laboratory

MakePipeline = Callable[..., Pipeline]
MakeFleet = Callable[..., Fleet]
GENERATIONS = {"0.12": 12, "0.13": 13, "0.14": 0, "2.x": 2}

# What does not depend on the server is tried on one: DataJoint takes its time to start.
ON_MARIADB = pytest.mark.parametrize("server", ["mariadb"], indirect=True, scope="session")


@pytest.fixture
def lab(server: RunningServer, master: tuple[str, str], tmp_path: Path) -> Iterator[Lab]:
    """A site on each of the two servers, as good as new."""
    server.wipe()
    user, password = master
    yield Lab(tmp_path / "site", server, user, password, roles="")


@pytest.fixture
def pipeline(lab: Lab, tmp_path: Path) -> Iterator[MakePipeline]:
    """Makes pipelines on the lab's server; their workers end with the test."""
    yield from _pipelines(lab, tmp_path)


@pytest.fixture
def mysql_lab(mysql: RunningServer, tmp_path: Path) -> Lab:
    """A site on MySQL: DataJoint 2.x does not support MariaDB."""
    mysql.wipe()
    return Lab(tmp_path / "site", mysql, *master_account(mysql), roles="")


@pytest.fixture
def mysql_pipeline(mysql_lab: Lab, tmp_path: Path) -> Iterator[MakePipeline]:
    """Makes pipelines on MySQL."""
    yield from _pipelines(mysql_lab, tmp_path)


def _pipelines(lab: Lab, tmp_path: Path) -> Iterator[MakePipeline]:
    made: list[Pipeline] = []

    def make(generation: int = 0, schema: str = "map_lab") -> Pipeline:
        folder = tmp_path / f"{schema}-{generation}"
        folder.mkdir()
        one = Pipeline(lab.server, folder, generation, schema, lab.user, lab.password)
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop()


def _laboratory(
    request: pytest.FixtureRequest, folder: Path, generation: int
) -> Iterator[Laboratory]:
    server = request.getfixturevalue("mysql" if generation == 2 else "mariadb")
    one = Laboratory(server, folder / "worker", generation)
    yield one
    one.stop()


@pytest.fixture(params=GENERATIONS)
def laboratory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laboratory]:
    """For each DataJoint; 2.x on MySQL, as it does not support MariaDB."""
    yield from _laboratory(request, tmp_path, GENERATIONS[request.param])


@pytest.fixture(params=["0.13", "0.14", "2.x"])
def with_pools(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laboratory]:
    """Those whose populate() can use several processes."""
    yield from _laboratory(request, tmp_path, GENERATIONS[request.param])


@pytest.fixture
def newest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Laboratory]:
    """For what does not depend on the DataJoint: 0.14."""
    yield from _laboratory(request, tmp_path, 0)


@pytest.fixture
def fleet_of(mariadb: RunningServer, base_engine: Engine, tmp_path: Path) -> Iterator[MakeFleet]:
    """Makes a site with workers, which are gone with the test."""
    made: list[Fleet] = []

    def make(**more: Any) -> Fleet:
        made.append(make_fleet(tmp_path / "site", mariadb, base_engine, **more))
        return made[-1]

    yield make
    for one in made:
        one.remove()
