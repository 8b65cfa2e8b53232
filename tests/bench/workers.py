"""`workers status` and a rolling restart, against what Docker itself does in the same run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.result import Result
from tests.engine import Engine
from tests.lab import MAPADMIN
from tests.servers import RunningServer
from tests.workers.fleet import Fleet, make_fleet
from tests.workers.running import wait_for

WORKERS = 4


def bench_workers(server: RunningServer, engine: Engine, folder: Path) -> list[Result]:
    """A site with idle workers."""
    fleet = make_fleet(folder, server, engine, kinds={"compute": WORKERS}, pause=600.0)
    try:
        fleet.ok("workers", "up")
        status = _status(fleet)
        return [status, _restart(fleet)]
    finally:
        fleet.remove()


def _status(fleet: Fleet) -> Result:
    client = [
        str(fleet.server.programs.client), "--no-defaults", f"--host={fleet.server.host}",
        f"--port={fleet.server.port}", f"--user={fleet.user}", f"--ssl-ca={fleet.server.ca}",
        "--execute=SELECT 1",
    ]  # fmt: skip
    commands = {
        "status": [MAPADMIN, "workers", "status", "--json"],
        "ps": ["docker", "compose", "--project-name", "lab-workers-g1", "ps", "--format", "json"],
        "client": client,
    }
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(7):
        for name, argv in commands.items():
            best[name] = min(best[name], _seconds(lambda argv=argv: _run(fleet, argv)))  # type: ignore[misc]
    peer = best["ps"] + best["client"]
    note = f"{best['status']:.2f} s; compose ps {best['ps']:.2f} s, a query {best['client']:.2f} s"
    return Result("workers status / (compose ps + a query)", best["status"] / peer, "x", 1.3, note)


def _restart(fleet: Fleet) -> Result:
    fleet.ok("workers", "stop")
    beats = fleet.folder / "state" / "workers" / "g1" / "beats"

    def one_after_the_other() -> None:
        for number in range(1, WORKERS + 1):
            beat = beats / f"compute-{number}.json"
            beat.unlink()
            fleet.engine.docker.run("start", f"lab-workers-g1-compute-{number}-1")
            wait_for("it", lambda beat=beat: beat.exists() and '"idle"' in beat.read_text())  # type: ignore[misc]

    each = _seconds(one_after_the_other)
    whole = _seconds(lambda: fleet.ok("workers", "restart"))
    return Result(
        f"workers restart of {WORKERS} idle, beyond starting each", whole - each, "s", 2.0,
        f"{whole:.1f} s; one after the other {each:.1f} s",
    )  # fmt: skip


def _run(fleet: Fleet, argv: list[str]) -> None:
    environment = {**fleet.environment, "MYSQL_PWD": fleet.password}
    subprocess.run(argv, check=True, capture_output=True, env=environment)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
