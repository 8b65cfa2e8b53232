"""The sandbox's part that is AWS: one process, and what the site file says of it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder, write_atomic
from mapadmin.sandbox.aws.seed import ACCOUNT, DATABASE, INSTANCE, REGION
from mapadmin.sandbox.database import DatabasePart
from mapadmin.sandbox.parts import PartState, PartStatus, Work
from mapadmin.sandbox.processes import (
    Process,
    free_port,
    is_alive,
    own_processes,
    started_at,
    wait_for_end,
)

_MODULE = "mapadmin.sandbox.aws.emulator"
_HOST = "127.0.0.1"
_START_SECONDS = 60.0
_NEEDED = ("moto", "flask", "werkzeug")
_INSTALL = "pip install 'moto[server]'"
_CREDENTIALS = "aws"  # its file in the site's secrets/
_KEYS = "[default]\naws_access_key_id = sandbox\naws_secret_access_key = sandbox\n"


class AwsPart:
    """An AWS account in memory: gone when it goes down, there again, as at first, when it is up."""

    name = "aws"

    def __init__(self, folder: Path, database: DatabasePart) -> None:
        self.folder = folder
        self._database = database

    @property
    def _ready(self) -> Path:
        return self.folder / "emulator.json"

    def available(self) -> bool:
        """Is moto installed? It is a development tool, which mapadmin itself does not need."""
        return all(importlib.util.find_spec(name) is not None for name in _NEEDED)

    def up(self, work: Work) -> bool:
        """Start the emulator; without moto, say what to install and leave AWS out."""
        changed = self._write_credentials(work)
        if not self.available():
            work.say(f"There is no AWS in this sandbox: {_INSTALL}, then `mapadmin sandbox up`.")
            return changed
        process = self.process()
        started = process is None
        if process is None:
            work.say("Starting AWS (moto).")
            self.down()  # what a killed run may have left
            process = self._start()
        changed |= work.site.contribute(
            "aws",
            {
                "account": ACCOUNT, "region": REGION, "database": DATABASE, "instance": INSTANCE,
                "credentials": f"secrets/{_CREDENTIALS}",
                "endpoint": f"http://{_HOST}:{process.port}",
            },
        )  # fmt: skip
        return changed or started

    def down(self) -> bool:
        """End the emulator of this folder, and one that a killed `up` had begun."""
        ended = False
        for pid, arguments in list(own_processes()):
            if _MODULE in arguments and f"--folder={self.folder}" in arguments:
                process = Process(pid, started_at(pid) or 0, port=0)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                if not wait_for_end(process, 5.0):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    wait_for_end(process, 5.0)
                ended = True
        self._ready.unlink(missing_ok=True)
        return ended

    def status(self) -> PartStatus:
        """Where it runs."""
        process = self.process()
        if process is not None:
            return PartStatus(
                self.name, PartState.RUNNING, "moto, and recorded answers", _HOST, process.port,
                process.pid,
            )  # fmt: skip
        if not self.available():
            return PartStatus(self.name, PartState.LEFT_OUT, _INSTALL)
        made = self.folder.exists()
        return PartStatus(self.name, PartState.STOPPED if made else PartState.MISSING)

    def process(self) -> Process | None:
        """The emulator, if it runs and answers."""
        try:
            process = msgspec.convert(json.loads(self._ready.read_bytes()), Process)
        except (OSError, ValueError):
            return None
        return process if is_alive(process) and self._is_ours(process.pid) else None

    def _is_ours(self, pid: int) -> bool:
        return any(p == pid and f"--folder={self.folder}" in words for p, words in own_processes())

    def _start(self) -> Process:
        make_private_folder(self.folder)
        log = self.folder / "emulator.log"
        port = self._database.status().port
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", _MODULE,
                 f"--port={free_port(self._last_port())}", f"--folder={self.folder}",
                 *([f"--database={port}"] if port else [])],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while (process := self.process()) is None:
            if child.poll() is not None or time.monotonic() > deadline:
                child.kill()
                raise MapadminError(f"The sandbox's AWS did not start; see {log}.")
            time.sleep(0.05)
        child.returncode = 0  # it stays when we go, which Popen would warn of
        write_atomic(self.folder / "port", f"{process.port}\n")
        return process

    def _last_port(self) -> int | None:
        try:
            return int((self.folder / "port").read_text())
        except (OSError, ValueError):
            return None

    def _write_credentials(self, work: Work) -> bool:
        path = work.site.secret_path(_CREDENTIALS)
        if path.is_file():
            return False
        write_atomic(path, _KEYS, mode=0o600)
        return True
