"""Starts the runner as a worker's container does, and tells what became of its jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pymysql

from mapadmin.core.secret import Secret
from mapadmin.db.server import connect
from mapadmin.pipeline.inventory import take_inventory
from mapadmin.pipeline.layout import Layout
from mapadmin.pipeline.liveness import Verdict, judge, read_reservations, uptime
from mapadmin.pipeline.threads import read_threads, worker_name
from mapadmin.site import DatabaseSettings
from mapadmin.workers import runner
from tests.pipeline.environments import python_of
from tests.servers import RunningServer

SCRIPT = Path(__file__).with_name("worker_script.py")
RUNNER = Path(str(runner.__file__))
_T = TypeVar("_T")


def wait_for(what: str, look: Callable[[], _T], seconds: float = 90) -> _T:
    """The first answer that is true; the machine may be busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@dataclass
class Worker:
    """A process of the runner, and where it leaves its traces."""

    process: subprocess.Popen[str]
    beat: Path
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def heartbeat(self) -> dict[str, Any]:
        """What it says it does; empty as long as it has said nothing."""
        try:
            beat: dict[str, Any] = json.loads(self.beat.read_text())
        except FileNotFoundError:
            return {}
        return beat

    def beat_when(self, what: str, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first heartbeat of which this is true."""
        found: dict[str, Any] = {}

        def look() -> bool:
            found.update(self.heartbeat())
            return bool(found) and good(found)

        wait_for(what, look)
        return found

    def events(self) -> list[tuple[str, int, int]]:
        """What happened, the session, and the process."""
        if not self.log.exists():
            return []
        return [(a, b, c) for a, b, c in map(json.loads, self.log.read_text().splitlines())]

    def saw(self, what: str, count: int = 1) -> None:
        """Wait until this has happened so often."""

        def happened() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            return [event[0] for event in self.events()].count(what) >= count

        wait_for(what, happened)

    def drain(self, number: int = signal.SIGUSR1) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = 60) -> int:
        """Its exit code."""
        out, err = self.process.communicate(timeout=seconds)
        assert "Traceback" not in err, out + err
        return self.process.returncode


@dataclass
class Laboratory:
    """One schema, for one DataJoint, on one server."""

    server: RunningServer
    folder: Path
    generation: int
    user: str = "worker"
    password: str = 'worker\'s own, with "quotes"'
    schema: str = "map_runner"
    sessions: list[tuple[int, float]] = field(default_factory=list)
    running: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.wipe()
        with self.server.root() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE USER %s@'%%' IDENTIFIED BY %s", (self.user, self.password))
            cursor.execute(f"GRANT ALL ON `map\\_%`.* TO '{self.user}'@'%'")
        self.folder.mkdir(exist_ok=True)
        self.secret = self.folder / "secret.json"
        self.secret.write_text(json.dumps({"user": self.user, "password": self.password}))
        self.secret.chmod(0o600)
        where = {"host": self.server.host, "port": self.server.port}
        flat = {f"database.{key}": value for key, value in where.items()}
        (self.folder / "dj_local_conf.json").write_text(json.dumps(flat))
        tls = {"ca": str(self.server.ca)}
        (self.folder / "datajoint.json").write_text(
            json.dumps({"database": {**where, "use_tls": tls}})
        )

    def start(self, do: str = "loop", *before: str, **request: Any) -> Worker:
        """A worker; `before` stands before its Python."""
        number = len(self.running)
        beat, log = self.folder / f"beat-{number}.json", self.folder / f"log-{number}"
        request = {
            "do": do, "schema": self.schema, "sessions": self.sessions, "log": str(log),
            "ca": str(self.server.ca), **request,
        }  # fmt: skip
        argv = [
            *before, python_of(self.generation), "-P", str(RUNNER), "--secret", str(self.secret),
            "--heartbeat", str(beat), str(SCRIPT), json.dumps(request),
        ]  # fmt: skip
        process = subprocess.Popen(
            argv, cwd=self.folder, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            start_new_session=True,
        )  # fmt: skip
        self.running.append(Worker(process, beat, log))
        return self.running[-1]

    def jobs(self) -> Counter[str]:
        """Rows of the job tables, by their status; those of jobs that were done do not count."""
        found: Counter[str] = Counter()
        tables = self.server.sql(
            "SELECT table_name FROM information_schema.tables"
            f" WHERE table_schema = '{self.schema}' AND table_name LIKE '~%jobs'"
            f" OR table_schema = '{self.schema}' AND table_name LIKE '~~%'"
        )
        for (table,) in tables:
            for status, count in self.server.sql(
                f"SELECT status, COUNT(*) FROM `{self.schema}`.`{table}`"
                " WHERE status IN ('reserved', 'error') GROUP BY status"
            ):
                found[str(status)] += int(str(count))
        return found

    def rows(self, table: str = "__spikes") -> int:
        ((count,),) = self.server.sql(f"SELECT COUNT(*) FROM `{self.schema}`.`{table}`")
        return int(str(count))

    def stop(self) -> None:
        """Kill what still runs, its children as well."""
        for worker in self.running:
            if worker.process.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.process.communicate()


def account_sees(server: RunningServer) -> dict[int, str]:
    """The program names of all sessions."""
    try:
        rows = server.sql(
            "SELECT PROCESSLIST_ID, ATTR_VALUE FROM performance_schema.session_connect_attrs"
            " WHERE ATTR_NAME = 'program_name'"
        )
    except pymysql.Error as error:  # says more than a bare number
        raise AssertionError(str(error)) from None
    return {
        int(str(number)): value.decode() if isinstance(value, bytes) else str(value)
        for number, value in rows
    }


def sessions_of(laboratory: Laboratory, worker: Worker) -> dict[int, str]:
    """The numbers of a worker's named sessions, and their names."""
    return {
        number: text
        for number, text in account_sees(laboratory.server).items()
        if (name := worker_name(text)) and name.pid == worker.pid
    }


def verdicts(laboratory: Laboratory) -> list[Verdict]:
    """What `mapadmin cleanup jobs` would say of each reservation, were it on another machine."""
    server = laboratory.server
    settings = DatabaseSettings(
        host=server.host, port=server.port, user="root", password="env:NONE", ca=str(server.ca),
        project_prefix="map",
    )  # fmt: skip
    with closing(connect(settings, Secret(server.root_password), laboratory.folder)) as there:
        own = take_inventory(there, [laboratory.schema])
        jobs = [job for one in own.jobs for job in read_reservations(there, Layout(one), grace=0)]
        threads = read_threads(there)
        return [judge(job, threads, [], uptime=uptime(there)) for job in jobs]


def counted(*workers: Worker) -> Counter[str]:
    return Counter(event for worker in workers for event, _, _ in worker.events())


def all_is_well(laboratory: Laboratory, *workers: Worker) -> Counter[str]:
    """Every make() that began also ended, and no row was left; what happened how often."""
    events = counted(*workers)
    assert events["begin"] == events["end"], events
    assert events["begin inner"] == events["end inner"], events
    assert laboratory.jobs() == Counter()
    return events
