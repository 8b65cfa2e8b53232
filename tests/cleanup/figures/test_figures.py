"""`cleanup figures`: what nobody refers to goes to the trash, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mapadmin.aws.calls import On
from tests.aws.cloud import assert_in_policy, recording
from tests.cleanup.figures.lab import FigureLab


def test_an_administrators_session(figures: FigureLab) -> None:
    """Look, remove, find nothing more to do."""
    figures.make(10)
    figures.delete(1, 2, 3, 4)
    before = figures.files()
    looked = figures.lab.ok("cleanup", "figures", "--dry-run")
    # Four pictures, four traces, and the notes of 1 and 3.
    assert "figures 10 items" in looked.err
    assert "report_store: session1/figure 1.png" in looked.out
    assert figures.files() == before
    ran = figures.lab.ok("cleanup", "figures")
    assert "Cleaned up: figures 10 items" in ran.err
    assert figures.tracked() == 15
    assert figures.files() == before - figures.trashed()
    assert len(figures.trashed()) == 10
    assert figures.check() == 25 - 10
    again = figures.lab.ok("cleanup", "figures", "--quiet")
    assert (again.out, again.err) == ("", "")
    shown = figures.lab.ok("journal", "--local").out
    assert "map_v2.~external_report_store" in shown
    assert "10 files" in shown


def test_the_rows_that_went_are_kept_beside_the_files(on_mariadb: FigureLab) -> None:
    on_mariadb.make(2)
    on_mariadb.delete(0, 1)
    on_mariadb.lab.ok("cleanup", "figures")
    (path,) = on_mariadb.trash.glob("*/rows.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["key"] for row in rows} == on_mariadb.trashed()
    picture = next(row for row in rows if row["filepath"] == "session0/figure 0.png")
    assert picture["table"] == "map_v2.~external_report_store"
    assert picture["size"] == len(b"figure 0 " * 20)


def test_a_null_in_a_reference_hides_nothing(figures: FigureLab) -> None:
    """datajoint's own NOT IN finds nothing unused once there is a NULL."""
    figures.make(4)  # every Extra.sketch is NULL
    figures.delete(0)
    ran = figures.lab.ok("cleanup", "figures", "--json")
    assert ran.json["parts"][0]["items"] == 2
    figures.check()


def test_young_rows_and_young_files_are_left(on_mariadb: FigureLab) -> None:
    on_mariadb.datajoint(do="make", first=0, last=2)  # not aged
    on_mariadb.delete(0, 1)
    assert on_mariadb.lab.ok("cleanup", "figures", "--json").json["parts"][0]["items"] == 0
    on_mariadb.age()
    fresh = on_mariadb.store / "session0/figure 0.png"
    fresh.touch()  # somebody uploads it at this moment; its row is old
    part = on_mariadb.lab.ok("cleanup", "figures", "--json").json["parts"][0]
    assert part["details"] == {"fresh": 1}
    assert part["items"] == 4
    assert fresh.exists()
    assert on_mariadb.tracked() == 1


def test_a_file_that_two_schemas_share_stays_until_both_are_done(figures: FigureLab) -> None:
    figures.make(3)
    figures.make(3, schema="map_other")  # the same pictures; traces of its own
    figures.make(3, schema="alice_own")  # a person's, outside of the project
    figures.delete(0, 1, 2)
    part = figures.lab.ok("cleanup", "figures", "--json").json["parts"][0]
    assert part["details"]["shared"] == 3
    assert part["items"] == 4  # three traces and one note
    assert figures.check(schema="map_other") == 7
    figures.delete(0, 1, 2, schema="map_other")
    figures.lab.ok("cleanup", "figures")
    assert figures.check(schema="alice_own") == 7
    figures.server.sql("DROP DATABASE alice_own")
    part = figures.lab.ok("cleanup", "figures", "--json").json["parts"][0]
    assert part["details"] == {"file_kept": 3}  # it went with the second row
    assert figures.tracked() + figures.tracked("map_other") == 0
    assert {key.partition("/")[0] for key in figures.files()} == {"alice_own"}
    assert len([key for key in figures.trashed() if key.endswith(".png")]) == 3


