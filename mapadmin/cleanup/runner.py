"""Runs the parts of a cleanup one after the other: alone, within a time, and on the record."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

import msgspec

from mapadmin.admin import Admin
from mapadmin.cleanup.legacy import refuse_beside_legacy
from mapadmin.cleanup.parts import Part, PartResult, Work
from mapadmin.core.errors import ExitCode, Interrupted, MapadminError
from mapadmin.core.files import make_private_folder
from mapadmin.core.journal import Journal
from mapadmin.core.lock import file_lock
from mapadmin.core.report import Report
from mapadmin.core.text import count, human_bytes
from mapadmin.db.database import open_database
from mapadmin.db.state import State
from mapadmin.db.turns import Doing, turn

if TYPE_CHECKING:
    from mapadmin.db.database import Database

# Where each part is; imported when it runs.
PARTS = {
    "jobs": ("mapadmin.cleanup.jobs", "JobsPart"),
    "figures": ("mapadmin.cleanup.figures.part", "FiguresPart"),
    "outdated": ("mapadmin.cleanup.outdated", "OutdatedPart"),
    "trash": ("mapadmin.cleanup.trash", "TrashPart"),
}


class How(msgspec.Struct, frozen=True, kw_only=True):
    """The options that every cleanup has."""

    dry_run: bool = False
    yes: bool = False
    force: bool = False
    time_limit: float | None = None


class Run(msgspec.Struct, kw_only=True):
    """What came of a cleanup: the `--json` of its commands."""

    site: str
    dry_run: bool
    seconds: float = 0.0
    parts: list[PartResult] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
    """What a person should know of the run as a whole."""

    @property
    def failed(self) -> bool:
        return any(not part.ok for part in self.parts)

    @property
    def quiet(self) -> bool:
        """Nothing was done, nothing was left for the next time, and there is nothing to say."""
        said = any(
            part.items or part.failures or part.notes or not part.finished for part in self.parts
        )
        return not said and not self.notes

    def summary(self) -> str:
        """One line for a log."""
        words = []
        for part in self.parts:
            size = f" ({human_bytes(part.bytes)})" if part.bytes else ""
            state = "" if part.ok else f", {count(len(part.failures), 'failure')}"
            state += "" if part.finished else ", not finished"
            words.append(f"{part.part} {count(part.items, 'item')}{size}{state}")
        what = "Would clean up" if self.dry_run else "Cleaned up"
        return f"{what}: {'; '.join(words) or 'nothing'}. ({self.seconds:.1f} s)"


def load_part(name: str) -> Part:
    """A part by its name."""
    import importlib

    module, cls = PARTS[name]
    return cast(Part, getattr(importlib.import_module(module), cls)())


def run_parts(admin: Admin, parts: Sequence[Part], how: How, report: Report) -> Run:
    """Run the parts in order; whatever happens to one, the next has its turn.

    Raises LockedError when another cleanup runs, MapadminError when nothing may be done at all,
    and whatever interrupts it, once that is on the record.
    """
    limit = admin.site.settings.cleanup.time_limit if how.time_limit is None else how.time_limit
    begun = time.monotonic()
    run = Run(site=admin.site.name, dry_run=how.dry_run)
    with ExitStack() as stack:
        database = _only_one(admin, stack) if not how.dry_run else None
        journal = _journal(admin, len(parts)) if not how.dry_run else None
        work = Work(
            admin,
            lambda: database or open_database(admin),
            dry_run=how.dry_run, yes=how.yes, force=how.force, report=report, journal=journal,
            deadline=begun + limit if limit else None,
        )  # fmt: skip
        error = ""
        try:
            if not how.dry_run and (note := refuse_beside_legacy(work)):
                run.notes.append(note)
            for part in parts:
                run.parts.append(PartResult(part=part.name))
                _run_one(part, work, run.parts[-1])
        except (MapadminError, Interrupted) as problem:
            error = str(problem)
            raise
        finally:
            run.seconds = round(time.monotonic() - begun, 3)
            if journal is not None and database is not None:
                _conclude(admin, database, journal, run, error)
    return run


@contextmanager
def _timed(result: PartResult) -> Iterator[None]:
    begun = time.monotonic()
    try:
        yield
    finally:
        result.seconds = round(time.monotonic() - begun, 3)


def _run_one(part: Part, work: Work, result: PartResult) -> None:
    with _timed(result):
        if work.out_of_time:
            result.finished = False
            result.notes.append("not begun: the time was up")
            return
        try:
            part.run(work, result)
        except Interrupted:
            result.finished = False
            raise
        except MapadminError as error:
            result.fail("", error)
        except Exception as error:
            if work.admin.debug:
                raise
            result.failures.append(
                f"something unexpected happened: {type(error).__name__}: {error}"
            )


def _only_one(admin: Admin, stack: ExitStack) -> Database:
    """The database, on whose connection the lock is held that keeps other machines out."""
    folder = make_private_folder(admin.site.state_folder)
    stack.enter_context(file_lock(folder / "cleanup.lock", command=admin.command))
    database = open_database(admin)
    state = State(database.server)
    stack.enter_context(turn(state, admin.command, wait=0.0, doing=Doing.CLEANING))
    return database


def _journal(admin: Admin, parts: int) -> Journal:
    make_private_folder(admin.journal_path.parent)
    journal = Journal(admin.journal_path, command=admin.command)
    journal.begin(parts)
    return journal


def _conclude(admin: Admin, database: Database, journal: Journal, run: Run, error: str) -> None:
    """The record of the run, in the journal of this machine and then on the server."""
    failures = [error] if error else []
    failures += [f"{part.part}: {failure}" for part in run.parts for failure in part.failures]
    journal.end(run.summary(), "; ".join(failures))
    try:
        state = State(database.server)
        if state.exists:
            state.mirror(admin.journal_path)
    except Exception as problem:  # noqa: BLE001  an interruption may have cut off an answer
        why = problem.message if isinstance(problem, MapadminError) else str(problem)
        Report().say(f"Note: the journal is not on the server yet ({why})")


def exit_code(run: Run) -> ExitCode:
    """1 when a part failed."""
    return ExitCode.FAILED if run.failed else ExitCode.OK
