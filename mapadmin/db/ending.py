"""Sessions of accounts that change or go: ended, or named, because they keep access they had."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Plan, Step
from mapadmin.core.text import count
from mapadmin.db.activity import Accounts
from mapadmin.db.grants import Account, GrantTables
from mapadmin.db.processes import Session, execute_kills, kill_steps, sessions_of

if TYPE_CHECKING:
    from mapadmin.db.server import Server

_ENDING = 20.0  # seconds that sessions are given to end
_SHOWN = 5  # users in notes
_ACCESS = ("grant", "revoke", "revoke native role")  # actions that change what a session may do


class EndSessions(Step, frozen=True, kw_only=True):
    """End all sessions of these accounts, also those that are opened until it is carried out.

    The accounts are locked by then, or the sessions would come back.
    """

    accounts: tuple[Account, ...]


class Ending:
    """Ends sessions of accounts; the executor of EndSessions."""

    def __init__(self, server: Server, tables: GrantTables) -> None:
        self._server = server
        self._tables = tables
        self._accounts = Accounts(tables)

    def end(self, steps: Sequence[EndSessions]) -> Iterator[None]:
        for step in steps:
            self._end(step.accounts)
            yield

    def _end(self, accounts: Sequence[Account]) -> None:
        deadline = time.monotonic() + _ENDING
        while found := self._sessions(accounts):
            if time.monotonic() > deadline:
                raise MapadminError(
                    f"{len(found)} sessions of {', '.join(map(str, accounts))} have not ended "
                    f"within {_ENDING:.0f} s: the server undoes what they had begun.",
                    remedy="Look with `mapadmin db processes --all`, then run this again.",
                )
            for _ in execute_kills(self._server, kill_steps(self._server, found)):
                pass
            time.sleep(0.05)

    def _sessions(self, accounts: Sequence[Account]) -> list[Session]:
        """Those of the users that are not of another account, which stays.

        The server shows a session's user and client, not its account.
        """
        users = {account.user for account in accounts}
        staying = {one for one in self._tables.accounts if one.user in users}.difference(accounts)
        return [
            session
            for session in sessions_of(self._server, users)
            if self._accounts.find(session.user, session.client) not in staying
        ]


def kept_access(server: Server, plan: Plan) -> Plan:
    """Notes about open sessions that a plan's grants and revokes do not reach.

    A session keeps what it may do in its default schema from when it chose it (both servers).
    """
    users = {step.target.rpartition("@")[0] for step in plan.steps if step.action in _ACCESS}
    held: dict[str, list[int]] = {}
    if users:
        for session in sessions_of(server, users):
            if session.schema:
                held.setdefault(session.user, []).append(session.id)
    notes = [
        f"{user} has {count(len(ids), 'open session')} with a default schema "
        f"({', '.join(map(str, sorted(ids)))}), in which the access stays as it was until it ends: "
        f"`mapadmin db kill --user {user}`"
        for user, ids in sorted(held.items())[:_SHOWN]
    ]
    if len(held) > _SHOWN:
        notes.append(f"the same goes for sessions of {len(held) - _SHOWN} others")
    return Plan(notes=tuple(notes))
