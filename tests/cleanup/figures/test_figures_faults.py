"""What keeps `cleanup figures` from its work is said in a sentence, and costs no row, no file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cleanup.figures.lab import FigureLab
from tests.lab import Ran


def refused(figures: FigureLab, *words: str, code: int = 1) -> Ran:
    """A run that must fail, say these words, and leave rows and files as they are."""
    tracked, files = figures.tracked(), figures.files() | figures.trashed()
    ran = figures.lab.run("cleanup", "figures")
    assert ran.code == code, ran.err
    for word in words:
        assert word in ran.err
    assert figures.tracked() == tracked
    assert figures.files() | figures.trashed() == files
    return ran


@pytest.fixture
def unused(on_mariadb: FigureLab) -> FigureLab:
    """Four figures, none of which is used any more."""
    on_mariadb.make(4)
    on_mariadb.delete(0, 1, 2, 3)
    return on_mariadb


def test_a_location_that_is_not_there(unused: FigureLab) -> None:
    shutil.move(unused.store, unused.folder / "away")
    assert "cannot be read: No such file" in unused.lab.run("cleanup", "figures").err
    unused.store.mkdir()  # where a file system is not mounted
    refused(unused, f"The store {unused.store} is empty", "Is it mounted here?")
    (unused.store / "lost+found").mkdir()
    refused(unused, "None of 10 files that the store 'report_store' tracks is in")
    unused.store.joinpath("lost+found").rmdir()
    unused.store.rmdir()
    shutil.move(unused.folder / "away", unused.store)
    assert "10 items" in unused.lab.ok("cleanup", "figures").err


def test_a_site_without_stores(unused: FigureLab) -> None:
    unused.lab.roles = '[cleanup]\nlegacy_command = ""\n'
    unused.lab.write_site()
    refused(unused, "The site file describes no store")


def test_an_account_that_does_not_see_every_table(unused: FigureLab) -> None:
    unused.make(1, schema="alice_own")
    unused.server.sql(
        "CREATE USER tidy@'%' IDENTIFIED BY 'tidy'",
        "GRANT ALL ON `map\\_%`.* TO tidy@'%'",
        "GRANT ALL ON mapadmin.* TO tidy@'%'",
    )
    unused.lab.user, unused.lab.password = "tidy", "tidy"
    unused.lab.write_site()
    refused(unused, "lacks a privilege", "PROCESS")
    unused.server.sql("GRANT PROCESS ON *.* TO tidy@'%'")
    refused(unused, "cannot see every table", "alice_own.~external_report_store")
    unused.server.sql("GRANT SELECT ON *.* TO tidy@'%'")
    # One picture is alice's, too.
    assert "9 items" in unused.lab.ok("cleanup", "figures", "--dry-run").err


def test_an_account_that_may_not_delete(unused: FigureLab) -> None:
    unused.server.sql(
        "CREATE USER tidy@'%' IDENTIFIED BY 'tidy'",
        "GRANT SELECT, PROCESS ON *.* TO tidy@'%'",
        "GRANT UPDATE, LOCK TABLES ON `map\\_%`.* TO tidy@'%'",
        "GRANT ALL ON mapadmin.* TO tidy@'%'",
    )
    unused.lab.user, unused.lab.password = "tidy", "tidy"
    unused.lab.write_site()
    refused(unused, "lacks a privilege", "DELETE")


def test_a_reference_that_cannot_be_read_stops_everything(unused: FigureLab) -> None:
    """A table that is broken on the server: what it refers to, nobody can tell."""
    unused.server.sql("SET foreign_key_checks = OFF", "ALTER TABLE map_v2.extra DISCARD TABLESPACE")
    try:
        refused(unused, "report_store: ", "extra")
    finally:
        unused.server.sql("SET foreign_key_checks = OFF", "DROP TABLE map_v2.extra")


def test_the_foreign_key_is_the_last_guard(on_mariadb: FigureLab) -> None:
    """A reference that information_schema does not show: the table's definition is lost."""
    figures = on_mariadb
    figures.make(6)
    figures.delete(0, 2, 4)
    ((folder,),) = figures.server.sql("SELECT @@datadir")
    table = Path(str(folder), "map_v2", "extra.frm")
    table.rename(table.with_suffix(".away"))
    figures.server.sql("FLUSH TABLES")
    try:
        ran = figures.lab.run("cleanup", "figures")
    finally:
        table.with_suffix(".away").rename(table)
        figures.server.sql("FLUSH TABLES")
    assert ran.code == 1
    assert ran.err.count("a table that this account cannot see refers to it") == 3  # the notes
    assert "figures 6 items" in ran.err
    assert figures.check() == 9


