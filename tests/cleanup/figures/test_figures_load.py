"""Cleanup again and again, and killed, while workers make, delete and re-make the same figures."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cleanup.figures.conftest import make_lab
from tests.cleanup.figures.lab import S3, FigureLab, Program
from tests.servers import RunningServer

WORKERS = 3
FIGURES = 12
SCHEMAS = ("map_v2", "map_other")  # they share pictures


def under_load(figures: FigureLab, seconds: float, *, seed: int) -> Counter[str]:
    """Workers for some seconds, with a cleanup beside them all the time; what there was of all.

    The grace is shorter than a worker's transaction, and a file is looked for again half a second
    after it was taken: nobody would do that, and no file may be lost nevertheless.
    """
    figures.write_site(grace_days=1e-6, settle=0.5)
    for schema in SCHEMAS:
        figures.datajoint(do="make", first=0, last=2, schema=schema)
    outs = [figures.folder / f"worker-{number}" for number in range(WORKERS)]
    pids = [
        figures.start(
            out, do="work", seed=seed + number, seconds=seconds, figures=FIGURES,
            schema=SCHEMAS[number % 2],
        )
        for number, out in enumerate(outs)
    ]  # fmt: skip
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    while any(map(_runs, pids)):
        process = figures.lab.start("cleanup", "figures", "--force", "--json")
        counts["runs"] += 1
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0.2, 1.2))
            process.kill()
        answer, said = process.communicate(timeout=120)
        assert "Traceback" not in said, said
        if process.returncode < 0:
            counts["killed"] += 1
        else:
            assert process.returncode == 0, answer + said
            _add(counts, answer)
    for out in outs:
        text = out.read_text()
        assert "Traceback" not in text, text
        counts.update(json.loads(text))
    _add(counts, figures.lab.ok("cleanup", "figures", "--force", "--json").out)
    for schema in SCHEMAS:
        counts["referenced"] += figures.check(schema=schema)
    return counts


def _add(counts: Counter[str], out: str) -> None:
    (part,) = json.loads(out)["parts"]
    assert part["failures"] == []
    counts["files removed"] += part["items"]
    counts.update(part["details"])


def _runs(pid: int) -> bool:
    """Whether a worker goes on; one that has ended is nobody's to wait for but its parent's."""
    with suppress(FileNotFoundError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def test_under_load(figures: FigureLab) -> None:
    counts = under_load(figures, 7, seed=1)
    assert counts["files removed"] > 0
    assert counts["made"] > 20


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["file", "s3"])
def test_long_under_load(
    server: RunningServer, program: Program, tmp_path: Path, s3: S3, kind: str
) -> None:
    seconds = float(os.environ.get("MAPADMIN_SOAK_SECONDS", "120"))
    figures = make_lab(server, program, tmp_path, s3 if kind == "s3" else None)
    counts = under_load(figures, seconds, seed=2)
    shown = ", ".join(f"{name} {number:,}" for name, number in counts.items())
    print(f"\n{server.flavour}, {kind}, {seconds:g} s: {shown}, lost: 0")
    assert counts["files removed"] > 100
