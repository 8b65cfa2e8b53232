"""Workers kept by Docker Swarm, on several machines.

A generation is a stack, and a place a service of it with one task or none: starting is scaling it
to 1, draining to 0. Swarm then sends the stop signal, which the runner takes for a drain, wherever
the task is, and waits for as long as the grace period. What is mounted from the generation's folder
elsewhere are configs and a secret of the swarm here, so that every node has them.

There are no heartbeat files: a node's folders are its own. What a worker does is told by the swarm
(whether its task runs) and by the database (its session, its jobs).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mapadmin.core.docker import Docker, DockerError
from mapadmin.core.errors import MapadminError, SettingsError, UsageError
from mapadmin.core.files import write_atomic
from mapadmin.workers.beats import Beat
from mapadmin.workers.configuration import INSIDE
from mapadmin.workers.engine import LABEL, Life, Place, Worker
from mapadmin.workers.following import follow
from mapadmin.workers.generation import (
    SECRET,
    Generation,
    folder_of,
    is_project_of,
    project_of,
)

ENGINE = (19, 3)
SECONDS = 120.0  # for what a manager does to a whole stack
_STACK = "com.docker.stack.namespace"


class SwarmEngine:
    """The swarm of the engine that `docker` itself would use, which must be a manager."""

    def __init__(self, docker: Docker, site: str, home: Path) -> None:
        self.docker = docker
        self.site = site
        self.home = home
        self._draining: set[str] = set()

    def require(self) -> None:
        self.docker.require(engine=ENGINE)
        (swarm,) = self.docker.records("info", "--format", "{{json .Swarm}}")
        if swarm.get("LocalNodeState") != "active" or not swarm.get("ControlAvailable"):
            raise SettingsError(
                "This Docker engine is no manager of a swarm.",
                remedy="`docker swarm init` makes it one, `docker context use` names another.",
            )

    def workers(self) -> list[Worker]:
        ids = self.docker.run(
            "service", "ls", "--quiet", "--filter", f"name={self.site}-workers-g"
        ).split()
        services = self._inspect(ids)
        ids = [service["ID"] for service in services]
        tasks: dict[str, list[dict[str, Any]]] = {}
        if ids:
            text = ("service", "ps", "--no-trunc", "--format", "{{json .}}", *ids)
            for task in self._tolerant(*text):
                tasks.setdefault(str(task["Name"]).rpartition(".")[0], []).append(task)
        down = self._nodes_down() if tasks else set()
        found = [self._worker(one, tasks.get(one["Spec"]["Name"], []), down) for one in services]
        return sorted(found, key=lambda w: (w.generation, w.place))

    def _inspect(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The services of this site's stacks; one may have gone since its id was read."""
        if not ids:
            return []
        services = self._tolerant("service", "inspect", "--format", "{{json .}}", *ids)
        return [
            service for service in services
            if is_project_of(self.site, service["Spec"]["Labels"].get(_STACK, ""))
        ]  # fmt: skip

    def _tolerant(self, *arguments: str) -> list[dict[str, Any]]:
        try:
            return self.docker.records(*arguments)
        except DockerError as error:
            if not re.search("no such service", error.said, re.IGNORECASE):
                raise
            return []

    def _nodes_down(self) -> set[str]:
        nodes = self.docker.records("node", "ls", "--format", "{{json .}}")
        return {str(node["Hostname"]) for node in nodes if node["Status"] != "Ready"}

    def _worker(
        self, service: dict[str, Any], tasks: Sequence[Mapping[str, Any]], down: set[str]
    ) -> Worker:
        spec = service["Spec"]
        label = {
            name.removeprefix(LABEL): text for name, text in spec["Labels"].items()
            if name.startswith(LABEL)
        }  # fmt: skip
        if label.get("part") != "workers" or label.get("site") != self.site:
            raise MapadminError(
                f"The service {spec['Name']} is of a stack that mapadmin did not make.",
                remedy="Nothing was changed. Give that stack another name, or the site.",
            )
        if label["home"] != str(self.home):
            raise MapadminError(
                f"The service {spec['Name']} is a worker of another site that is called "
                f"{self.site}, too: its state is in {label['home']}.",
                remedy="Nothing was changed. Give one of the sites another name.",
            )
        wanted = bool(spec["Mode"]["Replicated"]["Replicas"])
        (self._draining.discard if wanted else self._draining.add)(service["ID"])
        life, node, code = life_of(tasks, wanted=wanted, down=down)
        generation, place = int(label["generation"]), Place(label["kind"], int(label["number"]))
        return Worker(
            id=service["ID"], place=place, generation=generation, node=node, life=life,
            host=f"{self.site.replace('_', '-')}-g{generation}-{place}", config=label["config"],
            image=label["image"], commit=label["commit"], exit_code=code,
        )  # fmt: skip

    def beat(self, worker: Worker) -> Beat | None:
        """What a heartbeat would say, as far as the swarm knows; the sessions tell the rest."""
        if worker.life is not Life.RUNNING:
            return None
        now = time.time()
        return Beat(
            host=worker.host, pid=1, started=now, since=now, beat=now,
            state="looking" if worker.node else "starting", draining=worker.id in self._draining,
        )  # fmt: skip

    def details(self, workers: Sequence[Worker]) -> dict[str, tuple[float | None, int]]:
        """The swarm tells neither well."""
        return {}

    def create(self, generation: Generation, places: Sequence[Place]) -> None:
        there = {w.place: w for w in self.workers() if w.generation == generation.number}
        generation.render([*there, *places])
        if not set(places) - set(there):
            return
        running = {p for p, w in there.items() if w.id not in self._draining}
        path = generation.folder / "stack.yaml"
        write_atomic(path, stack_file(generation, [*there, *places], running))
        self.docker.run(
            "stack", "deploy", "--resolve-image", "never", "--compose-file", str(path),
            generation.project, cwd=generation.folder, seconds=SECONDS,
        )  # fmt: skip

    def start(self, worker: Worker) -> None:
        self._scale(1, [worker])

    def drain(self, workers: Iterable[Worker]) -> None:
        self._scale(0, workers)

    def undrain(self, workers: Iterable[Worker]) -> None:
        """A new task takes the place; the one that was told to leave does so after its job."""
        self._scale(1, workers)

    def kill(self, workers: Iterable[Worker]) -> None:
        """A swarm ends a task by its stop signal only: one that has not begun a job leaves now."""
        self._scale(0, workers)

    def _scale(self, number: int, workers: Iterable[Worker]) -> None:
        if ids := [f"{worker.id}={number}" for worker in workers]:
            self.docker.run("service", "scale", "--detach", *ids)

    def remove(self, workers: Iterable[Worker]) -> None:
        if ids := [worker.id for worker in workers]:
            self.docker.run("service", "rm", *ids)

    def forget(self, generation: int) -> None:
        self.docker.run("stack", "rm", project_of(self.site, generation))

    def last_lines(self, worker: Worker, number: int = 10) -> list[str]:
        return list(self.docker.lines("service", "logs", "--raw", "--tail", str(number), worker.id))

    def logs(
        self, workers: Sequence[Worker], *, follow_on: bool, since: str, tail: int | None
    ) -> Iterator[tuple[Worker, str]]:
        options = [
            *(["--follow"] if follow_on else []), *(["--since", since] if since else []),
            *(["--tail", str(tail)] if tail is not None else []),
        ]  # fmt: skip
        return follow(
            {
                worker: self.docker.lines("service", "logs", "--raw", *options, worker.id)
                for worker in workers
            }
        )


