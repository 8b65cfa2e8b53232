"""How much is stored, how fast it grows, when it is full: from CloudWatch's daily figures. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from mapadmin.aws.metrics import (
    STORAGE_TYPES,
    Metric,
    Point,
    Series,
    bucket_bytes,
    bucket_objects,
    days_until,
    of_database,
    since_enlarged,
    slope,
)

BACK = timedelta(days=90)
_MONTH = 30.0
_BARS = "▁▂▃▄▅▆▇█"


class ClassBytes(msgspec.Struct, frozen=True):
    """The bytes of one storage class (`overhead`: what S3 keeps beside the objects)."""

    storage_class: str
    bytes: int


class Usage(msgspec.Struct, frozen=True):
    """One bucket, or the database's disk, on `day`, the last with a figure.

    `growth` is in bytes a month of 30 days, by least squares over the last 90 days; `full_in` in
    days, at that growth; `history` has a pair of day and bytes for each day.
    """

    name: str
    what: str
    day: date | None
    bytes: int | None
    objects: int | None
    classes: tuple[ClassBytes, ...]
    limit: int | None
    growth: int | None
    full_in: int | None
    history: tuple[tuple[date, int], ...]


def metrics_of(buckets: Mapping[str, str], database: str) -> list[Metric]:
    """What must be fetched for `usage`, a value a day."""
    return [
        *(bucket_bytes(bucket, kind) for bucket in buckets.values() for kind in STORAGE_TYPES),
        *(bucket_objects(bucket) for bucket in buckets.values()),
        *([of_database(database, "FreeStorageSpace", "Minimum")] if database else []),
    ]


def bucket_usage(name: str, bucket: str, limit: int | None, series: Series) -> Usage:
    """A bucket's figures, added up over the storage types of each day."""
    totals: dict[date, float] = defaultdict(float)
    by_class: dict[tuple[date, str], float] = defaultdict(float)
    for kind, storage_class in STORAGE_TYPES.items():
        for point in series[bucket_bytes(bucket, kind)]:
            totals[point.time.date()] += point.value
            by_class[point.time.date(), storage_class] += point.value
    objects = {p.time.date(): p.value for p in series[bucket_objects(bucket)]}
    day = max(totals, default=None)
    classes = tuple(
        ClassBytes(storage_class, round(size))
        for (when, storage_class), size in by_class.items()
        if when == day
    )
    number = objects.get(day) if day else None
    return _usage(name, bucket, totals, limit, classes, None if number is None else round(number))


def disk_usage(name: str, size: int, series: Series) -> Usage:
    """The database's disk, of `size` bytes; only days on which it had that size."""
    free = since_enlarged(series[of_database(name, "FreeStorageSpace", "Minimum")], size)
    used = {p.time.date(): size - p.value for p in free}
    return _usage("database", name, used, size, (), None)


def _usage(
    name: str, what: str, totals: Mapping[date, float], limit: int | None,
    classes: tuple[ClassBytes, ...], objects: int | None,
) -> Usage:  # fmt: skip
    history = tuple((when, round(totals[when])) for when in sorted(totals))
    day, now = history[-1] if history else (None, None)
    growth = slope(_points(history))
    full = None if now is None or limit is None else days_until(limit, now, growth)
    return Usage(
        name, what, day, now, objects, classes, limit,
        None if growth is None else round(growth * _MONTH), None if full is None else round(full),
        history,
    )  # fmt: skip


def _points(history: Sequence[tuple[date, int]]) -> list[Point]:
    return [Point(datetime.combine(day, time(), UTC), float(size)) for day, size in history]


def chart(history: Sequence[tuple[date, int]], width: int) -> str:
    """The history as bars from 0 to its highest, `width` or fewer; a gap where a day has none."""
    if not history:
        return ""
    first, last = history[0][0], history[-1][0]
    days = (last - first).days + 1
    width = min(width, days)
    slots: list[list[int]] = [[] for _ in range(width)]
    for day, size in history:
        slots[(day - first).days * width // days].append(size)
    top = max(size for _, size in history) or 1
    return "".join(_BARS[min(7, int(max(slot) / top * 7.999))] if slot else " " for slot in slots)
