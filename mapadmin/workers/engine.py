"""What mapadmin asks of whatever keeps the workers' containers: a small protocol, and its words.

A **place** is where one worker works: its kind and a number, `compute-2`. A **generation** is all
that one roll-out makes: a compose project or a stack of its own, in which every place is a service
of its own with one container. So an engine never chooses which worker to stop; mapadmin does, one
by one. What there is, the engine is asked each time: nothing is remembered elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from mapadmin.workers.beats import Beat
    from mapadmin.workers.generation import Generation

LABEL = "mapadmin."
"""Of all labels: site, home (the state folder), part, kind, number, generation, config, image,
commit."""


class Place(msgspec.Struct, frozen=True, order=True):
    """Where one worker works; `number` begins with 1."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.number}"


class Life(StrEnum):
    """What the engine says of a container, in the few words that matter here."""

    CREATED = "created"  # never started
    RUNNING = "running"
    RESTARTING = "restarting"  # ended by itself, and is about to be started again
    ENDED = "ended"  # and is not started again by itself


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker as its engine knows it. Its place in a generation is its name: `g3/compute-2`.

    `host` is the host name that it has, and so what its heartbeat, its sessions and its jobs say.
    `config` stands for all that its generation was made from, `image`
    is that image's name and `commit` what it was built from; `node` the machine, where there are
    several.
    """

    id: str
    place: Place
    generation: int
    host: str
    life: Life
    config: str = ""
    image: str = ""
    commit: str = ""
    node: str = ""
    exit_code: int | None = None

    @property
    def name(self) -> str:
        return f"g{self.generation}/{self.place}"

    @property
    def runs(self) -> bool:
        """Whether it may be at a job."""
        return self.life is Life.RUNNING


class Engine(Protocol):
    """Keeps containers alive, and nothing else: who works when is decided by `rollout`.

    Every call may be repeated, and finds what an earlier one has left. All raise MapadminError:
    UnreachableError without an engine, DockerError for what it refuses.
    """

    def require(self) -> None:
        """Raises SettingsError where it is too old, UnreachableError where there is none."""

    def workers(self) -> list[Worker]:
        """All workers of this site, of all generations, by generation and place.

        Raises MapadminError for what has their names and is not ours: it is never touched.
        """

    def beat(self, worker: Worker) -> Beat | None:
        """What a worker says that it does, or the engine knows of it; None as long as nothing."""

    def create(self, generation: Generation, places: Sequence[Place]) -> None:
        """Containers for these places of a generation, which has been rendered; none is started.

        Those that are there already stay as they are.
        """

    def start(self, worker: Worker) -> None:
        """Start one that was created, or that has ended; returns without waiting for its health."""

    def drain(self, workers: Iterable[Worker]) -> None:
        """Tell them to leave after their job, and not to be started again; may be told again.

        One that has just begun may not have heard it: repeat until its heartbeat says so.
        """

    def undrain(self, workers: Iterable[Worker]) -> None:
        """Take that back for those that have not left."""

    def kill(self, workers: Iterable[Worker]) -> None:
        """End them now, in their jobs, and do not start them again."""

    def remove(self, workers: Iterable[Worker]) -> None:
        """The containers of workers that do not run."""

    def details(self, workers: Sequence[Worker]) -> dict[str, tuple[float | None, int]]:
        """Of each worker's id: when it was started (Unix seconds), how often by the engine."""

    def forget(self, generation: int) -> None:
        """What else there is of a generation that has no containers any more: its network."""

    def last_lines(self, worker: Worker, number: int = 10) -> list[str]:
        """The end of what it printed."""

    def logs(
        self, workers: Sequence[Worker], *, follow_on: bool, since: str, tail: int | None
    ) -> Iterator[tuple[Worker, str]]:
        """What they printed, line by line; `since` is a time or an age (`10m`) as Docker has it."""
