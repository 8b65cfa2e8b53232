"""Fixtures for tests of `mapadmin db`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.servers import RunningServer


@pytest.fixture
def lab(server: RunningServer, master: tuple[str, str], tmp_path: Path) -> Iterator[Lab]:
    """A site on each of the two servers, administered by an account like an RDS master user.

    The server is as good as new: what earlier tests made is taken away first.
    """
    server.wipe()
    user, password = master
    yield Lab(tmp_path / "site", server, user, password)
