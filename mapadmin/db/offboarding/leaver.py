"""Who leaves: their accounts, what is remembered of them, and the schemas that are theirs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from mapadmin.core.errors import UsageError
from mapadmin.db.grants import Account, AccountState, GrantTables
from mapadmin.db.names import is_project_schema, is_system, owner_of
from mapadmin.db.state import Managed

if TYPE_CHECKING:
    from mapadmin.site import Site


class Fate(StrEnum):
    """What becomes of somebody's schemas."""

    KEEP = "keep"
    ARCHIVE = "archive"
    DROP = "drop"


class Leaver(msgspec.Struct, frozen=True, kw_only=True):
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
    host = host if host is None else host.lower()
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
    schemas: tuple[str, ...] = ()
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
    known = {
        one.lower() if folds else one for one in (names | set(site.everyone()) | {name}) if one
    }
    wanted = name.lower() if folds else name
    return [
        schema
        for schema in sorted(tables.schemas)
        if not is_project_schema(schema, site)
        and owner_of(schema.lower() if folds else schema, known) == wanted
    ]
