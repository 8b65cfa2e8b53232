"""CloudWatch's figures: asked for in few calls, kept as series of (time, value)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mapadmin.aws import calls
from mapadmin.aws.session import Aws

# S3's storage types as CloudWatch knows them ("Amazon S3 metrics and dimensions") -> class. What S3
# keeps beside the objects is paid for as well.
STORAGE_TYPES = {
    "StandardStorage": "STANDARD",
    "IntelligentTieringFAStorage": "INTELLIGENT_TIERING",
    "IntelligentTieringIAStorage": "INTELLIGENT_TIERING",
    "IntelligentTieringAAStorage": "INTELLIGENT_TIERING",
    "IntelligentTieringAIAStorage": "INTELLIGENT_TIERING",
    "IntelligentTieringDAAStorage": "INTELLIGENT_TIERING",
    "StandardIAStorage": "STANDARD_IA",
    "StandardIASizeOverhead": "overhead",
    "StandardIAObjectOverhead": "overhead",
    "OneZoneIAStorage": "ONEZONE_IA",
    "OneZoneIASizeOverhead": "overhead",
    "ReducedRedundancyStorage": "REDUCED_REDUNDANCY",
    "GlacierInstantRetrievalStorage": "GLACIER_IR",
    "GlacierInstantRetrievalSizeOverhead": "overhead",
    "GlacierStorage": "GLACIER",
    "GlacierStagingStorage": "GLACIER",
    "GlacierObjectOverhead": "overhead",
    "GlacierS3ObjectOverhead": "overhead",
    "DeepArchiveStorage": "DEEP_ARCHIVE",
    "DeepArchiveStagingStorage": "DEEP_ARCHIVE",
    "DeepArchiveObjectOverhead": "overhead",
    "DeepArchiveS3ObjectOverhead": "overhead",
}
_LEAP = 0.05
_AT_ONCE = 500  # queries that GetMetricData takes in a call


class Metric(msgspec.Struct, frozen=True):
    """One series: `dimensions` are pairs of name and value."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    stat: str = "Average"


class Point(msgspec.Struct, frozen=True):
    """`time` is the beginning of the period, in UTC."""

    time: datetime
    value: float


Series = Mapping[Metric, list[Point]]


def fetch(aws: Aws, metrics: Sequence[Metric], *, period: int, back: timedelta) -> Series:
    """The points of all these metrics, oldest first; an empty list where there are none.

    `period` is in seconds. The beginning is put on a whole period, so that no first one is partial.
    """
    end = datetime.now(UTC)
    begin = end - back
    begin -= timedelta(seconds=begin.timestamp() % period)
    found: dict[Metric, list[Point]] = {metric: [] for metric in metrics}
    for first in range(0, len(metrics), _AT_ONCE):
        asked = {f"m{n}": metric for n, metric in enumerate(metrics[first : first + _AT_ONCE])}
        for series in aws.each(
            calls.METRIC_DATA, "MetricDataResults", StartTime=begin, EndTime=end,
            MetricDataQueries=[_query(name, metric, period) for name, metric in asked.items()],
            ScanBy="TimestampAscending",
        ):  # fmt: skip
            found[asked[series["Id"]]] += [
                Point(time, float(value))
                for time, value in zip(series["Timestamps"], series["Values"], strict=True)
                if math.isfinite(value)
            ]
    return {metric: sorted(points, key=lambda p: p.time) for metric, points in found.items()}


def _query(name: str, metric: Metric, period: int) -> dict[str, Any]:
    return {
        "Id": name,
        "MetricStat": {
            "Metric": {
                "Namespace": metric.namespace, "MetricName": metric.name,
                "Dimensions": [{"Name": k, "Value": v} for k, v in metric.dimensions],
            },
            "Period": period, "Stat": metric.stat,
        },
    }  # fmt: skip


def bucket_bytes(bucket: str, storage: str) -> Metric:
    """The bytes of one storage type, once a day."""
    return Metric("AWS/S3", "BucketSizeBytes", (("BucketName", bucket), ("StorageType", storage)))


def bucket_objects(bucket: str) -> Metric:
    """The number of objects, all versions, once a day."""
    return Metric(
        "AWS/S3", "NumberOfObjects", (("BucketName", bucket), ("StorageType", "AllStorageTypes"))
    )


def of_database(identifier: str, name: str, stat: str = "Average") -> Metric:
    """A metric of an RDS instance."""
    return Metric("AWS/RDS", name, (("DBInstanceIdentifier", identifier),), stat)


def of_instance(instance: str, name: str, stat: str = "Average") -> Metric:
    """A metric of an EC2 instance."""
    return Metric("AWS/EC2", name, (("InstanceId", instance),), stat)


def since_enlarged(free: Sequence[Point], size: float) -> Sequence[Point]:
    """Of a disk's free bytes a day, those behind the last leap: with its present `size`.

    A leap is more by 5% of the disk than on any of the seven days before; RDS enlarges by 10% at
    least. What a temporary table took, and gave back, is none.
    """
    for n in range(len(free) - 1, 0, -1):
        if free[n].value - max(p.value for p in free[max(0, n - 7) : n]) > size * _LEAP:
            return free[n:]
    return free


def slope(points: Sequence[Point]) -> float | None:
    """The growth a day, by least squares; None with less than a week between first and last."""
    if len(points) < 2 or points[-1].time - points[0].time < timedelta(days=6.5):
        return None
    days = [(p.time - points[0].time).total_seconds() / 86400 for p in points]
    middle = sum(days) / len(days)
    mean = sum(p.value for p in points) / len(points)
    spread = sum((day - middle) ** 2 for day in days)
    return sum(
        (day - middle) * (p.value - mean) for day, p in zip(days, points, strict=True)
    ) / spread  # fmt: skip


def days_until(level: float, now: float, growth: float | None) -> float | None:
    """Days until `now`, growing by `growth` a day, reaches `level`; None when it never does."""
    if now >= level:
        return 0.0
    if growth is None or growth <= 0:
        return None
    return (level - now) / growth
