"""Writes what was found on a server into a site's files, after looking at what that would say."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Kind, Step
from mapadmin.db.adopt import Adoption
from mapadmin.db.policy import Policy, Wanted
from mapadmin.people_file import Entry, Value, preview, set_entries
from mapadmin.site import PEOPLE_FILE, SITE_FILE, People, Person, Site, SiteFile


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteEntry(Step):
    """One section of mapadmin.toml or people.toml. Neighbours are written at once."""

    path: Path
    entry: Entry


def entry_values(person: Person) -> Mapping[str, Value]:
    """The keys of a person's entry that say something: those that differ from the default."""
    default = Person()
    return {
        key: value
        for key in Person.__struct_fields__
        if (value := getattr(person, key)) != getattr(default, key)
    }


def entry_steps(site: Site, adoption: Adoption) -> tuple[WriteEntry, ...]:
    """The steps that write an adoption: roles first, for people.toml speaks of them."""
    steps = [
        _step(site.folder / SITE_FILE, Entry("roles", name, grants))
        for name, grants in adoption.roles.items()
    ]
    for section in ("people", "services"):
        for name, person in getattr(adoption, section).items():
            values = entry_values(person)
            steps.append(_step(site.people_path, Entry(section, name, values)))
    return tuple(steps)


def _step(path: Path, entry: Entry) -> WriteEntry:
    values = ", ".join(f"{key} = {_shown(value)}" for key, value in entry.values.items())
    return WriteEntry(
        action=f"write {path.name}", target=f"{entry.section}.{entry.name}", detail=values,
        path=path, entry=entry,
    )  # fmt: skip


def _shown(value: Value) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown(one)}" for key, one in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def _execute(steps: Sequence[WriteEntry]) -> Iterator[None]:
    for path in dict.fromkeys(step.path for step in steps):
        here = [step.entry for step in steps if step.path == path]
        set_entries(path, here)
        yield from (None for _ in here)


# All entries of one file are one change of it, however many there are.
WRITE_ENTRIES: Mapping[type[Step], Kind] = {WriteEntry: Kind(_execute, batch=1_000_000)}


def prove(
    site: Site,
    steps: Sequence[WriteEntry],
    marks: Sequence[Wanted],
    policy_of: Callable[[Site], Policy],
) -> None:
    """Read the files as they would be, and make sure that they say what is to be said.

    What is written passes through TOML and its quoting; a name that does not survive it must not
    turn into an `apply` that changes somebody's access. Raises MapadminError.
    """
    settings, people = site.settings, site.people
    by_path: dict[Path, list[Entry]] = {}
    for step in steps:
        by_path.setdefault(step.path, []).append(step.entry)
    for path, entries in by_path.items():
        data = tomllib.loads(preview(path, entries))
        if path.name == PEOPLE_FILE:
            people = msgspec.convert(data, People)
        else:
            settings = msgspec.convert(data, SiteFile)
    everyone = policy_of(Site(site.folder, settings, people)).everyone()
    for one in marks:
        if everyone.get(one.account) != one:
            raise MapadminError(
                f"{one.account} would not come out of {PEOPLE_FILE} as it went in.",
                remedy="Please report this; meanwhile name the accounts to import without it.",
            )
