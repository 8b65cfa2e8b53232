"""Fixtures for tests of `mapadmin globus`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.globus.emulator import Emulator, running_emulator
from tests.globus.site import GlobusLab


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    """A Globus service of the test's own."""
    with running_emulator(tmp_path / "globus") as running:
        yield running


@pytest.fixture
def lab(emulator: Emulator, tmp_path: Path) -> GlobusLab:
    """A site on it, where the application logs in as itself, as for cron."""
    return GlobusLab(tmp_path / "site", emulator)
