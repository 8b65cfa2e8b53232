"""What a worker finds in its container: `probe` is run there, in one that is gone afterwards."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import msgspec

from mapadmin.core.docker import Docker, DockerError
from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder
from mapadmin.workers import probe
from mapadmin.workers.configuration import INSIDE
from mapadmin.workers.engine import Place
from mapadmin.workers.generation import RUNNER, SECRET, Definition, Generation

SECONDS = 90.0  # DataJoint alone takes some to be imported, on a busy machine
_PROBE = "probe.py"


class Tables(msgspec.Struct, frozen=True):
    """How many tables of a schema DataJoint fills, and how many job tables of either layout."""

    computed: int = 0
    jobs: int = 0
    jobs_2: int = 0


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `probe`: see `probe.main`."""

    python: str
    scripts: dict[str, str]
    datajoint: str = ""
    no_datajoint: str = ""
    account: str = ""
    server: str = ""
    no_connection: str = ""
    used_stores: list[str] = msgspec.field(default_factory=list)
    tables: dict[str, Tables] = msgspec.field(default_factory=dict)
    stores: dict[str, str] = msgspec.field(default_factory=dict)
    modules: dict[str, str] = msgspec.field(default_factory=dict)


def look_inside(
    docker: Docker, definition: Definition, kind: str, *, modules: list[str], schemas: list[str]
) -> Inside:
    """What a worker of this kind would find. Raises MapadminError when nothing answers.

    `schemas` are patterns as LIKE takes them. The folder that is mounted is as a generation's.
    """
    command = definition.settings.kinds[kind].command
    script = " ".join(command[:2]) if command[0] == "-m" else command[0]
    request = {"modules": modules, "schemas": schemas, "scripts": [script]}
    folder = make_private_folder(Path(definition.home) / "workers")
    with tempfile.TemporaryDirectory(prefix="check-", dir=folder) as name:
        generation = Generation(0, msgspec.structs.replace(definition, home=name))
        generation.render([])
        arguments = _run(generation, kind, f"{definition.site}-check")
        try:
            said = docker.run(
                "run", *arguments, f"{INSIDE}/{RUNNER}", "--secret", f"{INSIDE}/{SECRET}",
                f"{INSIDE}/{_PROBE}", json.dumps(request), seconds=SECONDS,
            )  # fmt: skip
        except DockerError as error:
            raise _explained(error) from None
    return read_answer(said)


def _run(generation: Generation, kind: str, host: str) -> list[str]:
    """What stands before the runner: options of `docker run`, the image, and its Python."""
    settings, service = generation.settings, generation.service(Place(kind, 1))
    file = Path(str(probe.__file__))
    mounts = [*service["mounts"], {
        "type": "bind", "source": str(file), "target": f"{INSIDE}/{_PROBE}", "read_only": True,
    }]  # fmt: skip
    options = [
        "--rm", "--pull", "never", "--hostname", host.replace("_", "-"), "--user", settings.user,
        *(["--network", settings.network] if settings.network else []),
        *(["--workdir", settings.directory] if settings.directory else []),
        "--entrypoint", settings.python,
    ]  # fmt: skip
    for one in mounts:
        text = f"type={one['type']},source={one['source']},target={one['target']}"
        options += ["--mount", text + (",readonly" if one["read_only"] else "")]
    for key, value in service["environment"].items():
        options += ["--env", f"{key}={value}"]
    return [*options, generation.image.id]


def read_answer(said: str) -> Inside:
    """The probe's answer, behind whatever the pipeline has printed."""
    for line in reversed(said.splitlines()):
        if line.startswith(probe.MARK):
            return msgspec.json.decode(line.removeprefix(probe.MARK), type=Inside)
    raise MapadminError("The container ended without an answer.")


def _explained(error: DockerError) -> MapadminError:
    """What the container, or Docker, said last, without the command line."""
    lines = [line.strip() for line in error.said.splitlines() if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    return MapadminError(f"A worker's container does not run: {said}")
