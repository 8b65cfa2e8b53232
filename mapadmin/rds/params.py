"""`mapadmin db params`: DataJoint's recommended parameters, wanted, kept and live."""

from __future__ import annotations

from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.aws import calls
from mapadmin.aws.session import open_aws
from mapadmin.core.errors import ExitCode, MapadminError, SettingsError, UsageError
from mapadmin.core.plan import Plan
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.db.commands._app import app
from mapadmin.db.database import Database, changing, open_database
from mapadmin.db.parameters import Keeper, Row, State, changes, compare, lacks, option_file
from mapadmin.db.persisted import GlobalVariables, PersistedVariables
from mapadmin.options import DryRun, Json
from mapadmin.rds.group import ParameterGroup

_RIGHTS = (
    "It takes SYSTEM_VARIABLES_ADMIN and PERSIST_RO_VARIABLES_ADMIN on MySQL, SUPER on MariaDB; or "
    "somebody puts what `mapadmin db params --my-cnf` prints into the server's my.cnf."
)


@app.command("params")
def params(
    ctx: typer.Context,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set what differs, where the server keeps it.")
    ] = False,
    off_rds: Annotated[
        bool, typer.Option("--off-rds", help="Leave aws.database's parameter group out.")
    ] = False,
    my_cnf: Annotated[
        bool, typer.Option("--my-cnf", help="Print a section for the server's my.cnf.")
    ] = False,
    why: Annotated[bool, typer.Option("--why", help="Show reasons and sources.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """The parameters that DataJoint needs: wanted, live, and kept for the next start.

    Kept means: in the RDS instance's parameter group when aws.database answers at database.host;
    else by SET PERSIST on MySQL; MariaDB keeps them in its my.cnf only. Nothing is ever rebooted:
    what waits for that is said. Without --apply, exits with 5 when something differs.
    """
    if dry_run and not apply:
        raise UsageError("--dry-run is for --apply.")
    if apply and my_cnf:
        raise UsageError("Either --apply or --my-cnf.")
    admin = ctx.ensure_object(Admin)
    report = Report(as_json=as_json)
    if apply:
        mode = Mode(dry_run=dry_run, as_json=as_json)
        with changing(admin, mode) as database:
            keeper = keeper_of(database, off_rds=off_rds)
            rows = rows_of(database, keeper)
            wanted = changes(rows)
            plan = keeper.plan(wanted) if wanted else Plan()
            plan = Plan(plan.steps, (*plan.notes, *_notes(rows)))
            try:
                database.perform(plan, mode, more_kinds=keeper.kinds())
            except MapadminError as error:
                if error.exit_code is not ExitCode.SETTINGS or isinstance(keeper, ParameterGroup):
                    raise
                raise SettingsError(error.message, remedy=_RIGHTS) from None
        return
    database = open_database(admin)
    keeper = keeper_of(database, off_rds=off_rds)
    rows = rows_of(database, keeper)
    if my_cnf:
        server = database.server
        report.text(
            option_file(rows, f"{server.flavour} " + ".".join(map(str, server.version))).rstrip(
                "\n"
            )
        )
        return
    report.rows(rows, _WHY if why else _COLUMNS, empty="This server has none of them.")
    if not as_json:
        report.say(f"Kept in: {keeper.name}")
        for note in _notes(rows):
            report.say(f"Note: {note}")
    if any(row.state is State.DIFFERS for row in rows):
        raise typer.Exit(ExitCode.DRIFT)


def keeper_of(database: Database, *, off_rds: bool) -> Keeper:
    """Who keeps this server's parameters: RDS when its instance is this very server."""
    settings = database.site.settings.aws
    if settings is not None and settings.database and not off_rds:
        aws = open_aws(database.admin)
        aws.require_account()
        found = aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=settings.database)
        instance = found["DBInstances"][0]
        there = instance.get("Endpoint") or {}
        here = database.site.database
        if (there.get("Address"), there.get("Port")) == (here.host, here.port):
            return ParameterGroup(aws, instance)
        Report().say(
            f"Note: {settings.database} answers at {there.get('Address')}:{there.get('Port')}, not "
            "at database.host: its parameter group is left out."
        )
    if database.server.flavour == "mysql":
        return PersistedVariables(database.server)
    return GlobalVariables()


def rows_of(database: Database, keeper: Keeper) -> list[Row]:
    """All parameters in all three ways."""
    server = database.server
    live = {str(name): str(value) for name, value in server.query("SHOW GLOBAL VARIABLES")}
    return compare(server.flavour, server.version, live, keeper.kept())


def _notes(rows: list[Row]) -> tuple[str, ...]:
    waiting = {state: [row.name for row in rows if row.state is state] for state in State}
    return tuple(
        f"{state.value}: {', '.join(waiting[state])}"
        for state in (State.WAITS, State.LATE, State.FIXED)
        if waiting[state]
    )


def _short(row: Row, value: str | None) -> str | None:
    """Of a set, which is long, how many of the wanted are there; --why and --json name them."""
    if value is None or "," not in row.wanted:
        return value
    wanted = len(row.wanted.split(","))
    return f"{wanted - len(lacks(value, row.wanted))} of {wanted}"


_COLUMNS = [
    Column("parameter", lambda r: r.name),
    Column("wanted", lambda r: _short(r, r.wanted)),
    Column("live", lambda r: _short(r, r.live)),
    Column("kept", lambda r: _short(r, r.kept)),
    Column("state", lambda r: r.state.value),
]
_WHY = [
    Column("parameter", lambda r: r.name),
    Column("wanted", lambda r: r.wanted.replace(",", ", ")),
    Column("why", lambda r: r.reason),
    Column("source", lambda r: r.source),
]
