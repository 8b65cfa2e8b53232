"""Looks at a worker's surroundings from inside its container, and says what it finds.

    runner.py --secret FILE probe.py '{"modules": [...], "schemas": [...], "scripts": [...]}'

It runs where the workers run, as they do: Python 3.6 or newer, DataJoint 0.12 to 2.x. Its answer is
the last line that it prints: MARK, then a JSON object; see `main`. Nothing is changed but that a
small file is written into each store, and removed.
"""

# ruff: noqa: BLE001, UP032, PTH118  newer forms are unknown to Python 3.6

import importlib
import importlib.util
import json
import os
import re
import sys
import uuid
from typing import Any

MARK = "mapadmin-probe: "
SWITCH = "DJ_SUPPORT_FILEPATH_MANAGEMENT"


def main(request: Any) -> None:
    """Print the answer: python, datajoint, account, server, schemas, stores, modules, scripts.

    `datajoint`, and the server's version, are texts; `account` is the server's name for whoever is
    logged in. `stores`, `modules` and `scripts` are objects of name and problem, which is empty
    when all is well. What could not be had is in `error`, and what depends on it is missing.
    """
    answer = {"python": sys.version.split()[0], "scripts": scripts(request["scripts"])}
    try:
        import datajoint as dj

        answer["datajoint"] = dj.__version__
    except BaseException as error:
        answer["error"] = answer["no_datajoint"] = words(error)
        return tell(answer)
    try:
        connection = dj.conn()
        connection.query("SET SESSION TRANSACTION READ ONLY")
        ((account, version),) = connection.query("SELECT CURRENT_USER(), VERSION()").fetchall()
        answer.update(account=account, server=version)
        answer["used_stores"], answer["tables"] = used(connection, request["schemas"])
    except BaseException as error:
        answer["error"] = answer["no_connection"] = words(error)
        return tell(answer)
    answer["stores"] = {name: store(dj, name) for name in configured(dj)}
    keep_from_making(dj)
    answer["modules"] = {name: imported(name) for name in request["modules"]}
    return tell(answer)


def tell(answer: Any) -> None:
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")


def words(error: BaseException) -> str:
    """One line of what an exception says."""
    return " ".join("{}: {}".format(type(error).__name__, error).split())[:500]


def is_new(dj: Any) -> bool:
    return int(dj.__version__.split(".")[0]) >= 2


def scripts(wanted: Any) -> Any:
    """Whether what the workers run is in the image."""
    found = {}
    for name in wanted:
        if name.startswith("-m "):
            sys.path.insert(0, os.getcwd())  # noqa: PTH109
            try:
                there = importlib.util.find_spec(name[3:]) is not None
            except Exception:
                there = False
        else:
            there = os.path.isfile(name)  # noqa: PTH113
        found[name] = "" if there else "is not in the image"
    return found


def used(connection: Any, patterns: Any) -> Any:
    """The stores that columns name, and how many tables of each kind a schema has."""
    where = " OR ".join(["TABLE_SCHEMA LIKE %s"] * len(patterns))
    comments = connection.query(
        "SELECT DISTINCT COLUMN_COMMENT FROM information_schema.COLUMNS"
        " WHERE COLUMN_COMMENT LIKE ':%%@%%' AND (" + where + ")", args=list(patterns),
    ).fetchall()  # fmt: skip
    found = [re.match(r":[a-z_<>]*@([A-Za-z0-9_-]+)", row[0]) for row in comments]
    rows = connection.query(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE " + where,
        args=list(patterns),
    ).fetchall()
    tables: Any = {}
    for schema, name in rows:
        one = tables.setdefault(schema, {"computed": 0, "jobs": 0, "jobs_2": 0})
        one["computed"] += name.startswith("_")
        one["jobs"] += name == "~jobs"
        one["jobs_2"] += name.startswith("~~")
    return sorted({match.group(1) for match in found if match}), tables


def configured(dj: Any) -> Any:
    try:
        stores = dj.config["stores"]
    except Exception:
        return []
    return sorted(name for name, spec in dict(stores or {}).items() if isinstance(spec, dict))


def store(dj: Any, name: str) -> str:
    """Write a small file as the pipeline would, and remove it; what is wrong."""
    spec = dict(dj.config["stores"][name])
    problem = ""
    try:
        if "stage" in spec and not is_new(dj) and os.environ.get(SWITCH, "").upper() != "TRUE":
            return "its filepath columns are switched off: {} is not TRUE".format(SWITCH)
        if spec.get("protocol") == "s3":
            in_bucket(dj, spec)
        elif spec.get("protocol") == "file":
            problem = in_folder(spec["location"])
        else:
            return "has the protocol {!r}, which is not tried".format(spec.get("protocol"))
        if spec.get("stage") and not problem:
            problem = in_folder(spec["stage"])
    except BaseException as error:
        return words(error)
    return problem


def in_folder(folder: str) -> str:
    path = os.path.join(folder, ".mapadmin-check-" + uuid.uuid4().hex)
    try:
        with open(path, "xb") as file:  # noqa: PTH123
            try:
                file.write(b"mapadmin")
                file.flush()
            finally:
                os.remove(path)  # noqa: PTH107
    except OSError as error:
        return "cannot write into {}: {}".format(folder, error.strerror)
    return ""


def in_bucket(dj: Any, spec: Any) -> None:
    """By the client that DataJoint uses: minio to 0.14, fsspec in 2.x, which adds the location."""
    name = ".mapadmin-check-" + uuid.uuid4().hex
    if is_new(dj):
        backend = importlib.import_module("datajoint.storage").StorageBackend(spec)
        backend.put_buffer(b"mapadmin", name)
        backend.remove(name)
    else:
        name = (spec.get("location", "").strip("/") + "/" + name).lstrip("/")
        folder = importlib.import_module("datajoint.s3").Folder(**spec)
        folder.put(name, b"mapadmin")
        folder.remove_object(name)


def keep_from_making(dj: Any) -> None:
    """No schema or table is made, and no lookup table filled, by importing the pipeline."""
    schema = getattr(dj, "Schema", None) or dj.schema

    def wrapped(method: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs.update(create_schema=False, create_tables=False)
            return method(self, *args, **kwargs)

        return call

    for name in ("__init__", "activate"):
        if hasattr(schema, name):
            setattr(schema, name, wrapped(getattr(schema, name)))
    dj.table.Table.insert = lambda self, *args, **kwargs: None


def imported(name: str) -> str:
    if os.getcwd() not in sys.path:  # noqa: PTH109
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        importlib.import_module(name)
    except BaseException as error:
        return words(error)
    return ""


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
