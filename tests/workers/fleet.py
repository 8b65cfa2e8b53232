"""A site with workers in real containers, a queue of jobs for them, and what became of each job."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sysconfig
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from tests.engine import BASE, Engine
from tests.lab import Lab
from tests.servers import RunningServer, master_account
from tests.workers.running import wait_for

SCRIPT = Path(__file__).with_name("fleet_script.py")
USER = 4711  # nobody in particular
SCHEMA = "map_fleet"
_WORKERS = """
[workers]
{image}
account = "worker"
password = "env:WORKER_PASSWORD"
user = "{user}:{user}"
network = "{network}"
environment = {{ PYTHONPATH = "/packages", HOME = "/work" }}
volumes = ["{packages}:/packages:ro", "{script}:/opt/script.py:ro", "{work}:/work"]
start_timeout = {start_timeout}
{more}
{kinds}
{extra}
"""
_KIND = """[workers.kinds.{name}]
command = {command}
count = {count}
"""


@dataclass
class Fleet(Lab):
    """`ok("workers", ...)` is what a person types."""

    engine: Engine = field(kw_only=True)
    kinds: dict[str, int] = field(default_factory=lambda: {"compute": 2})
    image: str = f'image = "{BASE}"'
    network: str = "host"
    pause: float = 1.0
    start_timeout: float = 60.0
    more: str = ""
    extra: str = ""
    commands: dict[str, list[str]] = field(default_factory=dict)
    worker_password: str = 'the workers\' own "$PASSWORD"'  # Compose must not read a variable

    def __post_init__(self) -> None:
        # Not pytest's folder, whose parents are for root only.
        self.work = Path(tempfile.mkdtemp(prefix="mapadmin-fleet-"))
        os.chown(self.work, USER, USER)
        (self.work / "log").touch()
        os.chown(self.work / "log", USER, USER)
        super().__post_init__()
        with self.server.root() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE USER worker@'%%' IDENTIFIED BY %s", (self.worker_password,))
            cursor.execute("GRANT ALL ON `map\\_%`.* TO worker@'%'")
            cursor.execute(f"CREATE DATABASE {SCHEMA}")
            cursor.execute(
                f"CREATE TABLE {SCHEMA}.session (session int PRIMARY KEY, seconds float)"
            )

    def write_site(self, **changes: object) -> None:
        kinds = "\n".join(
            _KIND.format(
                name=name, count=count, command=json.dumps(self.commands.get(name) or self.command)
            )
            for name, count in self.kinds.items()
        )
        self.roles = _WORKERS.format(
            image=self.image, user=USER, network=self.network, kinds=kinds, more=self.more,
            extra=self.extra,
            packages=sysconfig.get_path("purelib"), script=SCRIPT, work=self.work,
            start_timeout=self.start_timeout,
        )  # fmt: skip
        super().write_site(**changes)

    @property
    def command(self) -> list[str]:
        return ["/opt/script.py", SCHEMA, "/work/log", str(self.pause)]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **super().environment, **self.engine.environment,
            "WORKER_PASSWORD": self.worker_password,
        }  # fmt: skip

    def queue(self, sessions: dict[int, float]) -> None:
        """Sessions to be computed, each for so many seconds."""
        rows = ", ".join(f"({number}, {seconds})" for number, seconds in sessions.items())
        self.server.sql(f"INSERT INTO {SCHEMA}.session VALUES {rows}")

    def events(self) -> list[tuple[float, str, int, str]]:
        """When, what, which session, on which host."""
        lines = (self.work / "log").read_text().splitlines()
        return [(a, b, c, d) for a, b, c, d in map(json.loads, lines)]

    def happened(self) -> Counter[str]:
        return Counter(event[1] for event in self.events())

    def jobs(self) -> Counter[str]:
        """Rows of the job table by status."""
        if not self.server.sql(
            f"SELECT 1 FROM information_schema.tables WHERE table_schema = '{SCHEMA}'"
            " AND table_name = '~jobs'"
        ):
            return Counter()
        rows = self.server.sql(f"SELECT status, COUNT(*) FROM {SCHEMA}.`~jobs` GROUP BY status")
        return Counter({str(status): int(str(number)) for status, number in rows})

    def computed(self) -> int:
        ((number,),) = self.server.sql(f"SELECT COUNT(*) FROM {SCHEMA}.__spikes")
        return int(str(number))

    def status(self) -> Any:
        return json.loads(self.run("workers", "status", "--json").out)

    def containers(self) -> list[tuple[str, str]]:
        """Names and states, as the engine has them."""
        text = self.engine.docker.run("ps", "--all", "--format", "{{.Names}} {{.State}}")
        return sorted((line.split()[0], line.split()[1]) for line in text.splitlines())

    def lost(self) -> int:
        """Jobs that began and did not end."""
        return self.happened()["begin"] - self.happened()["end"]

    def twice(self) -> int:
        """Sessions that more than one make() began."""
        begun = Counter(event[2] for event in self.events() if event[1] == "begin")
        return sum(number > 1 for number in begun.values())

    def remove(self) -> None:
        """Every container, whatever state it is in."""
        ids = self.engine.docker.run("ps", "--all", "--quiet").split()
        if ids:
            self.engine.docker.run("rm", "--force", *ids)
        shutil.rmtree(self.work)


def make_fleet(folder: Path, server: RunningServer, engine: Engine, **more: Any) -> Fleet:
    """A site on a server without anything."""
    server.wipe()
    if left := engine.docker.run("ps", "--all", "--quiet").split():  # another test's, cut short
        engine.docker.run("rm", "--force", *left)
    user, password = master_account(server)
    return Fleet(folder, server, user, password, engine=engine, **more)


class Watcher:
    """How many containers run, and for how long there were too few of them."""

    def __init__(self, engine: Engine) -> None:
        self.process = subprocess.Popen(
            ["docker", "events", "--filter", "type=container", "--filter", "event=start",
             "--filter", "event=die", "--format", "{{.TimeNano}} {{.Action}}"],
            stdout=subprocess.PIPE, text=True, env=engine.environment,
        )  # fmt: skip
        self.running = len(engine.docker.run("ps", "--quiet").split())

    def stop(self, wanted: int) -> list[float]:
        """The lengths, in seconds, of the times when fewer than `wanted` ran."""
        self.process.terminate()
        out, _ = self.process.communicate(timeout=20)
        gaps, since = [], None
        for line in out.splitlines():
            nanoseconds, action = line.split()
            moment = int(nanoseconds) / 1e9
            self.running += 1 if action == "start" else -1
            if self.running < wanted and since is None:
                since = moment
            elif self.running >= wanted and since is not None:
                gaps.append(moment - since)
                since = None
        assert since is None, "there are still too few"
        return gaps


class Queue(threading.Thread):
    """Keeps so many sessions waiting, each of a random length, until it is stopped."""

    def __init__(self, fleet: Fleet, shortest: float, longest: float, waiting: int = 6) -> None:
        super().__init__(daemon=True)
        self.fleet = fleet
        self.range = (shortest, longest)
        self.waiting = waiting
        self.made = 0
        self.failure: Exception | None = None
        self._over = threading.Event()
        self._random = random.Random(1)

    def run(self) -> None:
        while not self._over.wait(0.3):
            missing = self.made - self.fleet.happened()["begin"]
            if missing < self.waiting:
                more = {
                    self.made + n: round(self._random.uniform(*self.range), 1)
                    for n in range(self.waiting)
                }
                try:
                    self.fleet.queue(more)
                except pymysql.Error as error:  # a database that is away, for one
                    self.failure = error
                    continue
                self.made += len(more)

    def stop(self) -> None:
        self._over.set()
        self.join(20)

    def finished(self, seconds: float) -> None:
        """Wait until all is computed that was queued."""
        self.stop()
        wait_for("all jobs", lambda: self.fleet.computed() == self.made, seconds)


def states(fleet: Fleet) -> dict[str, str]:
    """What the workers do, by their names."""
    return {one["worker"]: one["state"] for one in fleet.status()["workers"]}


def at_jobs(fleet: Fleet, number: int) -> None:
    """Wait until so many workers are at a job, by their own words."""
    wait_for("jobs", lambda: Counter(states(fleet).values())["busy"] >= number)
