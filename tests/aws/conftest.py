"""An AWS of the tests' own, one for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mapadmin.aws.calls import ALL
from tests.aws.cloud import AwsLab, Cloud, running_cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The emulator. At its end, every call that any test had mapadmin make must be in the table
    that `aws policy` is made from.
    """
    with running_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running
        made = set(running.calls_file.read_text().split("\n")) - {""}
        assert made, "no call was recorded"
        assert made <= {f"{call.service} {call.operation}" for call in ALL}


@pytest.fixture
def lab(cloud: Cloud, tmp_path: Path) -> AwsLab:
    return AwsLab(tmp_path / "lab", cloud)
