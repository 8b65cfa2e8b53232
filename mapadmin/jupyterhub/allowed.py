"""Who may use the hub: the people of people.toml, as a file that the hub reads at each login."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.core.files import write_atomic
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.jupyterhub.model import login_of
from mapadmin.site import Person

FILE = "allowed.json"
BATCH = 10_000  # all of them: the file is written as a whole


class AllowStep(Step, frozen=True, kw_only=True):
    """Somebody who may, or may no more, use the hub."""

    login: str
    allow: bool


def wanted_logins(people: Mapping[str, Person], today: date) -> dict[str, str]:
    """Login -> user name of those who may use the hub: not locked, and not past their last day."""
    return {
        login_of(name, person): name
        for name, person in people.items()
        if not person.locked and (person.expires is None or person.expires >= today)
    }


def read_allowed(folder: Path) -> set[str] | None:
    """Who may now; None without a file. Raises MapadminError for a file that is not ours."""
    path = folder / FILE
    try:
        users = json.loads(path.read_text(encoding="utf-8"))["users"]
        return {str(user) for user in users}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MapadminError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise MapadminError(
            f"{path} is not a list of mapadmin's.", remedy="Look at it, and remove it."
        ) from None


def plan_allowed(
    allowed: Collection[str] | None, wanted: Mapping[str, str], *, force: bool
) -> Plan:
    """The difference. Raises UsageError when nobody would be left, unless that is forced."""
    before = set(allowed or ())
    if not wanted and before and not force:
        raise UsageError(
            "people.toml lets nobody use the hub, and everybody would be thrown out.",
            remedy="If that is what you want: --force.",
        )
    steps = [
        AllowStep(
            action="allow", target=login, detail=f"person {wanted[login]}", login=login, allow=True
        )
        for login in sorted(wanted.keys() - before)
    ]
    steps += [
        AllowStep(action="refuse", target=login, login=login, allow=False)
        for login in sorted(before - wanted.keys())
    ]
    notes = ("there was no list: the hub's own settings alone said who may",) if (
        allowed is None and steps
    ) else ()  # fmt: skip
    return Plan(tuple(steps), notes)


def kind(folder: Path) -> Kind:
    """How AllowSteps are carried out: all by one write, which the hub sees whole or not at all."""

    def execute(steps: Sequence[AllowStep]) -> Iterator[None]:
        users = read_allowed(folder) or set()
        for step in steps:
            (users.add if step.allow else users.discard)(step.login)
        write_atomic(folder / FILE, json.dumps({"users": sorted(users)}, indent=1) + "\n")
        yield from (None for _ in steps)

    return Kind(execute, batch=BATCH)
