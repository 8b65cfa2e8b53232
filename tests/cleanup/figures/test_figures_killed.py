"""`cleanup figures` killed at each of its steps, and figures that are made again right then."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cleanup.figures.conftest import make_lab
from tests.cleanup.figures.lab import S3, FigureLab, Program
from tests.servers import RunningServer

DYING = str(Path(__file__).with_name("dying.py"))
FIGURES = 4


def killed_at(figures: FigureLab, step: int) -> bool:
    """Run it until this step; False when it was done before."""
    done = subprocess.run(
        [sys.executable, DYING, str(step), "cleanup", "figures", "--force"],
        env=figures.lab.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def one_round(figures: FigureLab, step: int) -> bool:
    """All figures are unused, a cleanup of them dies, and half of them are made again.

    Nothing that has been made may be lost, and the next run finishes the work.
    """
    figures.make(FIGURES)
    figures.delete(*range(FIGURES))
    killed = killed_at(figures, step)
    # Workers who find a row upload nothing; those who find none do.
    figures.datajoint(do="make", first=0, last=FIGURES // 2)
    figures.lab.ok("cleanup", "figures", "--force")
    assert figures.check() == 5
    figures.delete(*range(FIGURES))
    figures.age()
    figures.lab.ok("cleanup", "figures", "--force")
    assert figures.tracked() == 0
    return killed


def all_rounds(figures: FigureLab, every: int) -> int:
    """Die at each `every`th step until a run gets through; how often it was killed."""
    kills = 0
    while one_round(figures, 1 + kills * every):
        kills += 1
    return kills


def test_killed_at_some_steps(on_mariadb: FigureLab) -> None:
    assert all_rounds(on_mariadb, 23) >= 2


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["file", "s3"])
def test_killed_at_each_step(
    server: RunningServer, program: Program, tmp_path: Path, s3: S3, kind: str
) -> None:
    figures = make_lab(server, program, tmp_path, s3 if kind == "s3" else None)
    kills = all_rounds(figures, 1)
    print(f"\n{server.flavour}, {kind}: killed at each of {kills} steps, files lost: 0")
    assert kills > 30
