"""Fixtures that every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mapadmin.core.errors import MapadminError
from tests.engine import Engine, running_engine
from tests.servers import RunningServer, master_account, running_server


def _session_server(flavour: str, factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that cannot be had is a failure, never a skip: too much would go untested."""
    try:
        with running_server(flavour, factory.mktemp(flavour)) as server:
            yield server
    except MapadminError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A MariaDB server for the whole session."""
    yield from _session_server("mariadb", tmp_path_factory)


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A MySQL server for the whole session."""
    yield from _session_server("mysql", tmp_path_factory)


@pytest.fixture(scope="session", params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> RunningServer:
    """Each of the two servers in turn."""
    running: RunningServer = request.getfixturevalue(request.param)
    return running


@pytest.fixture(scope="session")
def master(server: RunningServer) -> tuple[str, str]:
    """User and password of an account on `server` like the master user of an RDS instance."""
    return master_account(server)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine for the whole session, with no image in it."""
    try:
        with running_engine() as running:
            yield running
    except MapadminError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def base_engine(engine: Engine) -> Engine:
    """The same, with an image of Debian and Python."""
    engine.import_base()
    return engine
