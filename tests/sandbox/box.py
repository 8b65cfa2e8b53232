"""A sandbox under test: the installed command on a folder of the test's own."""

from __future__ import annotations

import os
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapadmin.sandbox.sandbox import Sandbox
from mapadmin.sandbox.server import PrivateServer
from mapadmin.sandbox.tables import SESSIONS, TRIALS, UNITS
from tests.lab import Ran
from tests.zygote import MAPADMIN

PEOPLE = ("alice", "bob", "carol", "webgui", "worker")
ROWS = {
    "map_lab.person": 3,
    "map_lab.subject": 4,
    "map_experiment.#task": 2,
    "map_experiment.session": SESSIONS,
    "map_experiment.session_trial": SESSIONS * TRIALS,
    "map_ephys.probe_insertion": SESSIONS,
    "map_ephys._unit": SESSIONS * UNITS,
    "map_ephys.__unit_stat": SESSIONS * UNITS,
    "map_publication.#globus_storage_location": 2,
    "map_publication.data_set": 2 * SESSIONS,
    "map_publication.data_set__physical_file": 3 * SESSIONS,
    "map_publication._archived_raw_ephys": SESSIONS,
    "map_publication._archived_tracking_video": SESSIONS,
    "alice_spikes.chosen_unit": SESSIONS,
}


@dataclass
class Box:
    """`prefix` stands before every command: to run it as somebody else."""

    folder: Path
    flavour: str
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def server(self) -> PrivateServer:
        return PrivateServer(self.folder / "database")

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start `mapadmin ARGS…` without waiting for it."""
        return subprocess.Popen(
            [*self.prefix, MAPADMIN, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONWARNINGS": "error",
                "XDG_STATE_HOME": str(self.folder.parent / "state"),
                **self.environment,
            },
        )

    def run(self, *args: str) -> Ran:
        """Run `mapadmin ARGS…` to its end."""
        with self.start(*args) as process:
            out, err = process.communicate(timeout=200)
        assert "Traceback" not in err, err
        return Ran(process.returncode, out, err)

    def ok(self, *args: str) -> Ran:
        """Run a command that must succeed."""
        ran = self.run(*args)
        assert ran.code == 0, f"{args}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def start_up(self) -> subprocess.Popen[str]:
        return self.start("sandbox", "up", str(self.folder), "--flavour", self.flavour)

    def up(self) -> Ran:
        return self.ok("sandbox", "up", str(self.folder), "--flavour", self.flavour)

    def down(self, *options: str) -> Ran:
        return self.ok("sandbox", "down", str(self.folder), *options)

    def status(self) -> Any:
        return self.run("sandbox", "status", str(self.folder), "--json").json

    def database(self) -> Any:
        """The status of the database part."""
        (part,) = [part for part in self.status()["parts"] if part["name"] == "database"]
        return part

    def sql(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """Run a statement as root; its rows."""
        with self.server.connect() as root, root.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def passwords(self) -> dict[str, str]:
        """The first passwords of people and services."""
        text = (self.site / "secrets" / "initial-passwords").read_text()
        pairs = (line.split("\t") for line in text.splitlines())
        return {account.partition("@")[0]: password for account, password in pairs}

    def secrets(self) -> list[str]:
        """Everything that must not be shown."""
        own = (self.site / "secrets" / "database-password").read_text().strip()
        return [self.server.root_password, own, *self.passwords().values()]

    def counts(self) -> dict[str, int]:
        """Rows of every table of the pipeline."""
        names = self.sql(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE (table_schema LIKE 'map\\_%' OR table_schema LIKE 'alice\\_%')"
            " AND table_name NOT LIKE '~%'"
        )
        return {
            f"{schema}.{table}": int(self.sql(f"SELECT COUNT(*) FROM `{schema}`.`{table}`")[0][0])
            for schema, table in names
        }

    def assert_whole(self) -> None:
        """Everything is there: server, site, accounts, passwords, rows."""
        status = self.status()
        assert status["up"], status
        assert self.database()["detail"].startswith(
            {"mysql": "MySQL", "mariadb": "MariaDB"}[self.flavour]
        )
        settings = tomllib.loads((self.site / "mapadmin.toml").read_text())
        assert settings["database"]["port"] == self.database()["port"]
        applied = self.ok("--site", str(self.site), "db", "apply")
        assert "Nothing to do." in applied.err
        assert set(self.passwords()) == set(PEOPLE)
        for user, password in self.passwords().items():
            self.server.connect(user, password).close()
        assert self.counts() == ROWS

    def processes(self) -> list[tuple[int, str]]:
        """What runs that has to do with this folder, but for zombies (no command line)."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = entry.joinpath("cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"{self.folder}/" in command:
                found.append((int(entry.name), command.replace("\0", " ")))
        return found


@contextmanager
def box(
    folder: Path, flavour: str, prefix: tuple[str, ...] = (), **environment: str
) -> Iterator[Box]:
    """A sandbox that is gone at the end, however the test ends."""
    new = Box(folder, flavour, prefix, environment)
    try:
        yield new
    finally:
        if new.prefix:
            new.down("--delete")
        else:
            Sandbox(folder).down(delete=True)


def kill_up_after(sandbox: Box, seconds: float) -> bool:
    """Start `up` and kill it after some time; False when it was done by then."""
    with sandbox.start_up() as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    assert process.returncode == 0
    return False


def kill_up_at_line(sandbox: Box, number: int, seconds: float) -> None:
    """Start `up` and kill it some time after it printed that line (from 1) of what it does."""
    with sandbox.start_up() as process:
        assert process.stderr is not None
        for _ in range(number):
            assert process.stderr.readline()
        time.sleep(seconds)
        process.kill()


def assert_nothing_runs(sandbox: Box) -> None:
    """Not even what a killed `up` had begun; it may take some seconds to notice."""
    deadline = time.monotonic() + 30
    while found := sandbox.processes():
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
