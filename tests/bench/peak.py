"""The most memory that a command of ours takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

# Not by getrusage, whose peak a child takes over from the process that starts it.
_PROGRAM = """
import sys
from pathlib import Path
from mapadmin.__main__ import main
sys.argv = ["mapadmin", *sys.argv[1:]]
try:
    main()
finally:
    kilobytes = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    sys.stderr.write(f"\\n{kilobytes}")
"""


def peak(environment: Mapping[str, str], *args: str) -> tuple[float, str]:
    """Run `mapadmin ARGS…`: its peak in MB, and what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *args], text=True, capture_output=True, check=True,
        env=dict(environment),
    )  # fmt: skip
    return int(done.stderr.splitlines()[-1]) / 1024, done.stdout
