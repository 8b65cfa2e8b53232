"""Does the worker that cleaned up before mapadmin still run? Both would delete what they find,
without knowing of each other.

Seen from here are the processes of this machine, the containers of its Docker, and the sessions of
the worker's database account when the site names one. What runs on another machine under an account
that other workers use as well cannot be seen from anywhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from mapadmin.core.errors import MapadminError

if TYPE_CHECKING:
    from mapadmin.cleanup.parts import Work

_DOCKER_SECONDS = 20.0
# What it says when no daemon runs on this machine, and so no container either; not when it may not
# be asked, nor of another machine's.
_DOWN = re.compile(r"unix://(?!.*permission denied).*daemon (is )?running", re.DOTALL)


def refuse_beside_legacy(work: Work) -> str:
    """Raises MapadminError that says where the old worker was seen.

    Returns what could not be looked at, in a sentence; empty when all could.
    """
    settings = work.site.settings.cleanup
    seen: list[str] = []
    note = ""
    if word := settings.legacy_command:
        seen += _processes(word)
        try:
            seen += _containers(word) if not seen else []
        except MapadminError as error:
            note = str(error)
    if account := settings.legacy_account:
        seen += _sessions(work, account)
    if seen:
        raise MapadminError(
            f"The worker that cleaned up before still runs: {seen[0]}.",
            remedy="Stop it first: both would delete without knowing of each other. "
            "cleanup.legacy_command and cleanup.legacy_account say what is looked for.",
        )
    return note


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
    """Those that Docker runs, here or where its context points, with the word in their command.

    Raises MapadminError when Docker is there and does not say.
    """
    docker = shutil.which("docker")
    if docker is None:
        return []
    try:
        done = subprocess.run(
            [docker, "ps", "--no-trunc", "--format", "{{json .}}"],
            capture_output=True, text=True, errors="replace", timeout=_DOCKER_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            if _DOWN.search(done.stderr):
                return []
            raise _unseen(done.stderr.strip().rpartition("\n")[2])
        containers = [json.loads(line) for line in done.stdout.splitlines()]
    except subprocess.TimeoutExpired:
        raise _unseen(f"no answer within {_DOCKER_SECONDS:g} s") from None
    except OSError as error:
        raise _unseen(str(error.strerror)) from None
    except ValueError:
        raise _unseen("its answer is no JSON") from None
    # Not split at blanks: it may be within the quotes of a shell's command.
    wanted = re.compile(rf"(?<![\w./-]){re.escape(word)}(?![\w./-])")
    return [
        f"container {container.get('Names')}"
        for container in containers
        if wanted.search(str(container.get("Command", "")))
    ]


def _unseen(why: str) -> MapadminError:
    return MapadminError(
        f"Whether the worker that cleaned up before runs in a container cannot be seen: "
        f"docker ps: {why.rstrip('.') or 'it failed'}.",
        remedy="Let this account use Docker, or, when that worker is gone for good, set "
        'cleanup.legacy_command = "".',
    )


def _sessions(work: Work, account: str) -> list[str]:
    from mapadmin.pipeline.threads import read_threads, require_sight

    server = work.database.server
    require_sight(server)
    return [
        f"{account} is connected from {thread.address}"
        for thread in read_threads(server).threads
        if thread.user == account
    ]
