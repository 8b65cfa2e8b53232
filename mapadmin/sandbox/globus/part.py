"""The sandbox's Globus: the emulator as a process of its own, an archive, and the site's words."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder, write_atomic
from mapadmin.sandbox.database import disk_usage, started_at_utc
from mapadmin.sandbox.globus.world import CONFIG, Collection, Config, Identity, config_text, new_id
from mapadmin.sandbox.parts import PartState, PartStatus, Work
from mapadmin.sandbox.processes import (
    Process,
    free_port,
    is_alive,
    own_processes,
    started_at,
    wait_for_end,
)  # fmt: skip
from mapadmin.sandbox.tables import LOCATIONS, archived_files

SECRET = "globus-secret"  # noqa: S105  its file in the site's secrets/
ARCHIVE, RIG = "archive", "rig"  # the collections, and their folders
PORT = "port"
MODULE = "mapadmin.sandbox.globus"
START_SECONDS, STOP_SECONDS = 30.0, 10.0
_PEOPLE = ("alice@example.org", "bob@example.org", "carol@example.org")


class GlobusPart:
    """Collections `archive` and `rig`, each a folder here; the site's application owns them."""

    name = "globus"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def collection(self, name: str) -> str:
        """The id of a collection, once it is up."""
        collections = Config.read(self.folder / CONFIG).collections
        return next(found.id for found in collections if Path(found.root).name == name)

    def up(self, work: Work) -> bool:
        """Make its folders and start it."""
        changed = self._make(work)
        config = Config.read(self.folder / CONFIG)
        process = self._process()
        if process is None:
            work.say("Starting a Globus service (an emulator).")
            process = self._start()
            changed = True
        changed |= work.site.contribute(
            "globus",
            {
                "client_id": next(iter(config.clients)),
                "client_secret": f"file:secrets/{SECRET}",
                "service_url": f"http://127.0.0.1:{process.port}/",
            },
        )
        for found in config.collections:
            changed |= work.site.contribute(
                f"globus.collections.{Path(found.root).name}", {"id": found.id}
            )
        return changed

    def down(self) -> bool:
        """Stop it."""
        process = self._process()
        if process is None:
            return False
        for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
            if wait_for_end(process, patience):
                return True
        raise MapadminError(f"The Globus service (process {process.pid}) does not end.")

    def status(self) -> PartStatus:
        """Where it runs, since when, and what its collections take."""
        if not (self.folder / CONFIG).is_file():
            return PartStatus(self.name, PartState.MISSING)
        process, size = self._process(), disk_usage(self.folder)
        if process is None:
            return PartStatus(self.name, PartState.STOPPED, "Globus emulator", size=size)
        return PartStatus(
            self.name, PartState.RUNNING, "Globus emulator", "127.0.0.1", process.port, process.pid,
            started_at_utc(process), size,
        )  # fmt: skip

    def _make(self, work: Work) -> bool:
        """The folders, and what there is; the ids are made once. The folder may have been moved."""
        make_private_folder(self.folder)
        roots = {name: self.folder / name for name in (ARCHIVE, RIG)}
        for root in roots.values():
            make_private_folder(root)
        path = self.folder / CONFIG
        digest = hashlib.sha256(work.site.secret(SECRET).reveal().encode()).hexdigest()
        if path.is_file():
            old = Config.read(path)
            client = next(iter(old.clients))
            ids = {Path(found.root).name: found.id for found in old.collections}
            people = old.identities
        else:
            client, ids = new_id(), {name: new_id() for name in roots}
            people = [Identity(new_id(), who, who.partition("@")[0].title()) for who in _PEOPLE]
            _fill(roots[ARCHIVE])
        owner = f"{client}@clients.auth.globus.org"
        text = config_text(
            Config(
                {client: digest}, people,
                [Collection(ids[name], f"Sandbox {name}", str(roots[name]), owner)
                 for name in roots],
                operator=_PEOPLE[0], managers=[owner],
            )
        )  # fmt: skip
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return False
        write_atomic(path, text, mode=0o600)
        return True

    def _start(self) -> Process:
        remembered = self.folder / PORT
        before = None
        with suppress(OSError, ValueError):
            before = int(remembered.read_text())  # the same as last time, if it can be had
        port = free_port(before)
        write_atomic(remembered, f"{port}\n")
        log = self.folder / "server.log"
        command = [sys.executable, "-P", "-m", MODULE, str(self.folder), f"--port={port}"]
        # Not subprocess.Popen, which complains when its child outlives it; this one is meant to.
        pid = os.posix_spawn(
            command[0], command, dict(os.environ), setsid=True, setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGPIPE, signal.SIGHUP),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )  # fmt: skip
        process = Process(pid, started_at(pid) or 0, port)
        deadline = time.monotonic() + START_SECONDS
        while is_alive(process) and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return process
            time.sleep(0.02)
        raise MapadminError(f"The Globus service did not start; see {log}.")

    def _process(self) -> Process | None:
        """The emulator of this folder, by its command line; None when it does not run."""
        for pid, arguments in own_processes():
            if MODULE in arguments and str(self.folder) in arguments:
                port = re.search(r"^--port=(\d+)$", "\n".join(arguments), re.MULTILINE)
                started = started_at(pid)
                if port is not None and started is not None:
                    return Process(pid, started, int(port[1]))
        return None


def _fill(archive: Path) -> None:
    """The files that the pipeline calls archived. Once: from then on they are the user's."""
    for _, alias, _, path in archived_files():
        file = archive / LOCATIONS[alias].strip("/") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{path}\n")
