"""An AWS of the tests' own, one for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aws.cloud import AwsLab, Cloud, running_cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture
def lab(cloud: Cloud, tmp_path: Path) -> AwsLab:
    return AwsLab(tmp_path / "lab", cloud)
