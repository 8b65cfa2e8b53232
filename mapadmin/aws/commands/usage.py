"""`mapadmin aws usage`: what is stored, from CloudWatch or, exactly, from the listing."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from mapadmin.aws import calls
from mapadmin.aws.commands._app import app
from mapadmin.aws.commands._open import aws_of, bucket_of, database_of
from mapadmin.aws.listing import THREADS, Tally, list_all
from mapadmin.aws.metrics import fetch
from mapadmin.aws.session import Aws
from mapadmin.aws.usage import BACK, Usage, bucket_usage, chart, disk_usage, metrics_of
from mapadmin.core.errors import UsageError
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import human_bytes
from mapadmin.options import Json

_CHART = 55  # columns, of 80


class ExactRow(msgspec.Struct, frozen=True):
    """What lies under a prefix in one storage class."""

    bucket: str
    prefix: str
    storage_class: str
    objects: int
    bytes: int


@app.command("usage")
def usage(
    ctx: typer.Context,
    bucket: Annotated[
        str | None, typer.Argument(help="What the site calls a bucket; default: all.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="List every object instead; takes requests and time.")
    ] = False,
    prefix: Annotated[str, typer.Option(help="With --exact: only keys that begin so.")] = "",
    depth: Annotated[
        int, typer.Option(min=0, max=20, help="With --exact: a row for each folder so deep.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Bytes and objects of the buckets and the database's disk, growth, and when they are full.

    From CloudWatch's daily figures: the day is shown, and growth is a straight line through the
    last 90 days. `--exact` lists the current objects, right to the byte, or fails: old versions and
    unfinished uploads, which CloudWatch counts, are not in it.
    """
    if (prefix or depth) and not exact:
        raise UsageError("--prefix and --depth are for --exact.")
    aws = aws_of(ctx)
    chosen = _chosen(aws, bucket)
    report = Report(as_json=as_json)
    aws.require_account()
    if exact:
        rows = [row for name in chosen.values() for row in _exact(aws, name, prefix, depth, report)]
        report.rows(rows, _EXACT, empty="There are no objects.")
        return
    found = _figures(aws, chosen, with_disk=bucket is None)
    if as_json:
        report.document(found)
    else:
        _show(report, found)


def _chosen(aws: Aws, bucket: str | None) -> dict[str, str]:
    return aws.settings.buckets if bucket is None else {bucket: bucket_of(aws, bucket)}


# --- CloudWatch --------------------------------------------------------------------------------


def _figures(aws: Aws, buckets: dict[str, str], *, with_disk: bool) -> list[Usage]:
    database = aws.settings.database if with_disk else ""
    series = fetch(aws, metrics_of(buckets, database), period=86400, back=BACK)
    limits = aws.settings.limits
    found = [bucket_usage(name, each, limits.get(name), series) for name, each in buckets.items()]
    if database:
        size = int(database_of(aws)["AllocatedStorage"]) * 1024**3
        found.append(disk_usage(database, size, series))
    return found


def _show(report: Report, found: list[Usage]) -> None:
    rows = [row for each in found for row in _rows(each)]
    report.rows(rows, _CLOUDWATCH, empty="The site names no buckets.")
    for each in found:
        if not each.history:
            report.say(f"{each.name}: CloudWatch has no figure of the last 90 days.")
            continue
        (begin, before), (end, now) = each.history[0], each.history[-1]
        report.text(
            f"\n{each.name}, {begin} to {end}\n"
            f"{human_bytes(before):>11} {chart(each.history, _CHART)} {human_bytes(now)}"
        )


class _Row(msgspec.Struct, frozen=True):
    """A bucket, or one storage class of a bucket that has several."""

    what: str
    size: int | None
    of: Usage | None


def _rows(usage: Usage) -> list[_Row]:
    parts = sorted(usage.classes, key=lambda part: -part.bytes)
    if len(parts) == 1:
        return [_Row(f"{usage.name} {parts[0].storage_class}", usage.bytes, usage)]
    return [
        _Row(usage.name, usage.bytes, usage),
        *(_Row(f"  {part.storage_class}", part.bytes, None) for part in parts),
    ]


def _growth(row: _Row) -> str | None:
    growth = row.of.growth if row.of else None
    if growth is None:
        return None
    return f"+{human_bytes(growth)}" if growth > 0 else human_bytes(growth)


def _full(row: _Row) -> str | None:
    if row.of is None or row.of.full_in is None:
        return None
    return f"{row.of.full_in} d" if row.of.full_in < 3650 else "10 years +"


def _objects(row: _Row) -> str | None:
    return f"{row.of.objects:,}" if row.of and row.of.objects is not None else None


_CLOUDWATCH = [
    Column("what", lambda r: r.what),
    Column("size", lambda r: human_bytes(r.size), right=True),
    Column("objects", _objects, right=True),
    Column("a month", _growth, right=True),
    Column("limit", lambda r: human_bytes(r.of.limit) if r.of else None, right=True),
    Column("full in", _full, right=True),
    Column("on", lambda r: r.of.day if r.of else None),
]


# --- the listing -------------------------------------------------------------------------------


def _exact(aws: Aws, bucket: str, prefix: str, depth: int, report: Report) -> list[ExactRow]:
    """All objects of a bucket, added up. Raises ListingError when a part is missing."""
    head = aws.call(calls.BUCKET_HEAD, Bucket=bucket)
    region = head["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "")
    get = aws.getter(calls.OBJECTS, bucket, region=region, connections=THREADS)

    def group(key: str) -> str:
        """The folder that a key is counted in: `depth` levels below the prefix."""
        folders = key[len(prefix) :].split("/")[:-1]
        return prefix + "".join(f"{name}/" for name in folders[:depth])

    total: Tally = {}
    with report.progress(f"Listing {bucket}", unit="objects") as progress:
        for page in list_all(get, prefix, group if depth else lambda _: prefix):
            for name, (objects, size) in page.tally.items():
                before = total.get(name, (0, 0))
                total[name] = (before[0] + objects, before[1] + size)
                progress.advance(objects)
    return [ExactRow(bucket, *name, *total[name]) for name in sorted(total)]


_EXACT = [
    Column("bucket", lambda r: r.bucket),
    Column("prefix", lambda r: r.prefix),
    Column("class", lambda r: r.storage_class),
    Column("objects", lambda r: f"{r.objects:,}", right=True),
    Column("bytes", lambda r: f"{r.bytes:,}", right=True),
    Column("size", lambda r: human_bytes(r.bytes), right=True),
]
