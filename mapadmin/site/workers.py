"""[workers]: what the pipeline's workers are, and what keeps them running."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import PurePosixPath

import msgspec

from mapadmin.site.base import RefusedError, Settings, require_reference


class EngineName(StrEnum):
    """`compose`: Docker Compose, on this machine. `swarm`: Docker Swarm, on several."""

    COMPOSE = "compose"
    SWARM = "swarm"


class BuildSettings(Settings, frozen=True, kw_only=True):
    """[workers.build]: images that are built here, each from one commit"""

    repository: str
    """A git work tree on this machine, with the pipeline in it; relative to the site folder."""
    ref: str = "HEAD"
    """The branch, tag or commit that is built unless `--ref` names another."""
    dockerfile: str = ""
    """A Dockerfile of the repository, by its path in it; default: templates/workers/Dockerfile."""
    base: str = "python:3.11-slim"
    """The image that the default Dockerfile begins with."""

    def __post_init__(self) -> None:
        for name in ("repository", "ref", "base"):
            if not getattr(self, name).strip():
                raise RefusedError(name, "must not be empty")
        if self.ref.startswith("-"):
            raise RefusedError("ref", "must be a branch, tag or commit")
        path = PurePosixPath(self.dockerfile)
        if path.is_absolute() or ".." in path.parts:
            raise RefusedError("dockerfile", "must be a path inside the repository")


class KindSettings(Settings, frozen=True, kw_only=True):
    """[workers.kinds.<name>]: workers that all do the same"""

    command: list[str]
    """What the runner runs: a script of the image with its arguments, or `-m` and a module."""
    count: int = 1
    memory: str = ""
    """The most memory of one worker, as Docker writes it: "8g"; default: no limit."""
    cpus: float = 0.0
    """The most processors of one worker; 0: no limit."""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    """Added to that of all workers. No secrets: everybody who may use the engine sees it."""
    volumes: list[str] = msgspec.field(default_factory=list)
    """Added to those of all workers."""

    def __post_init__(self) -> None:
        if not self.command or not all(self.command):
            raise RefusedError("command", "must be a script with its arguments")
        if self.command[0].startswith("-") and (self.command[0] != "-m" or len(self.command) < 2):
            raise RefusedError("command", "must begin with a script, or with -m and a module")
        if self.count < 0:
            raise RefusedError("count", "must be 0 or more")
        if self.memory and not re.fullmatch(r"[1-9]\d*[bkmg]?", self.memory):
            raise RefusedError("memory", f'{self.memory!r} must be like "8g" or "500m"')
        if self.cpus < 0:
            raise RefusedError("cpus", "must be 0 or more")
        check_environment(self.environment)
        check_volumes(self.volumes)


class WorkersSettings(Settings, frozen=True, kw_only=True):
    """[workers]"""

    engine: EngineName = EngineName.COMPOSE
    image: str = ""
    """The workers' image, which must be there; or [workers.build] says how it is built."""
    build: BuildSettings | None = None
    kinds: dict[str, KindSettings]
    account: str
    """The workers' own database account."""
    password: str
    """Its password: a reference (env:, file:, command:, aws-secret:)."""
    user: str = "1000:1000"
    """Whom the workers run as, `uid:gid`: only that user can read the secret file."""
    python: str = "python3"
    """The image's Python with the pipeline's DataJoint."""
    directory: str = ""
    """Where in the image the commands run; default: the image's own working directory."""
    datajoint: str = ""
    """A JSON file with more DataJoint settings (stores, another host name); no secrets in it."""
    network: str = ""
    """A Docker network that is there, or "host"; default: one of the workers' own."""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    """No secrets: everybody who may use the engine sees it."""
    volumes: list[str] = msgspec.field(default_factory=list)
    """As Docker writes them, `/data:/data:ro`; the first is an absolute path or a volume's name."""
    stop_grace: float = 86_400.0
    """Seconds after which an engine that is itself stopped kills a worker in its job."""
    start_timeout: float = 120.0
    """Seconds within which a new worker must look for jobs; else the roll-out is given up."""

    def __post_init__(self) -> None:
        for name, good, rule in (
            (
                "image",
                bool(self.image.strip()) != (self.build is not None),
                "or [workers.build] must be given, and not both",
            ),
            ("kinds", bool(self.kinds), "must name at least one kind of workers"),
            ("account", bool(self.account), "must not be empty"),
            ("user", re.fullmatch(r"\d+:\d+", self.user), 'must be numbers, "uid:gid"'),
            ("python", bool(self.python), "must not be empty"),
            (
                "directory",
                not self.directory or self.directory.startswith("/"),
                "must be an absolute path in the image",
            ),
            ("stop_grace", 10 <= self.stop_grace <= 30 * 86400, "must be 10 seconds to 30 days"),
            ("start_timeout", 1 <= self.start_timeout <= 3600, "must be 1 to 3600 seconds"),
        ):
            if not good:
                raise RefusedError(name, rule)
        for name in self.kinds:
            if not re.fullmatch(r"[a-z][a-z0-9]{0,15}", name):  # part of host and service names
                raise RefusedError(
                    "kinds", f"has {name!r}: a name must be 1 to 16 lower-case letters and digits"
                )
        check_environment(self.environment)
        check_volumes(self.volumes)
        require_reference("password", self.password)


def check_environment(environment: dict[str, str]) -> None:
    """Raises RefusedError for a name that cannot be, or that the runner itself sets."""
    for name in environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise RefusedError("environment", f"has {name!r}, which is no variable's name")
        if name in ("DJ_USER", "DJ_PASS"):
            raise RefusedError(
                "environment",
                f"must not have {name}: the account goes to the workers in a file of its own",
            )


def check_volumes(volumes: list[str]) -> None:
    """Raises RefusedError for what Docker would take for something else."""
    for volume in volumes:
        source, _, rest = volume.partition(":")
        target, _, mode = rest.partition(":")
        named = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", source) or source.startswith("/")
        if not (named and target.startswith("/") and mode in ("", "ro", "rw")):
            raise RefusedError(
                "volumes", f"has {volume!r}, which must be like /data:/data or /data:/data:ro"
            )
