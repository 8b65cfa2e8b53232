"""What every command is given: the site, the report, and the one way to carry out a plan."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from mapadmin.core import output
from mapadmin.core.errors import ExitCode, Interrupted, MapadminError, SettingsError
from mapadmin.core.files import make_private_folder
from mapadmin.core.report import Report

if TYPE_CHECKING:
    from mapadmin.core.journal import Journal
    from mapadmin.core.plan import Kind, Outcome, Plan, Step
    from mapadmin.site import Site


class Mode(msgspec.Struct, frozen=True):
    """How a changing command is to behave: its `--dry-run`, `--yes` and `--json`."""

    dry_run: bool = False
    yes: bool = False
    as_json: bool = False


class Queries(Protocol):
    """What a subsystem that only looks into the database needs of a connection."""

    def query(self, sql: str, args: Sequence[object] | None = None) -> list[tuple[Any, ...]]: ...

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]: ...


def _no_database(admin: Admin) -> Queries:
    raise RuntimeError("this Admin was made without a way to the database")


class Admin:
    """One run of one command. `close` ends what it opened, in reverse order.

    Subsystems do not import each other: one that reads the database is given `connect_database`.
    """

    def __init__(
        self,
        site_option: str | None = None,
        command: str = "",
        *,
        debug: bool = False,
        connect_database: Callable[[Admin], Queries] = _no_database,
    ) -> None:
        self.site_option = site_option
        self.command = command
        self.debug = debug
        self.connect_database = connect_database
        self._stack = ExitStack()
        self._read_at: object = None

    @cached_property
    def site(self) -> Site:
        """The site folder, read and checked when first asked for."""
        from mapadmin.site import find_site, load_site, stamp  # not for --help

        folder = find_site(self.site_option)
        self._read_at = stamp(folder)
        return load_site(folder)

    def refresh_site(self) -> None:
        """Read the site folder again, should somebody have changed it since.

        Raises SettingsError, also when it names another database than the one in use.
        """
        from mapadmin.site import stamp

        before = self.site
        if stamp(before.folder) == self._read_at:
            return
        del self.site
        if self.site.settings.database != before.settings.database:
            raise SettingsError(
                f"[database] in {before.folder} was changed meanwhile.", remedy="Run it again."
            )

    @property
    def journal_path(self) -> Path:
        return self.site.state_folder / "journal.jsonl"

    def at_exit(self, close: Callable[[], None]) -> None:
        """Have `close` called at the end of the run, also after an error."""
        self._stack.callback(close)

    def close(self) -> None:
        self._stack.close()

    def perform(
        self,
        plan: Plan,
        kinds: Mapping[type[Step], Kind],
        mode: Mode,
        *,
        question: str = "",
        after: Callable[[Outcome], None] | None = None,
    ) -> Outcome:
        """Show a plan, or carry out that same plan with a journal, and report what became of it.

        `question` is asked before anything is destroyed. `after` is told the outcome before it is
        reported, also of a run that failed: it hands over what was made. A failed run raises
        its error once it has been reported, with the exit code that goes with it.
        """
        from mapadmin.core.interruption import held_back
        from mapadmin.core.journal import Journal  # most commands change nothing
        from mapadmin.core.plan import Outcome, carry_out

        report = Report(as_json=mode.as_json)
        if not plan:
            report.nothing(plan)
            return Outcome(plan)
        if mode.dry_run:
            report.plan(plan)
            return Outcome(plan)
        if plan.destroys:
            if not mode.yes and not mode.as_json:
                report.plan(plan)
            report.confirm(question or "Carry this out?", yes=mode.yes)
        make_private_folder(self.journal_path.parent)
        journal = Journal(self.journal_path, command=self.command)
        journal.begin(len(plan.steps))
        with held_back():  # or a password that is set would be lost before it is handed over
            outcome = carry_out(plan, kinds, [journal])
            for follow_up in (after, _end(journal)):
                try:
                    if follow_up is not None:
                        follow_up(outcome)
                except Exception as error:  # noqa: BLE001  raised when it has been reported
                    outcome.error = outcome.error or error
            report.outcome(outcome)
        if outcome.error is not None:
            raise outcome.error
        return outcome


def _end(journal: Journal) -> Callable[[Outcome], None]:
    return lambda outcome: journal.end("done" if outcome.ok else "failed", str(outcome.error or ""))


@contextmanager
def error_boundary(admin: Admin) -> Iterator[None]:
    """Every error of a run ends here: one sentence on stderr and an exit code.

    A traceback is for `--debug`. Its locals are never shown, so a secret cannot be in it.
    """
    report = Report()
    code: int | str | None = ExitCode.OK
    try:
        try:
            yield
        except SystemExit as leaving:  # how typer ends a run, also a good one
            code = leaving.code
        except (Exception, Interrupted):
            if admin.debug:
                traceback.print_exc()
            raise
        finally:
            admin.close()
        output.check()
    except MapadminError as error:
        report.error(error)
        code = code or error.exit_code
    except Interrupted:
        report.say("Interrupted.")
        code = ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001  the last one to see it
        report.say(f"Error: something unexpected happened: {type(error).__name__}: {error}")
        if not admin.debug:
            report.say(
                "  Run it again as `mapadmin --debug …` to see where; it may be worth reporting."
            )
        code = ExitCode.FAILED
    if code:
        raise SystemExit(code)