def test_a_tracking_table_with_a_column_of_its_own_is_left(unused: FigureLab) -> None:
    unused.server.sql("ALTER TABLE map_v2.`~external_report_store` ADD COLUMN owner INT NULL")
    before = unused.tracked()
    ran = unused.lab.ok("cleanup", "figures", "--store", "report_store")
    assert "map_v2.~external_report_store is never changed" in ran.err
    assert unused.tracked() == before


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system that is soon full."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_trash_elsewhere_whose_disk_is_full(unused: FigureLab) -> None:
    """What was removed waits beside the store, and goes there when there is room."""
    with small_disk(unused.folder / "far", 16) as far:
        unused.write_site(trash=str(far / "trash"))
        (far / "ballast").write_bytes(b"x" * 12_000)
        before = unused.files()
        ran = unused.lab.run("cleanup", "figures")
        assert ran.code == 1
        assert f"Cannot bring the trash to {far}/trash/" in ran.err
        assert "No space left on device" in ran.err
        kept = unused.trashed() | {
            str(path).partition("/files/")[2] for path in far.rglob("*") if path.is_file()
        }
        assert before <= kept
        subprocess.run(["mount", "-o", "remount,size=4m", str(far)], check=True)
        unused.make(1)  # makes a figure again and removes another, with room now
        unused.delete(0)
        unused.lab.ok("cleanup", "figures")
        assert unused.trashed() == set()
        assert any((far / "trash").rglob("figure 0.png"))
        # From there as well, a file comes back when it has a row.
        unused.server.sql(
            "INSERT INTO map_v2.`~external_report_store` (hash, size, filepath, contents_hash)"
            f" VALUES (UNHEX(MD5('session3/figure 3.png')), {len(b'figure 3 ' * 23)},"
            f" 'session3/figure 3.png', UNHEX(MD5('{'figure 3 ' * 23}')))"
        )
        unused.make(5)
        part = unused.lab.ok("cleanup", "figures", "--json").json["parts"][0]
        assert part["details"]["put_back"] >= 1
        assert "session3/figure 3.png" in unused.files()


def test_a_store_whose_disk_is_full(on_mariadb: FigureLab) -> None:
    with small_disk(on_mariadb.folder / "disk", 400) as disk:
        on_mariadb.more_stores["report_store"] = str(disk / "store")
        (disk / "store").mkdir()
        on_mariadb.write_site()
        on_mariadb.make(4)
        on_mariadb.delete(0, 1, 2, 3)
        before = {path for path in disk.rglob("*") if path.is_file()}
        with (
            (disk / "ballast").open("wb", buffering=0) as ballast,
            pytest.raises(OSError, match="No space"),
        ):
            while True:
                ballast.write(b"x" * 4096)
        ran = on_mariadb.lab.run("cleanup", "figures")
        assert ran.code == 1
        assert "cannot be written: No space left on device" in ran.err
        assert on_mariadb.tracked() == 10
        assert before <= {path for path in disk.rglob("*") if path.is_file()}


def test_one_file_that_cannot_be_moved_does_not_stop_the_others(unused: FigureLab) -> None:
    """A file system of its own below the store: there is no rename from it to the trash."""
    inside = unused.store / "session1"
    data = {path.name: path.read_bytes() for path in inside.iterdir()}
    with small_disk(unused.folder / "other", 400) as other:
        subprocess.run(["mount", "--bind", str(other), str(inside)], check=True)
        try:
            for name, contents in data.items():
                (inside / name).write_bytes(contents)
                os.utime(inside / name, (1e9, 1e9))
            ran = unused.lab.run("cleanup", "figures")
        finally:
            subprocess.run(["umount", str(inside)], check=True)
    assert ran.code == 1
    assert f"{unused.store}/session1/figure 1.png: Invalid cross-device link" in ran.err
    assert "figures 9 items" in ran.err
    assert unused.tracked() == 1


def test_a_bucket_that_is_not_there(on_s3: FigureLab) -> None:
    on_s3.make(2)
    on_s3.delete(0)
    assert on_s3.s3
    on_s3.write_site(bucket="no-such-bucket")
    refused(on_s3, "s3://no-such-bucket/reports/v2: NoSuchBucket")
    on_s3.write_site(bucket=on_s3.s3.bucket, location="reports/v3")
    refused(on_s3, "None of 5 files")
    on_s3.write_site(location="reports/v2", endpoint="127.0.0.1:9")
    assert (
        "s3://map-reports/reports/v2 cannot be reached"
        in on_s3.lab.run("cleanup", "figures", AWS_MAX_ATTEMPTS="1").err
    )
    on_s3.write_site(endpoint=on_s3.s3.endpoint)
    assert "figures 2 items" in on_s3.lab.ok("cleanup", "figures").err