def refuse_now() -> None:
    """Raises UsageError: what is killed on another node is not a swarm's to say."""
    raise UsageError(
        "A swarm cannot end workers in their jobs, so there is no --now.",
        remedy="On the worker's node: docker kill; the swarm starts another one then.",
    )


def life_of(
    tasks: Sequence[Mapping[str, Any]], *, wanted: bool, down: set[str]
) -> tuple[Life, str, int | None]:
    """The life of a service with these tasks (newest first), where it runs, its last exit code.

    A task on a node that is down counts as ended: nobody knows, and the swarm starts another.
    """
    known = [task for task in tasks if task.get("Node") not in down]
    running = [task for task in known if _state(task) == "running"]
    chosen = next((t for t in running if t["DesiredState"] == "Running"), None)
    chosen = chosen or next(iter(running), None)
    if chosen is not None and (not wanted or chosen["DesiredState"] == "Running"):
        return Life.RUNNING, str(chosen["Node"]), None
    codes = [code for task in known if (code := _exit_code(task)) is not None]
    if wanted:
        return (Life.RESTARTING, "", codes[0]) if codes and codes[0] else (Life.RUNNING, "", None)
    if not tasks:
        return Life.CREATED, "", None
    return Life.ENDED, "", codes[0] if codes else 0


def _state(task: Mapping[str, Any]) -> str:
    """`Running 3 minutes ago` is `running`."""
    return str(task["CurrentState"]).partition(" ")[0].lower()


def _exit_code(task: Mapping[str, Any]) -> int | None:
    if _state(task) == "complete":
        return 0
    if _state(task) not in ("failed", "rejected"):
        return None
    found = re.search(r"non-zero exit \((\d+)\)", str(task.get("Error", "")))
    return int(found[1]) if found else 1


def stack_file(generation: Generation, places: Iterable[Place], running: set[Place]) -> str:
    """The stack file with a service for each of these places, scaled as they are now."""
    from mapadmin.core.templates import render

    settings = generation.settings
    own = str(generation.folder) + "/"
    kinds: dict[str, Any] = {}
    files: list[dict[str, str]] = []
    for name, kind in settings.kinds.items():
        mounts = generation.mounts(name)
        files = [
            {"name": Path(one["source"]).stem, "file": one["source"], "target": one["target"]}
            for one in mounts
            if one["source"].startswith(own) and Path(one["source"]).name in generation.files
        ]
        kinds[name] = {
            "name": name, "memory": kind.memory, "cpus": kind.cpus,
            "environment": generation.environment(name),
            "mounts": [one for one in mounts if not one["source"].startswith(own)],
        }  # fmt: skip
    volumes = [
        one["source"] for kind in kinds.values() for one in kind["mounts"]
        if one["type"] == "volume"
    ]  # fmt: skip
    uid, _, gid = settings.user.partition(":")
    return render(
        "workers/stack.yaml.j2",
        site=generation.definition.site, number=generation.number, kinds=list(kinds.values()),
        image=generation.image.name, user=settings.user, uid=uid, gid=gid, files=files,
        directory=settings.directory, network=settings.network,
        stop_grace=round(settings.stop_grace), volumes=sorted(set(volumes)),
        secret=f"{INSIDE}/{SECRET}",
        secret_file=str(folder_of(Path(generation.definition.home), generation.number) / SECRET),
        places=[
            {
                "name": str(place), "kind": kinds[place.kind], "host": generation.host(place),
                "command": generation.command(place), "replicas": int(place in running),
                "labels": {
                    **generation.labels, f"{LABEL}kind": place.kind,
                    f"{LABEL}number": str(place.number),
                },
            }
            for place in sorted(set(places))
        ],
    )  # fmt: skip
