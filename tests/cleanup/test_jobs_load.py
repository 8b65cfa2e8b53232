"""No living job is ever cleared, every dead one by the first run after its grace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cleanup.load import GRACE, KINDS, KINDS_2, SITE, Load
from tests.lab import Lab
from tests.pipeline.fixtures import MakePipeline


def bear(lab: Lab, pipeline: MakePipeline, folder: Path, *, seconds: float) -> None:
    """Put a load on the site, then look at what was cleared; print the counts."""
    lab.roles = SITE
    lab.write_site()
    kinds = KINDS + (KINDS_2 if lab.server.flavour == "mysql" else [])
    load = Load(lab, pipeline, kinds, folder)
    load.go(seconds, workers=2)
    counts = load.counts()
    print(
        f"\n{lab.server.flavour}: {seconds} s, grace {GRACE} s, {len(load.runs)} cleanups, "
        f"{load.cleanups_killed} of them killed besides"
    )
    for name, one in counts.items():
        print(
            f"  {name:16} jobs begun {one.jobs}, ended {one.ended}; workers killed "
            f"{one.workers_killed}, connections killed {one.connections_killed}; reservations "
            f"cleared {one.cleared}, wrongly {one.wrong}, late {one.late}, left {one.left}; at "
            f"most {one.worst:.1f} s after death and grace"
        )
    assert len(load.runs) > 3
    assert {name: (c.wrong, c.late, c.left) for name, c in counts.items()} == dict.fromkeys(
        counts, (0, 0, 0)
    )
    assert sum(one.cleared for one in counts.values()) > 3
    assert all(one.jobs and one.workers_killed for one in counts.values())


@pytest.mark.timeout(240)
def test_living_jobs_are_never_cleared(lab: Lab, pipeline: MakePipeline, tmp_path: Path) -> None:
    bear(lab, pipeline, tmp_path, seconds=12)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_living_jobs_are_never_cleared_for_long(
    lab: Lab, pipeline: MakePipeline, tmp_path: Path
) -> None:
    bear(lab, pipeline, tmp_path, seconds=330)
