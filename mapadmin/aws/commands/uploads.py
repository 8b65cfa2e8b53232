"""`mapadmin aws uploads`: what was begun and never finished, and is paid for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import typer

from mapadmin.admin import Admin, Mode
from mapadmin.aws import calls
from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of, bucket_of
from mapadmin.aws.execute import AwsStep, kind
from mapadmin.aws.faults import AwsError
from mapadmin.aws.session import Aws
from mapadmin.core.plan import Plan
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import count, human_bytes
from mapadmin.options import DryRun, Json, Yes

_AT_ONCE = 16


class Upload(msgspec.Struct, frozen=True):
    """A multipart upload under way or left over; `bytes` and `parts` are what has arrived.

    `active` is when it was begun, or when its last part came: a long upload is not an old one.
    """

    bucket: str
    key: str
    upload_id: str
    begun: datetime
    active: datetime
    parts: int
    bytes: int


@app.command("uploads")
def uploads(
    ctx: typer.Context,
    bucket: Annotated[
        str | None, typer.Argument(help="What the site calls a bucket; default: all.")
    ] = None,
    abort_older_than: Annotated[
        int | None, typer.Option(min=1, help="Abort those that nothing came of for DAYS days.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Multipart uploads that are not finished: bytes, age; with an option, abort old ones.

    What has arrived of them is paid for, and seen nowhere else. An upload that is aborted while
    somebody still sends must be begun anew.
    """
    aws = aws_of(ctx, changes=True)
    settings = aws.settings.buckets
    names = list(settings.values()) if bucket is None else [bucket_of(aws, bucket)]
    found = sorted(
        (each for name in names for each in _uploads(aws, name)), key=lambda each: each.begun
    )
    if abort_older_than is None:
        report = Report(as_json=as_json)
        report.rows(found, _COLUMNS, empty="There are no unfinished uploads.")
        if found and not as_json:
            report.say(_sum(found))
        return
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    plan = plan_of(found, datetime.now(UTC) - timedelta(days=abort_older_than))
    question = "Abort these uploads? What has arrived of them is deleted."
    ctx.ensure_object(Admin).perform(plan, {AwsStep: kind(aws)}, mode, question=question)


def plan_of(found: list[Upload], before: datetime) -> Plan:
    """A step for each upload that nothing has come of since a time. Pure."""
    old = [each for each in found if each.active < before]
    steps = tuple(
        AwsStep(
            action="abort upload", target=f"{each.bucket}/{each.key}", destroys=True,
            detail=f"last part {each.active:%Y-%m-%d}, {human_bytes(each.bytes)}",
            call=calls.ABORT_UPLOAD,
            parameters={"Bucket": each.bucket, "Key": each.key, "UploadId": each.upload_id},
            gone=("NoSuchUpload",),  # finished, or aborted, meanwhile
        )
        for each in old
    )  # fmt: skip
    return Plan(steps, (_sum(old),) if old else ())


def _sum(found: list[Upload]) -> str:
    return f"{count(len(found), 'upload')}, {human_bytes(sum(each.bytes for each in found))}"


def _uploads(aws: Aws, bucket: str) -> list[Upload]:
    begun = aws.pages(calls.UPLOADS, "Uploads", Bucket=bucket)

    def measure(upload: dict[str, object]) -> Upload | None:
        key, identifier = str(upload["Key"]), str(upload["UploadId"])
        try:
            parts = aws.pages(calls.PARTS, "Parts", Bucket=bucket, Key=key, UploadId=identifier)
        except AwsError as error:
            if error.code != "NoSuchUpload":  # finished in this moment
                raise
            return None
        initiated = upload["Initiated"]
        when = initiated if isinstance(initiated, datetime) else datetime.now(UTC)
        size = sum(int(part["Size"]) for part in parts)
        active = max([when, *(part["LastModified"] for part in parts)])
        return Upload(bucket, key, identifier, when, active, len(parts), size)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [each for each in pool.map(measure, begun) if each is not None]


_COLUMNS = [
    Column("bucket", lambda u: u.bucket),
    Column("key", lambda u: u.key),
    Column("begun", lambda u: f"{u.begun:%Y-%m-%d}"),
    Column("last part", lambda u: f"{u.active:%Y-%m-%d}" if u.parts else None),
    Column("parts", lambda u: u.parts, right=True),
    Column("size", lambda u: human_bytes(u.bytes), right=True),
]
