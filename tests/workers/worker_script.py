"""What a pipeline's worker script looks like, in the ways that a runner has to live with.

    runner.py worker_script.py '{"schema": ..., "do": "loop", ...}'

Knows nothing of the runner. The connection comes from DataJoint's own configuration. A job writes
a line when its make() begins and one when it ends, so that the test knows what really happened.
"""
# mypy: ignore-errors
# ruff: noqa: UP032

import json
import multiprocessing
import os
import sys
import time
import warnings

warnings.simplefilter("ignore")
sys.modules["matplotlib"] = None  # DataJoint does without, and starts faster

REQUEST = json.loads(sys.argv[1])

import datajoint as dj  # noqa: E402

NEW = dj.__version__.startswith("2")
INT, FLOAT = ("int32", "float64") if NEW else ("int", "float")
dj.config["loglevel"] = "ERROR"
dj.config["database.reconnect"] = True
dj.config["safemode"] = False


def note(what, key=None):
    """One line of the log."""
    line = json.dumps([what, (key or {}).get("session", -1), os.getpid()]) + "\n"
    fd = os.open(REQUEST["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line.encode())
    os.close(fd)


def connection():
    """As the configuration says; 0.12 to 0.14 take TLS's settings as an argument only."""
    return dj.conn() if NEW else dj.conn(use_tls={"ca": REQUEST["ca"]})


schema = (getattr(dj, "Schema", None) or dj.schema)(REQUEST["schema"], connection=connection())


@schema
class Session(dj.Manual):
    definition = """
    session : {}
    ---
    seconds : {}
    """.format(INT, FLOAT)


@schema
class Inner(dj.Computed):
    definition = """
    -> Session
    """

    def make(self, key):
        note("begin inner", key)
        self.insert1(key)
        note("end inner", key)


@schema
class Spikes(dj.Computed):
    definition = """
    -> Session
    ---
    made_by : {}
    """.format(INT)

    def make(self, key):
        seconds = float((Session & key).fetch1("seconds"))
        if seconds < 0:
            time.sleep(1)
            raise ValueError("this session is broken")
        note("begin", key)
        if REQUEST.get("forks"):  # computes on several cores, as spike sorters do
            with multiprocessing.Pool(2) as pool:
                pool.map(abs, range(10))
        end = time.time() + seconds
        while time.time() < end:
            time.sleep(0.05)
        self.insert1(dict(key, made_by=os.getpid()))
        note("end", key)


@schema
class Outer(dj.Computed):
    """Computes another table within its own job, in a transaction that is not DataJoint's."""

    definition = """
    -> Session
    """

    def make(self, key):
        note("begin", key)
        time.sleep(1)
        self.connection.cancel_transaction()
        Inner().populate(key, **REQUEST.get("inner", {}))
        self.connection.start_transaction()
        assert len(Inner & key) == 1, "the inner job was not done"
        self.insert1(key)
        note("end", key)


class Swallowing:
    """A script whose author never wants to see an error again."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _traceback):
        if kind is not None:
            note("swallowed " + kind.__name__)
        return REQUEST["do"] == "swallow"


def populate():
    table = Outer if REQUEST.get("nested") else Spikes
    options = {"reserve_jobs": True, "suppress_errors": True}
    options.update(REQUEST.get("options", {}))
    table().populate(**options)


def main():
    Session().insert(
        [(number, seconds) for number, seconds in REQUEST["sessions"]], skip_duplicates=True
    )
    note("ready")
    if REQUEST["do"] == "fail":
        raise ValueError("the pipeline is broken")
    if REQUEST["do"] == "exit":
        sys.exit(REQUEST["code"])
    while True:
        with Swallowing():
            populate()
            note("populated")
            if REQUEST["do"] == "once":
                return
            time.sleep(REQUEST.get("pause", 600))


if __name__ == "__main__":
    main()
