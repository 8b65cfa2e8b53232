"""One account as it is against the same account as the site wants it, in words. Pure."""

from __future__ import annotations

from mapadmin.db.grants import Account, AccountState, Privileges, Scope
from mapadmin.db.policy import Wanted
from mapadmin.db.statements import describe

_NOTHING: Privileges = frozenset()
_SHOWN = 6  # privileges in a sentence


def is_same(wanted: Wanted, state: AccountState) -> bool:
    """Whether `apply` would have nothing to do on the server for this account."""
    return (
        state.grants == wanted.grants
        and state.locked == wanted.locked
        and state.tls == wanted.tls
        and not unwanted_roles(wanted, state)
    )


def unwanted_roles(wanted: Wanted, state: AccountState) -> list[Account]:
    """The native roles that `apply` would revoke."""
    return [
        role
        for role in sorted(state.roles)
        if role.user not in wanted.native_roles and str(role) not in wanted.native_roles
    ]


def differences(
    wanted: Wanted, state: AccountState, every_privilege: Privileges = _NOTHING
) -> list[str]:
    """What is not as it is wanted, each in a few words that follow `it`."""
    out = []
    for scope in sorted({*wanted.grants, *state.grants}):
        is_now = state.grants.get(scope, _NOTHING)
        should = wanted.grants.get(scope, _NOTHING)
        out += _words("has", is_now - should, scope, every_privilege)
        out += _words("lacks", should - is_now, scope, every_privilege)
    if state.locked != wanted.locked:
        out.append("is locked" if state.locked else "is not locked")
    if state.tls != wanted.tls:
        out.append("must use TLS" if state.tls else "may log in without TLS")
    return out + [f"has the native role {role}" for role in unwanted_roles(wanted, state)]


def _words(verb: str, privileges: Privileges, scope: Scope, every: Privileges) -> list[str]:
    if not privileges:
        return []
    text = describe(privileges, every)
    names = text.split(", ")
    if len(names) > _SHOWN:
        text = f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more privileges"
    return [f"{verb} {text} on {scope}"]
