"""How long mapadmin takes before it does anything, as a ratio to `import typer`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.result import Result
from tests.zygote import MAPADMIN

ROUNDS = 15

_SITE = """
[site]
name = "bench"
[database]
host = "127.0.0.1"
password = "env:NO_SUCH_VARIABLE"
project_prefix = "map"
"""


def bench_startup(folder: Path) -> list[Result]:
    """Help, and a command that gets as far as the password of its site: the SDK comes next."""
    site = folder / "startup"
    site.mkdir(mode=0o755)
    (site / "mapadmin.toml").write_text(_SITE)
    (site / "mapadmin.toml").chmod(0o644)
    commands = {
        "typer": [sys.executable, "-c", "import typer"],
        "mapadmin --help": [MAPADMIN, "--help"],
        "mapadmin db --help": [MAPADMIN, "db", "--help"],
        "mapadmin db users, before its SDK": [MAPADMIN, "--site", str(site), "db", "users"],
        "mapadmin db add-user, before its SDK": [
            MAPADMIN, "--site", str(site), "db", "add-user", "alice", "--role", "reader",
        ],
    }  # fmt: skip
    best = _best_of(commands)
    base = best.pop("typer")
    return [
        Result(
            what, seconds / base, "x typer", 1.5 if "SDK" in what else 2.4,
            f"{seconds * 1000:.0f} ms against {base * 1000:.0f} ms, best of {ROUNDS}",
        )
        for what, seconds in best.items()
    ]  # fmt: skip


def _best_of(commands: dict[str, list[str]]) -> dict[str, float]:
    """The best wall time of each, taken in turn so that a busy moment hits all alike."""
    best = dict.fromkeys(commands, float("inf"))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    for _ in range(ROUNDS):
        for name, argv in commands.items():
            begun = time.perf_counter()
            subprocess.run(argv, capture_output=True, check=False, env=environment)
            best[name] = min(best[name], time.perf_counter() - begun)
    return best
