"""What a sandbox is made of: parts that all come up, go down and tell how they are the same way."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from mapadmin.sandbox.site import SiteFolder


class PartState(StrEnum):
    """`running` and `stopped` are for servers, `made` and `missing` for what only lies there.

    `left out` is what this machine lacks the programs for; the rest of the sandbox does without.
    """

    RUNNING = "running"
    STOPPED = "stopped"
    MADE = "made"
    MISSING = "missing"
    LEFT_OUT = "left out"


class PartStatus(msgspec.Struct, frozen=True):
    """How one part is. `since` is UTC, ISO 8601; `size` is what it takes on disk, in bytes."""

    name: str
    state: PartState
    detail: str = ""
    host: str = ""
    port: int | None = None
    pid: int | None = None
    since: str | None = None
    size: int | None = None

    @property
    def up(self) -> bool:
        return self.state in (PartState.RUNNING, PartState.MADE, PartState.LEFT_OUT)


class Work(msgspec.Struct, frozen=True):
    """What a part is given to come up with."""

    site: SiteFolder
    """Where it writes what the site file is to say of it, and finds its secrets."""
    say: Callable[[str], None]
    """Tells the person what takes a while."""
    lock: int
    """Descriptor of the sandbox's lock: child processes inherit it (`pass_fds`), so that whoever
    comes next waits for them when this process is killed."""


class Part(Protocol):
    """One server, or one thing, of the sandbox. Later ones may use what earlier ones put up."""

    @property
    def name(self) -> str: ...

    def up(self, work: Work) -> bool:
        """Make and start whatever is missing; False when all was there.

        It may have been killed at any point before. Raises MapadminError.
        """
        ...

    def down(self) -> bool:
        """Stop what `up` started and nothing else; False when nothing ran."""
        ...

    def status(self) -> PartStatus:
        """How it is, without changing anything."""
        ...
