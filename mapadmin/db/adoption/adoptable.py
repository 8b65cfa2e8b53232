"""Which accounts a site can describe at all. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mapadmin.db.compare import differences
from mapadmin.db.grants import Account, AccountState, Level, Privileges, Scope, parse_scope
from mapadmin.db.names import taken
from mapadmin.db.policy import Wanted
from mapadmin.site import Site


def refusal(state: AccountState, site: Site, own: Account, *, unfinished: bool) -> str:
    """Why an account is never taken over; empty when it may be."""
    account = state.account
    if not account.user:
        return "it is an anonymous account"
    if account.user in site.database.ignore_accounts:
        return "it is in database.ignore_accounts"
    if unfinished:
        return "its creation was cut short: run the same add-user again"
    return taken(account.user, site, own) or _inexpressible(state)


def _inexpressible(state: AccountState) -> str:
    if not state.account.host:
        return "it has no host"
    if state.restrictions:
        return "it has partial revokes, which people.toml has no words for"
    for scope in sorted(state.grants):
        if scope.level is Level.PROXY:
            return f"it may act as {scope.schema}@{scope.name}, which people.toml has no words for"
        if not _is_expressible(scope):
            return f"its grant on {scope} cannot be written into people.toml"
    return ""


def _is_expressible(scope: Scope) -> bool:
    try:
        return parse_scope(str(scope)) == scope
    except ValueError:
        return False


def unlike(accounts: Sequence[AccountState], every_privilege: Privileges) -> str:
    """In what the accounts of one user differ, so that no entry can be for all; empty: in nothing.

    An entry has the same role, grants and attributes at all its hosts.
    """
    first, *others = accounts
    roles = frozenset(map(str, first.roles))
    like = Wanted(
        first.account, first.grants, locked=first.locked, tls=first.tls, native_roles=roles
    )
    for other in others:
        found = differences(like, other, every_privilege)
        if first.roles - other.roles:
            found.append("lacks a native role")
        if found:
            return f"{other.account} {found[0]}, unlike {first.account}: make them alike first"
    return ""
