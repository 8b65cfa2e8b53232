"""A pipeline with figures in external stores, by the real DataJoint 0.14: run as a program.

It reads requests, JSON objects `{"do": "make", ...}`, a line each, and has each carried out by a
child that it forks, since importing DataJoint takes seconds. `do` is `make` (tables, and figures
numbered `first` to `last`), `delete` (figures by number), `work` (make, delete and make again until
the time is up) or `check` (read every figure back from its store). `lab` is where everything is.
"""
# mypy: ignore-errors
# ruff: noqa: SIM115, BLE001, PLW0603

import json
import os
import random
import sys
import tempfile
import time
import traceback
import uuid
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
sys.modules["matplotlib"] = None  # DataJoint does without, and starts faster
os.environ["DJ_SUPPORT_FILEPATH_MANAGEMENT"] = "TRUE"

import datajoint as dj  # noqa: E402
from datajoint.errors import DataJointError  # noqa: E402


def serve():
    """Answer each request with its exit code and what it printed; `"wait": false` with its pid."""
    for line in sys.stdin:
        request = json.loads(line)
        out = tempfile.TemporaryFile("w+")
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            code = 0
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno() if not request.get("out") else
                        os.open(request["out"], os.O_WRONLY | os.O_CREAT), 1)  # fmt: skip
                carry_out(request)
                sys.stdout.flush()
            except BaseException:
                code = 1
                print(traceback.format_exc(), flush=True)
            os._exit(code)
        if request.get("out"):
            print(json.dumps({"pid": pid}), flush=True)
            continue
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        print(json.dumps({"code": status, "out": out.read()}), flush=True)


def carry_out(request):
    global REQUEST, LAB, STAGE, connection, schema
    REQUEST, LAB = request, request["lab"]
    STAGE = Path(LAB["stage"])
    dj.config["loglevel"] = "ERROR"
    dj.config["safemode"] = False
    dj.config["stores"] = LAB["stores"]
    connection = dj.Connection(
        LAB["host"], LAB["user"], LAB["password"], port=LAB["port"], use_tls={"ca": LAB["ca"]}
    )
    schema = dj.Schema(REQUEST.get("schema", "map_v2"), connection=connection)
    declare(REQUEST.get("store", "report_store"))
    {"make": make, "delete": delete, "work": work, "check": check}[REQUEST["do"]]()


def declare(store):
    global Figure, Trace, Extra

    @schema
    class Figure(dj.Manual):
        definition = f"""
        figure : int
        ---
        picture : filepath@{store}
        """

    @schema
    class Trace(dj.Manual):
        definition = f"""
        figure : int
        ---
        trace : blob@{store}
        """

    @schema
    class Extra(dj.Manual):
        definition = f"""
        figure : int
        ---
        notes=null : attach@{store}
        sketch=null : filepath@{store}
        """


def contents(number):
    """What a figure holds: the same whenever it is made again."""
    return f"figure {number} ".encode() * (20 + number % 50)


def stage_file(name, data):
    """A file in the stage directory; workers share it, so it is never seen half written."""
    path = STAGE / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{os.getpid()}.{path.name}")
        part.write_bytes(data)
        part.replace(path)
    return path


def picture(number):
    return stage_file(REQUEST.get("name", "session{0}/figure {1}.png").format(
        number % 7, number), contents(number))  # fmt: skip


def notes(number):
    return stage_file(f"notes/{number} ünï'cødé.txt", contents(number)[:100])


def insert(number):
    key = {"figure": number}
    Figure.insert1({**key, "picture": picture(number)})
    Trace.insert1({**key, "trace": [number, contents(number).decode()]})
    Extra.insert1({
        **key, "notes": notes(number) if number % 2 else None, "sketch": None,
    })  # fmt: skip


def make():
    for number in range(REQUEST["first"], REQUEST["last"]):
        insert(number)


def delete():
    for table in (Figure, Trace, Extra):
        (table & [{"figure": number} for number in REQUEST["numbers"]]).delete_quick()


def work():
    """Make figures, delete them, and make the same ones again, in each way that DataJoint has."""
    chance = random.Random(REQUEST["seed"])
    counts = {"made": 0, "deleted": 0, "refused": 0}
    begun = time.time()
    while time.time() < begun + REQUEST["seconds"]:
        number = chance.randrange(REQUEST["figures"])
        key = {"figure": number}
        table, row = chance.choice([
            (Figure, {"picture": picture(number)}),
            (Trace, {"trace": [number, contents(number).decode()]}),
            (Extra, {"notes": notes(number), "sketch": picture(number)}),
        ])  # fmt: skip
        try:
            if chance.random() < 0.5:
                (table & key).delete_quick()
                counts["deleted"] += 1
            elif chance.random() < 0.5:
                with connection.transaction:  # as make() is run
                    table.insert1({**key, **row}, skip_duplicates=True)
                    time.sleep(chance.choice([0, 0, 0.02, 0.3]))
                counts["made"] += 1
            else:
                table.insert1({**key, **row}, skip_duplicates=True)
                counts["made"] += 1
        except (DataJointError, FileNotFoundError) as error:
            # A row was deleted between the look at it and the reference to it: a failed job.
            counts["refused"] += 1
            counts[type(error).__name__] = counts.get(type(error).__name__, 0) + 1
    print(json.dumps(counts))


def check():
    """Read every file that a row refers to from its store: how many there were, which are lost."""
    external = schema.external[REQUEST.get("store", "report_store")]
    read, lost = 0, []
    wanted = {
        "picture": contents,
        "sketch": contents,
        "notes": lambda n: contents(n)[:100],
    }
    rows = []
    for table, column in ((Figure, "picture"), (Extra, "sketch"), (Extra, "notes")):
        rows += [(column, *row) for row in connection.query(
            f"SELECT figure, e.hash, attachment_name, filepath FROM {table.full_table_name} t "
            f"JOIN {external.full_table_name} e ON t.`{column}` = e.hash"
        )]  # fmt: skip
    for column, number, digest, name, filepath in rows:
        path = (
            external._make_uuid_path(uuid.UUID(bytes=digest), "." + name) if name
            else external._make_external_filepath(filepath)
        )  # fmt: skip
        read += 1
        try:
            data = external._download_buffer(path)
        except Exception:
            data = None
        if data != wanted[column](number):
            lost.append(str(path))
    for number in Trace.fetch("figure"):
        read += 1
        try:
            (trace,) = (Trace & {"figure": number}).fetch("trace")
            assert trace == [number, contents(number).decode()]
        except Exception as error:
            lost.append(f"trace {number}: {error}")
    print(json.dumps({"read": read, "lost": lost}))


serve()
