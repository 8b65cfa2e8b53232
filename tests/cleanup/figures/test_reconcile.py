"""`cleanup figures --reconcile`: files without a row, rows without a file."""

from __future__ import annotations

import json
import os

from mapadmin.core.lock import file_lock
from tests.cleanup.figures.lab import FigureLab


def stray(figures: FigureLab, key: str, *, days: float = 30) -> None:
    path = figures.store / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"nobody's")
    moment = path.stat().st_mtime - days * 86_400
    os.utime(path, (moment, moment))


def test_what_does_not_go_together(figures: FigureLab) -> None:
    figures.make(4)
    figures.delete(3)
    assert figures.lab.ok("cleanup", "figures", "--reconcile").out == ""
    stray(figures, "session0/from a crash.png")
    stray(figures, "map_v2/ab/cd/abcdabcdabcdabcdabcdabcdabcdabcd")
    stray(figures, "session0/young.png", days=0)
    (figures.store / "session1/figure 1.png").unlink()
    (figures.store / "session3/figure 3.png").unlink()
    ran = figures.lab.run("cleanup", "figures", "--reconcile", "--json")
    assert ran.code == 5
    found = {row["key"]: row["kind"] for row in map(json.loads, ran.out.splitlines())}
    assert found == {
        "session0/from a crash.png": "untracked",
        "map_v2/ab/cd/abcdabcdabcdabcdabcdabcdabcdabcd": "untracked",
        "session1/figure 1.png": "missing",
        "session3/figure 3.png": "missing, unused",
    }
    ran = figures.lab.run("cleanup", "figures", "--reconcile")
    assert "missing: report_store: session1/figure 1.png" in ran.out
    assert (
        "2 files without a row; 1 row in use without a file; 1 row of nobody's without a file."
        in ran.err
    )
    assert (figures.store / "session0/from a crash.png").exists()


def test_collecting_them(on_mariadb: FigureLab) -> None:
    figures = on_mariadb
    figures.make(4)
    stray(figures, "session0/from a crash.png")
    stray(figures, "session0/young.png", days=0)
    before = figures.files()
    figures.lab.run("cleanup", "figures", "--reconcile", "--collect", "--dry-run")
    assert figures.files() == before
    ran = figures.lab.ok("cleanup", "figures", "--reconcile", "--collect")
    assert "Moved to the trash: 1 file." in ran.err
    assert figures.trashed() == {"session0/from a crash.png"}
    assert "session0/young.png" in figures.files()
    assert figures.check() == 10
    wrong = figures.lab.run("cleanup", "figures", "--collect")
    assert wrong.code == 2


def test_files_of_2x_in_the_same_store_are_not_leaked(on_mariadb: FigureLab) -> None:
    figures = on_mariadb
    figures.make(1)
    figures.server.sql(
        "CREATE TABLE map_v2.newer (id INT PRIMARY KEY, file JSON COMMENT ':<blob@report_store>:')"
    )
    stray(figures, "_hash/map_v2/abcdefghijklmnopqrstuvwxyz")
    ran = figures.lab.ok("cleanup", "figures", "--reconcile")
    assert ran.out == ""
    assert "also has files of DataJoint 2.x" in ran.err


def test_names_that_are_no_text(on_mariadb: FigureLab) -> None:
    figures = on_mariadb
    figures.make(1)
    name = os.fsdecode(b"session0/\xff\n\x1b[31m.png")
    stray(figures, name)
    ran = figures.lab.run("cleanup", "figures", "--reconcile")
    assert ran.code == 5
    assert "\x1b" not in ran.out
    assert len(ran.out.splitlines()) == 1
    figures.lab.ok("cleanup", "figures", "--reconcile", "--collect")
    assert len(figures.trashed()) == 1


def test_on_s3(on_s3: FigureLab) -> None:
    on_s3.make(3)
    assert on_s3.s3
    client, bucket = on_s3.s3.client, on_s3.s3.bucket
    client.put_object(Bucket=bucket, Key="reports/v2/session0/from a crash.png", Body=b"x")
    client.delete_object(Bucket=bucket, Key="reports/v2/session1/figure 1.png")
    client.put_object(Bucket=bucket, Key="reports/v20/not ours", Body=b"x")
    on_s3.age(1)
    ran = on_s3.lab.run("cleanup", "figures", "--reconcile", "--json")
    found = {row["key"]: row["kind"] for row in map(json.loads, ran.out.splitlines())}
    assert found == {"session0/from a crash.png": "untracked", "session1/figure 1.png": "missing"}
    on_s3.lab.ok("cleanup", "figures", "--reconcile", "--collect")
    assert on_s3.trashed() == {"session0/from a crash.png"}


def test_it_takes_the_options_of_all_cleanups(on_mariadb: FigureLab) -> None:
    figures = on_mariadb
    figures.make(4)
    quiet = figures.lab.ok("cleanup", "figures", "--reconcile", "--quiet")
    assert (quiet.out, quiet.err) == ("", "")
    stray(figures, "session0/from a crash.png")
    metrics = figures.lab.folder / "mapadmin.prom"
    reconcile = ("cleanup", "figures", "--reconcile", "--quiet", f"--metrics={metrics}")
    ran = figures.lab.run(*reconcile)
    assert (ran.code, "1 file without a row" in ran.err) == (5, True)
    assert 'part="reconcile",what="untracked"} 1\n' in metrics.read_text()
    with file_lock(figures.lab.folder / "state" / "cleanup.lock", command="another"):
        assert figures.lab.run(*reconcile, "--collect").code == 1
        skipped = figures.lab.ok(*reconcile, "--collect", "--skip-locked")
    assert (skipped.out, skipped.err, figures.trashed()) == ("", "", set())
    nowhere = figures.lab.folder / "no folder" / "mapadmin.prom"
    ran = figures.lab.run("cleanup", "figures", f"--metrics={nowhere}")
    assert (ran.code, "Cleaned up: figures 0 items." in ran.err) == (1, True), ran.err
