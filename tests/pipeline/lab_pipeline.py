"""A pipeline as a laboratory writes one, for DataJoint 0.14 and 2.x; run as a program of its own.

    python lab_pipeline.py '{"do": "make", ...}'

`do` is `make` (declare the tables and fill them), `work` (compute until told to stop) or `tables`
(print what there is). The connection comes from LAB_PIPELINE, a JSON object, in the environment.
Standard library and DataJoint only: it runs in the environment of either version.
"""
# mypy: ignore-errors
# ruff: noqa: UP031, UP030

import json
import os
import platform
import sys
import time
import warnings

warnings.simplefilter("ignore")
sys.modules["matplotlib"] = None  # DataJoint does without, and starts faster

REQUEST = json.loads(sys.argv[1])
WHERE = json.loads(os.environ["LAB_PIPELINE"])

# A worker of another machine, or in a container, as far as the database can tell.
if REQUEST.get("host"):
    platform.node = lambda: REQUEST["host"]
if REQUEST.get("pid"):
    _real = os.getpid
    os.getpid = lambda: REQUEST["pid"]

import pymysql.connections  # noqa: E402

if REQUEST.get("named"):
    NAME = "mapadmin-worker:%s:%d" % (platform.node(), os.getpid())
    if REQUEST["named"] == "started":
        NAME += ":%f" % time.time()
    _init = pymysql.connections.Connection.__init__

    def _named(self, *args, **kwargs):
        kwargs["program_name"] = NAME
        _init(self, *args, **kwargs)

    pymysql.connections.Connection.__init__ = _named

import datajoint as dj  # noqa: E402

NEW = dj.__version__.startswith("2")


def connect():
    """A connection of this program's own: no configuration file is asked."""
    dj.config["loglevel"] = "ERROR"
    dj.config["database.reconnect"] = True
    dj.config["safemode"] = False
    tls = {"ca": WHERE["ca"]}
    return dj.Connection(
        WHERE["host"], WHERE["user"], WHERE["password"], port=WHERE["port"], use_tls=tls
    )


def declare(connection, create=True):
    """The tables of the schema that was asked for."""
    schema = dj.Schema(REQUEST["schema"], connection=connection, create_tables=create)
    kind = "int32" if NEW else "int"

    @schema
    class Session(dj.Manual):
        definition = """
        session : {0}
        ---
        seconds : float{1}
        trouble : varchar(255)
        """.format(kind, "64" if NEW else "")

    @schema
    class Spikes(dj.Computed):
        definition = """
        -> Session
        ---
        made_by : varchar(255)
        """

        def make(self, key):
            row = (Session & key).fetch1()
            note("begin", key)
            time.sleep(row["seconds"])
            if row["trouble"]:
                note("fail", key)
                raise ValueError(row["trouble"])
            self.insert1(dict(key, made_by="%s:%d" % (platform.node(), os.getpid())))
            note("end", key)

    @schema
    class SpikeReport(dj.Computed):
        definition = f"""
        -> Spikes
        ---
        pages : {kind}
        """

        def make(self, key):
            self.insert1(dict(key, pages=3))

    return schema, Session, Spikes, SpikeReport


def note(what, key):
    """One line of the log that tells the test what really happened."""
    if REQUEST.get("log"):
        line = json.dumps([time.time(), what, key["session"], platform.node(), os.getpid()]) + "\n"
        fd = os.open(REQUEST["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line.encode())
        os.close(fd)


def make():
    """Sessions from `sessions`: a list of [number, seconds, trouble]."""
    _, sessions, spikes, reports = declare(connect())
    sessions().insert([tuple(row) for row in REQUEST.get("sessions", [])], skip_duplicates=True)
    if REQUEST.get("populate"):
        spikes().populate(reserve_jobs=True, suppress_errors=True)
    if REQUEST.get("reports"):
        reports().populate()


def work():
    """Compute for ever: what kills this program is the test."""
    connection = connect()
    spikes = declare(connection)[2]
    if REQUEST.get("heartbeat"):
        heart = pymysql.connect(
            host=WHERE["host"],
            port=WHERE["port"],
            user=WHERE["user"],
            password=WHERE["password"],
            ssl={"ca": WHERE["ca"]},
        )
        assert heart.open
    print("ready", flush=True)
    while True:
        try:
            spikes().populate(reserve_jobs=True, suppress_errors=True, **REQUEST.get("options", {}))
        except Exception as error:
            if not REQUEST.get("hardy"):
                raise
            note("lost", {"session": -1})
            sys.stderr.write("%s\n" % error)
            connection = connect()
            spikes = declare(connection)[2]
        if REQUEST.get("once"):
            return
        time.sleep(0.2)


if __name__ == "__main__":
    {"make": make, "work": work}[REQUEST["do"]]()
