"""What mapadmin's own account must see before it can say that something is all there is. Pure.

Both servers leave out of information_schema, and of a dump, the triggers, events and views that an
account has no privilege for. A dump without them then looks whole, and the account that defines
them looks as if nothing hung on it.
"""

from __future__ import annotations

from mapadmin.core.errors import SettingsError
from mapadmin.db.grants import Account, GrantTables
from mapadmin.db.names import SYSTEM_SCHEMAS
from mapadmin.db.rights.reach import Reacher

SHOWS = {
    "SELECT": "tables and routines",
    "SHOW VIEW": "what views say",
    "TRIGGER": "triggers",
    "EVENT": "events",
}


def require_sight(tables: GrantTables, own: Account) -> None:
    """Refuse to go by what cannot be seen whole. Raises SettingsError naming what is lacking."""
    reacher = Reacher(tables)
    everywhere = reacher.everywhere(own)
    lacks = [f"{name} on *.* (shows {what})" for name, what in SHOWS.items()
             if name not in everywhere]  # fmt: skip
    if not lacks and tables.partial_revokes:
        lacks = [
            f"{', '.join(missing)} on {schema}"
            for schema in sorted(tables.schemas - SYSTEM_SCHEMAS)
            if (missing := sorted(SHOWS.keys() - reacher.on_schema(own, schema)))
        ]
    if lacks:
        raise SettingsError(
            f"{own} does not see everything, and so cannot tell what is lost: "
            f"it lacks {'; '.join(lacks)}.",
            remedy=f"Grant it to {own}; `mapadmin db check` says what else it needs.",
        )
