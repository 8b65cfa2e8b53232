"""One hub for all tests; each begins with no server running and no notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyterhub.hub import HubLab, RunningHub, allow, running_hub

USERS = ["alice", "bob", "boss", "unlucky", "spy", *(f"crowd{number:03}" for number in range(250))]


@pytest.fixture(scope="session")
def whole_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """With more users than JupyterHub gives at once."""
    with running_hub(tmp_path_factory.mktemp("jupyterhub") / "hub", USERS) as hub:
        yield hub


@pytest.fixture
def hub(whole_hub: RunningHub) -> Iterator[RunningHub]:
    yield whole_hub
    whole_hub.stop_all()
    (whole_hub.shared / "notice.json").unlink(missing_ok=True)
    allow(whole_hub.shared, USERS)


@pytest.fixture
def lab(hub: RunningHub, tmp_path: Path) -> HubLab:
    return HubLab(tmp_path / "site", hub)
