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


def refused(figures: FigureLab, words: str, *more: str) -> None:
    """A run that must take no file."""
    before = figures.files()
    ran = figures.lab.run("cleanup", "figures", "--reconcile", "--collect", *more)
    assert ran.code == 1
    assert words in ran.err
    assert figures.files() == before


def collect_and_empty(figures: FigureLab) -> set[str]:
    """What is collected, when all of it is then deleted for good."""
    figures.lab.ok("cleanup", "figures", "--reconcile", "--collect")
    taken = figures.trashed()
    figures.lab.ok("cleanup", "figures")
    figures.write_site(trash_days=0)
    figures.lab.ok("cleanup", "trash", "--yes")
    assert figures.trashed() == set()
    return taken


def test_a_file_beside_a_tracked_one_does_not_hide_it(on_mariadb: FigureLab) -> None:
    """`<hash>.saving` has the name of a blob's attachment, and the same hash."""
    figures = on_mariadb
    figures.make(6)
    blobs = {key for key in figures.files() if key.startswith("map_v2/") and "." not in key}
    for blob in blobs:
        stray(figures, f"{blob}.saving")
        stray(figures, f"{blob}.another")
    taken = collect_and_empty(figures)
    assert taken == {f"{blob}.{kind}" for blob in blobs for kind in ("saving", "another")}
    assert figures.check() == 15


def test_files_of_moved_rows_are_tracked(on_mariadb: FigureLab) -> None:
    """Rows of datajoint 0.11 name a path that their hash is not of; one is not written plainly."""
    figures = on_mariadb
    figures.make(4)
    for number, path in ((1, "session1/figure 1.png"), (2, "session2/./../session2//figure 2.png")):
        figures.server.sql(
            "SET foreign_key_checks = OFF",
            f"UPDATE map_v2.`~external_report_store` SET hash = UNHEX(MD5('other {number}')),"
            f" filepath = '{path}' WHERE filepath = 'session{number}/figure {number}.png'",
            f"UPDATE map_v2.figure SET picture = UNHEX(MD5('other {number}'))"
            f" WHERE figure = {number}",
        )
    stray(figures, "session1/from a crash.png")
    assert collect_and_empty(figures) == {"session1/from a crash.png"}
    assert figures.check() == 10


def test_the_trash_of_a_store_inside_is_left(on_mariadb: FigureLab) -> None:
    figures = on_mariadb
    figures.make(4)
    figures.delete(0, 1)
    figures.lab.ok("cleanup", "figures")
    far = figures.folder / "far"
    figures.lab.roles += (
        f'[stores.outer]\nprotocol = "file"\nlocation = "{figures.folder}"\nsettle = 0.2\n'
        f'max_share = 1\n[stores.third]\nprotocol = "file"\nlocation = "{figures.folder}/third"\n'
        f'trash = "{figures.store}/../far"\n'
    )
    figures.lab.write_site()
    for name in ("store/.mapadmin-trash/young", "far/x", "third/x"):
        stray(figures, f"../{name}")
    figures.make(1, schema="map_other", store="report_store")
    figures.server.sql(
        "CREATE TABLE map_other.`~external_outer` LIKE map_other.`~external_report_store`",
        "INSERT INTO map_other.`~external_outer` (hash, size, filepath) VALUES"
        " (UNHEX(MD5('third/y')), 1, 'third/y')",
    )
    stray(figures, "../third/y")
    before = figures.trashed()
    figures.lab.ok("cleanup", "figures", "--reconcile", "--collect", "--store", "outer")
    assert figures.trashed() == before
    assert (far / "x").exists()
    assert not (figures.folder / "third/x").exists()


def test_nothing_is_collected_without_rows(on_mariadb: FigureLab) -> None:
    """As on the wrong server: every file looks like nobody's."""
    figures = on_mariadb
    figures.make(5)
    figures.server.sql("DROP DATABASE map_v2", "CREATE DATABASE map_v2")
    refused(figures, "No row tracks any file of this store, and 12 files would be collected")
    refused(figures, "No row tracks any file of this store", "--force")


def test_nothing_is_collected_while_rows_lack_their_files(on_mariadb: FigureLab) -> None:
    """With a subfolding that is not DataJoint's, files and rows do not find one another."""
    figures = on_mariadb
    figures.make(5)
    figures.write_site(subfolding=[2])
    refused(figures, "7 rows without a file: maybe 7 files without a row are theirs")
    figures.write_site(subfolding=[2, 2])
    assert figures.check() == 12


def test_limits_of_collecting(on_mariadb: FigureLab) -> None:
    figures = on_mariadb
    figures.make(2)
    for number in range(5):
        stray(figures, f"stray/{number}.png")  # 8 bytes each
    figures.write_site(max_share=0.25)
    refused(figures, "5 of its 10 files have no row: more than the share of 0.25")
    collect = ("cleanup", "figures", "--reconcile", "--collect", "--force")
    figures.write_site(max_items=2)
    ran = figures.lab.run(*collect)
    assert (ran.code, len(figures.trashed())) == (1, 2)
    assert "more files without a row than one run moves (max_items 2" in ran.err
    figures.write_site(max_items=1000, max_bytes=20)
    (figures.store / "stray/large.png").write_bytes(b"x" * 21)
    os.utime(figures.store / "stray/large.png", (1e9, 1e9))
    assert "1 file larger than max_bytes" in figures.lab.run(*collect).err
    assert len(figures.trashed()) == 4
    figures.write_site(max_bytes=0)
    figures.lab.ok(*collect)
    assert len(figures.trashed()) == 6
    assert figures.check() == 5


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
    on_s3.lab.ok("cleanup", "figures", "--reconcile", "--collect", "--force")
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
