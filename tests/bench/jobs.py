"""Job tables at scale: a look at a million jobs, the inventory of 200 schemas, clearing 100,000."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from pymysql.err import MySQLError

from tests.bench.result import Result
from tests.lab import Lab
from tests.servers import RunningServer, master_account

SCHEMAS = 200
JOBS = 1_000_000
ERRORS = 100_000

# As DataJoint 0.14 and 2.x make them; filled by SQL, which a worker would take a day for.
_OLD = """CREATE TABLE {name} (table_name varchar(255) NOT NULL, key_hash char(32) NOT NULL,
status enum('reserved','error','ignore') NOT NULL, `key` blob, error_message
varchar(2047) NOT NULL DEFAULT '', error_stack mediumblob, user varchar(255) NOT
NULL DEFAULT '', host varchar(255) NOT NULL DEFAULT '', pid int unsigned NOT NULL
DEFAULT '0', connection_id bigint unsigned NOT NULL DEFAULT '0', timestamp timestamp
NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (table_name, key_hash))"""
_NEW = """CREATE TABLE {name} (session int NOT NULL PRIMARY KEY, status
enum('pending','reserved','success','error','ignore') NOT NULL, priority tinyint NOT
NULL, created_time datetime(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), scheduled_time
datetime(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), reserved_time datetime(3),
completed_time datetime(3), duration double, error_message varchar(2047) NOT NULL
DEFAULT '', error_stack longblob, user varchar(255) NOT NULL DEFAULT '', host
varchar(255) NOT NULL DEFAULT '', pid int NOT NULL DEFAULT '0', connection_id bigint
NOT NULL DEFAULT '0', version varchar(64) NOT NULL DEFAULT '', INDEX (status,
priority, scheduled_time))"""
_STORE = """CREATE TABLE {name} (hash binary(16) PRIMARY KEY, size bigint unsigned NOT NULL,
attachment_name varchar(255), filepath varchar(1000), contents_hash binary(16),
timestamp timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)"""

# In a fresh interpreter: what comes after start-up.
_LOOK = """
import json, time
from mapadmin.admin import Admin
from mapadmin.db.database import open_database
from mapadmin.pipeline.inventory import project_schemas, take_inventory
from mapadmin.pipeline.jobs import count_jobs
admin = Admin()
server = open_database(admin).server
ask, queries = server.query, []
server.query = lambda *args: (queries.append(args[0]), ask(*args))[1]
begun = time.perf_counter()
inventory = take_inventory(server, project_schemas(admin.site))
seconds, number = time.perf_counter() - begun, len(queries)
begun = time.perf_counter()
counted = count_jobs(server, inventory)
looked = time.perf_counter() - begun + seconds
jobs = sum(one.reserved + one.error + one.pending for one in counted.jobs)
print(json.dumps([seconds, number, looked, jobs, len(inventory.tables)]))
"""


def bench_jobs(server: RunningServer, folder: Path) -> list[Result]:
    """A site with all of this, on one of the two servers."""
    server.wipe()
    lab = Lab(folder, server, *master_account(server), roles="")
    _fill(lab)
    best = min((_look(lab) for _ in range(3)), key=lambda one: one[2])
    seconds, queries, looked, jobs, tables = best
    assert (jobs, tables) == (JOBS, 5 * SCHEMAS)
    name = server.flavour
    results = [
        Result(f"{name}: inventory of {SCHEMAS} schemas, queries", queries, "queries", 3,
               f"{tables:.0f} tables, {seconds:.2f} s"),
        Result(f"{name}: workers jobs over {JOBS:,} rows", looked, "s", 2.0,
               "after start-up, best of 3"),
    ]  # fmt: skip
    return [*results, *_clear(lab)]


def _fill(lab: Lab) -> None:
    with lab.server.root() as connection, connection.cursor() as cursor:
        cursor.execute("SET unique_checks = 0, foreign_key_checks = 0")
        for number in range(SCHEMAS):
            cursor.execute(f"CREATE DATABASE map_s{number:03}")
            for name, text in (
                ("~jobs", _OLD), ("~~spikes", _NEW), ("~~report", _NEW), ("~external_a", _STORE),
                ("~external_b", _STORE),
            ):  # fmt: skip
                cursor.execute(text.format(name=f"map_s{number:03}.`{name}`"))
        digits = "(SELECT 0 n" + "".join(f" UNION ALL SELECT {n}" for n in range(1, 10)) + ")"
        cursor.execute("CREATE TABLE map_s000.numbers (n int PRIMARY KEY)")
        cursor.execute(
            "INSERT INTO map_s000.numbers SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n +"
            f" 10000 * e.n + 100000 * f.n FROM {digits} a, {digits} b, {digits} c, {digits} d,"
            f" {digits} e, {digits} f"
        )
        # Half of the jobs in one schema, in 20 tables; the rest over all, in both layouts.
        cursor.execute(
            "INSERT INTO map_s000.`~jobs` (table_name, key_hash, status, `key`, error_message,"
            " user, host, pid, connection_id) SELECT CONCAT('__table', n DIV 25000),"
            " LPAD(HEX(n), 32, '0'), IF(n % 5 = 0, 'error', 'reserved'), REPEAT('k', 60),"
            " IF(n % 5 = 0, CONCAT('ValueError: unit ', n, ' is not what it should be'), ''),"
            f" 'worker@10.0.0.5', 'node-a', n, n FROM map_s000.numbers WHERE n < {JOBS // 2}"
        )
        each = JOBS // 2 // SCHEMAS
        for number in range(SCHEMAS):
            cursor.execute(
                f"INSERT INTO map_s{number:03}.`~~spikes` (session, status, priority, user, host)"
                f" SELECT n, IF(n % 9 = 0, 'reserved', 'pending'), 5, 'w@h', 'node-a'"
                f" FROM map_s000.numbers WHERE n < {each}"
            )
        connection.commit()


def _look(lab: Lab) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True,
        env=lab.environment,
    )  # fmt: skip
    found: list[float] = json.loads(done.stdout)
    return found


def _clear(lab: Lab) -> list[Result]:
    """`workers retry` of 100,000 failed jobs, while somebody else writes to the same rows."""
    waits: list[float] = []
    over = threading.Event()

    def touch() -> None:
        with lab.server.root() as connection, connection.cursor() as cursor:
            number = 0
            while not over.is_set():
                number = (number + 7919 * 5) % (JOBS // 2)
                begun = time.perf_counter()
                try:
                    cursor.execute(
                        "UPDATE map_s000.`~jobs` SET pid = pid WHERE table_name = %s"
                        " AND key_hash = %s",
                        (f"__table{number // 25000}", f"{number:032X}"),
                    )
                except MySQLError:
                    waits.append(float("inf"))
                waits.append(time.perf_counter() - begun)

    toucher = threading.Thread(target=touch)
    toucher.start()
    begun = time.perf_counter()
    lab.ok("workers", "retry", "--all")
    seconds = time.perf_counter() - begun
    over.set()
    toucher.join()
    ((left,),) = lab.server.sql("SELECT COUNT(*) FROM map_s000.`~jobs` WHERE status = 'error'")
    ((kept,),) = lab.server.sql("SELECT COUNT(*) FROM mapadmin.cleared_job")
    assert (left, kept) == (0, ERRORS)
    what = f"{lab.server.flavour}: clearing {ERRORS:,} failed jobs"
    return [
        Result(f"{what}, longest wait", max(waits), "s", 1.0,
               f"of {len(waits)} updates of the same rows; {seconds:.1f} s in all"),
    ]  # fmt: skip
