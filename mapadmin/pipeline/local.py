"""The processes of this machine, those in its containers included, as a job's row tells of them."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

import msgspec

_PROC = Path("/proc")


class LocalProcess(msgspec.Struct, frozen=True):
    """A process as it sees itself: host name, number, and when it started (Unix seconds)."""

    host: str
    pid: int
    started: float


def local_processes() -> set[LocalProcess]:
    """All processes that can be seen from here; in containers only where mapadmin may look in."""
    own = _link(_PROC / "self" / "ns" / "uts")
    booted = time.time() - float((_PROC / "uptime").read_text().split()[0])
    found = set()
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (process := _process(folder, own, booted)):
            found.add(process)
    return found


def _process(folder: Path, own: str, booted: float) -> LocalProcess | None:
    try:
        status = (folder / "status").read_text()
        # The name, in parentheses, may hold blanks and parentheses; the 22nd field is the start.
        ticks = (folder / "stat").read_text().rpartition(")")[2].split()[19]
        numbers = re.search(r"^NSpid:\s*([\d\s]+)$", status, re.MULTILINE)
        pid = int(numbers[1].split()[-1]) if numbers else int(folder.name)
        host = platform.node()
        if own and (uts := _link(folder / "ns" / "uts")) and uts != own:
            host = (folder / "root" / "etc" / "hostname").read_text().strip()
    except (OSError, ValueError, IndexError):  # it has ended, or is not for us to see
        return None
    return LocalProcess(host, pid, booted + int(ticks) / os.sysconf("SC_CLK_TCK"))


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
