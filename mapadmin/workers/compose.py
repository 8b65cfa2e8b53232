"""Workers kept by Docker Compose, on one machine.

Compose creates the containers of a generation, and nothing more: it would also start, replace and
stop them as it sees fit. From then on each container is spoken to by itself. What there is, one
`docker ps` tells.

A drain is SIGTERM, not the stop signal. To the engine either is a stop by hand, after which
`unless-stopped` starts nothing again; but the stop signal also ends its restart manager, and a
worker whose drain was taken back would never be started again after a crash.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mapadmin.core.docker import Docker, DockerError
from mapadmin.core.errors import MapadminError
from mapadmin.workers.beats import Beat, read_beat
from mapadmin.workers.engine import LABEL, Life, Place, Worker
from mapadmin.workers.following import follow
from mapadmin.workers.generation import (
    Generation,
    discard_beat,
    folder_of,
    is_project_of,
    project_of,
)

ENGINE = (19, 3)
COMPOSE = (2, 2)
TRIES, PAUSE = 10, 0.3  # seconds; for a container that is just ending
SECONDS = 300.0  # for what Compose does to a whole generation
_PROJECT = "com.docker.compose.project"
_LABELS = ("site", "home", "part", "kind", "number", "generation", "config", "image", "commit")
_LIVES = {
    "created": Life.CREATED, "running": Life.RUNNING, "paused": Life.RUNNING,
    "restarting": Life.RESTARTING,
}  # fmt: skip


class ComposeEngine:
    """The engine that `docker` itself would use."""

    def __init__(self, docker: Docker, site: str, home: Path) -> None:
        self.docker = docker
        self.site = site
        self.home = home

    def require(self) -> None:
        self.docker.require(engine=ENGINE, compose=COMPOSE)

    def workers(self) -> list[Worker]:
        fields = ["{{.ID}}", "{{.Names}}", "{{.State}}", "{{.Status}}"]
        fields += [f'{{{{.Label "{name}"}}}}' for name in (_PROJECT, *(LABEL + n for n in _LABELS))]
        text = self.docker.run(
            "ps", "--all", "--no-trunc", "--filter", f"label={_PROJECT}",
            "--format", "\t".join(fields),
        )  # fmt: skip
        found = [self._worker(line.split("\t")) for line in text.splitlines()]
        return sorted(
            (one for one in found if one is not None), key=lambda w: (w.generation, w.place)
        )

    def _worker(self, fields: list[str]) -> Worker | None:
        number, name, state, status, project, *values = fields
        if not is_project_of(self.site, project):
            return None
        label = dict(zip(_LABELS, values, strict=True))
        if label["part"] != "workers" or label["site"] != self.site:
            raise MapadminError(
                f"The container {name} is of a compose project {project} that mapadmin did not "
                "make.",
                remedy="Nothing was changed. Give that project another name, or the site.",
            )
        if label["home"] != str(self.home):
            raise MapadminError(
                f"The container {name} is a worker of another site that is called {self.site}, "
                f"too: its state is in {label['home']}.",
                remedy="Nothing was changed. Give one of the sites another name.",
            )
        generation, place = int(label["generation"]), Place(label["kind"], int(label["number"]))
        ended = re.match(r"(?:Exited|Restarting) \((-?\d+)\)", status)
        return Worker(
            id=number, place=place, generation=generation,
            host=f"{self.site.replace('_', '-')}-g{generation}-{place}",
            life=_LIVES.get(state, Life.ENDED), config=label["config"], image=label["image"],
            commit=label["commit"], exit_code=int(ended[1]) if ended else None,
        )  # fmt: skip

    def beat(self, worker: Worker) -> Beat | None:
        return read_beat(self.home, worker)

    def details(self, workers: Sequence[Worker]) -> dict[str, tuple[float | None, int]]:
        """Of each worker's id: when it was started (Unix seconds), how often by the engine."""
        if not workers:
            return {}
        found = self.docker.records(
            "inspect", "--format",
            '{"id":{{json .Id}},"started":{{json .State.StartedAt}},"count":{{.RestartCount}}}',
            *(worker.id for worker in workers),
        )  # fmt: skip
        return {one["id"]: (_seconds(one["started"]), int(one["count"])) for one in found}

    def create(self, generation: Generation, places: Sequence[Place]) -> None:
        there = {w.place for w in self.workers() if w.generation == generation.number}
        generation.render([*there, *places])
        missing = [place for place in places if place not in there]
        if not missing:
            return
        for place in missing:
            discard_beat(self.home, generation.number, place)
        self._compose(
            generation.number, "create", "--no-build", "--no-recreate", *map(str, missing)
        )

    def start(self, worker: Worker) -> None:
        self.docker.run("start", worker.id)

    def drain(self, workers: Iterable[Worker]) -> None:
        told = list(workers)
        self._restart_policy("unless-stopped", told)
        # One that waits to be started again hears nothing: for it the engine is to stop trying.
        self._signal("USR1", (w for w in told if w.life is Life.RESTARTING))
        self._signal("TERM", (w for w in told if w.life is not Life.RESTARTING))

    def undrain(self, workers: Iterable[Worker]) -> None:
        told = list(workers)
        self._signal("USR2", told)
        # To the engine they count as stopped by hand; only this policy looks beyond that.
        self._restart_policy("always", told)

    def kill(self, workers: Iterable[Worker]) -> None:
        told = list(workers)
        self._restart_policy("unless-stopped", told)
        self._signal("KILL", told)

    def _signal(self, name: str, workers: Iterable[Worker]) -> None:
        for worker in workers:
            self._if_there("kill", "--signal", name, worker.id)

    def _restart_policy(self, policy: str, workers: Sequence[Worker]) -> None:
        for worker in workers:
            self._if_there("update", "--restart", policy, worker.id)

    def _if_there(self, *arguments: str) -> None:
        """For a container that may have ended, or be gone, by now.

        One that ends at this very moment makes the engine say no more than "unknown": once it has
        ended, or runs again, it can be asked.
        """
        for left in reversed(range(TRIES)):
            try:
                self.docker.run(*arguments)
            except DockerError as error:
                if re.search("is not running|No such container", error.said):
                    return
                if not left or not error.said.rstrip().endswith(": unknown"):
                    raise
                time.sleep(PAUSE)
            else:
                return

    def remove(self, workers: Iterable[Worker]) -> None:
        if ids := [worker.id for worker in workers]:
            self.docker.run("rm", "--force", "--volumes", *ids)

    def forget(self, generation: int) -> None:
        project = project_of(self.site, generation)
        networks = self.docker.run(
            "network", "ls", "--quiet", "--filter", f"label={_PROJECT}={project}"
        ).split()
        if networks:
            self.docker.run("network", "rm", *networks)

    def last_lines(self, worker: Worker, number: int = 10) -> list[str]:
        return list(self.docker.lines("logs", "--tail", str(number), worker.id))

    def logs(
        self, workers: Sequence[Worker], *, follow_on: bool, since: str, tail: int | None
    ) -> Iterator[tuple[Worker, str]]:
        options = [
            *(["--follow"] if follow_on else []), *(["--since", since] if since else []),
            *(["--tail", str(tail)] if tail is not None else []),
        ]  # fmt: skip
        return follow(
            {worker: self.docker.lines("logs", *options, worker.id) for worker in workers}
        )

    def _compose(self, generation: int, *arguments: str) -> None:
        folder = folder_of(self.home, generation)
        self.docker.run(
            "compose", "--project-directory", str(folder), "--file", str(folder / "compose.yaml"),
            "--env-file", str(folder / ".env"), *arguments, cwd=folder, seconds=SECONDS,
        )  # fmt: skip


def _seconds(text: Any) -> float | None:
    """Docker's time, which has nanoseconds; the year 1 where there is none."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,6})?\d*Z", str(text))
    if not found or found[1].startswith("0001"):
        return None
    return datetime.fromisoformat(f"{found[1]}{found[2] or ''}+00:00").timestamp()
