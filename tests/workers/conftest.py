"""Fixtures for tests of `mapadmin workers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.pipeline.environments import Pipeline
from tests.servers import RunningServer

MakePipeline = Callable[..., Pipeline]


@pytest.fixture
def lab(server: RunningServer, master: tuple[str, str], tmp_path: Path) -> Iterator[Lab]:
    """A site on each of the two servers, as good as new."""
    server.wipe()
    user, password = master
    yield Lab(tmp_path / "site", server, user, password, roles="")


@pytest.fixture
def pipeline(lab: Lab, tmp_path: Path) -> Iterator[MakePipeline]:
    """Makes pipelines on the lab's server; their workers end with the test."""
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
