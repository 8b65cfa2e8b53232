"""Unused files of an external store, found and removed: mapadmin beside datajoint 0.14 itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.result import Result
from tests.lab import ROLES, Lab
from tests.servers import RunningServer, master_account
from tests.zygote import MAPADMIN

TRACKED = 300_000
UNUSED = 30_000

# Runs in a fresh interpreter; everything that datajoint needs is imported before the clock starts.
_DATAJOINT = """
import json, os, resource, sys, time, warnings
warnings.simplefilter("ignore")
sys.modules["matplotlib"] = None
import datajoint as dj
lab = json.loads(os.environ["BENCH"])
dj.config["loglevel"] = "ERROR"
dj.config["stores"] = {"report_store": {
    "protocol": "file", "location": lab["store"], "stage": lab["stage"]}}
connection = dj.Connection(
    lab["host"], lab["user"], lab["password"], port=lab["port"], use_tls={"ca": lab["ca"]})
external = dj.Schema("map_bench", connection=connection).external["report_store"]
begun = time.perf_counter()
if sys.argv[1] == "list":
    done = len(external.unused().fetch_external_paths())
else:
    limit = int(sys.argv[2])
    assert external.delete(delete_external_files=True, display_progress=False, limit=limit) == []
    done = limit
taken = time.perf_counter() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([done, taken, peak]))
"""

_MAKE = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
sys.modules["matplotlib"] = None
import datajoint as dj
lab = json.loads(os.environ["BENCH"])
dj.config["loglevel"] = "ERROR"
dj.config["stores"] = {"report_store": {
    "protocol": "file", "location": lab["store"], "stage": lab["stage"]}}
connection = dj.Connection(
    lab["host"], lab["user"], lab["password"], port=lab["port"], use_tls={"ca": lab["ca"]})
schema = dj.Schema("map_bench", connection=connection)
@schema
class Figure(dj.Manual):
    definition = '''
    figure : int
    ---
    picture : filepath@report_store
    '''
@schema
class Other(dj.Manual):
    definition = '''
    figure : int
    ---
    picture : filepath@report_store
    '''
"""


def bench_figures(server: RunningServer, folder: Path) -> list[Result]:
    """A store of TRACKED files, of which UNUSED nobody uses. datajoint removes a tenth of them."""
    folder.mkdir()
    user, password = master_account(server)
    store = folder / "store"
    lab = Lab(folder / "site", server, user, password)
    lab.roles = ROLES + (
        f'\n[stores.report_store]\nprotocol = "file"\nlocation = {json.dumps(str(store))}\n'
        'settle = 0.0\n[cleanup]\nlegacy_command = ""\n'
    )
    lab.write_site()
    environment = {**os.environ, "DJ_SUPPORT_FILEPATH_MANAGEMENT": "TRUE", "BENCH": json.dumps({
        "host": server.host, "port": server.port, "user": user, "password": password,
        "ca": str(server.ca), "store": str(store), "stage": str(folder / "stage"),
    })}  # fmt: skip
    _fill(server, store, environment)

    theirs = [_datajoint(environment, "list") for _ in range(2)]
    ours = [_mapadmin(lab, "--dry-run") for _ in range(3)]
    listing, their_peak = min(each[1] for each in theirs), theirs[0][2]
    dry, peak = min(each[1] for each in ours), ours[0][2]
    assert theirs[0][0] == UNUSED
    assert ours[0][0] == UNUSED

    part = UNUSED // 10
    _, deletion, _ = _datajoint(environment, "delete", str(part))
    removed, taken, removal_peak = _mapadmin(lab)
    assert removed == UNUSED - part
    name = f"{server.flavour}: figures"
    rate, their_rate = removed / taken, part / deletion
    return [
        Result(
            f"{name}, find {UNUSED} unused of {TRACKED}", dry / listing, "x theirs", 1 / 3,
            f"{dry:.1f} s, start-up included, against {listing:.1f} s",
        ),
        Result(f"{name}, memory of that", peak, "MB", 64, f"against {their_peak:.0f} MB"),
        Result(
            f"{name}, remove them", their_rate / rate, "x theirs", 1 / 5,
            f"{rate:.0f} files a second (in {taken:.1f} s) against {their_rate:.0f}",
        ),
        Result(f"{name}, memory of that", removal_peak, "MB", 96),
    ]  # fmt: skip


def _fill(server: RunningServer, store: Path, environment: dict[str, str]) -> None:
    """Tables by datajoint, rows and files as it makes them, but much faster.

    No reference is NULL: with one, datajoint finds nothing unused at all.
    """
    store.mkdir()
    subprocess.run([sys.executable, "-c", _MAKE], env=environment, check=True)
    with server.root("map_bench") as connection, connection.cursor() as cursor:
        for start in range(0, TRACKED, 10_000):
            numbers = range(start, start + 10_000)
            cursor.execute(
                "INSERT INTO `~external_report_store`"
                " (hash, size, filepath, contents_hash, timestamp) VALUES "
                + ",".join(
                    f"(0x{_hash(n)}, 9, '{_path(n)}', 0x{_hash(n)}, '2024-01-01')" for n in numbers
                )
            )
            cursor.execute(
                "INSERT INTO figure (figure, picture) VALUES "
                + ",".join(f"({n}, 0x{_hash(n)})" for n in numbers if n % 10)
            )
        cursor.execute("INSERT INTO other SELECT figure, picture FROM figure LIMIT 1000")
        cursor.execute("ANALYZE TABLE figure, other, `~external_report_store`")
    for n in range(TRACKED):
        path = store / _path(n)
        if n < 1000:
            path.parent.mkdir()
        if n % 10 == 0:
            path.write_bytes(b"%09d" % n)
            os.utime(path, (1.7e9, 1.7e9))
        else:  # in use: nobody looks into it
            os.link(store / _path(n - n % 1000), path)


def _path(number: int) -> str:
    return f"session{number % 1000}/unit{number}.png"


def _hash(number: int) -> str:
    return hashlib.md5(_path(number).encode()).hexdigest()


def _datajoint(environment: dict[str, str], *args: str) -> tuple[int, float, float]:
    done = subprocess.run(
        [sys.executable, "-c", _DATAJOINT, *args],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    number, taken, peak = json.loads(done.stdout)
    return number, taken, peak


def _mapadmin(lab: Lab, *args: str) -> tuple[int, float, float]:
    """Items, seconds of the whole command, and its peak memory in MiB."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [MAPADMIN, "cleanup", "figures", *args, "--json"],
        stdout=subprocess.PIPE, env=lab.environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        answer = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    taken = time.perf_counter() - begun
    assert process.returncode == 0, answer
    return answer["parts"][0]["items"], taken, usage.ru_maxrss / 1024
