"""The server parameters that DataJoint needs: wanted, kept and live, compared. Pure.

*Live* is what the server does now. *Kept* is what it will do after a restart: a parameter group on
RDS, mysqld-auto.cnf on MySQL; MariaDB keeps nothing but its option files.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from mapadmin.core.plan import Kind, Plan, Step


class WantedValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of parameters.toml; see there."""

    value: str
    reason: str
    source: str
    name: str = ""
    restart: bool = False
    servers: tuple[str, ...] = ("mysql", "mariadb")
    since: str = "0"
    adds: bool = False


class Kept(msgspec.Struct, frozen=True):
    """What a keeper has of a parameter. `value` None: nothing, the server's default holds."""

    value: str | None = None
    changeable: bool = True
    restart: bool | None = None  # None: the keeper does not say


class Change(msgspec.Struct, frozen=True):
    """A value to keep; `restart`: it comes into force by one. `shown` is the change in words."""

    name: str
    value: str
    restart: bool
    shown: str


class Keeper(Protocol):
    """Where a server's parameters are kept, and how they get there."""

    @property
    def name(self) -> str:
        """For people: "parameter group map-mysql84"."""
        ...

    def kept(self) -> Mapping[str, Kept]:
        """By parameter. One that is missing has no value and can be changed."""
        ...

    def plan(self, changes: Sequence[Change]) -> Plan:
        """The steps that keep these values. Raises MapadminError when it cannot."""
        ...

    def kinds(self) -> Mapping[type[Step], Kind]:
        """How its own steps are carried out."""
        ...


class State(StrEnum):
    """How a parameter is.

    `waits`: kept as wanted, live after a restart. `late`: kept as wanted, and should be live: RDS
    takes a minute, or somebody has set it otherwise. `fixed`: its keeper allows no change.
    """

    OK = "ok"
    DIFFERS = "differs"
    WAITS = "needs a restart"
    LATE = "kept, not live"
    FIXED = "fixed"


class Row(msgspec.Struct, frozen=True):
    """One parameter in all three ways. Values are as the server or its keeper writes them.

    `put` is what is to be kept: of a set, what is wanted and what was there.
    """

    name: str
    wanted: str
    put: str
    live: str | None
    kept: str | None
    state: State
    restart: bool
    reason: str
    source: str


def load() -> dict[str, WantedValue]:
    """The data file, which is part of the package."""
    data = tomllib.loads(Path(__file__).with_name("parameters.toml").read_text(encoding="utf-8"))
    return msgspec.convert(data, dict[str, WantedValue])


def compare(
    flavour: str, version: Sequence[int], live: Mapping[str, str], kept: Mapping[str, Kept]
) -> list[Row]:
    """A row for each parameter that this server has."""
    rows = []
    for key, wanted in load().items():
        name = wanted.name or key
        since = tuple(map(int, wanted.since.split(".")))
        if flavour in wanted.servers and tuple(version) >= since and name in live:
            rows.append(_row(name, wanted, live[name], kept.get(name, Kept())))
    return rows


def _row(name: str, wanted: WantedValue, live: str, kept: Kept) -> Row:
    restart = wanted.restart if kept.restart is None else kept.restart
    value = wanted.value
    if wanted.adds:  # what is set beyond the wanted stays
        value = _joined(kept.value if kept.value is not None else live, wanted.value)
    now = _meets(live, wanted)
    later = kept.value is not None and _meets(kept.value, wanted)
    if now and (kept.value is None or later):
        state = State.OK
    elif later:
        state = State.WAITS if restart else State.LATE
    else:
        state = State.DIFFERS if kept.changeable else State.FIXED
    return Row(
        name, wanted.value, value, live, kept.value, state, restart, wanted.reason, wanted.source
    )


def _meets(value: str, wanted: WantedValue) -> bool:
    if wanted.adds:
        return _set(wanted.value) <= _set(value)
    return normal(value) == normal(wanted.value)


def lacks(value: str, wanted: str) -> list[str]:
    """What a set lacks of another."""
    return [part for part in wanted.split(",") if part not in _set(value)]


def _set(value: str) -> set[str]:
    return {part.strip().upper() for part in value.split(",") if part.strip()}


def _joined(value: str, more: str) -> str:
    """More modes in a mode list; STRICT_TRANS_TABLES is part of STRICT_ALL_TABLES."""
    have = [part.strip().upper() for part in value.split(",") if part.strip()]
    return ",".join(dict.fromkeys([*have, *more.split(",")]))


def normal(value: str) -> str:
    """A value in one way of writing: bytes for 512M, 1 for ON; others in capitals."""
    text = value.strip().upper()
    if size := re.fullmatch(r"(\d+)([KMGT])", text):
        return str(int(size[1]) * 1024 ** ("KMGT".index(size[2]) + 1))
    return {"ON": "1", "OFF": "0", "TRUE": "1", "FALSE": "0", "YES": "1", "NO": "0"}.get(text, text)


def changes(rows: Sequence[Row]) -> list[Change]:
    """What must be kept anew."""
    return [
        Change(row.name, literal(row.put), row.restart, _shown(row))
        for row in rows
        if row.state is State.DIFFERS
    ]


def _shown(row: Row) -> str:
    before = row.live if row.kept is None else row.kept
    if "," in row.wanted:
        return "+" + ",".join(
            part for part in row.wanted.split(",") if part not in _set(before or "")
        )
    return f"{before or 'default'} -> {row.wanted}"


def literal(value: str) -> str:
    """A value as APIs and SET want it: numbers without units, switches as 1 and 0."""
    plain = normal(value)
    return plain if plain.isdigit() else value


def option_file(rows: Sequence[Row], server: str) -> str:
    """What a my.cnf must have, with the reasons."""
    lines = [f"# DataJoint's parameters, by mapadmin for {server}", "[mysqld]"]
    for row in rows:
        lines += [f"# {row.reason}", f"#   ({row.source})", f"{row.name} = {row.put}"]
    return "\n".join(lines) + "\n"
