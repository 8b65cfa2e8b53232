"""Runs `helper.py` in the pipeline's own environment, by the command that the site names."""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from mapadmin.core.errors import MapadminError, SettingsError

if TYPE_CHECKING:
    from mapadmin.db.server import Server
    from mapadmin.site import Site

_KEPT = 15  # last lines of what it printed, for when it fails


def run_helper(site: Site, request: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
    """The helper's answers to a request, as they come; see `helper.main`.

    Raises SettingsError when the site names no command or a wrong one, MapadminError with what the
    helper says when it fails, and when it has not ended within `[pipeline] timeout` seconds.
    Whoever stops listening ends the command, though not always what it has started elsewhere: see
    `listening`.
    """
    settings = site.settings.pipeline
    if not settings.command:
        raise SettingsError(
            "The site names no Python that has the pipeline's DataJoint.",
            remedy='Add command = ["docker", "exec", "-i", "worker", "python"], or the path of a '
            "python, to [pipeline] in mapadmin.toml.",
        )
    argv = [*settings.command, "-"]
    try:
        process = subprocess.Popen(
            argv, cwd=site.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise SettingsError(f"pipeline.command: cannot run {argv[0]}: {error.strerror}.") from None
    said: deque[str] = deque(maxlen=_KEPT)
    listener = threading.Thread(
        target=_listen, args=(cast("IO[str]", process.stderr), said), daemon=True
    )
    listener.start()
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(settings.timeout, end)
    timer.daemon = True
    timer.start()
    try:
        _send(process, request)
        ended = yield from _answers(process)
        code = process.wait()
        listener.join(5)
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
    if late.is_set():
        raise MapadminError(
            f"{argv[0]}: no answer within {settings.timeout:g} s.",
            remedy="Raise pipeline.timeout, or look at what the server is doing: "
            "mapadmin db processes",
        )
    if not ended:
        raise MapadminError(_complaint(argv[0], code, said), remedy=_advice(said))


@contextmanager
def listening(server: Server) -> Iterator[str]:
    """The name of a lock on the server that is held in the body, and ends with this process.

    For `while_held` of a request that deletes: the helper begins nothing without it. That works
    where no signal and no closed pipe reaches it, as behind `docker exec` and `ssh`.
    """
    name = f"mapadmin-listens-{secrets.token_hex(8)}"
    if not server.acquire_lock(name, 0.0):
        raise MapadminError(f"The server did not give the lock {name}.")
    try:
        yield name
    finally:
        server.release_lock(name)


def _send(process: subprocess.Popen[str], request: dict[str, Any]) -> None:
    """The whole program: Python reads all of it before it begins."""
    program = Path(__file__).with_name("helper.py").read_text(encoding="utf-8")
    stdin = cast("IO[str]", process.stdin)
    try:
        stdin.write(program)
        stdin.write(f"\n\nmain(json.loads({json.dumps(json.dumps(request))}))\n")
        stdin.close()
    except BrokenPipeError:
        pass  # it has ended, and will be heard why


def _answers(process: subprocess.Popen[str]) -> Generator[dict[str, Any], None, bool]:
    """Yields the answers; returns whether the last one was that all is done."""
    for line in cast("IO[str]", process.stdout):
        try:
            answer = json.loads(line)
        except ValueError:
            continue  # something before the helper began
        if answer.get("event") == "end":
            return True
        if answer.get("event") == "error":
            raise MapadminError(f"The pipeline's DataJoint says: {answer['message']}")
        yield answer
    return False


def _listen(stream: IO[str], said: deque[str]) -> None:
    with stream:
        for line in stream:
            if line.strip():
                said.append(line.strip())


def _complaint(program: str, code: int, said: deque[str]) -> str:
    last = said[-1] if said else "it said nothing"
    return f"pipeline.command: {program} ended with exit code {code}: {last}"


def _advice(said: deque[str]) -> str:
    if any("No module named 'datajoint'" in line for line in said):
        return "That Python has no DataJoint: name the one that the workers use."
    return ""
