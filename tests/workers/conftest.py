"""Fixtures for tests of `mapadmin workers`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.fixtures import lab, mysql_lab, mysql_pipeline, pipeline
from tests.workers.running import Laboratory

__all__ = [
    "lab",
    "laboratory",
    "mysql_lab",
    "mysql_pipeline",
    "newest",
    "pipeline",
    "with_pools",
]  # fmt: skip
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