def test_a_file_of_another_schemas_moved_row_stays(on_mariadb: FigureLab) -> None:
    figures = on_mariadb
    figures.make(2)
    figures.make(2, schema="map_other")
    figures.server.sql(
        "SET foreign_key_checks = OFF",
        "UPDATE map_other.`~external_report_store` SET hash = UNHEX(MD5('other'))"
        " WHERE filepath = 'session1/figure 1.png'",
        "UPDATE map_other.figure SET picture = UNHEX(MD5('other')) WHERE figure = 1",
    )
    figures.delete(0, 1)
    figures.lab.ok("cleanup", "figures")
    assert figures.check(schema="map_other") == 5
    figures.delete(0, 1, schema="map_other")
    figures.lab.ok("cleanup", "figures")  # which file an old row means is not certain
    assert figures.files() == {"session1/figure 1.png"}


def test_two_stores_in_one_another(on_mariadb: FigureLab) -> None:
    on_mariadb.more_stores["inner"] = str(on_mariadb.store / "session0")
    (on_mariadb.store / "session0").mkdir()
    on_mariadb.write_site()
    on_mariadb.make(1)
    on_mariadb.make(1, schema="map_other", store="inner", name="figure 0.png")
    on_mariadb.delete(0)
    part = on_mariadb.lab.ok("cleanup", "figures", "--json").json["parts"][0]
    assert part["details"]["shared"] == 1
    assert on_mariadb.check(schema="map_other", store="inner") == 2


@pytest.mark.parametrize("written", ["link", "store/../store", "/store/"])
def test_one_place_written_in_two_ways(on_mariadb: FigureLab, written: str) -> None:
    figures = on_mariadb
    (figures.folder / "link").symlink_to(figures.store)
    figures.more_stores["other_store"] = f"{figures.folder}/{written}"
    figures.write_site()
    figures.make(2)
    figures.make(2, schema="map_other", store="other_store")
    figures.delete(0, 1)
    figures.lab.ok("cleanup", "figures", "--store", "report_store")
    assert figures.check(schema="map_other", store="other_store") == 5


def test_one_place_in_a_bucket_written_in_two_ways(on_s3: FigureLab) -> None:
    figures = on_s3
    assert figures.s3
    figures.more_stores["other_store"] = "reports/v2"
    figures.make(2)
    figures.make(2, schema="map_other", store="other_store")
    del figures.more_stores["other_store"]
    port = figures.s3.endpoint.partition(":")[2]
    figures.lab.roles += (
        f'[stores.other_store]\nprotocol = "s3"\nbucket = "{figures.s3.bucket}"\n'
        f'endpoint = "localhost:{port}"\nlocation = "reports/v2/"\n'
    )
    figures.lab.write_site()
    figures.delete(0, 1)
    figures.lab.ok("cleanup", "figures", "--store", "report_store")
    assert figures.files() >= {"session0/figure 0.png", "session1/figure 1.png"}


def test_a_copy_of_a_table_without_foreign_keys_counts(on_mariadb: FigureLab) -> None:
    on_mariadb.make(3)
    on_mariadb.server.sql(
        "CREATE TABLE map_v2.kept LIKE map_v2.figure",
        "INSERT INTO map_v2.kept SELECT * FROM map_v2.figure WHERE figure = 1",
    )
    on_mariadb.delete(0, 1)
    on_mariadb.lab.ok("cleanup", "figures")
    assert "session1/figure 1.png" in on_mariadb.files()
    assert "session0/figure 0.png" in on_mariadb.trashed()


def test_a_copy_in_another_schema_counts(on_mariadb: FigureLab) -> None:
    """Made by a person, by SQL: the comment alone says that its column holds files."""
    on_mariadb.make(3)
    on_mariadb.make(1, schema="alice_own")  # has a tracking table, which the copy is not of
    on_mariadb.server.sql(
        "CREATE DATABASE alice_x",
        "CREATE TABLE alice_x.copy AS SELECT * FROM map_v2.figure WHERE figure = 1",
        "CREATE TABLE alice_own.copy AS SELECT * FROM map_v2.figure WHERE figure = 2",
    )
    on_mariadb.delete(0, 1, 2, schema="alice_own")
    on_mariadb.delete(0, 1, 2)
    on_mariadb.lab.ok("cleanup", "figures")
    assert "session1/figure 1.png" in on_mariadb.files()
    assert "session2/figure 2.png" in on_mariadb.files()
    assert on_mariadb.tracked() == 3  # figure 0 is alice's, too


