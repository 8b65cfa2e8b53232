"""Access rules of a guest collection, and what people.toml wants them to be. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from mapadmin.site import CollectionSettings, Person

OF_ALL = {"all_authenticated_users": "everybody with a Globus login", "anonymous": "everybody"}


class Rule(msgspec.Struct, frozen=True):
    """Who may do what below `path`. `until` is a UTC time, after which Globus drops the rule.

    `who` is a user name, or a group's id; `person` the name in people.toml.
    """

    id: str
    who: str
    kind: str
    path: str
    permissions: str
    until: str | None
    person: str = ""
    principal: str = ""

    @property
    def words(self) -> str:
        return "read, write" if self.permissions == "rw" else "read"


class Drift(StrEnum):
    MISSING = "missing"
    UNKNOWN = "nobody's"
    DIFFERS = "differs"
    MORE = "more"


class Difference(msgspec.Struct, frozen=True):
    """One thing that is not as people.toml says, and the command that mends it."""

    kind: Drift
    who: str
    path: str
    detail: str
    command: str


class Wanted(msgspec.Struct, frozen=True):
    """What somebody is to have. `until` is the last day."""

    name: str
    permissions: str
    until: date | None


def rule_of(
    data: Mapping[str, Any], names: Mapping[str, str], people: Mapping[str, Person]
) -> Rule:
    """A rule's document. `names` are user names by identity."""
    kind, principal = str(data["principal_type"]), str(data["principal"])
    who = OF_ALL.get(kind, names.get(principal, principal))
    person = next((n for n, p in people.items() if p.globus and same(p.globus, who)), "")
    return Rule(
        str(data["id"]), who, kind, str(data["path"]), str(data["permissions"]),
        data.get("expiration_date") or None, person, principal,
    )  # fmt: skip


def wanted(
    people: Mapping[str, Person], collection: CollectionSettings, today: date
) -> dict[str, Wanted]:
    """By Globus user name: everybody whose role has access, and who is neither locked nor gone."""
    found = {}
    for name, person in people.items():
        permissions = collection.access.get(person.role, "")
        gone = person.locked or (person.expires is not None and person.expires < today)
        if person.globus and permissions and not gone:
            found[person.globus] = Wanted(name, permissions, person.expires)
    return found


def same(one: str, other: str) -> bool:
    """Are these one user name? Globus does not tell upper from lower case."""
    return one.casefold() == other.casefold()


def differences(
    rules: Sequence[Rule], want: Mapping[str, Wanted], place: str, folder: str
) -> list[Difference]:
    """What is not as wanted at `folder`; `place` names it on a command line.

    Everybody who may do anything is looked at: groups are in no people.toml.
    """
    people = [rule for rule in rules if rule.kind == "identity"]
    at = {rule.who.casefold(): rule for rule in people if rule.path == folder}
    found = []
    for who, one in want.items():
        rule = at.get(who.casefold())
        if rule is None:
            kind, detail = Drift.MISSING, f"{one.name} is to have {one.permissions}"
        elif rule.permissions != one.permissions:
            kind = Drift.DIFFERS
            detail = f"has {rule.permissions}, {one.name} is to have {one.permissions}"
        elif last_day(rule.until) != one.until:
            kind = Drift.DIFFERS
            detail = f"until {last_day(rule.until) or 'ever'}, is to be {one.until or 'ever'}"
        else:
            continue
        found.append(Difference(kind, who, folder, detail, _grant(place, one)))
    by_name = {who.casefold(): one for who, one in want.items()}
    for rule in rules:
        theirs = by_name.get(rule.who.casefold()) if rule.kind == "identity" else None
        if theirs is None:
            found.append(_unknown(rule, place))
        elif rule.path != folder and _gives_more(rule, theirs, folder):
            detail = f"has {rule.permissions}, more than {theirs.permissions} below {folder}"
            command = _revoke(place, rule, "--only")
            found.append(Difference(Drift.MORE, rule.who, rule.path, detail, command))
    return found


def _gives_more(rule: Rule, one: Wanted, folder: str) -> bool:
    ends = last_day(rule.until)
    later = one.until is not None and (ends is None or ends > one.until)
    writes = rule.permissions == "rw" and one.permissions == "r"
    return writes or later or not rule.path.startswith(folder)


def _unknown(rule: Rule, place: str) -> Difference:
    if rule.kind == "identity":
        detail = f"has {rule.permissions}, and people.toml gives it to nobody of that name"
        command = _revoke(place, rule)
    elif rule.kind == "group":
        detail = f"a group has {rule.permissions}, and people.toml knows no groups"
        command = _revoke(place, rule, "--group")
    else:
        detail = f"has {rule.permissions}, and people.toml gives it to some"
        command = _revoke(place, rule)
    return Difference(Drift.UNKNOWN, rule.who, rule.path, detail, command)


def _grant(place: str, one: Wanted) -> str:
    more = (["--write"] if one.permissions == "rw" else []) + (
        ["--until", str(one.until)] if one.until else []
    )
    return shlex.join(["mapadmin", "globus", "grant", place, one.name, *more])


def _revoke(place: str, rule: Rule, *more: str) -> str:
    where = f"{place.partition(':')[0]}:{rule.path}"
    who = rule.kind if rule.kind in OF_ALL else rule.who
    return shlex.join(["mapadmin", "globus", "revoke", where, who, *more])


def expiration(until: date | None) -> str | None:
    """The time at which a rule ends whose last day is this."""
    if until is None:
        return None
    return f"{until + timedelta(days=1)}T00:00:00+00:00"


def last_day(text: str | None) -> date | None:
    """The last whole day (UTC) before a rule ends."""
    if not text:
        return None
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return (aware.astimezone(UTC) - timedelta(seconds=1)).date()
