"""Docker, through its own command line: argument lists, a time limit, JSON, errors in one sentence.

The engine is the one that `docker` itself would use: DOCKER_HOST, the context that is in use, or a
context by name. Nothing is passed through a shell, and no secret is ever an argument.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from mapadmin.core.errors import MapadminError, SettingsError, UnreachableError

SECONDS = 60.0  # an engine under load may take its time; one that hangs must not keep us

Version = tuple[int, ...]


class DockerError(MapadminError):
    """A command that the engine, or `docker` itself, refused; `said` is all that it said."""

    def __init__(self, message: str, *, said: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.said = said


class Versions(msgspec.Struct, frozen=True):
    """What `docker` talks with and to, such as "28.2.2" and "20.10.24+dfsg1"."""

    client: str
    engine: str


class Docker:
    """Runs `docker`; `echo` is shown each command line before it is run."""

    def __init__(
        self,
        *,
        context: str = "",
        environment: Mapping[str, str] | None = None,
        echo: Callable[[str], None] | None = None,
    ) -> None:
        self._start = ["docker", *(["--context", context] if context else [])]
        self._environment = environment
        self._echo = echo

    def run(
        self, *arguments: str, stdin: str = "", cwd: Path | None = None, seconds: float = SECONDS
    ) -> str:
        """What the command printed.

        Raises SettingsError without `docker` or the right to use it, UnreachableError when the
        engine does not answer (within `seconds`), and DockerError with what it says otherwise.
        """
        argv = self._argv(arguments)
        try:
            done = subprocess.run(
                argv, cwd=cwd, input=stdin, capture_output=True, encoding="utf-8",
                errors="replace", timeout=seconds, check=False, env=self._environment,
            )  # fmt: skip
        except FileNotFoundError:
            raise _no_docker() from None
        except subprocess.TimeoutExpired:
            raise UnreachableError(
                f"`{shlex.join(argv)}` has not ended within {seconds:g} s.",
                remedy="Is the engine well? Try: docker info",
            ) from None
        if done.returncode:
            raise explain(argv, done.stderr)
        return done.stdout

    def records(self, *arguments: str, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """What the command printed as JSON: one object, a list of them, or one a line."""
        return parse_records(self.run(*arguments, seconds=seconds))

    def lines(self, *arguments: str) -> Iterator[str]:
        """What the command prints, both of its streams, line by line for as long as it runs.

        Whoever stops listening ends it. Raises as `run` does, but knows no time limit.
        """
        argv = self._argv(arguments)
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                encoding="utf-8", errors="replace", env=self._environment,
            )  # fmt: skip
        except FileNotFoundError:
            raise _no_docker() from None
        last = ""
        with process:
            try:
                for line in cast("IO[str]", process.stdout):
                    last = line.rstrip("\n")
                    yield last
            finally:
                process.kill()  # does nothing to one that has ended
        if process.returncode > 0:
            raise explain(argv, last)

    @cached_property
    def versions(self) -> Versions:
        """Of both sides; asked once."""
        # Without an engine, some versions print the client's half and complain only there.
        (found,) = self.records("version", "--format", "{{json .}}")
        server = found.get("Server") or {}
        return Versions(found["Client"]["Version"], server.get("Version", ""))

    @cached_property
    def compose(self) -> str:
        """The version of the Compose plugin; asked once, as it takes a quarter of a second."""
        try:
            return self.run("compose", "version", "--short").strip().removeprefix("v")
        except DockerError as error:
            if re.search("unknown (command|flag)|not a docker command", error.said):
                raise SettingsError(
                    "docker has no `compose` here.",
                    remedy="Install Docker Compose 2: Debian 13's docker-compose, or Docker's own "
                    "docker-compose-plugin.",
                ) from None
            raise

    def require(self, *, engine: Version = (), compose: Version = ()) -> None:
        """Raises SettingsError when the engine or Compose is older than that."""
        if engine:
            _require("The Docker engine", self.versions.engine, engine)
        if compose:
            _require("Docker Compose", self.compose, compose)

    def _argv(self, arguments: tuple[str, ...]) -> list[str]:
        argv = [*self._start, *arguments]
        if self._echo is not None:
            self._echo(shlex.join(argv))
        return argv


def parse_version(text: str) -> Version:
    """20.10.24+dfsg1 is (20, 10, 24); what is no version is ()."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def parse_records(text: str) -> list[dict[str, Any]]:
    """Objects from JSON as the many versions of Docker print it; other lines are left out."""
    with suppress(ValueError):
        whole = json.loads(text)
        return [one for one in (whole if isinstance(whole, list) else [whole]) if _is_object(one)]
    records = []
    for line in text.splitlines():
        with suppress(ValueError):
            if _is_object(one := json.loads(line)):
                records.append(one)
    return records


def explain(argv: list[str], said: str) -> MapadminError:
    """The error behind what a command that failed said on stderr."""
    text = " ".join(said.split())
    for pattern, cls, message, remedy in _KNOWN:
        if found := re.search(pattern, text):
            return cls(message.format(*found.groups()), remedy=remedy)
    line = next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
    return DockerError(f"`{shlex.join(argv)}` failed: {line.strip()}", said=said)


_START = "Start it (systemctl start docker), or name another: DOCKER_HOST, docker context use."
_KNOWN: list[tuple[str, type[MapadminError], str, str]] = [
    (
        r"permission denied while trying to connect to the (?:Docker daemon|docker API)[^:]*",
        SettingsError,
        "This user may not use the Docker engine.",
        "Run it as root, or join the group docker (which is as good as root) and log in again.",
    ),
    (
        r"(?:Cannot|failed to) connect to the (?:Docker daemon|docker API) at (\S+?)[.;]?(?:\s|$)",
        UnreachableError,
        "No Docker engine answers at {}.",
        _START,
    ),
    (
        r"client version (\S+) is too new\. Maximum supported API version is ([\d.]+\d)",
        SettingsError,
        "The Docker engine is too old for this `docker`: it speaks API {1} at most, not {0}.",
        "Upgrade the engine.",
    ),
    (
        r"client version (\S+) is too old\. Minimum supported API version is ([\d.]+\d)",
        SettingsError,
        "This `docker` is too old for the engine: it speaks API {0}, and {1} is the least.",
        "Upgrade the docker command.",
    ),
    (
        r'context "?([^"\s:]+)"?: context not found',
        SettingsError,
        "There is no Docker context {!r}.",
        "`docker context ls` lists them.",
    ),
    (
        r"error during connect: .*?((?:dial|command|lookup) .*)",
        UnreachableError,
        "The Docker engine cannot be reached: {}",
        _START,
    ),
]


def _require(what: str, found: str, least: Version) -> None:
    if parse_version(found) < least:
        raise SettingsError(
            f"{what} is {found}, and must be {'.'.join(map(str, least))} or newer.",
            remedy="Upgrade it.",
        )


def _no_docker() -> SettingsError:
    return SettingsError(
        "There is no `docker` command on this machine.", remedy="On Debian: apt install docker.io"
    )


def _is_object(value: object) -> bool:
    return isinstance(value, dict)
