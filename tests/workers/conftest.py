"""Fixtures for tests of `mapadmin workers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine
from tests.pipeline.fixtures import lab, mysql_lab, mysql_pipeline, pipeline
from tests.servers import RunningServer
from tests.workers.fleet import Fleet, make_fleet
from tests.workers.running import Laboratory

__all__ = [
    "fleet_of", "lab", "laboratory", "mysql_lab", "mysql_pipeline", "newest", "pipeline",
    "with_pools",
]  # fmt: skip

MakeFleet = Callable[..., Fleet]
GENERATIONS = {"0.12": 12, "0.13": 13, "0.14": 0, "2.x": 2}


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
