"""The Globus emulator under test, as a process of its own, and globus-cli to hold it to account."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapadmin.core.lock import file_lock
from mapadmin.sandbox.globus.world import Collection, Config, Identity, config_text
from mapadmin.sandbox.programs import cache_folder
from tests.lab import Ran
from tests.zygote import MAPADMIN

ARCHIVE = "aaaaaaaa-0000-4000-8000-000000000001"
RIG = "bbbbbbbb-0000-4000-8000-000000000002"
MAPPED = "cccccccc-0000-4000-8000-000000000003"
CRON = "dddddddd-0000-4000-8000-000000000004"
OTHER = "eeeeeeee-0000-4000-8000-000000000005"  # an application that owns nothing
APP = "ffffffff-0000-4000-8000-000000000006"  # where people log in
SECRET = base64.b64encode(b"s" * 32).decode()
OPERATOR = "operator@example.org"
CRON_NAME = f"{CRON}@clients.auth.globus.org"
CLI_VERSION = "3.43.0"
_IDENTITIES = [
    Identity(f"00000000-0000-4000-8000-00000000000{number}", name, name.partition("@")[0].title())
    for number, name in enumerate([OPERATOR, "alice@example.org", "bob@example.org"])
]


def identity(name: str) -> str:
    return next(who.id for who in _IDENTITIES if who.username == name)


@dataclass
class Emulator:
    """A running emulator; `archive` and `rig` are the folders of two of its collections."""

    folder: Path
    port: int = 0
    managers: list[str] = field(default_factory=lambda: [CRON_NAME])
    process: subprocess.Popen[str] | None = None

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def rig(self) -> Path:
        return self.folder / "rig"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def environment(self) -> dict[str, str]:
        """What tells the SDK, and so every client, where this service is."""
        return {
            "GLOBUS_SDK_SERVICE_URL_TRANSFER": self.url,
            "GLOBUS_SDK_SERVICE_URL_AUTH": self.url,
        }

    def write(self, **archive: Any) -> None:
        """globus.json; `archive` are changes of that collection."""
        digest = hashlib.sha256(SECRET.encode()).hexdigest()
        own = {"id": ARCHIVE, "name": "MAP archive", "root": str(self.archive), "owner": OPERATOR}
        collections = [
            Collection(**{**own, **archive}),
            Collection(RIG, "Rig", str(self.rig), CRON_NAME),
            Collection(MAPPED, "Campus", str(self.rig), OPERATOR, guest=False, data_access=True),
        ]
        config = Config({CRON: digest, OTHER: digest}, _IDENTITIES, collections, OPERATOR,
                        [*self.managers])  # fmt: skip
        _replace(self.folder / "globus.json", config_text(config))

    def control(self, **settings: Any) -> None:
        """What goes wrong from now on; nothing without settings."""
        _replace(self.folder / "control.json", json.dumps(settings))

    def requests(self) -> list[tuple[float, str, str, int]]:
        """Time, method, target, status of every request so far."""
        lines = (self.folder / "requests.log").read_text().splitlines()
        return [tuple(json.loads(line)) for line in lines]

    def calls(self, part: str) -> int:
        """How many requests had this in their target."""
        return sum(part in target for _, _, target, _ in self.requests())

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-W", "error", "-m", "mapadmin.sandbox.globus",
             str(self.folder), f"--port={self.port}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=20)
            self.process = None

    def cli(self, *args: str, client: str = CRON) -> Ran:
        """Run the official globus-cli, unmodified, as an application."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        done = subprocess.run(
            [globus_cli(), *args], capture_output=True, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL,
            env={
                "PATH": os.environ["PATH"], "HOME": str(home), **self.environment,
                "GLOBUS_CLI_CLIENT_ID": client, "GLOBUS_CLI_CLIENT_SECRET": SECRET,
            },
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def running_emulator(folder: Path) -> Iterator[Emulator]:
    """An emulator with an archive, a rig and a mapped collection, all empty."""
    new = Emulator(folder)
    for path in (folder, new.archive, new.rig):
        path.mkdir(parents=True, exist_ok=True)
    new.write()
    try:
        new.start()
        yield new
    finally:
        new.stop()


def globus_cli() -> Path:
    """The program, in a virtual environment of its own in the cache folder; made once."""
    folder = cache_folder() / f"globus-cli-{CLI_VERSION}"
    program = folder / "bin" / "globus"
    mark = folder / "made"
    if not mark.exists():
        cache_folder().mkdir(parents=True, exist_ok=True)
        with file_lock(folder.with_suffix(".lock"), command="tests", wait=300):
            if not mark.exists():
                _run(sys.executable, "-m", "venv", "--clear", str(folder))
                _run(str(folder / "bin" / "pip"), "install", "-q", f"globus-cli=={CLI_VERSION}")
                mark.touch()
    return program


def _run(*args: str) -> None:
    done = subprocess.run(args, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def _replace(path: Path, text: str) -> None:
    """In one step: the emulator may be reading it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


__all__ = ["MAPADMIN", "Emulator", "globus_cli", "running_emulator"]
