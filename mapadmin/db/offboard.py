"""From somebody who leaves to a plan that removes them. Pure.

The order is such that the same command finishes what was cut short at any point: people.toml is
first, so that an `apply` in between makes nothing of it undone; the grants go when the schemas are
gone or archived, because MariaDB dumps a view that its definer may not read in a form that cannot
be loaded; what mapadmin remembers of the account goes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.core.plan import Plan, Step
from mapadmin.db.dependencies import ForeignKey, drop_order, into, out_of
from mapadmin.db.grants import GLOBAL, Account, AccountState, Flavour, GrantTables
from mapadmin.db.policy import is_project_schema, is_system, owner_of
from mapadmin.db.state import Managed, Stage, State
from mapadmin.db.statements import Sql, SqlStep, drop_account, revoke_native_role, set_locked

if TYPE_CHECKING:
    from mapadmin.db.definers import Defined
    from mapadmin.site import Site

_SHOWN = 10  # names in a message
# Of mapadmin's account: without one, MySQL does not drop the definer of anything that stays.
_MAY_ORPHAN = frozenset({"SET_USER_ID", "ALLOW_NONEXISTENT_DEFINER"})


class Fate(StrEnum):
    """What becomes of somebody's schemas."""

    KEEP = "keep"
    ARCHIVE = "archive"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSessions(Step):
    """End all sessions of a user, also those that are opened until it is carried out."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaver:
    """Somebody who leaves: `accounts` are dropped, `remembered` is forgotten, `schemas` are theirs.

    `others` are accounts of the same name that stay.
    """

    name: str
    accounts: Sequence[AccountState] = ()
    remembered: Sequence[Managed] = ()
    schemas: Sequence[str] = ()
    others: Sequence[Account] = ()
    fate: Fate = Fate.KEEP

    @property
    def dropped(self) -> Sequence[str]:
        """The schemas that do not stay."""
        return () if self.fate is Fate.KEEP else self.schemas


# --- who leaves --------------------------------------------------------------------------------


def find_leaver(
    name: str,
    host: str | None,
    fate: Fate,
    site: Site,
    tables: GrantTables,
    managed: Mapping[Account, Managed],
    own: Account,
) -> Leaver:
    """Whom a name means. Raises UsageError for accounts that are not for mapadmin to remove."""
    _refuse_name(name, own)
    of_name = sorted(account for account in tables.accounts if account.user == name)
    for account in of_name:
        if host in (None, account.host):
            _refuse_account(tables.accounts[account], account in managed)
    chosen = [account for account in of_name if host in (None, account.host)]
    entry = site.everyone().get(name)
    remembered = [managed[a] for a in sorted(managed) if a.user == name and host in (None, a.host)]
    if host is not None and not (chosen or remembered or (entry and host in entry.hosts)):
        raise UsageError(
            f"There is no account of {name} at {host!r}.", remedy="`mapadmin db users` lists them."
        )
    left = {account.host for account in of_name} | set(entry.hosts if entry else ())
    others = () if host is None else tuple(Account(name, one) for one in sorted(left - {host}))
    if others and fate is not Fate.KEEP:
        raise UsageError(
            f"{name}'s schemas belong to {', '.join(map(str, others))} as well, which stays.",
            remedy="Without --host, all accounts of the name are removed.",
        )
    schemas = ()
    if not others and (chosen or remembered or entry) and _owns(name, site, remembered):
        schemas = tuple(own_schemas(name, site, tables, managed))
    return Leaver(
        name=name, accounts=tuple(tables.accounts[account] for account in chosen),
        remembered=tuple(remembered), schemas=schemas, others=others, fate=fate,
    )  # fmt: skip


def _refuse_name(name: str, own: Account) -> None:
    if is_system(name):
        raise UsageError(f"{name} is an account of the server's own.")
    if name == own.user:
        raise UsageError(f"{name} is mapadmin's own account.")


def _refuse_account(state: AccountState, managed: bool) -> None:
    if state.is_role:
        raise UsageError(f"{state.account} is a role of the server's own, not an account.")
    if not managed:
        raise UsageError(
            f"mapadmin does not manage {state.account}, and does not remove it.",
            remedy=f"`mapadmin db import {state.account.user}` takes it over as it is.",
        )


def _owns(name: str, site: Site, remembered: Sequence[Managed]) -> bool:
    if name in site.everyone():
        return site.owns_schemas(name)
    return not any(one.service for one in remembered)


def own_schemas(
    name: str, site: Site, tables: GrantTables, managed: Iterable[Account]
) -> list[str]:
    """The schemas that the name's prefix owns, and no longer name's; never the project's.

    Grants do not count. Any account's name does, also a service's: better to keep a schema that
    nobody owns than to drop somebody else's.
    """
    folds = tables.lower_case_table_names > 0
    names = {account.user for account in tables.accounts} | {one.user for one in managed}
    known = {one.lower() if folds else one for one in (names | set(site.everyone()) | {name}) if one}
    wanted = name.lower() if folds else name
    return [
        schema
        for schema in sorted(tables.schemas)
        if not is_project_schema(schema, site)
        and owner_of(schema.lower() if folds else schema, known) == wanted
    ]


# --- guards ------------------------------------------------------------------------------------


def check_definers(
    leaver: Leaver, defined: Sequence[Defined], tables: GrantTables, own: Account, *, force: bool
) -> list[str]:
    """Refuse to leave things without their definer; notes, when `force` goes ahead.

    What is in schemas that are dropped does not count. Raises MapadminError naming the rest.
    """
    staying = [one for one in defined if one.schema not in leaver.dropped]
    if not staying:
        return []
    names = _listed([f"{one} (definer {one.definer})" for one in staying])
    if force and tables.flavour is Flavour.MYSQL and not _powers(tables, own) & _MAY_ORPHAN:
        raise MapadminError(
            f"MySQL does not drop the definer of something, at least not for {own}: {names}.",
            remedy=_recreate(leaver),
        )
    if not force:
        raise MapadminError(
            f"{leaver.name} is the definer of what stays, and it would stop working: {names}.",
            remedy=f"{_recreate(leaver)} --force removes the account all the same.",
        )
    return [f"will stop working, because {leaver.name} defines it: {names}"]


def _recreate(leaver: Leaver) -> str:
    return (
        "Create these again with another definer, or keep the account, locked: "
        f"`mapadmin db lock {leaver.name}`."
    )


def _powers(tables: GrantTables, account: Account) -> frozenset[str]:
    """The global privileges of an account and of all roles that it can have."""
    powers: set[str] = set()
    waiting = [account, *tables.mandatory_roles]
    seen: set[Account] = set()
    while waiting:
        state = tables.accounts.get(one := waiting.pop())
        if state is None or one in seen:
            continue
        seen.add(one)
        powers |= state.grants.get(GLOBAL, frozenset())
        waiting += state.roles
    return frozenset(powers)


def check_foreign_keys(
    leaver: Leaver, keys: Sequence[ForeignKey], names: Iterable[str]
) -> list[str]:
    """Refuse to drop what others refer to; notes about what refers to others and stays.

    `names` are all users, to say whose a table is. Raises MapadminError.
    """
    users = list(names)
    if leaver.fate is Fate.KEEP:
        kept = out_of(keys, leaver.schemas)
        if not kept:
            return []
        listed = _listed([str(key) for key in kept])
        return [f"rows that these tables refer to still cannot be deleted: {listed}"]
    found = into(keys, leaver.schemas)
    if found:
        listed = _listed([f"{key}, of {owner_of(key.schema, users) or 'nobody'}" for key in found])
        raise MapadminError(
            f"Tables of others refer to tables of {leaver.name}: {listed}.",
            remedy="Drop those foreign keys first, or keep the schemas.",
        )
    return []


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
