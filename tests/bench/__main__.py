"""Run the benchmarks and print a table: what was measured, against what, the ratio, the goal."""

from __future__ import annotations

import sys
import tempfile
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
from tests.servers import running_server

# The tests' servers skip fsync; what is compared here does what a server in production does.
DURABLE = (
    "--innodb-flush-method=fsync",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-doublewrite=1",
    "--sync-binlog=1",
)


def main() -> None:
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results += bench_startup(folder)
        results += bench_aws(folder)
        results += bench_globus(folder)
        for flavour in ("mysql", "mariadb"):
            with running_server(flavour, folder / flavour, *DURABLE) as server:
                results += bench_accounts(server, folder / f"site-{flavour}")
                results += bench_jobs(server, folder / f"jobs-{flavour}")
                results += bench_figures(server, folder / f"figures-{flavour}")
        with running_engine() as engine, running_server("mariadb", folder / "fleet-db") as server:
            engine.import_base()
            results += bench_workers(server, engine, folder / "fleet")
    show(results)
    sys.exit(not all(result.reached for result in results))


main()