def test_a_row_without_a_file_is_deleted(on_mariadb: FigureLab) -> None:
    """Else a worker who makes that figure again finds the row and uploads nothing."""
    on_mariadb.make(3)
    on_mariadb.delete(0)
    (on_mariadb.store / "session0/figure 0.png").unlink()
    part = on_mariadb.lab.ok("cleanup", "figures", "--json").json["parts"][0]
    assert part["details"] == {"without_file": 1}
    assert part["items"] == 2
    on_mariadb.datajoint(do="make", first=0, last=1)
    assert on_mariadb.check() == 7


def test_odd_names(on_mariadb: FigureLab) -> None:
    (on_mariadb.folder / "outside").mkdir()
    on_mariadb.make(1, name='deep/a/b/c/x $y`z`"[1]{0}{1}.fig.png')
    on_mariadb.make(1, schema="map_o", name="ünï/日本 {0}{1}\u00a0.png")
    on_mariadb.delete(0)
    on_mariadb.delete(0, schema="map_o")
    # Written by hand, as nothing keeps anybody from it: out of the store, and at its root.
    on_mariadb.server.sql(
        "INSERT INTO map_v2.`~external_report_store` (hash, size, filepath, timestamp) VALUES"
        " (UNHEX(MD5('../outside/precious')), 1, '../outside/precious', '2020-01-01'),"
        " (UNHEX(MD5('/etc/hostname')), 1, '/etc/hostname', '2020-01-01')"
    )
    (on_mariadb.folder / "outside/precious").write_text("x")
    part = on_mariadb.lab.ok("cleanup", "figures", "--json").json["parts"][0]
    assert part["details"] == {"left_alone": 2}
    assert part["items"] == 4
    assert (on_mariadb.folder / "outside/precious").exists()
    assert on_mariadb.files() == set()


def test_one_store_of_several(on_mariadb: FigureLab) -> None:
    on_mariadb.more_stores["archive_store"] = str(on_mariadb.folder / "archive")
    (on_mariadb.folder / "archive").mkdir()
    on_mariadb.write_site()
    for store, schema in (("report_store", "map_v2"), ("archive_store", "map_a")):
        on_mariadb.make(2, store=store, schema=schema)
        on_mariadb.delete(0, store=store, schema=schema)
    part = on_mariadb.lab.ok("cleanup", "figures", "--store", "archive_store", "--json").json[
        "parts"
    ]
    assert part[0]["items"] == 2
    assert on_mariadb.tracked() == 5
    wrong = on_mariadb.lab.run("cleanup", "figures", "--store", "reports")
    assert wrong.code == 2
    assert "archive_store, report_store" in wrong.err


def test_limits(on_mariadb: FigureLab) -> None:
    on_mariadb.make(6)
    on_mariadb.delete(*range(5))
    on_mariadb.write_site(max_share=0.5)
    ran = on_mariadb.lab.run("cleanup", "figures")
    assert ran.code == 1
    assert "12 of its 15 files are unused" in ran.err
    looked = on_mariadb.lab.ok("cleanup", "figures", "--dry-run")
    assert "without --force, nothing is removed: 12 of its 15" in looked.err
    assert on_mariadb.tracked() == 15
    on_mariadb.write_site(max_items=4)
    part = on_mariadb.lab.ok("cleanup", "figures", "--force", "--json").json["parts"][0]
    assert (part["items"], part["finished"]) == (4, False)
    on_mariadb.write_site(max_items=1000, max_bytes=400)
    part = on_mariadb.lab.ok("cleanup", "figures", "--force", "--json").json["parts"][0]
    assert 0 < part["bytes"] <= 400
    assert part["finished"] is False
    on_mariadb.write_site(max_bytes=0)
    assert on_mariadb.lab.ok("cleanup", "figures", "--force", "--json").json["parts"][0]["finished"]
    assert on_mariadb.tracked() == 3
    on_mariadb.check()


