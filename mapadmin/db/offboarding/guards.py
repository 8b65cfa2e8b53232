"""What keeps somebody from being removed: things of others that hang on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mapadmin.core.errors import MapadminError
from mapadmin.db.grants import GLOBAL, Account, Flavour, GrantTables
from mapadmin.db.names import owner_of
from mapadmin.db.offboarding.dependencies import ForeignKey, into, out_of
from mapadmin.db.offboarding.leaver import Fate, Leaver

if TYPE_CHECKING:
    from mapadmin.db.offboarding.definers import Defined

_SHOWN = 10  # names in a message
# Of mapadmin's account: without one, MySQL does not drop the definer of anything that stays.
_MAY_ORPHAN = frozenset({"SET_USER_ID", "ALLOW_NONEXISTENT_DEFINER"})


def check_definers(
    leaver: Leaver, defined: Sequence[Defined], tables: GrantTables, own: Account, *, force: bool
) -> list[str]:
    """Refuse to leave things without their definer; notes, when `force` goes ahead.

    What is in schemas that are dropped does not count. Raises MapadminError naming the rest.
    """
    staying = [one for one in defined if one.schema not in leaver.dropped]
    if not staying:
        return []
    names = listed([f"{one} (definer {one.definer})" for one in staying])
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
        text = listed([str(key) for key in kept])
        return [f"rows that these tables refer to still cannot be deleted: {text}"]
    found = into(keys, leaver.schemas)
    if found:
        text = listed([f"{key}, of {owner_of(key.schema, users) or 'nobody'}" for key in found])
        raise MapadminError(
            f"Tables of others refer to tables of {leaver.name}: {text}.",
            remedy="Drop those foreign keys first, or keep the schemas.",
        )
    return []


def listed(names: Sequence[str]) -> str:
    """Names in a message, not too many of them."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
