"""`mapadmin aws snapshot-check`: a snapshot is good when it has been restored and read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
import typer

from mapadmin.admin import Admin, Mode
from mapadmin.aws import snapshots
from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of, database_of, snapshot_by_id
from mapadmin.aws.execute import AwsStep, kind, run_tag
from mapadmin.aws.session import Aws
from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder
from mapadmin.core.lock import file_lock
from mapadmin.core.plan import Kind, Outcome, Plan, Step, StepState
from mapadmin.core.report import Report
from mapadmin.core.text import count
from mapadmin.db.server import Server, connect
from mapadmin.db.statements import identifier
from mapadmin.options import DryRun, Json, Yes
from mapadmin.rds import copies


class Query(Step, frozen=True, kw_only=True):
    """Log in to the restored instance and read from every table of the project."""

    instance: str
    tags: tuple[copies.Tag, ...]


@app.command("snapshot-check")
def snapshot_check(
    ctx: typer.Context,
    snapshot_id: Annotated[str, typer.Argument(help="As `mapadmin aws snapshots` shows it.")],
    instance_class: Annotated[
        str, typer.Option("--class", help="Instance class; default: the database's own.")
    ] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Restore a snapshot to a private temporary instance, read every table, delete that instance.

    The temporary instance is named after the database, with -check, and is paid for while it is
    there. It is deleted whatever the check finds, also after Ctrl-C; should that fail, by the next
    run, which asks first. Run it where the database's private address can be reached.
    """
    aws = aws_of(ctx, changes=True)
    admin = ctx.ensure_object(Admin)
    with ExitStack() as stack:
        if not dry_run:
            folder = admin.site.state_folder
            make_private_folder(folder)
            lock = file_lock(folder / "snapshot-check.lock", command=admin.command)
            stack.enter_context(lock)
        _check(aws, admin, snapshot_id, instance_class, Mode(dry_run, yes, as_json))


def _check(aws: Aws, admin: Admin, snapshot_id: str, instance_class: str, mode: Mode) -> None:
    database = database_of(aws)
    found = snapshot_by_id(aws, snapshot_id)
    snapshots.require_own(found, database["DBInstanceIdentifier"])
    if found["Status"] != "available":
        raise MapadminError(f"{snapshot_id} is {found['Status']}: wait until it is available.")
    copy, run = snapshots.copy_name(database["DBInstanceIdentifier"]), run_tag()
    left = copies.left_over(aws, copy)
    own = (snapshots.TAG, run)
    drop = copies.DropOwn(
        action="delete instance", target=copy, detail="the temporary one", tags=own
    )
    plan = Plan(
        (
            *((left,) if left else ()),
            snapshots.restore(found, database, instance_class, run),
            Query(action="read", target=copy, detail="a row of every project table",
                  instance=copy, tags=own),
            drop,
        ),
        (f"{copy} is there already: left over, or another check is using it",) if left else (),
    )  # fmt: skip
    said: list[MapadminError | str] = []
    kinds: dict[type[Step], Kind] = {
        AwsStep: kind(aws), Query: Kind(_reader(admin, aws, said)),
        copies.DropCopy: copies.kind(aws), copies.DropOwn: copies.kind(aws),
    }  # fmt: skip

    def warn(outcome: Outcome) -> None:
        restored, _, dropped = outcome.states[-3:]
        if restored is not StepState.NOT_STARTED and dropped is not StepState.DONE:
            Report().say(
                f"Warning: {copy} may still be there, and is paid for. Run this again, or: aws rds "
                f"delete-db-instance --skip-final-snapshot --db-instance-identifier {copy}"
            )

    question = f"Delete {copy}, if nobody is using it?"
    admin.perform(plan, kinds, mode, question=question, after=warn)
    for result in said:
        if isinstance(result, MapadminError):
            raise MapadminError(
                f"{snapshot_id} did not pass: {result.message}", remedy=result.remedy
            )
        Report().say(f"{snapshot_id} is good: {result}.")


def _reader(admin: Admin, aws: Aws, said: list[MapadminError | str]) -> Any:
    """The executor of Query. What it finds is said after the instance has been deleted."""

    def execute(steps: Sequence[Query]) -> Iterator[None]:
        for step in steps:
            found = copies.find_copy(aws, step.instance) or {}
            if not copies.has_tags(found, step.tags):
                raise MapadminError(
                    f"{step.instance} is not the one that this check has made: somebody has "
                    "replaced it.",
                    remedy="Run it again when nobody else checks a snapshot.",
                )
            there = found.get("Endpoint")
            if not there:
                raise MapadminError(f"{step.instance} has no address.")
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
