"""Parameters kept by the server itself: SET PERSIST on MySQL, SET GLOBAL alone on MariaDB."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.db.parameters import Change, Kept
from mapadmin.db.server import Server
from mapadmin.db.statements import Sql, SqlStep


class PersistedVariables:
    """mysqld-auto.cnf: what SET PERSIST wrote, and the server reads when it starts."""

    name = "mysqld-auto.cnf"

    def __init__(self, server: Server) -> None:
        self._server = server

    def kept(self) -> Mapping[str, Kept]:
        rows = self._server.query(
            "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.persisted_variables"
        )
        return {str(name): Kept(str(value)) for name, value in rows}

    def plan(self, changes: Sequence[Change]) -> Plan:
        return Plan(tuple(_step(c, "PERSIST_ONLY" if c.restart else "PERSIST") for c in changes))

    def kinds(self) -> Mapping[type[Step], Kind]:
        return {}  # SqlSteps are the database's own


class GlobalVariables:
    """MariaDB: SET GLOBAL holds until the next restart; only an option file holds longer."""

    name = "the running server"

    def kept(self) -> Mapping[str, Kept]:
        return {}

    def plan(self, changes: Sequence[Change]) -> Plan:
        now = [change for change in changes if not change.restart]
        rest = [change.name for change in changes if change.restart]
        notes = ["until the next restart only: `mapadmin db params --my-cnf` is for its my.cnf"]
        if rest:
            notes.append(f"only by my.cnf and a restart: {', '.join(rest)}")
        if not now and rest:
            raise MapadminError(
                f"Only its my.cnf and a restart can set: {', '.join(rest)}.",
                remedy="mapadmin db params --my-cnf",
            )
        return Plan(tuple(_step(change, "GLOBAL") for change in now), tuple(notes))

    def kinds(self) -> Mapping[type[Step], Kind]:
        return {}


def _step(change: Change, scope: str) -> SqlStep:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", change.name):
        raise MapadminError(f"{change.name!r} is not the name of a parameter.")
    number = change.value.isdigit()
    sql = Sql(
        f"SET {scope} {change.name} = " + (change.value if number else "%s"),
        args=() if number else (change.value,),
    )
    return SqlStep(
        action="set parameter", target=change.name,
        detail=change.shown + (", after a restart" if change.restart else ""),
        statements=(sql,),
    )  # fmt: skip
