"""What was found on a server as entries of a site's files, and the steps that write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mapadmin.core.plan import Kind, Step
from mapadmin.db.adoption.adopt import Adoption
from mapadmin.people_file import Entry, Value, entry_values, set_entries
from mapadmin.site import SITE_FILE, Site


class WriteEntry(Step, frozen=True, kw_only=True):
    """One section of mapadmin.toml or people.toml. Neighbours are written at once."""

    path: Path
    entry: Entry


def role_entries(adoption: Adoption) -> list[Entry]:
    """The entries of mapadmin.toml that an adoption needs."""
    return [Entry("roles", name, grants) for name, grants in adoption.roles.items()]


def people_entries(adoption: Adoption) -> list[Entry]:
    """The entries of people.toml that an adoption needs."""
    return [
        Entry(section, name, entry_values(person))
        for section, persons in (("people", adoption.people), ("services", adoption.services))
        for name, person in persons.items()
    ]


def entry_steps(site: Site, adoption: Adoption) -> tuple[WriteEntry, ...]:
    """The steps that write an adoption: roles first, for people.toml speaks of them."""
    return (
        *(_step(site.folder / SITE_FILE, entry) for entry in role_entries(adoption)),
        *(_step(site.people_path, entry) for entry in people_entries(adoption)),
    )


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
