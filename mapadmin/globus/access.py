"""Access rules of a guest collection, and what people.toml wants them to be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from mapadmin.site import CollectionSettings, Person

_OF_ALL = {"all_authenticated_users": "everybody with a Globus login", "anonymous": "everybody"}


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
    who = _OF_ALL.get(kind, names.get(principal, principal))
    person = next((n for n, p in people.items() if p.globus and p.globus == who), "")
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


def differences(
    rules: Iterable[Rule], want: Mapping[str, Wanted], place: str, folder: str
) -> list[Difference]:
    """What is not as wanted at `folder`; `place` names it on a command line."""
    at = {rule.who: rule for rule in rules if rule.kind == "identity" and rule.path == folder}
    found = []
    for who, one in want.items():
        write = " --write" if one.permissions == "rw" else ""
        until = f" --until {one.until}" if one.until else ""
        command = f"mapadmin globus grant {place} {one.name}{write}{until}"
        rule = at.get(who)
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
        found.append(Difference(kind, who, folder, detail, command))
    for rule in rules:
        if rule.kind == "identity" and rule.who not in want:
            detail = f"has {rule.permissions}, and people.toml gives it to nobody of that name"
            where = f"{place.partition(':')[0]}:{rule.path}"
            command = f"mapadmin globus revoke {where} {rule.who}"
            found.append(Difference(Drift.UNKNOWN, rule.who, rule.path, detail, command))
    return found


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
