"""Options of all cleanups, and what they do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.cleanup.metrics import write_metrics
from mapadmin.cleanup.parts import Item, Part, PartResult
from mapadmin.cleanup.runner import How, Run, exit_code, run_parts
from mapadmin.core.files import make_private_folder
from mapadmin.core.lock import LockedError
from mapadmin.core.report import Report
from mapadmin.core.tables import Column
from mapadmin.core.text import human_bytes

Quiet = Annotated[
    bool, typer.Option("--quiet", help="Say nothing when there was nothing to do or to say.")
]
SkipLocked = Annotated[
    bool, typer.Option("--skip-locked", help="When another cleanup runs, exit with 0.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Limits that guard against a rule gone wrong do not hold.")
]
Metrics = Annotated[
    Path | None, typer.Option(help="Write a text file for Prometheus' node exporter.")
]
TimeLimit = Annotated[
    float | None,
    typer.Option(min=0, help="Seconds after which to stop; 0: none. Default: the site's."),
]


def clean_up(
    admin: Admin,
    parts: Callable[[], Sequence[Part]],
    how: How,
    *,
    as_json: bool,
    quiet: bool,
    skip_locked: bool,
    metrics: Path | None,
) -> None:
    """Run parts, tell what came of it, write the metrics; exits with 1 when a part failed."""
    report = Report(as_json=as_json)
    try:
        run = run_parts(admin, parts(), how, report)
    except LockedError as error:
        if not skip_locked:
            raise
        if not quiet:
            report.say(f"Skipped: {error.message}")
        if as_json:
            report.document(Run(site=admin.site.name, dry_run=how.dry_run))
        raise typer.Exit(0) from None
    if metrics is not None and not how.dry_run:
        make_private_folder(admin.site.state_folder)
        write_metrics(metrics, admin.site.state_folder / "cleanup-metrics.json", run)
    _tell(report, run, quiet=quiet)
    raise typer.Exit(exit_code(run))


def _tell(report: Report, run: Run, *, quiet: bool) -> None:
    if report.as_json:
        report.document({"summary": run.summary(), "quiet": run.quiet, **_fields(run)})
        return
    if quiet and run.quiet:
        return
    planned = [(part, item) for part in run.parts for item in part.planned]
    if planned:
        sized = any(item.bytes for _, item in planned)
        report.print_table(planned, _COLUMNS if sized else _COLUMNS[:-1])
    for part in run.parts:
        if (hidden := part.items - sum(item.count for item in part.planned)) > 0 and run.dry_run:
            report.say(f"{part.part}: … and {hidden} more.")
        for note in part.notes:
            report.say(f"{part.part}: {note}")
        for failure in part.failures:
            report.say(f"Error: {part.part}: {failure}")
    report.say(run.summary())


def _fields(run: Run) -> dict[str, object]:
    return {name: getattr(run, name) for name in run.__struct_fields__}


def _size(pair: tuple[PartResult, Item]) -> str:
    return human_bytes(pair[1].bytes) if pair[1].bytes else ""


_COLUMNS = [
    Column("part", lambda p: p[0].part),
    Column("step", lambda p: p[1].action),
    Column("on", lambda p: p[1].target),
    Column("detail", lambda p: p[1].detail),
    Column("size", _size, right=True),
]
