"""What a cleanup is made of: parts that are all given the same, and all answer the same.

A part may be killed at any moment; whatever it left half done, its next run finishes. It looks at
`Work.out_of_time` between two items and stops there; what it did by then counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import msgspec

from mapadmin.core.errors import Interrupted, MapadminError
from mapadmin.core.plan import Step, StepState

if TYPE_CHECKING:
    from mapadmin.admin import Admin
    from mapadmin.core.journal import Journal
    from mapadmin.core.progress import Progress
    from mapadmin.core.report import Report
    from mapadmin.db.database import Database
    from mapadmin.pipeline.inventory import Inventory
    from mapadmin.site import Site


class Item(Step, frozen=True, kw_only=True):
    """One thing that is cleaned up, or a group of them that is reported as one line.

    `count` and `bytes` are what it adds to the totals.
    """

    count: int = 1
    bytes: int = 0


class PartResult(msgspec.Struct, kw_only=True):
    """What came of a part. Its fields are the `--json` of `mapadmin cleanup`.

    `items` and `bytes` were cleaned up, or would be in a dry run, which lists them in `planned`
    (the first PLANNED of them). A part with `failures` has failed, though it may have done much.
    """

    part: str
    items: int = 0
    bytes: int = 0
    seconds: float = 0.0
    finished: bool = True
    """False when it stopped early: the time limit, or a limit on how much one run does."""
    notes: list[str] = msgspec.field(default_factory=list)
    """What a person should know; nothing failed."""
    failures: list[str] = msgspec.field(default_factory=list)
    planned: list[Item] = msgspec.field(default_factory=list)
    details: dict[str, int] = msgspec.field(default_factory=dict)
    """Numbers of the part's own, by a name such as `dead`; they are metrics, too."""

    @property
    def ok(self) -> bool:
        return not self.failures

    def add(self, item: Item) -> None:
        """Count an item that was done, or that a dry run would do."""
        self.items += item.count
        self.bytes += item.bytes

    def count(self, name: str, number: int = 1) -> None:
        """Add to one of the part's own numbers."""
        if number:
            self.details[name] = self.details.get(name, 0) + number

    def plan(self, item: Item) -> None:
        """Count and list what a dry run would do."""
        self.add(item)
        if len(self.planned) < PLANNED:
            self.planned.append(item)

    def fail(self, what: str, error: MapadminError) -> None:
        """Remember that something did not work, and what to do about it; then go on."""
        self.failures.append(f"{what}: {error}" if what else str(error))


PLANNED = 1000


class Work:
    """What a part is given: the site, its database, how to behave, and until when."""

    def __init__(
        self,
        admin: Admin,
        open_database: Callable[[], Database],
        *,
        dry_run: bool,
        yes: bool = False,
        force: bool = False,
        deadline: float | None = None,
        report: Report,
        journal: Journal | None,
    ) -> None:
        self.admin = admin
        self._open_database = open_database
        self.dry_run = dry_run
        self.yes = yes
        """`--yes`: what else would have to be asked may be done."""
        self.force = force
        """`--force`: limits that guard against a rule gone wrong do not hold."""
        self.deadline = deadline
        """time.monotonic() after which nothing new is begun; None: no limit."""
        self.report = report
        self._journal = journal

    @property
    def site(self) -> Site:
        return self.admin.site

    @cached_property
    def database(self) -> Database:
        """The open connection, on which the lock is held; opened on first use in a dry run."""
        return self._open_database()

    @cached_property
    def inventory(self) -> Inventory:
        """DataJoint's own tables in the pipeline's schemas, as they were at first sight."""
        from mapadmin.pipeline.inventory import project_schemas, take_inventory

        return take_inventory(self.database.server, project_schemas(self.site))

    @property
    def out_of_time(self) -> bool:
        """Whether nothing new is to be begun."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @property
    def remaining(self) -> float | None:
        """Seconds until then; None: no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def progress(self, doing: str, *, total: int | None = None, unit: str = "") -> Progress:
        """How far the part has come, on stderr; see `core.progress`."""
        return self.report.progress(doing, total=total, unit=unit)

    @contextmanager
    def journalled(self, items: Sequence[Item]) -> Iterator[None]:
        """The journal is told of these items before the body and, with its outcome, after it.

        One call for a batch: each is brought to the disk twice. Raises MapadminError, before the
        body, when the journal cannot be written. Never call it in a dry run.
        """
        if self._journal is None:
            raise RuntimeError("a dry run changes nothing, so it journals nothing")
        self._journal.started(items)
        try:
            yield
        except (Exception, Interrupted) as error:
            state = StepState.INTERRUPTED if isinstance(error, Interrupted) else StepState.FAILED
            self._journal.ended(items, [state] * len(items), str(error))
            raise
        self._journal.ended(items, [StepState.DONE] * len(items), "")


class Part(Protocol):
    """One kind of leftovers. There is a module for each, and a line in `runner.PARTS`."""

    @property
    def name(self) -> str: ...

    def run(self, work: Work, result: PartResult) -> None:
        """Clean up, or in a dry run say what would be; fill in `result` as the work goes on.

        What is in `result` counts even if this raises: a MapadminError is one more failure, and
        the other parts still have their turn.
        """
        ...