def test_a_file_larger_than_max_bytes_does_not_stop_the_others(on_mariadb: FigureLab) -> None:
    figures = on_mariadb
    figures.make(3)
    figures.delete(0, 1, 2)
    sizes = sorted(int(str(size)) for (size,) in figures.server.sql(
        "SELECT size FROM map_v2.`~external_report_store`"
    ))  # fmt: skip
    figures.write_site(max_bytes=sizes[-1] - 1)
    looked = figures.lab.ok("cleanup", "figures", "--dry-run").err
    assert "1 file larger than max_bytes" in looked
    assert "at the most (max_bytes)" in looked
    for _ in sizes:
        assert "1 file larger than" in figures.lab.ok("cleanup", "figures", "--quiet").err
    assert figures.tracked() == 1
    figures.write_site(max_bytes=0)
    figures.lab.ok("cleanup", "figures")
    assert figures.tracked() == 0


def test_stores_that_are_not_covered_are_named(on_mariadb: FigureLab) -> None:
    on_mariadb.more_stores["archive_store"] = str(on_mariadb.folder / "archive")
    (on_mariadb.folder / "archive").mkdir()
    on_mariadb.make(2, store="archive_store", schema="map_a")
    on_mariadb.server.sql(
        "CREATE TABLE map_a.newer (id INT PRIMARY KEY,"
        " file JSON COMMENT ':<blob@report_store>:', odd JSON COMMENT ':<filepath@x_store>:')"
    )
    del on_mariadb.more_stores["archive_store"]
    on_mariadb.write_site()
    said = on_mariadb.lab.ok("cleanup", "figures", "--dry-run").err
    assert "archive_store (1 table) is not in the site file" in said
    assert (
        "report_store also has files of DataJoint 2.x (1 column, such as map_a.newer.file)" in said
    )


def test_nothing_is_removed_where_2x_names_files_by_path(on_mariadb: FigureLab) -> None:
    on_mariadb.make(2)
    on_mariadb.delete(0)
    on_mariadb.server.sql(
        "CREATE TABLE map_v2.newer (id INT PRIMARY KEY, file JSON COMMENT ':<filepath@>:')"
    )
    ran = on_mariadb.lab.ok("cleanup", "figures")
    assert "nothing is removed from the store report_store: map_v2.newer.file" in ran.err
    assert on_mariadb.tracked() == 5


def test_on_s3(on_s3: FigureLab, tmp_path: Path) -> None:
    on_s3.make(10)
    on_s3.delete(1, 2, 3, 4)
    before = on_s3.files()
    assert (
        "report_store: session1/figure 1.png" in on_s3.lab.ok("cleanup", "figures", "--dry-run").out
    )
    calls = tmp_path / "calls"
    ran = on_s3.lab.run("cleanup", "figures", **recording(calls))
    assert ran.code == 0, ran.err
    assert "figures 10 items" in ran.err
    assert_in_policy(calls, On.STORES, On.STORED)
    assert len(on_s3.trashed()) == 10
    assert on_s3.files() == before - on_s3.trashed()
    assert on_s3.check() == 15
    # The checksum that datajoint keeps with the file is still with it.
    assert on_s3.s3
    key = next(key for key in on_s3.s3.list() if key.endswith("files/session1/figure 1.png"))
    head = on_s3.s3.client.head_object(Bucket=on_s3.s3.bucket, Key=key)
    assert "contents_hash" in head["Metadata"]
    assert on_s3.lab.ok("cleanup", "figures", "--quiet").err == ""


def test_fresh_on_s3(on_s3: FigureLab) -> None:
    on_s3.make(2)
    on_s3.delete(0)
    assert on_s3.s3
    on_s3.write_site(grace_days=1.0)  # all files are younger; the rows are not
    part = on_s3.lab.ok("cleanup", "figures", "--json").json["parts"][0]
    assert part["details"] == {"fresh": 2}
    assert on_s3.tracked() == 5
    assert on_s3.trashed() == set()
