"""`cleanup jobs`: failed jobs that are worth another try, and reservations whose worker is dead.

And the copies of what was cleared, when they are old.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mapadmin.cleanup.parts import Item, PartResult, Work
from mapadmin.core.errors import MapadminError, UnreachableError
from mapadmin.core.text import count, human_seconds
from mapadmin.pipeline.archive import DEAD, GENERIC, TABLE, Archive, cleared_by
from mapadmin.pipeline.clearing import (
    Selection,
    clear_errors,
    clear_row,
    count_selected,
    moment,
)
from mapadmin.pipeline.layout import Layout
from mapadmin.pipeline.liveness import Reservation, Verdict, judge, read_reservations, uptime
from mapadmin.pipeline.local import local_processes
from mapadmin.pipeline.threads import read_threads, require_sight

if TYPE_CHECKING:
    from mapadmin.db.server import Server
    from mapadmin.site import JobsCleanup


_UNSEEN = (
    "what sessions say of themselves cannot be seen (performance_schema is off, full, or not for "
    "this account): a reservation counts as dead only while nobody at all is connected with its "
    "account"
)
COPIES_AT_ONCE = 500  # that are deleted in one statement: their stacks may be long


class JobsPart:
    """Generic errors first: a worker that is free may take them while the rest is judged."""

    name = "jobs"

    def run(self, work: Work, result: PartResult) -> None:
        """See `parts.Part`."""
        server = work.database.server
        result.failures += [f"{problem}" for problem in work.inventory.problems]
        archive = Archive(server)
        if not work.dry_run and work.inventory.jobs:
            archive.set_up()
        layouts = [Layout(table) for table in work.inventory.jobs if not table.extra]
        run = _Run(work, result, server, archive, work.site.settings.cleanup.jobs)
        run.retry_generic(layouts)
        run.clear_dead(layouts)
        run.delete_old_copies()


class _Run:
    """One run of the part."""

    def __init__(
        self, work: Work, result: PartResult, server: Server, archive: Archive,
        settings: JobsCleanup,
    ) -> None:  # fmt: skip
        self.work = work
        self.result = result
        self.server = server
        self.archive = archive
        self.settings = settings
        self.by = cleared_by(work.admin.command)

    @property
    def left(self) -> int:
        """How many rows this run may still clear."""
        return max(0, self.settings.max_items - self.result.items)

    def stop(self) -> bool:
        """Whether to begin nothing more, which is then said."""
        if self.work.out_of_time or not self.left:
            self.result.finished = False
            return True
        return False

    # --- failed jobs ----------------------------------------------------------------------------

    def retry_generic(self, layouts: Iterable[Layout]) -> None:
        """Put back what failed for a generic reason; what did so too often is poisonous."""
        if not self.settings.errors or not self.settings.retries:
            return
        poisonous: set[tuple[str, str]] = set()
        for layout in layouts:
            if self.stop():
                break
            try:
                self._retry(layout, poisonous)
            except UnreachableError:
                raise
            except MapadminError as error:
                self.result.fail(str(layout.own), error)
        self.result.details["poisonous"] = len(poisonous)
        for table, number in sorted(Counter(table for table, _ in poisonous).items()):
            self.result.notes.append(
                f"{table}: {count(number, 'poisonous job')}, tried again "
                f"{count(self.settings.retries, 'time')} already: see `mapadmin workers errors`"
            )

    def _retry(self, layout: Layout, poisonous: set[tuple[str, str]]) -> None:
        selection = Selection(
            table=layout.own, until=moment(self.server, layout), like=tuple(self.settings.errors)
        )
        tired = self.archive.worn_out(layout.own.schema, self.settings.retries)

        def is_poisonous(table: str, key_hash: str) -> bool:
            if (table, key_hash) in tired:
                poisonous.add((str(layout.table(table)), key_hash))
                return True
            return False

        found = count_selected(self.server, selection, skip=is_poisonous)
        items = [_retried(layout, table, number) for table, number in sorted(found.items())]
        if self.work.dry_run:
            for item in items:
                self.result.plan(item)
                self.result.count("retried", item.count)
        elif items:
            with self.work.journalled(items):
                batches = clear_errors(
                    self.server, self.archive, selection, by=self.by, reason=GENERIC,
                    skip=is_poisonous, limit=self.left,
                )  # fmt: skip
                for number in batches:
                    self.result.items += number
                    self.result.count("retried", number)
                    if self.work.out_of_time:
                        break

    # --- reservations ---------------------------------------------------------------------------

    def clear_dead(self, layouts: list[Layout]) -> None:
        """Clear the reservations for whose workers nothing speaks, at two looks."""
        suspects = self._look(layouts)
        if not suspects:
            return
        if self.work.out_of_time:
            self.result.finished = False
            return
        time.sleep(self.settings.confirm)
        concerned = {str(job.layout.own) for job in suspects}
        second = self._look(one for one in layouts if str(one.own) in concerned)
        again = {job.identity for job in second}
        for job in suspects:
            if job.identity not in again:
                continue
            if self.stop():
                break
            item = _dead(job)
            if self.work.dry_run:
                self.result.plan(item)
                self.result.count("dead")
                continue
            with self.work.journalled([item]):
                cleared = clear_row(
                    self.server, self.archive, job.layout, job.row, by=self.by, reason=DEAD
                )
            if cleared:  # else its worker has finished, after all
                self.result.add(item)
                self.result.count("dead")

    def _look(self, layouts: Iterable[Layout]) -> list[Reservation]:
        """The reservations that look dead at this moment."""
        jobs: list[Reservation] = []
        for layout in layouts:
            try:
                jobs += read_reservations(self.server, layout, grace=self.settings.grace)
            except UnreachableError:
                raise
            except MapadminError as error:
                self.result.fail(str(layout.own), error)
        if not jobs:
            return []
        require_sight(self.server)
        # In this order: a worker that connects from here on is seen.
        since, local, seen = uptime(self.server), local_processes(), read_threads(self.server)
        if not seen.introduced and _UNSEEN not in self.result.notes:
            self.result.notes.append(_UNSEEN)
        verdicts = [(job, judge(job, seen, local, uptime=since)) for job in jobs]
        numbers = Counter(verdict for _, verdict in verdicts)
        self.result.details["spared"] = numbers[Verdict.PROCESS] + numbers[Verdict.UNTOLD]
        self.result.details["alive"] = sum(
            numbers[verdict] for verdict in (Verdict.CONNECTED, Verdict.NAMED, Verdict.LOCAL)
        )
        return [job for job, verdict in verdicts if verdict is Verdict.DEAD]

    # --- copies ---------------------------------------------------------------------------------

    def delete_old_copies(self) -> None:
        """Delete the copies that have been kept for as long as the site wants them."""
        days = self.settings.copies_days
        found = self.archive.count_old(days) if days else 0
        if found and self.work.dry_run:
            self.result.plan(self._old_copies(found))
        while found and not self.work.dry_run:
            if self.work.out_of_time:
                self.result.finished = False
                return
            ids = self.archive.old(days, COPIES_AT_ONCE)
            if not ids:
                return
            item = self._old_copies(len(ids))
            with self.work.journalled([item]):
                self.archive.delete(ids)
            self.result.add(item)
            self.result.count("copies_deleted", len(ids))

    def _old_copies(self, number: int) -> Item:
        return Item(
            action="delete copies", target=f"{self.server.settings.schema}.{TABLE}", count=number,
            detail=f"of {count(number, 'cleared job')}, older than {self.settings.copies_days:g} "
            "days", destroys=True,
        )  # fmt: skip


def _retried(layout: Layout, table: str, number: int) -> Item:
    return Item(
        action="retry jobs", target=str(layout.table(table)), count=number,
        detail=count(number, "generic error"),
    )  # fmt: skip


def _dead(job: Reservation) -> Item:
    who = f"{job.row['user']}, {job.host}, process {job.pid}"
    return Item(
        action="clear reservation",
        target=f"{job.layout.table(job.table)} {job.key_hash}",
        detail=f"reserved {human_seconds(job.age)} ago by {who}, connection "
        f"{job.row['connection_id']}",
    )
