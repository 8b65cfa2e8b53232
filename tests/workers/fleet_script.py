"""A pipeline's worker script for tests of whole fleets: computes what there is, and looks again.

    runner.py fleet_script.py SCHEMA LOG PAUSE

Knows nothing of mapadmin: account, server and TLS are DataJoint's own configuration. Each make()
writes a line when it begins and one when it ends, so that the test knows what really happened.
"""
# mypy: ignore-errors

import json
import os
import platform
import sys
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
sys.modules["matplotlib"] = None  # DataJoint does without, and starts faster

import datajoint as dj  # noqa: E402

SCHEMA, LOG, PAUSE = sys.argv[1], sys.argv[2], float(sys.argv[3])
dj.config["loglevel"] = "ERROR"
dj.config["database.reconnect"] = True

TROUBLE = Path(LOG).with_name("trouble")  # a test may want it
CRASH = TROUBLE.with_name(f"trouble-{platform.node()}")
if TROUBLE.exists():
    sys.exit(4)
schema = dj.Schema(SCHEMA)


def note(what, key):
    line = json.dumps([time.time(), what, key["session"], platform.node()]) + "\n"
    fd = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line.encode())
    os.close(fd)


@schema
class Session(dj.Manual):
    definition = """
    session : int
    ---
    seconds : float
    """


@schema
class Spikes(dj.Computed):
    definition = """
    -> Session
    ---
    made_by : varchar(64)
    """

    def make(self, key):
        seconds = float((Session & key).fetch1("seconds"))
        note("begin", key)
        time.sleep(seconds)
        self.insert1(dict(key, made_by=platform.node()))
        note("end", key)
        print("computed session", key["session"], flush=True)


if __name__ == "__main__":
    while True:
        Spikes.populate(reserve_jobs=True, suppress_errors=True, order="random")
        time.sleep(PAUSE)
        if CRASH.exists():
            CRASH.unlink()
            sys.exit(5)
