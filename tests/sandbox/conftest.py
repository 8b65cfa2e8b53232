"""Sandboxes for the tests: making one takes seconds, copying one that was made does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sandbox.box import Box, box


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a sandbox of a flavour, made once and stopped: to be copied."""
    folders: dict[str, Path] = {}

    def make(flavour: str) -> Path:
        if flavour not in folders:
            new = Box(tmp_path_factory.mktemp(flavour) / "box", flavour)
            new.up()
            new.down()
            folders[flavour] = new.folder
        return folders[flavour]

    return make


@pytest.fixture(params=["mariadb", "mysql"])
def ready(
    request: pytest.FixtureRequest, tmp_path: Path, made: Callable[[str], Path]
) -> Iterator[Box]:
    """A sandbox that was made, moved to another place, and is up; each flavour in turn."""
    yield from _ready(request.param, tmp_path, made)


@pytest.fixture
def mariadb_box(tmp_path: Path, made: Callable[[str], Path]) -> Iterator[Box]:
    """Likewise, for what has nothing to do with the flavour."""
    yield from _ready("mariadb", tmp_path, made)


def _ready(flavour: str, tmp_path: Path, made: Callable[[str], Path]) -> Iterator[Box]:
    shutil.copytree(made(flavour), tmp_path / "box")
    with box(tmp_path / "box", flavour) as copy:
        copy.up()
        yield copy


@pytest.fixture(params=["mariadb", "mysql"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Box]:
    """No sandbox yet. Its path is odd, and longer than the 108 bytes that a socket's may have."""
    with box(
        tmp_path / ("deep" * 20) / 'it\'s "größer" $HOME %s' / ("er" * 30), request.param
    ) as new:
        yield new
