"""`cleanup figures` and `cleanup trash`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.cleanup.commands import app
from mapadmin.cleanup.options import Given, clean_up, put_metrics, takes_given, unless_locked
from mapadmin.cleanup.runner import How, Run, run_parts
from mapadmin.core.errors import ExitCode, UsageError
from mapadmin.core.report import Report
from mapadmin.core.text import count, human_bytes

if TYPE_CHECKING:
    from mapadmin.cleanup.figures.reconcile import Mismatch

StoreOption = Annotated[
    str | None, typer.Option("--store", help="Only this store of the site file.")
]


@app.command("figures")
@takes_given("yes")
def figures(
    ctx: typer.Context,
    given: Given,
    store: StoreOption = None,
    reconcile: Annotated[
        bool,
        typer.Option("--reconcile", help="List files without a row and rows without a file."),
    ] = False,
    collect: Annotated[
        bool,
        typer.Option("--collect", help="With --reconcile: move files without a row to the trash."),
    ] = False,
) -> None:
    """Move files of the external stores that no row refers to any more into the trash.

    `[stores.<name>]` says where they are, and for how long a file is left alone. From the trash, a
    file comes back by itself when a row needs it; `cleanup trash` empties it. Stores of DataJoint
    0.12 to 0.14 are covered; in those of 2.x no table tracks the files, and they are left alone.

    --reconcile lists what does not go together, a line each (with --json a document each), and
    exits with 5 when there is any.
    """
    if collect and not reconcile:
        raise UsageError("--collect goes with --reconcile.")
    admin = ctx.ensure_object(Admin)
    _require(admin, store)
    if reconcile:
        _reconcile(admin, store, given, collect=collect and not given.dry_run)
        return
    from mapadmin.cleanup.figures.part import FiguresPart

    clean_up(admin, lambda: [FiguresPart(store)], given)


def _require(admin: Admin, store: str | None) -> None:
    """Refuse a store that the site file does not have. Raises UsageError."""
    known = admin.site.settings.stores
    if store is not None and store not in known:
        raise UsageError(
            f"The site file has no store {store!r}.",
            remedy=f"It has: {', '.join(sorted(known)) or 'none'}.",
        )


def _reconcile(admin: Admin, store: str | None, given: Given, *, collect: bool) -> None:
    from mapadmin.cleanup.figures.reconcile import ReconcilePart

    report = Report(as_json=given.as_json)
    how = How(dry_run=not collect, force=given.force, time_limit=given.time_limit)

    def tell(mismatch: Mismatch) -> None:
        report.stream([mismatch], _line)

    with unless_locked(given, report) as skipped:
        run = run_parts(admin, [ReconcilePart(store, tell, collect=collect)], how, report)
    if skipped:
        return
    (result,) = run.parts
    numbers = {name: result.details.get(name, 0) for name in _FOUND}
    if not given.quiet or not run.quiet or any(numbers.values()) or not result.finished:
        _tell(report, run, numbers, collect=collect)
    put_metrics(admin, run, given)
    if result.failures or not result.finished:
        raise typer.Exit(ExitCode.FAILED)
    if not collect and any(numbers.values()):
        raise typer.Exit(ExitCode.DRIFT)


def _tell(report: Report, run: Run, numbers: dict[str, int], *, collect: bool) -> None:
    (result,) = run.parts
    for note in (*run.notes, *result.notes):
        report.say(note)
    for failure in result.failures:
        report.say(f"Error: {failure}")
    report.say(
        "; ".join(f"{count(numbers[name], noun)} {rest}" for name, (noun, rest) in _FOUND.items())
        + f". ({run.seconds:.1f} s)"
    )
    if collect:
        report.say(f"Moved to the trash: {count(result.items, 'file')}.")


_FOUND = {
    "untracked": ("file", "without a row"),
    "missing": ("row", "in use without a file"),
    "missing_unused": ("row", "of nobody's without a file"),
}


def _line(mismatch: Mismatch) -> str:
    of = f", {mismatch.table}" if mismatch.table else ""
    return (
        f"{mismatch.kind}: {mismatch.store}: {mismatch.key} "
        f"({human_bytes(mismatch.size)}, {mismatch.since}{of})"
    )


@app.command("trash")
@takes_given("force")
def trash(ctx: typer.Context, given: Given, store: StoreOption = None) -> None:
    """Delete for good what has been in the trash of a store for `trash_days`.

    Whatever has a row again is put back first. Without --yes, files are only counted.
    """
    from mapadmin.cleanup.trash import TrashPart

    admin = ctx.ensure_object(Admin)
    _require(admin, store)
    clean_up(admin, lambda: [TrashPart(store)], given)
