"""Run where the pipeline runs, by its own DataJoint: progress, and cascading deletes.

mapadmin sends this file's text to the Python that the site names, followed by one line that calls
`main`. So it is the standard library and DataJoint (0.12, 0.13, 0.14 or 2.x) only, for Python 3.6
and newer. Its answers are JSON, a line each; whatever else is printed goes to stderr.
"""

# ruff: noqa: BLE001, UP031  newer forms are unknown to Python 3.6; one table does not hide others

import importlib
import json
import os
import sys
import time
import traceback
from fnmatch import fnmatch
from typing import Any


def main(request: Any) -> None:
    """Answer one request: {"do": "progress" or "delete", ...}."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(event: str, **fields: Any) -> None:
        out.write(json.dumps(dict(fields, event=event)) + "\n")
        out.flush()

    try:
        {"progress": progress, "delete": delete}[request["do"]](request, answer)
    except Exception as error:
        traceback.print_exc()
        answer("error", message="%s: %s" % (type(error).__name__, error))
        sys.exit(1)
    answer("end")


def connect(read_only: bool) -> Any:
    """DataJoint and its connection, as the pipeline's own configuration says."""
    import datajoint as dj

    dj.config["safemode"] = False
    only = "SET SESSION TRANSACTION READ ONLY"
    if read_only and not is_new(dj):
        dj.config["connection.init_function"] = only  # again, after it has reconnected
    connection = dj.conn()
    if read_only:
        connection.query(only)
    return dj, connection


def is_new(dj: Any) -> bool:
    """Whether this is DataJoint 2.x or newer."""
    return int(dj.__version__.split(".")[0]) >= 2


# --- progress ------------------------------------------------------------------------------------


def progress(request: Any, answer: Any) -> None:
    """How much of each computed table is done. The server refuses every change meanwhile."""
    dj, _ = connect(read_only=True)
    keep_from_making(dj)
    for name in request["modules"]:
        try:
            importlib.import_module(name)
        except Exception as error:
            answer("problem", what=name, message="%s: %s" % (type(error).__name__, error))
    known = {table.full_table_name: table for table in auto_populated(dj)}
    for schema in request["schemas"]:
        try:
            virtual = dj.VirtualModule if is_new(dj) else dj.create_virtual_module
            module = virtual("mapadmin_" + schema, schema)
        except Exception as error:
            answer("problem", what=schema, message="%s: %s" % (type(error).__name__, error))
            continue
        for cls in vars(module).values():
            if is_auto_populated(dj, cls):
                table = cls()
                known.setdefault(table.full_table_name, table)
    chosen = sorted(
        (table for table in known.values() if is_wanted(table, request)),
        key=lambda table: table.full_table_name,
    )
    answer("tables", count=len(chosen))
    for table in chosen:
        begun = time.time()
        fields = {"schema": table.database, "table": table.table_name, "name": type(table).__name__}
        try:
            remaining, total = table.progress(display=False)
            fields.update(remaining=int(remaining), total=int(total))
        except Exception as error:
            fields.update(error="%s: %s" % (type(error).__name__, error))
        answer("table", seconds=round(time.time() - begun, 3), **fields)


def keep_from_making(dj: Any) -> None:
    """No schema or table is made, and no lookup table filled, by importing the pipeline.

    Before 0.14, create_tables=False refuses a module with a table that is not there; so there it is
    the declaration that does nothing.
    """
    schema = getattr(dj, "Schema", None) or dj.schema
    old = [int(part) for part in dj.__version__.split(".")[:2]] < [0, 14]
    if old:
        dj.table.Table.declare = lambda self, *args, **kwargs: None

    def wrapped(method: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs.update(create_schema=False, create_tables=old)
            return method(self, *args, **kwargs)

        return call

    for name in ("__init__", "activate"):
        if hasattr(schema, name):
            setattr(schema, name, wrapped(getattr(schema, name)))
    dj.table.Table.insert = lambda self, *args, **kwargs: None


def auto_populated(dj: Any) -> Any:
    """An instance of each computed or imported table of the modules that were imported."""
    waiting = [dj.autopopulate.AutoPopulate]
    seen = set()
    while waiting:
        for cls in waiting.pop().__subclasses__():
            if cls not in seen:
                seen.add(cls)
                waiting.append(cls)
                if is_auto_populated(dj, cls):
                    yield cls()


def is_auto_populated(dj: Any, cls: Any) -> bool:
    """Whether this is a computed or imported table that has its place in a schema."""
    return (
        isinstance(cls, type)
        and issubclass(cls, dj.autopopulate.AutoPopulate)
        and bool(getattr(cls, "database", None))
    )


def is_wanted(table: Any, request: Any) -> bool:
    """Whether the site calls its schema the pipeline's, and the person meant it."""
    pattern = request.get("pattern")
    if not any(fnmatch(table.database, one) for one in request["patterns"]):
        return False
    names = (table.table_name, table.table_name.lstrip("_"), type(table).__name__)
    return pattern is None or any(
        fnmatch(one, pattern) for name in names for one in (name, table.database + "." + name)
    )


# --- deleting ------------------------------------------------------------------------------------


def delete(request: Any, answer: Any) -> None:
    """Delete rows of a table with all that hangs on them, each restriction a transaction.

    Rows of a table that is not in `allowed` are not deleted: then nothing is. Nothing more is begun
    when nobody on the server holds the lock `while_held` any more: `docker exec` and `ssh` leave
    this process alive when they are killed.
    """
    dj, connection = connect(read_only=False)
    guard(dj, set(request["allowed"]))
    make = getattr(dj, "Schema", None) or dj.schema
    for schema in request["schemas"]:  # DataJoint looks for children in the schemas that it knows
        make(schema, connection=connection, create_schema=False, create_tables=False)
    for number, restriction in enumerate(request["restrictions"]):
        (holder,) = connection.query("SELECT IS_USED_LOCK('%s')" % request["while_held"]).fetchone()
        if holder is None:
            raise dj.DataJointError("mapadmin has ended, or does not listen any more")
        table = dj.FreeTable(connection, request["table"]) & restriction
        if len(table):
            table.delete(**({"prompt": False} if is_new(dj) else {}))
        answer("deleted", number=number)


def guard(dj: Any, allowed: Any) -> None:
    """Have DataJoint refuse to delete rows of other tables than these."""
    quick = dj.table.Table.delete_quick

    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.full_table_name not in allowed:
            if len(self):
                raise dj.DataJointError(
                    "rows of %s hang on it, which were not there before" % self.full_table_name
                )
            return 0
        return quick(self, *args, **kwargs)

    dj.table.Table.delete_quick = guarded
