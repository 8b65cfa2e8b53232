"""Fixtures of sites with external stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cleanup.figures.lab import S3, FigureLab, Program, running_moto
from tests.lab import Lab
from tests.servers import RunningServer, master_account


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """moto's S3, a process of its own, for the whole session."""
    with running_moto(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The real DataJoint, for the whole session."""
    running = Program(tmp_path_factory.mktemp("program"))
    yield running
    running.close()


def make_lab(
    server: RunningServer, program: Program, folder: Path, s3: S3 | None = None
) -> FigureLab:
    """A site on a wiped server."""
    server.wipe()
    user, password = master_account(server)
    if s3 is not None:
        s3.client.create_bucket(Bucket=s3.bucket)
        for key in s3.list():
            s3.client.delete_object(Bucket=s3.bucket, Key=key)
        return FigureLab(
            Lab(folder / "site", server, user, password), program, folder, s3, {"grace_days": 1e-5}
        )
    return FigureLab(Lab(folder / "site", server, user, password), program, folder)


@pytest.fixture
def figures(server: RunningServer, program: Program, tmp_path: Path) -> FigureLab:
    """A store in a folder, on each of the two servers."""
    return make_lab(server, program, tmp_path)


@pytest.fixture
def on_mariadb(mariadb: RunningServer, program: Program, tmp_path: Path) -> FigureLab:
    """A store in a folder, for what does not depend on the server."""
    return make_lab(mariadb, program, tmp_path)


@pytest.fixture
def on_s3(mariadb: RunningServer, program: Program, tmp_path: Path, s3: S3) -> FigureLab:
    """A store in a bucket."""
    return make_lab(mariadb, program, tmp_path, s3)
