"""The site's database as commands use it: connection, what it holds, what the site wants of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

import msgspec

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import MapadminError
from mapadmin.core.journal import Entry
from mapadmin.core.plan import Kind, Outcome, Plan, Step, StepState
from mapadmin.core.report import Report
from mapadmin.db.diff import Changes, Differ
from mapadmin.db.grants import Account, GrantTables
from mapadmin.db.inspect import inspect
from mapadmin.db.passwords import Handover
from mapadmin.db.policy import Policy, Wanted
from mapadmin.db.processes import KillStep, execute_kills
from mapadmin.db.server import BATCH, Server, connect
from mapadmin.db.state import Managed, Stage, State
from mapadmin.db.statements import SqlStep, merge
from mapadmin.db.turns import turn
from mapadmin.people_file import Value, remove_entry, set_entry

if TYPE_CHECKING:
    from mapadmin.site import Site


class EditPeople(Step, frozen=True, kw_only=True):
    """A change of people.toml. `values` None removes the entry; a None in it removes a key."""

    section: str
    name: str
    values: Mapping[str, Value] | None = msgspec.field(default_factory=dict)


class Database:
    """An open connection with everything derived from it, each read once when first needed."""

    def __init__(self, admin: Admin, server: Server) -> None:
        self.admin = admin
        self.server = server
        self.today: date = datetime.now(UTC).date()

    @property
    def site(self) -> Site:
        return self.admin.site

    @cached_property
    def tables(self) -> GrantTables:
        """All accounts and grants, as they were when this was first asked for."""
        return inspect(self.server)

    @cached_property
    def own(self) -> Account:
        """mapadmin's own account: it is never changed."""
        user, _, host = self.server.current_user.rpartition("@")
        return Account(user, host)

    @cached_property
    def state(self) -> State:
        return State(self.server)

    @cached_property
    def managed(self) -> Mapping[Account, Managed]:
        return self.state.managed()

    def unfinished(self, wanted: Iterable[Wanted]) -> list[Account]:
        """Those whose creation was begun and never finished."""
        known = (self.managed.get(one.account) for one in wanted)
        return [one.account for one in known if one and one.stage is Stage.CREATING]

    @cached_property
    def policy(self) -> Policy:
        return Policy(self.site, self.tables, self.own, self.today)

    @cached_property
    def wanted(self) -> Mapping[Account, Wanted]:
        """All accounts of people.toml as the site wants them; none without that file."""
        return self.policy.everyone()

    @cached_property
    def differ(self) -> Differ:
        return Differ(self.tables, self.own, self.state, self.policy.every_privilege)

    def perform(
        self,
        plan: Plan,
        mode: Mode,
        *,
        question: str = "",
        after: Callable[[Outcome], None] | None = None,
        more_kinds: Mapping[type[Step], Kind] | None = None,
    ) -> Outcome:
        """Carry out a plan on this server (and people.toml); see `Admin.perform`.

        mapadmin's own schema is made first where it is missing, and the journal is copied into it
        at the end, whatever the outcome. `more_kinds` are for steps that one command alone has.
        """
        if plan:
            plan = Plan(self.state.setup_steps()) + plan
        kinds: dict[type[Step], Kind] = {
            SqlStep: Kind(self.server.execute, batch=BATCH),
            KillStep: Kind(partial(execute_kills, self.server)),
            EditPeople: Kind(self._edit_people),
            **(more_kinds or {}),
        }
        try:
            return self.admin.perform(plan, kinds, mode, question=question, after=after)
        finally:
            if plan and not mode.dry_run:
                self._mirror()

    def hand_over(
        self, handover: Handover, wanted: Sequence[Wanted], changes: Changes
    ) -> Callable[[Outcome], None]:
        """What follows a run that set passwords: hand them over, then remember that it was done.

        Until then the accounts count as being created, and the next run gives them new passwords.
        """

        def after(outcome: Outcome) -> None:
            done = {
                step.target
                for step, state in zip(outcome.plan.steps, outcome.states, strict=True)
                if step.action == "set password" and state is StepState.DONE
            }
            ready = {a: secret for a, secret in changes.passwords.items() if str(a) in done}
            if not ready:
                return
            handover.deliver(ready, self.site.database)
            for sql, _ in merge(self.differ.remember(w) for w in wanted if w.account in ready):
                self.server.run(sql)

        return after

    def _edit_people(self, steps: Sequence[EditPeople]) -> Iterator[None]:
        for step in steps:
            if step.values is None:
                remove_entry(self.site.people_path, step.section, step.name)
            else:
                set_entry(self.site.people_path, step.section, step.name, step.values)
            yield

    def shared_journal(self, *, limit: int) -> list[Entry]:
        """The newest entries of all machines, oldest first; none before the first change."""
        return State(self.server).journal(limit=limit)

    def _mirror(self) -> None:
        try:
            self.state.mirror(self.admin.journal_path)
        except MapadminError as error:
            Report().say(f"Note: the journal is not on the server yet ({error.message})")
            Report().say("  It is kept here, and the next change copies it.")


def open_database(admin: Admin) -> Database:
    """Connect as the site file says. Raises UnreachableError or SettingsError."""
    settings = admin.site.database
    password = admin.site.secret(settings.password, "database.password")
    server = connect(settings, password, admin.site.folder)
    admin.at_exit(server.close)
    return Database(admin, server)


@contextmanager
def changing(admin: Admin, mode: Mode) -> Iterator[Database]:
    """The database for a command that changes it: alone from the first look to the last step.

    A dry run changes nothing and waits for nobody.
    """
    database = open_database(admin)
    if mode.dry_run:
        yield database
        return
    with turn(State(database.server), admin.command):
        admin.refresh_site()  # whoever had the lock before may have written people.toml
        yield database
