"""A new password for the workers' account, that no worker notices.

The order: the new password is kept in a file beside the one that the site file refers to; the
server is given it, beside the old one where it can have two (MySQL); the file takes the other's
place; the workers are replaced, each after its job; the old password is discarded. Wherever a run
ends, the next one goes on from there: what has been done is read from the server and that file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import MapadminError, SettingsError
from mapadmin.core.files import write_atomic
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.core.secret import Secret, generate_password
from mapadmin.db import statements
from mapadmin.db.database import Database, changing, open_database
from mapadmin.db.grants import Account, Flavour
from mapadmin.db.persons import managed_accounts, require_finished

if TYPE_CHECKING:
    from mapadmin.workers.manager import Manager
    from mapadmin.workers.plans import Crew

_KEPT = """SELECT User, Host FROM mysql.user
WHERE User = %s AND JSON_EXTRACT(User_attributes, '$.additional_password') IS NOT NULL"""


class ChangeStep(Step, frozen=True, kw_only=True):
    """A new password for all accounts of the workers, and in the file."""


class DiscardStep(Step, frozen=True, kw_only=True):
    """The end of an account's old password."""

    host: str


class Rotation:
    """One run of `workers rotate-password`. Raises SettingsError without a file to write to."""

    def __init__(self, admin: Admin, manager: Manager) -> None:
        self.admin = admin
        self.manager = manager
        kind, _, name = manager.settings.password.partition(":")
        if kind != "file":
            raise SettingsError(
                "mapadmin.toml: workers.password is no file:, and only into a file can mapadmin "
                "write the new password.",
                remedy='Write the password into a file of mode 0600, and password = "file:PATH".',
            )
        self.path = admin.site.folder / Path(name).expanduser()
        self.pending = self.path.with_name(self.path.name + ".new")
        admin.site.secret(manager.settings.password, "workers.password")  # can be read, is private

    @cached_property
    def database(self) -> Database:
        return open_database(self.admin)

    def accounts(self) -> list[Account]:
        """Those of the workers. Raises UsageError for what mapadmin does not manage."""
        found = managed_accounts(self.database, self.manager.settings.account, None)
        for account in found:
            require_finished(self.database, self.database.managed[account])
        return found

    def plan(self, crew: Crew) -> Plan:
        """What is left to be done."""
        if crew.unfinished:
            raise MapadminError(
                "A roll-out is unfinished, and its workers may have either password.",
                remedy="`mapadmin workers restart` finishes it.",
            )
        accounts = self.accounts()
        dual = self.database.server.flavour is Flavour.MYSQL
        kept = _kept(self.database, self.manager.settings.account) if dual else []
        finishing = bool(kept) and not self.pending.exists()
        steps: list[Step] = []
        if not finishing:
            steps.append(
                ChangeStep(
                    action="change password", target=self.manager.settings.account,
                    detail=f"{', '.join(map(str, accounts))}; {self.path}",
                )
            )  # fmt: skip
        notes: tuple[str, ...] = ()
        if not crew.stopped and not (finishing and self.manager.is_current(crew, crew.newest)):
            roll_out = self.manager.plan(crew, crew.counts(), afresh=True)
            steps += roll_out.steps
            if not dual:
                notes = (_SINGLE,)
        steps += [
            DiscardStep(action="discard old password", target=str(account), host=account.host)
            for account in (kept if finishing else accounts if dual else [])
        ]
        return Plan(tuple(steps), notes=notes)

    @property
    def kinds(self) -> dict[type[Step], Kind]:
        return {ChangeStep: Kind(self._change), DiscardStep: Kind(self._discard)}

    def _change(self, steps: Sequence[ChangeStep]) -> Iterator[None]:
        for _ in steps:
            with changing(self.admin, Mode()) as database:
                password = self._new_password()
                server = database.server
                dual = server.flavour is Flavour.MYSQL
                # Once more, and the new password would be kept beside itself, the old one gone.
                done = _kept(database, self.manager.settings.account) if dual else []
                for account in self.accounts():
                    if account not in done:
                        plugin = database.tables.accounts[account].plugin
                        server.run(
                            statements.set_password(
                                account, server.flavour, password, plugin=plugin, unlock=False,
                                keep_old=dual,
                            )
                        )  # fmt: skip
            try:
                self.pending.replace(self.path)
            except OSError as error:
                raise MapadminError(
                    f"Cannot replace {self.path}: {error.strerror}.",
                    remedy="The same command goes on from here.",
                ) from None
            yield

    def _new_password(self) -> Secret:
        """The one that an earlier run has left, or else a new one, kept before it counts."""
        if self.pending.exists():
            return self.admin.site.secret(f"file:{self.pending}", "workers.password")
        password = generate_password()
        write_atomic(self.pending, password.reveal() + "\n", mode=0o600)
        return password

    def _discard(self, steps: Sequence[DiscardStep]) -> Iterator[None]:
        for step in steps:
            with changing(self.admin, Mode()) as database:
                account = Account(self.manager.settings.account, step.host)
                database.server.run(statements.discard_old_password(account))
            yield


def _kept(database: Database, user: str) -> list[Account]:
    """The accounts of a name that have an old password beside the new one, on MySQL."""
    return [Account(str(u), str(h)) for u, h in database.server.query(_KEPT, [user])]


_SINGLE = (
    "MariaDB has no dual passwords: until it is replaced, a worker that loses its connection "
    "cannot log in again, and its job fails"
)
