"""Does the worker that cleaned up before mapadmin still run? Both would delete what they find,
without knowing of each other.

Seen from here are the processes of this machine, the containers of its Docker, and the sessions of
the worker's database account when the site names one. What runs on another machine under an account
that other workers use as well cannot be seen from anywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from mapadmin.core.errors import MapadminError

if TYPE_CHECKING:
    from mapadmin.cleanup.parts import Work

_DOCKER_SECONDS = 20.0


def refuse_beside_legacy(work: Work) -> None:
    """Raises MapadminError that says where the old worker was seen."""
    settings = work.site.settings.cleanup
    seen = []
    if word := settings.legacy_command:
        seen += _processes(word) or _containers(word)
    if account := settings.legacy_account:
        seen += _sessions(work, account)
    if seen:
        raise MapadminError(
            f"The worker that cleaned up before still runs: {seen[0]}.",
            remedy="Stop it first: both would delete without knowing of each other. "
            "cleanup.legacy_command and cleanup.legacy_account say what is looked for.",
        )


def _processes(word: str) -> list[str]:
    """Those of this machine, its containers included, whose command line has the word."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # An argument of its own: an editor that has a file of that name open is no worker.
        if word.encode() in arguments[1:]:
            found.append(f"process {folder.name} of this machine")
    return found


def _containers(word: str) -> list[str]:
    """Those that Docker runs, here or where its context points, with the word in their command."""
    docker = shutil.which("docker")
    if docker is None:
        return []
    try:
        done = subprocess.run(
            [docker, "ps", "--no-trunc", "--format", "{{json .}}"],
            capture_output=True, text=True, timeout=_DOCKER_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    found = []
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        container = json.loads(line)
        if word in str(container.get("Command", "")).strip('"').split():
            found.append(f"container {container.get('Names')}")
    return found


def _sessions(work: Work, account: str) -> list[str]:
    from mapadmin.pipeline.threads import read_threads, require_sight

    server = work.database.server
    require_sight(server)
    return [
        f"{account} is connected from {thread.address}"
        for thread in read_threads(server).threads
        if thread.user == account
    ]
