"""Job tables and their rows, as DataJoint 0.14 makes them, for what needs no worker."""

from __future__ import annotations

import hashlib

from tests.lab import Lab

NOBODY = 4_000_000_000  # a connection id and a process number that nobody has

# As `SHOW CREATE TABLE` gives it for a table that DataJoint 0.14.10 has made.
_TABLE = """CREATE TABLE {schema}.`~jobs` (
  `table_name` varchar(255) NOT NULL, `key_hash` char(32) NOT NULL,
  `status` enum('reserved','error','ignore') NOT NULL, `key` blob, `error_message` varchar(2047)
  NOT NULL DEFAULT '', `error_stack` mediumblob, `user` varchar(255) NOT NULL DEFAULT '',
  `host` varchar(255) NOT NULL DEFAULT '', `pid` int unsigned NOT NULL DEFAULT '0',
  `connection_id` bigint unsigned NOT NULL DEFAULT '0',
  `timestamp` timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (`table_name`,`key_hash`)) ENGINE=InnoDB"""


def job_table(lab: Lab, schema: str) -> None:
    """A schema with an empty job table."""
    lab.server.sql(f"CREATE DATABASE {schema}", _TABLE.format(schema=schema))


def fill(
    lab: Lab, schema: str, status: str, number: int, *, message: str = "", age: int = 3600,
    table: str = "__spikes", first: int = 0,
) -> None:  # fmt: skip
    """Rows of a worker that is not there, `age` seconds old."""
    values = [
        f"('{table}', '{_hash(status, n)}', '{status}', '{message}', 'worker@10.0.0.5', 'node-z',"
        f" {NOBODY}, {NOBODY}, NOW() - INTERVAL {age} SECOND)"
        for n in range(first, first + number)
    ]
    for start in range(0, number, 10_000):
        some = ",".join(values[start : start + 10_000])
        lab.server.sql(
            f"INSERT INTO {schema}.`~jobs` (table_name, key_hash, status, error_message, user,"
            f" host, pid, connection_id, timestamp) VALUES {some}"
        )


def reserve(lab: Lab, schema: str, number: int, *, age: int = 3600) -> None:
    """Reservations of a dead worker."""
    fill(lab, schema, "reserved", number, age=age)


def jobs_left(lab: Lab, schema: str, status: str = "reserved") -> int:
    """How many jobs are in this state."""
    sql = f"SELECT COUNT(*) FROM {schema}.`~jobs` WHERE status = '{status}'"
    return int(str(lab.server.sql(sql)[0][0]))


def copies(lab: Lab, reason: str) -> list[str]:
    """The key hashes of the copies that were kept, sorted."""
    sql = f"SELECT key_hash FROM mapadmin.cleared_job WHERE reason = '{reason}' ORDER BY 1"
    return [str(row[0]) for row in lab.server.sql(sql)]


def _hash(status: str, number: int) -> str:
    """Not by the server: MySQL 9 has MD5 as an add-on only."""
    return hashlib.md5(f"{status}{number}".encode()).hexdigest()
