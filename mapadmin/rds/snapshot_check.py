"""`mapadmin aws snapshot-check`: a snapshot is good when it has been restored and read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import typer

from mapadmin.admin import Admin, Mode
from mapadmin.aws import calls, snapshots
from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of, database_of, snapshot_by_id
from mapadmin.aws.execute import AwsStep, kind
from mapadmin.aws.faults import AwsError
from mapadmin.aws.session import Aws
from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.core.report import Report
from mapadmin.core.text import count
from mapadmin.db.server import Server, connect
from mapadmin.db.statements import identifier
from mapadmin.options import DryRun, Json


class Query(Step, frozen=True, kw_only=True):
    """Log in to the restored instance and read from every table of the project."""

    instance: str


@app.command("snapshot-check")
def snapshot_check(
    ctx: typer.Context,
    snapshot_id: Annotated[str, typer.Argument(help="As `mapadmin aws snapshots` shows it.")],
    instance_class: Annotated[
        str, typer.Option("--class", help="Instance class; default: the database's own.")
    ] = "",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Restore a snapshot to a private temporary instance, read every table, delete that instance.

    The temporary instance is named after the database, with -check, and is paid for while it is
    there. It is deleted whatever the check finds; after an interruption, by the next run. Run it
    where the database's private address can be reached.
    """
    aws = aws_of(ctx, changes=True)
    admin = ctx.ensure_object(Admin)
    database = database_of(aws)
    found = snapshot_by_id(aws, snapshot_id)
    if found["Status"] != "available":
        raise MapadminError(f"{snapshot_id} is {found['Status']}: wait until it is available.")
    copy = snapshots.copy_name(database["DBInstanceIdentifier"])
    left = _left_over(aws, copy, database["DBInstanceIdentifier"])
    plan = Plan(
        (
            *((snapshots.drop_copy(copy),) if left else ()),
            snapshots.restore(found, database, instance_class),
            Query(action="read", target=copy, detail="a row of every project table", instance=copy),
            snapshots.drop_copy(copy),
        ),
        (f"{copy} was left over from a check that was cut short",) if left else (),
    )
    said: list[MapadminError | str] = []
    kinds: dict[type[Step], Kind] = {AwsStep: kind(aws), Query: Kind(_reader(admin, aws, said))}
    admin.perform(plan, kinds, Mode(dry_run=dry_run, as_json=as_json))
    for result in said:
        if isinstance(result, MapadminError):
            raise MapadminError(
                f"{snapshot_id} did not pass: {result.message}", remedy=result.remedy
            )
        Report().say(f"{snapshot_id} is good: {result}.")


def _left_over(aws: Aws, copy: str, database: str) -> bool:
    """Is there a temporary instance still? Raises MapadminError when it is somebody else's."""
    try:
        found = aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=copy)["DBInstances"][0]
    except AwsError as error:
        if not error.code.startswith("DBInstanceNotFound"):
            raise
        return False
    if not snapshots.is_copy(found, database):
        raise MapadminError(
            f"There is an instance {copy} that no check has made (it lacks the tag "
            f"{snapshots.TAG['Key']}={snapshots.TAG['Value']}).",
            remedy="Rename it, or delete it yourself.",
        )
    return True


def _reader(admin: Admin, aws: Aws, said: list[MapadminError | str]) -> Any:
    """The executor of Query. What it finds is said after the instance has been deleted."""

    def execute(steps: Sequence[Query]) -> Iterator[None]:
        for step in steps:
            found = aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=step.instance)
            there = found["DBInstances"][0]["Endpoint"]
            settings = admin.site.database
            copy = msgspec.structs.replace(
                settings, host=str(there["Address"]), port=int(there["Port"])
            )
            password = admin.site.secret(settings.password, "database.password")
            try:
                server = connect(copy, password, admin.site.folder)
                try:
                    said.append(_read(server, settings.project_prefix))
                finally:
                    server.close()
            except MapadminError as error:
                said.append(error)
            yield

    return execute


def _read(server: Server, prefix: str) -> str:
    """Read a row of every table of the project. Raises MapadminError for what cannot be read."""
    tables = server.query(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES "
        "WHERE TABLE_SCHEMA LIKE %s AND TABLE_TYPE = 'BASE TABLE'",
        [prefix.replace("_", "\\_") + "\\_%"],
    )
    if not tables:
        raise MapadminError(f"it has no tables of {prefix}_*.")
    rows = 0
    for schema, table in tables:
        text = f"SELECT 1 FROM {identifier(str(schema))}.{identifier(str(table))} LIMIT 1"
        rows += len(server.query(text, ()))
    schemas = len({schema for schema, _ in tables})
    return f"{count(len(tables), 'table')} of {count(schemas, 'schema')} read, {rows} not empty"
