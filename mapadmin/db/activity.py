"""Who is, or was, active: open sessions and logins, told apart by account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.db.grants import Account, GrantTables
from mapadmin.db.processes import Session, sessions
from mapadmin.db.rights.matching import client_of, host_matches, row_rank

if TYPE_CHECKING:
    from mapadmin.db.server import Server

_SWITCHES = """SHOW GLOBAL VARIABLES WHERE Variable_name IN ('performance_schema', 'userstat')"""
_STATUS = """SHOW GLOBAL STATUS
WHERE Variable_name IN ('Uptime', 'Performance_schema_accounts_lost')"""
_BY_CLIENT = """SELECT USER, HOST, TOTAL_CONNECTIONS FROM performance_schema.accounts
WHERE USER IS NOT NULL"""
_BY_USER = "SELECT USER, '', TOTAL_CONNECTIONS FROM information_schema.USER_STATISTICS"


class Activity(msgspec.Struct, frozen=True):
    """What the server knows. `logins` are counted since `since` (UTC, the server's start).

    `logins` is None where the server does not count (performance_schema and userstat are off).
    """

    sessions: Mapping[Account, list[Session]]
    logins: Mapping[Account, int] | None
    since: datetime


class Accounts:
    """Finds the account that a client logged in to: the most specific host that lets it in."""

    def __init__(self, tables: GrantTables) -> None:
        self._flavour = tables.flavour
        self._resolved = not tables.skip_name_resolve
        self._by_user: dict[str, list[Account]] = {}
        for account in sorted(tables.accounts, key=self._rank):
            self._by_user.setdefault(account.user, []).append(account)

    def _rank(self, account: Account) -> tuple[int, ...]:
        return row_rank(self._flavour, account.user, account.host, "")

    def find(self, user: str, client: str) -> Account | None:
        """The account of a session; None when it is not there any more.

        A client that is not known, '', is taken for one of the user's first account.
        """
        accounts = self._by_user.get(user, [])
        for account in accounts:
            where = client_of(client, account.host, names_resolved=self._resolved)
            if not client or host_matches(self._flavour, account.host, where):
                return account
        return None


def activity(server: Server, tables: GrantTables) -> Activity:
    """Sessions and logins of all accounts, in a handful of queries."""
    accounts = Accounts(tables)
    status = {name: int(value) for name, value in server.query(_STATUS)}
    return Activity(
        sessions=by_account(sessions(server), accounts),
        logins=_logins(server, accounts, lost=status.get("Performance_schema_accounts_lost", 0)),
        since=datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=status["Uptime"]),
    )


def by_account(found: Iterable[Session], accounts: Accounts) -> dict[Account, list[Session]]:
    """Sessions of accounts that exist."""
    out: dict[Account, list[Session]] = {}
    for session in found:
        account = accounts.find(session.user, session.client)
        if account is not None:
            out.setdefault(account, []).append(session)
    return out


def _logins(server: Server, accounts: Accounts, *, lost: int) -> Mapping[Account, int] | None:
    """How often each account was logged in to; None when the server does not count (all of) it."""
    switches = {name for name, value in server.query(_SWITCHES) if value == "ON"}
    if "performance_schema" in switches and not lost:
        sql = _BY_CLIENT
    elif "userstat" in switches:
        sql = _BY_USER
    else:
        return None
    counts: Counter[Account] = Counter()
    with suppress(MapadminError):  # SELECT on performance_schema, or PROCESS
        for user, client, total in server.query(sql):
            account = accounts.find(str(user), str(client or ""))
            if account is not None:
                counts[account] += int(total)
        return counts
    return None
