"""What the looking commands show of their rows, so that it can be read at 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from mapadmin.core.tables import Column
from mapadmin.core.text import human_bytes, human_seconds
from mapadmin.db.grants import Privileges
from mapadmin.db.overview import GrantRow, RoleRow, SchemaRow, UserRow
from mapadmin.db.processes import Session
from mapadmin.db.rights.reach import Reach
from mapadmin.db.statements import describe

_FEW = 5  # names that stand for many on a terminal


# --- users -------------------------------------------------------------------------------------


def users(rows: Sequence[UserRow], today: date, *, wide: bool) -> list[Column]:
    """The columns of `users`; with `wide` one for each field."""
    shown = [
        Column("account", account_name),
        Column("role", lambda u: u.role),
        Column("state", lambda u: state_of(u, today), style=lambda u: _state_style(u, today)),
        Column("own", lambda u: u.schemas, right=True),
        Column("size", lambda u: human_bytes(u.bytes) if u.schemas else None, right=True),
        growth(rows),
        Column("active", last_active),
    ]
    if wide:
        shown += [
            Column("TLS", lambda u: "required" if u.tls_required else None),
            Column("service", lambda u: u.service),
            Column("managed", lambda u: u.managed),
            Column("expires", lambda u: u.expires),
            Column("open", lambda u: u.sessions, right=True),
            Column("logins", lambda u: u.logins, right=True),
            Column("newest change", lambda u: _minutes(u.newest_change)),
            Column("native roles", lambda u: u.native_roles),
        ]
    return shown


def account_name(row: UserRow | GrantRow | Reach) -> str:
    """`alice`, or `alice@10.1.%` for one who may not come from everywhere."""
    user = row.user or "''"
    return user if row.host in ("%", "") else f"{user}@{row.host}"


def state_of(row: UserRow, today: date) -> str:
    """What is not as with everybody, most important first."""
    words = ["mapadmin"] if row.own else []
    if row.unfinished:
        words.append("unfinished")
    if row.expires is not None and row.expires < today:
        words.append(f"expired {row.expires}")
    elif row.locked:
        words.append("locked")
    if row.password_expired:
        words.append("password expired")
    if not row.managed and not row.own:
        words.append("unmanaged")
    if row.expires is not None and row.expires >= today:
        words.append(f"until {row.expires}")
    return ", ".join(words)


def _state_style(row: UserRow, today: date) -> str:
    if row.expires is not None and row.expires < today and not row.locked:
        return "red"
    return "yellow" if row.locked or row.unfinished or row.password_expired else ""


def growth(rows: Iterable[UserRow | SchemaRow]) -> Column:
    """A column of growth; the number of days is said in its header if it is the same for all."""
    days = {row.growth_days for row in rows if row.growth_days is not None}
    if len(days) == 1:
        return Column(f"in {days.pop()} d", lambda r: _signed(r.growth_bytes), right=True)
    return Column("growth", _signed_with_days, right=True)


def _signed(count: int | None) -> str | None:
    if not count:
        return None if count is None else "="
    return f"+{human_bytes(count)}" if count > 0 else human_bytes(count)


def _signed_with_days(row: UserRow | SchemaRow) -> str | None:
    text = _signed(row.growth_bytes)
    return text and f"{text} in {row.growth_days} d"


def last_active(row: UserRow) -> str:
    """The latest sign of life that the server knows of, named for what it is.

    `table 3 d`: a table of theirs was changed 3 days ago. `login <12 d`: a login since the server
    was started, which is less than 12 days ago; `none 11 d`: none in all that time.
    """
    if row.sessions:
        return "now"
    now = datetime.now(UTC)
    running = now - row.logins_since
    changed = row.newest_change
    if row.logins and (changed is None or changed < row.logins_since):
        return f"login <{running.days + 1} d"
    if changed is not None:
        return f"table {max(0, (now - changed).days)} d"
    hours = running.days * 24 + running.seconds // 3600
    if row.logins is None or not hours:
        return "-"
    return f"none {running.days} d" if running.days else f"none {hours} h"


def activity(row: UserRow) -> str:
    """All signs of life in words."""
    signs = [f"{row.sessions} open sessions"] if row.sessions else []
    if row.logins is not None:
        signs.append(f"{row.logins} logins since {row.logins_since:%Y-%m-%d}")
    if row.newest_change is not None:
        signs.append(f"newest change of an own table {_minutes(row.newest_change)}")
    return "; ".join(signs)


# --- schemas, roles, grants --------------------------------------------------------------------


def schemas(rows: Sequence[SchemaRow], *, owner: bool = True) -> list[Column]:
    """The columns of `schemas`; `owner` may be known from the title."""
    return [
        Column("schema", lambda s: s.schema),
        *([Column("owner", owner_name)] if owner else []),
        Column("tables", lambda s: s.tables, right=True),
        Column("size", lambda s: human_bytes(s.bytes), right=True),
        growth(rows),
        Column("changed", lambda s: s.newest_change and s.newest_change.date()),
    ]


def owner_name(row: SchemaRow) -> str:
    """A user's name; what is nobody's own in brackets."""
    return row.owner or f"({row.owner_kind})"


def roles(every: Privileges) -> list[Column]:
    """The columns of `roles`."""
    return [
        Column("role", lambda r: f"{r.role} (native)" if r.native else r.role),
        Column("on", lambda r: r.on),
        Column("privileges", lambda r: described("database", r.privileges, every)),
        Column("members", lambda r: len(r.members), right=True),
        Column("who", _few_members),
    ]


def _few_members(row: RoleRow) -> str:
    more = len(row.members) - _FEW
    names = ", ".join(row.members[:_FEW])
    return f"{names} and {more} more" if more > 0 else names


def grants(every: Privileges) -> list[Column]:
    """The columns of `grants`."""
    note = {"account": "", "role": " (role)", "gone": " (no account)"}
    return [
        Column("account", lambda g: account_name(g) + note[g.holder]),
        Column("on", lambda g: g.on),
        Column("privileges", lambda g: described(g.level, g.privileges, every)),
    ]


def reaches(every: Privileges, *, who: bool) -> list[Column]:
    """The columns for what is reached: by one account, or with `who` by many."""
    first = Column("account", account_name) if who else Column("on", reached)
    return [
        first,
        *([Column("on", lambda r: r.on)] if who else []),
        Column("privileges", lambda r: described(r.level, r.privileges, every)),
        Column("from", lambda r: r.origin),
    ]


def reached(row: Reach) -> str:
    """Where a line applies, with the number of schemas that a pattern stands for."""
    if row.level != "database" or row.on in row.schemas:
        return row.on
    count = len(row.schemas)
    return f"{row.on} ({count or 'no'} schema{'s' if count > 1 else ''})"


def described(level: str, names: Iterable[str], every: Privileges) -> str:
    """Privileges in words; ALL where it is all that mapadmin could grant on a schema."""
    privileges = frozenset(names)
    if level == "role":
        return "member, may grant it" if privileges else "member"
    if level == "database":
        return "ALL" if privileges == {"ALL"} else describe(privileges, every)
    if level == "global" and every and privileges >= every:
        rest = ", ".join(sorted(privileges - every))
        return f"ALL on schemas; {rest}" if rest else "ALL on schemas"
    return ", ".join(sorted(privileges))


# --- sessions ----------------------------------------------------------------------------------


def sessions() -> list[Column]:
    """The columns of `processes`; the query has what the others leave."""
    return [
        Column("id", lambda s: s.id, right=True),
        Column("user", lambda s: s.user),
        Column("from", lambda s: s.client),
        Column("schema", lambda s: s.schema),
        Column("doing", _doing),
        Column("for", lambda s: human_seconds(s.seconds), right=True),
        Column("query", lambda s: s.query, fit=True),
    ]


def _doing(session: Session) -> str:
    if session.command == "Sleep" and session.transaction is not None:
        return f"in transaction {human_seconds(session.transaction)}"
    return session.state or session.command


def _minutes(time: datetime | None) -> str | None:
    return None if time is None else f"{time:%Y-%m-%d %H:%M}"
