"""What Globus itself remembers of the files that it brought somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mapadmin.core.errors import UsageError
from mapadmin.globus.attention import TaskRow
from mapadmin.globus.known import RECORD, Known
from mapadmin.globus.model import Place, normal
from mapadmin.globus.refusals import MissingError
from mapadmin.globus.session import Globus


def records_of(globus: Globus, rows: Sequence[TaskRow], places: Sequence[Place]) -> list[Known]:
    """Sizes and checksums that Globus itself remembers (30 days) of files it brought there.

    Of a file that was brought several times, only the newest record says what it is to be like.
    """
    ids = {place.collection for place in places}
    found: dict[tuple[str, str], Known] = {}
    for row in sorted(rows, key=lambda row: row.completed or "~"):  # those under way are newest
        if row.type != "transfer" or not row.files_done:
            continue
        try:
            target = str(globus.service.task(row.id).get("destination_endpoint_id"))
        except MissingError:  # somebody else's, whose records are theirs
            continue
        if target not in ids:
            continue
        for record in globus.service.succeeded(row.id):
            known = _record(target, record)
            if known is not None:
                found[known.key] = known
    return list(found.values())


def _record(collection: str, record: Mapping[str, Any]) -> Known | None:
    """None for a path that is relative to a home folder, which may be anywhere."""
    size = record.get("size")
    try:
        path = normal(str(record["destination_path"]))
    except UsageError:
        return None
    return Known(
        RECORD, collection, path, int(size) if size is not None else None, None,
        str(record.get("checksum") or ""), str(record.get("checksum_algorithm") or ""),
    )  # fmt: skip
