"""`cleanup trash`: for good after the second grace, unless a row needs the file again."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

from tests.cleanup.figures.lab import FigureLab


def older(figures: FigureLab, days: int) -> None:
    """Let the runs in the trash be older."""
    moment = datetime.now(UTC) - timedelta(days=days)
    for number, run in enumerate(sorted(figures.trash.iterdir())):
        run.rename(run.with_name(f"{moment:%Y%m%dT%H%M%SZ}-{number:06x}-{run.name[24:]}"))


def test_after_the_second_grace(figures: FigureLab) -> None:
    figures.make(4)
    figures.delete(0, 1)
    figures.lab.ok("cleanup", "figures")
    assert "trash 0 items" in figures.lab.ok("cleanup", "trash", "--yes").err
    older(figures, 31)
    assert "trash 5 items" in figures.lab.ok("cleanup", "trash", "--dry-run").err
    ran = figures.lab.ok("cleanup", "trash")
    assert "5 files could be deleted for good; --yes does it" in ran.err
    assert len(figures.trashed()) == 5
    assert "trash 5 items" in figures.lab.ok("cleanup", "trash", "--yes").err
    assert not figures.trash.exists()
    assert figures.check() == 5


def test_two_stores_with_one_trash(on_mariadb: FigureLab) -> None:
    """Each empties it of its own, by its own days."""
    figures = on_mariadb
    shared = figures.folder / "shared"
    figures.write_site(trash=str(shared))
    figures.make(3)
    figures.delete(0)
    figures.lab.ok("cleanup", "figures")
    before = {path for path in shared.rglob("*") if path.is_file()}
    (figures.folder / "other").mkdir()
    (figures.folder / "other/x").touch()
    figures.lab.roles += (
        f'[stores.other_store]\nprotocol = "file"\nlocation = "{figures.folder}/other"\n'
        f'trash = "{shared}"\ntrash_days = 0\n'
    )
    figures.lab.write_site()
    assert "trash 0 items" in figures.lab.ok("cleanup", "trash", "--yes").err
    assert {path for path in shared.rglob("*") if path.is_file()} == before


def test_a_run_that_was_killed_when_it_had_taken_everything(on_mariadb: FigureLab) -> None:
    """Its rows are there, and all files are in its trash: the store is there nevertheless."""
    figures = on_mariadb
    figures.make(3)
    before = figures.files()
    files = figures.trash / "20261101T000000Z-abcdef-report_store" / "files"
    for key in before:
        (files / key).parent.mkdir(parents=True, exist_ok=True)
        (figures.store / key).rename(files / key)
    for command in (("trash", "--yes"), ("figures",), ("figures", "--reconcile", "--collect")):
        kept = figures.folder / "-".join(command)
        shutil.copytree(figures.store, kept)
        figures.lab.ok("cleanup", *command)
        assert figures.files() == before
        shutil.rmtree(figures.store)
        shutil.copytree(kept, figures.store)


def test_what_has_a_row_again_is_put_back_and_never_purged(on_mariadb: FigureLab) -> None:
    """As after a worker that stood still for long between its look at the file and its row."""
    figures = on_mariadb
    figures.make(4)
    before = figures.files()
    figures.server.sql("CREATE TABLE map_v2.copy AS SELECT * FROM map_v2.`~external_report_store`")
    figures.delete(0, 1, 2, 3)
    figures.lab.ok("cleanup", "figures")
    figures.server.sql("INSERT INTO map_v2.`~external_report_store` SELECT * FROM map_v2.copy")
    shutil.copytree(figures.trash, figures.folder / "kept")
    (figures.store / "session0").rmdir()
    # One of them was made again, one cannot be what the row tells of.
    (figures.store / "session1/figure 1.png").write_bytes(b"newer")
    older(figures, 31)
    wrong = next(figures.trash.rglob("figure 2.png"))
    wrong.write_bytes(b"x" * wrong.stat().st_size)
    ran = figures.lab.run("cleanup", "trash", "--yes")
    assert ran.code == 1
    assert "figure 2.png: there is a row and no file, and what the trash of" in ran.err
    assert figures.files() == before - {"session2/figure 2.png"}
    assert (figures.store / "session1/figure 1.png").read_bytes() == b"newer"
    assert "session2/figure 2.png" in figures.trashed()


def test_on_s3(on_s3: FigureLab) -> None:
    on_s3.make(3)
    on_s3.delete(0, 1)
    on_s3.lab.ok("cleanup", "figures")
    assert len(on_s3.trashed()) == 5
    on_s3.datajoint(do="make", first=0, last=1)
    on_s3.write_site(trash_days=0.0)
    assert "trash 5 items" in on_s3.lab.ok("cleanup", "trash", "--yes").err
    assert on_s3.trashed() == set()
    assert on_s3.check() == 4
    assert on_s3.s3
    assert not any("trash" in key for key in on_s3.s3.list())
