"""`apply` and `audit` of many accounts, against a plain loop over the same kind of connection."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.result import Result
from tests.lab import Lab
from tests.servers import RunningServer, master_account

NEW = 1000

# Runs in a fresh interpreter: what an audit takes after start-up, and the memory of all of it.
_AUDIT = """
import json, resource, sys, time
from mapadmin.admin import Admin
from mapadmin.db.commands.audit import gather_facts
from mapadmin.db.commands.converge import survey
from mapadmin.db.database import open_database
from mapadmin.db.findings import find
database = open_database(Admin())
queries = []
ask = database.server.query
def counted(*args, **keywords):
    queries.append(args[0])
    return ask(*args, **keywords)
database.server.query = counted
begun = time.perf_counter()
found = survey(database)
findings = find(gather_facts(database))
seconds = time.perf_counter() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
counts = [len(found.plan.steps), len(database.tables.accounts)]
print(json.dumps([seconds, len(queries), peak, *counts]))
"""


def bench_accounts(server: RunningServer, folder: Path) -> list[Result]:
    user, password = master_account(server)
    lab = Lab(folder, server, user, password)
    results = [_bench_apply(lab)]
    results += _bench_audit(lab, 1000, seconds=0.5, megabytes=200)
    lab.write_people(_people(10_000))
    lab.ok("db", "apply", "--password-file", str(folder / "ten-thousand"))
    results += _bench_audit(lab, 10_000, seconds=4, megabytes=200)
    return results


def _people(count: int) -> str:
    return "".join(f'[people.p{n:05}]\nrole = "reader"\n' for n in range(count))


def _bench_apply(lab: Lab) -> Result:
    """The whole command, start-up included, against the plain loop's statements alone."""
    plain = _plain_loop(lab)
    lab.write_people(_people(NEW))
    begun = time.perf_counter()
    lab.ok("db", "apply", "--password-file", str(lab.folder / "thousand"))
    ours = time.perf_counter() - begun
    return Result(
        f"{lab.server.flavour}: apply of {NEW} new people", ours / plain, "x loop", 1.0,
        f"{ours:.2f} s against {plain:.2f} s",
    )  # fmt: skip


def _plain_loop(lab: Lab) -> float:
    """Seconds of CREATE USER and two GRANTs for each of the people, one after the other."""
    with lab.login(lab.user, lab.password) as connection, connection.cursor() as cursor:
        privileges = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER"
        begun = time.perf_counter()
        for n in range(NEW):
            cursor.execute(f"CREATE USER 'q{n}'@'%%' IDENTIFIED BY %s", (secrets.token_hex(12),))
            cursor.execute(f"GRANT {privileges} ON `q{n}\\_%`.* TO 'q{n}'@'%'")
            cursor.execute(f"GRANT SELECT, REFERENCES ON `map\\_%`.* TO 'q{n}'@'%'")
        taken = time.perf_counter() - begun
        for n in range(NEW):
            cursor.execute(f"DROP USER 'q{n}'@'%'")
    return taken


def _bench_audit(lab: Lab, count: int, *, seconds: float, megabytes: float) -> list[Result]:
    best: list[float] | None = None
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _AUDIT], capture_output=True, text=True, check=True,
            env=lab.environment,
        )  # fmt: skip
        measured = json.loads(done.stdout)
        best = measured if best is None else min(best, measured)
    assert best is not None
    taken, queries, peak, drift, accounts = best
    assert drift == 0
    assert accounts >= count
    name = f"{lab.server.flavour}: audit of {count} accounts"
    return [
        Result(name, taken, "s", seconds, "after start-up, best of 3"),
        Result(f"{name}, queries", queries, "queries", 10),
        Result(f"{name}, memory", peak, "MB", megabytes, "peak of the whole process"),
    ]
