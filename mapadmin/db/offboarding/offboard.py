"""From somebody who leaves to a plan that removes them. Pure.

The order is such that the same command finishes what was cut short at any point: people.toml is
first, so that an `apply` in between makes nothing of it undone; the grants go when the schemas are
gone or archived, because MariaDB dumps a view that its definer may not read in a form that cannot
be loaded; what mapadmin remembers of the account goes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.plan import Plan, Step
from mapadmin.core.text import human_bytes
from mapadmin.db.archives.archive import ArchiveSchema, DropArchived, drops
from mapadmin.db.database import EditPeople
from mapadmin.db.ending import EndSessions
from mapadmin.db.grants import Account
from mapadmin.db.offboarding.dependencies import ForeignKey, drop_order
from mapadmin.db.offboarding.guards import listed
from mapadmin.db.offboarding.leaver import Fate, Leaver
from mapadmin.db.state import Managed, Stage, State
from mapadmin.db.statements import Sql, SqlStep, drop_account, set_locked

if TYPE_CHECKING:
    from mapadmin.site import Site


def removal_plan(
    leaver: Leaver, site: Site, state: State, keys: Sequence[ForeignKey], folder: Path | None
) -> Plan:
    """The steps that remove somebody, once all guards have been passed; see the module."""
    remembered = _remembered(leaver, site)
    steps: list[Step] = []
    edit = _edit_people(leaver, site)
    if edit is not None:
        steps += [_record(one, state) for one in remembered if one not in leaver.remembered]
        steps.append(edit)
    steps += [_lock(one.account) for one in leaver.accounts if not one.locked]
    if leaver.accounts:
        accounts = tuple(one.account for one in leaver.accounts)
        steps.append(EndSessions(action="end sessions", target=leaver.name, accounts=accounts))
    steps += _schema_steps(leaver, keys, folder)
    steps += [_revoke(one.account) for one in leaver.accounts if one.grants]
    steps += [_drop(one.account) for one in leaver.accounts]
    steps += [_forget(one.account, state) for one in remembered]
    return Plan(tuple(steps))


def _remembered(leaver: Leaver, site: Site) -> list[Managed]:
    """What mapadmin is to know until the end, also when people.toml no longer says it.

    Without this, a second run could not tell whether the schemas are theirs.
    """
    entry = site.everyone().get(leaver.name)
    if entry is None or leaver.others:
        return list(leaver.remembered)
    known = leaver.remembered or [
        Managed(Account(leaver.name, entry.hosts[0]), Stage.CREATING, entry.role)
    ]
    service = not site.owns_schemas(leaver.name)
    return [msgspec.structs.replace(one, service=service) for one in known]


def _record(entry: Managed, state: State) -> SqlStep:
    return SqlStep(
        action="record", target=str(entry.account), detail="is being removed",
        statements=(state.mark(entry),),
    )  # fmt: skip


def _edit_people(leaver: Leaver, site: Site) -> EditPeople | None:
    entry = site.everyone().get(leaver.name)
    if entry is None:
        return None
    section = "services" if leaver.name in site.people.services else "people"
    staying = {one.host for one in leaver.others}
    hosts = [host for host in entry.hosts if host in staying]
    if hosts == entry.hosts:
        return None
    return EditPeople(
        action="write people.toml", target=leaver.name,
        detail=f"[{section}.{leaver.name}] {'hosts' if hosts else 'removed'}",
        section=section, name=leaver.name, values={"hosts": hosts} if hosts else None,
    )  # fmt: skip


def _lock(account: Account) -> SqlStep:
    return SqlStep(
        action="lock account", target=str(account),
        statements=(set_locked(account, locked=True),),
    )  # fmt: skip


def _schema_steps(leaver: Leaver, keys: Sequence[ForeignKey], folder: Path | None) -> list[Step]:
    order, circle = drop_order(keys, leaver.dropped)
    schemas = [*order, *circle]
    if folder is None:
        return [
            SqlStep(
                action="drop schema", target=schema, detail="not archived", destroys=True,
                statements=drops(schema, circular=schema in circle),
            )
            for schema in schemas
        ]  # fmt: skip
    archives = [
        ArchiveSchema(
            action="archive schema", target=schema, schema=schema,
            detail=f"into {folder}, verified by loading it",
        )
        for schema in schemas
    ]  # fmt: skip
    dropped = [
        DropArchived(
            action="drop schema", target=schema, schema=schema, destroys=True,
            detail="archived", circular=schema in circle,
        )
        for schema in schemas
    ]  # fmt: skip
    return [*archives, *dropped]


def _revoke(account: Account) -> SqlStep:
    """Native roles end with the account: MariaDB lets only a role's own administrator revoke it."""
    everything = Sql(
        "REVOKE ALL PRIVILEGES, GRANT OPTION FROM %s@%s", args=(account.user, account.host)
    )
    return SqlStep(action="revoke everything", target=str(account), statements=(everything,))


def _drop(account: Account) -> SqlStep:
    return SqlStep(
        action="drop account", target=str(account), destroys=True,
        statements=(drop_account(account),),
    )  # fmt: skip


def _forget(account: Account, state: State) -> SqlStep:
    return SqlStep(
        action="forget", target=str(account), detail="no longer managed",
        statements=(state.forget(account),),
    )  # fmt: skip


def schema_notes(
    leaver: Leaver, sizes: Mapping[str, int], readers: Iterable[tuple[str, str]]
) -> list[str]:
    """What is to be known about the schemas of somebody who leaves.

    `sizes` in bytes; `readers` are views of others, and the schemas that they read.
    """
    if leaver.others:
        staying = ", ".join(map(str, leaver.others))
        return [f"{leaver.name} stays as {staying}, and sessions of that go on"]
    sized = listed([f"{name} ({human_bytes(sizes.get(name, 0))})" for name in leaver.schemas])
    if not leaver.schemas:
        return [f"{leaver.name} has no schemas"] if leaver.fate is not Fate.KEEP else []
    if leaver.fate is Fate.KEEP:
        return [f"schemas that stay, and are nobody's then: {sized}"]
    notes = [f"schemas that are dropped: {sized}"]
    broken = [f"{view} (reads {schema})" for view, schema in readers]
    if broken:
        notes.append(f"views of others that will no longer work: {listed(broken)}")
    return notes
