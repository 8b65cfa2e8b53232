"""`mapadmin aws reports link`: hand out a file of the bucket of reports for some days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import typer

from mapadmin.aws import calls
from mapadmin.aws.commands._open import aws_of, bucket_of
from mapadmin.aws.faults import AwsError
from mapadmin.core.errors import UsageError
from mapadmin.core.report import Report
from mapadmin.options import Json

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Hand out files of the bucket of reports."
)


class Link(msgspec.Struct, frozen=True):
    """`url` opens the object for whoever has it, until `expires` at the latest.

    With `temporary` credentials it ends with them, which may be within the hour.
    """

    bucket: str
    key: str
    bytes: int
    expires: datetime
    temporary: bool
    url: str


@app.callback()
def group() -> None:
    """What keeps this a group while it has one command."""


@app.command("link")
def link(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(help="Key of the object.")],
    days: Annotated[int, typer.Option(min=1, max=7, help="How long it works; 7 at most.")] = 7,
    bucket: Annotated[
        str, typer.Option(help="What the site calls the bucket; default: aws.reports.")
    ] = "",
    as_json: Json = False,
) -> None:
    """A link with which anybody can fetch one object, for some days; no more than 7 (SigV4)."""
    aws = aws_of(ctx, changes=True)
    name = bucket_of(aws, bucket or aws.settings.reports)
    # A link is good in the bucket's own region only, which need not be the site's.
    head = aws.call(calls.BUCKET_HEAD, Bucket=name)
    region = head["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "")
    try:
        found = aws.call(calls.HEAD_OBJECT, region=region, Bucket=name, Key=key)
    except AwsError as error:
        if error.code not in ("404", "NoSuchKey", "NotFound"):
            raise
        raise UsageError(f"There is no object {key!r} in {name}.") from None
    seconds = days * 86400
    sign = aws.presigner(calls.GET_OBJECT, region=region, seconds=seconds)
    url = sign({"Bucket": name, "Key": key})
    report = Report(as_json=as_json)
    temporary = "X-Amz-Security-Token" in url
    if temporary:
        report.say("Note: these credentials are temporary, and the link ends with them.")
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    made = Link(name, key, int(found["ContentLength"]), expires, temporary, url)
    if as_json:
        report.document(made)
    else:
        report.text(made.url)
