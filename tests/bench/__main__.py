"""Run the benchmarks and print a table: what was measured, against what, the ratio, the goal.

python -m tests.bench [PART ...]      all of them, or those that are named
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.accounts import bench_accounts
from tests.bench.aws import bench_aws
from tests.bench.figures import bench_figures
from tests.bench.globus import bench_globus
from tests.bench.jobs import bench_jobs
from tests.bench.result import Result, show
from tests.bench.startup import bench_startup
from tests.bench.workers import bench_workers
from tests.engine import running_engine
from tests.servers import RunningServer, running_server

# The tests' servers skip fsync, and have hardly any memory; what is compared here does what a
# server in production does, with the buffer pool of a small one: RDS gives it 3/4 of the memory.
DURABLE = (
    "--innodb-flush-method=fsync",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-doublewrite=1",
    "--sync-binlog=1",
    "--innodb-buffer-pool-size=512M",
)


def _workers(folder: Path) -> list[Result]:
    with running_engine() as engine, running_server("mariadb", folder / "fleet-db") as server:
        engine.import_base()
        return bench_workers(server, engine, folder / "fleet")


ALONE: dict[str, Callable[[Path], list[Result]]] = {
    "startup": bench_startup,
    "aws": bench_aws,
    "globus": bench_globus,
    "workers": _workers,
}
ON_A_SERVER: dict[str, Callable[[RunningServer, Path], list[Result]]] = {
    "accounts": bench_accounts,
    "jobs": bench_jobs,
    "figures": bench_figures,
}


def main() -> None:
    parts = sys.argv[1:] or [*ALONE, *ON_A_SERVER]
    if unknown := set(parts) - {*ALONE, *ON_A_SERVER}:
        sys.exit(f"no such part: {min(unknown)}; there are {', '.join([*ALONE, *ON_A_SERVER])}")
    reached = True
    with tempfile.TemporaryDirectory() as scratch:
        for results in measured(parts, Path(scratch)):
            show(results)  # at once: one that fails takes nothing with it
            reached = reached and all(result.reached for result in results)
    sys.exit(not reached)


def measured(parts: list[str], folder: Path) -> Iterator[list[Result]]:
    for part in [name for name in ALONE if name in parts]:
        yield ALONE[part](folder)
    wanted = [part for part in ON_A_SERVER if part in parts]
    for flavour in ("mysql", "mariadb") if wanted else ():
        with running_server(flavour, folder / flavour, *DURABLE) as server:
            for part in wanted:
                yield ON_A_SERVER[part](server, folder / f"{part}-{flavour}")


main()
