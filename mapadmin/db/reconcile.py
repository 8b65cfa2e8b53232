"""The whole site at once: everybody in people.toml against everything on the server. Pure.

`apply` carries the result out, `audit` only counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Plan
from mapadmin.db.diff import Changes, Differ
from mapadmin.db.ending import EndSessions
from mapadmin.db.grants import Account, AccountState, GrantTables
from mapadmin.db.policy import Wanted
from mapadmin.db.state import Managed, Stage, State
from mapadmin.db.statements import SqlStep, drop_account, revoke, set_locked

CHUNK = 100  # new accounts that go through creation together: what a kill leaves to be redone


class Reconciliation(msgspec.Struct):
    """What `apply` would do. `created` need passwords; `leavers` are removed with --prune only."""

    plan: Plan = msgspec.field(default_factory=Plan)
    created: list[Wanted] = msgspec.field(default_factory=list)
    changes: Changes = msgspec.field(default_factory=Changes)
    leavers: list[Account] = msgspec.field(default_factory=list)
    strangers: list[Account] = msgspec.field(default_factory=list)


def reconcile(
    wanted: Mapping[Account, Wanted],
    tables: GrantTables,
    managed: Mapping[Account, Managed],
    differ: Differ,
    off_limits: Callable[[str], str],
) -> Reconciliation:
    """Compare everybody; new accounts in chunks, then the changes of existing ones.

    An account that is in people.toml and on the server, but was never taken over, is a stranger:
    it is left alone and named. One that mapadmin manages and people.toml no longer names is a
    leaver. `off_limits` says why accounts of a user name are never touched (else nothing).
    """
    out = Reconciliation()
    in_question = {*wanted, *(account for account in managed if account in tables.accounts)}
    spared = {one: why for one in in_question if (why := off_limits(one.user))}
    existing = Changes()
    for account, one in sorted(wanted.items()):
        known = managed.get(account)
        if account in spared:
            continue
        if account not in tables.accounts or (known and known.stage is Stage.CREATING):
            out.created.append(one)
        elif known is None:
            out.strangers.append(account)
        else:
            differ.change(one, known, existing)
    for chunk in _chunks(out.created):
        changes = Changes()
        for one in chunk:
            differ.create(one, changes)
        out.plan += changes.plan()
        out.changes.passwords.update(changes.passwords)
    out.plan += existing.plan()
    if out.strangers:
        names = ", ".join(map(str, out.strangers[:5])) + (" …" if len(out.strangers) > 5 else "")
        note = (
            f"{len(out.strangers)} accounts are in people.toml but not managed, and are left "
            f"alone: {names} (`mapadmin db import` takes them over)"
        )
        out.plan += Plan(notes=(note,))
    out.plan += Plan(notes=tuple(f"{one} is left alone: {spared[one]}" for one in sorted(spared)))
    out.leavers = sorted(
        account
        for account in managed
        if account not in wanted and account in tables.accounts and account not in spared
    )
    return out


def _chunks(wanted: list[Wanted]) -> Iterator[list[Wanted]]:
    for start in range(0, len(wanted), CHUNK):
        yield wanted[start : start + CHUNK]


def prune_plan(
    leavers: list[Account],
    tables: GrantTables,
    state: State,
    *,
    managed: int,
    limit: float,
    force: bool,
    definers: Mapping[Account, str],
) -> Plan:
    """Lock the accounts that left people.toml, end their sessions, revoke, drop and forget.

    Their schemas stay.

    Raises MapadminError when that is more than `limit` (a share) of all managed accounts: a
    people.toml that was cut short looks just like everybody leaving.
    """
    if leavers and not force and len(leavers) > limit * managed:
        raise MapadminError(
            f"--prune would remove {len(leavers)} of {managed} managed accounts, "
            f"more than the limit of {limit:.0%}.",
            remedy="Check people.toml; --force goes ahead.",
        )
    notes = [
        f"{account} stays: it is the definer of {definers[account]}"
        for account in leavers
        if account in definers
    ]
    going = [tables.accounts[account] for account in leavers if account not in definers]
    locks = [_lock_step(one.account) for one in going if not one.locked]
    ends = [
        EndSessions(action="end sessions", target=str(one.account), accounts=(one.account,))
        for one in going
    ]
    drops = [_drop_step(one, state) for one in going]
    return Plan((*locks, *ends, *drops), tuple(notes))


def _lock_step(account: Account) -> SqlStep:
    return SqlStep(
        action="lock account", target=str(account), detail="not in people.toml",
        statements=(set_locked(account, locked=True),),
    )  # fmt: skip


def _drop_step(one: AccountState, state: State) -> SqlStep:
    account = one.account
    statements = [revoke(account, scope, held) for scope, held in one.grants.items()]
    statements += [drop_account(account), state.forget(account)]
    return SqlStep(
        action="drop account", target=str(account), detail="not in people.toml; schemas stay",
        destroys=True, statements=tuple(statements),
    )  # fmt: skip
