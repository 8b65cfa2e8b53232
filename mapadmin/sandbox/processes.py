"""Server processes, as the kernel knows them; whose, since when, on which port."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.sandbox.certificates import HOST


class Process(msgspec.Struct, frozen=True):
    """A server process that was seen running."""

    pid: int
    started: int  # in kernel ticks since boot: tells it from a later process with its pid
    port: int
    stopping: bool = False  # `stop` has begun: it may still answer, but not for long


def started_at(pid: int) -> int | None:
    """When a process started, in kernel ticks since boot; None if it has ended."""
    process = Path(f"/proc/{pid}")
    try:
        text = process.joinpath("stat").read_text(errors="replace")
        # pid (name) state ppid ...: the name may hold anything, parentheses and spaces included.
        fields = text.rpartition(")")[2].split()
        # A zombie has ended, unless it is only the first of several threads that has: then the
        # others still hold the data directory.
        if fields[0] in "ZX" and len(list(process.joinpath("task").iterdir())) <= 1:
            return None
    except OSError:
        return None
    return int(fields[19])


def own_processes() -> Iterator[tuple[int, list[str]]]:
    """The pid and command line of each process of this user."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (arguments := arguments_of(int(entry.name))):
            yield int(entry.name), arguments


def arguments_of(pid: int) -> list[str]:
    """A process's command line; empty if it is another user's, has ended, or is of the kernel."""
    process = Path(f"/proc/{pid}")
    try:
        if process.stat().st_uid != os.geteuid():
            return []
        return process.joinpath("cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def server_process(pid: int, data: Path, arguments: list[str]) -> Process | None:
    """The process, if its command line says that it serves this data directory."""
    ports = [part for part in arguments if re.fullmatch(r"--port=\d+", part)]
    started = started_at(pid)
    if started is None or f"--datadir={data}" not in arguments or not ports:
        return None
    return Process(pid, started, int(ports[-1].removeprefix("--port=")))


def kill_initializers(data: Path) -> None:
    """End what still fills an unfinished data directory after its `create` was killed.

    MySQL's server, once its files are gone, would neither end nor stop using the processor.
    """
    for pid, arguments in own_processes():
        if f"--datadir={data}" in arguments:
            process = Process(pid, started_at(pid) or 0, port=0)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_for_end(process, 10.0)


def is_alive(process: Process) -> bool:
    if started_at(process.pid) == process.started:
        return True
    # If it was our child, it stays behind as a zombie until its exit status is collected.
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return False


def wait_for_end(process: Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def free_port(preferred: int | None) -> int:
    """A loopback port that nobody listens on: the preferred one, if it is still free."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, suppress(OSError):
            # As the server does: closed connections of the last run do not make a port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise MapadminError(f"There is no free port on {HOST}.")
