"""Fixtures of sites with pipelines on them, for the conftest of whoever needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.pipeline.environments import Pipeline
from tests.servers import RunningServer, master_account

MakePipeline = Callable[..., Pipeline]

# What does not depend on the server is tried on one: DataJoint takes its time to start.
ON_MARIADB = pytest.mark.parametrize("server", ["mariadb"], indirect=True, scope="session")


@pytest.fixture
def lab(server: RunningServer, master: tuple[str, str], tmp_path: Path) -> Lab:
    """A site on each of the two servers, as good as new."""
    server.wipe()
    return Lab(tmp_path / "site", server, *master, roles="")


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
