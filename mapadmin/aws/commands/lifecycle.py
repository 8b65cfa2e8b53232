"""`mapadmin aws lifecycle`: a bucket's rules; get, merge, show the difference, put."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.aws import calls, lifecycle
from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of, bucket_of
from mapadmin.aws.faults import AwsError
from mapadmin.aws.session import Aws
from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.options import DryRun, Json, Yes


class PutRules(Step, frozen=True, kw_only=True):
    """Part of one new configuration; the first step of a plan puts all of it."""

    position: int


@app.command("lifecycle")
def lifecycle_command(
    ctx: typer.Context,
    bucket: Annotated[str, typer.Argument(help="What the site calls the bucket.")],
    abort_uploads: Annotated[
        int | None,
        typer.Option(min=1, max=365, help="End uploads after DAYS days, also those under way."),
    ] = None,
    old_versions: Annotated[
        int | None, typer.Option(min=1, help="Delete versions overwritten DAYS days ago.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(help="Take out the rule of this ID; may be repeated.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """A bucket's lifecycle rules; with options, change some and keep all others.

    S3 replaces all rules at once. So they are read, merged and compared, and put only if nobody has
    changed them meanwhile.
    """
    put = []
    if abort_uploads is not None:
        put.append(lifecycle.abort_uploads(abort_uploads))
    if old_versions is not None:
        put.append(lifecycle.old_versions(old_versions))
    aws = aws_of(ctx, changes=True)
    name = bucket_of(aws, bucket)
    before = read(aws, name)
    if not put and not remove:
        Report(as_json=as_json).rows(
            before.get("Rules", []), _COLUMNS, empty=f"{name} has no lifecycle rules."
        )
        return
    old = before.get("Rules", [])
    new = lifecycle.merged(old, put, remove or [])
    rules = {rule.get("ID", ""): rule for rule in new}
    steps = tuple(
        PutRules(
            action=word, target=identifier, detail=text, position=position,
            destroys=identifier in rules and lifecycle.deletes(rules[identifier]),
        )
        for position, (word, identifier, text) in enumerate(lifecycle.difference(old, new))
    )  # fmt: skip
    ctx.ensure_object(Admin).perform(
        Plan(steps), {PutRules: Kind(_putter(aws, name, before, new), batch=len(steps) or 1)},
        Mode(dry_run=dry_run, yes=yes, as_json=as_json),
        question=f"Let these rules delete what is in {name}, or is being sent there?",
    )  # fmt: skip


def read(aws: Aws, bucket: str) -> dict[str, Any]:
    """Rules and what goes with them, as they are; empty where none were ever put."""
    try:
        found = aws.call(calls.LIFECYCLE, Bucket=bucket)
    except AwsError as error:
        if error.code != "NoSuchLifecycleConfiguration":
            raise
        return {}
    return {key: value for key, value in found.items() if key != "ResponseMetadata"}


def _putter(aws: Aws, bucket: str, before: dict[str, Any], new: list[lifecycle.Rule]) -> Any:
    def put(steps: Sequence[PutRules]) -> Iterator[None]:
        if read(aws, bucket) != before:
            raise MapadminError(
                f"Somebody else has changed the rules of {bucket} meanwhile: nothing was put.",
                remedy="Run it again, and look at the difference.",
            )
        if new:
            more = {k: v for k, v in before.items() if k == "TransitionDefaultMinimumObjectSize"}
            aws.call(
                calls.PUT_LIFECYCLE, Bucket=bucket, LifecycleConfiguration={"Rules": new}, **more
            )
        else:
            aws.call(calls.DELETE_LIFECYCLE, Bucket=bucket)
        for _ in steps:
            yield

    return put


_COLUMNS = [
    Column("rule", lambda r: r.get("ID")),
    Column("does", lifecycle.describe),
]
