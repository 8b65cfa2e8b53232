"""Options of all cleanups, and what they do with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
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
from mapadmin.options import DryRun, Json, Yes

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


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a cleanup was told on the command line: an option for each field."""

    quiet: Quiet = False
    skip_locked: SkipLocked = False
    time_limit: TimeLimit = None
    metrics: Metrics = None
    force: Force = False
    yes: Yes = False
    dry_run: DryRun = False
    as_json: Json = False

    @property
    def how(self) -> How:
        return How(
            dry_run=self.dry_run, yes=self.yes, force=self.force, time_limit=self.time_limit
        )  # fmt: skip


def takes_given(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of all cleanups, but for those of `without`.

    They come behind its own ones, and reach it as its parameter `given`.
    """
    hints = get_type_hints(Given, include_extras=True)
    default = Given()
    options = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=getattr(default, name),
            annotation=hints[name],
        )
        for name in Given.__struct_fields__
        if name not in without
    ]  # fmt: skip

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        own = [one for one in parameters if one.name != "given"]

        @wraps(command)
        def run(*args: Any, **values: Any) -> None:
            given = Given(**{one.name: values.pop(one.name) for one in options})
            command(*args, given=given, **values)

        # What typer reads the options from.
        run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in (*own, *options)}
        return run

    return decorate


def clean_up(admin: Admin, parts: Callable[[], Sequence[Part]], given: Given) -> None:
    """Run parts, tell what came of it, write the metrics; exits with 1 when a part failed."""
    report = Report(as_json=given.as_json)
    with unless_locked(given, report) as skipped:
        run = run_parts(admin, parts(), given.how, report)
    if skipped:
        if given.as_json:
            report.document(Run(site=admin.site.name, dry_run=given.dry_run))
        raise typer.Exit(0)
    _tell(report, run, quiet=given.quiet)
    put_metrics(admin, run, given)
    raise typer.Exit(exit_code(run))


@contextmanager
def unless_locked(given: Given, report: Report) -> Iterator[list[str]]:
    """Run a cleanup in the body; the list gets why not, with --skip-locked, if another one runs."""
    skipped: list[str] = []
    try:
        yield skipped
    except LockedError as error:
        if not given.skip_locked:
            raise
        skipped.append(error.message)
        if not given.quiet:
            report.say(f"Skipped: {error.message}")


def put_metrics(admin: Admin, run: Run, given: Given) -> None:
    """What --metrics asks for, last of all: an error here is not to hide what was done."""
    if given.metrics is not None and not given.dry_run:
        make_private_folder(admin.site.state_folder)
        write_metrics(given.metrics, admin.site.state_folder / "cleanup-metrics.json", run)


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
    for note in run.notes:
        report.say(f"Note: {note}")
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
