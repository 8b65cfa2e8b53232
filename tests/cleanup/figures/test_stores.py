"""Where DataJoint keeps files, and settings of stores: pure."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mapadmin.cleanup.figures.backend import Failed, begun_at, new_run, only_runs
from mapadmin.cleanup.figures.folder import Folder
from mapadmin.core.errors import SettingsError
from mapadmin.pipeline.stores_layout import (
    Tracked,
    blob_key,
    contents_of,
    filepath_key,
    hash_of,
    key_of,
    named_key,
    parse_key,
)
from mapadmin.site import StoreSettings

HASH = bytes.fromhex("abcdef0123456789abcdef0123456789")


def row(**fields: Any) -> Tracked:
    values: dict[str, Any] = {
        "hash": HASH, "size": 1, "attachment_name": None, "filepath": None, "contents_hash": None,
        "timestamp": "2026-01-01 00:00:00", **fields,
    }  # fmt: skip
    return Tracked(**values)


@pytest.mark.parametrize(
    ("fields", "folds", "key"),
    [
        ({}, (2, 2), "map_v2/ab/cd/abcdef0123456789abcdef0123456789"),
        ({}, (), "map_v2/abcdef0123456789abcdef0123456789"),
        ({}, (3,), "map_v2/abc/abcdef0123456789abcdef0123456789"),
        ({"attachment_name": ""}, (), "map_v2/abcdef0123456789abcdef0123456789"),
        (
            {"attachment_name": "a b.tar.gz"},
            (2, 2),
            "map_v2/ab/cd/abcdef0123456789abcdef0123456789.a b.tar.gz",
        ),
        ({"attachment_name": "../../x"}, (2, 2), None),
        ({"filepath": "a/b.png", "hash": hash_of("a/b.png")}, (2, 2), "a/b.png"),
        ({"filepath": "a/../b.png", "hash": hash_of("a/../b.png")}, (2, 2), None),
        ({"filepath": "/b.png", "hash": hash_of("/b.png")}, (2, 2), None),
        ({"filepath": "moved/by/0.11"}, (2, 2), None),
    ],
)
def test_the_key_of_a_row(fields: dict[str, Any], folds: tuple[int, ...], key: str | None) -> None:
    assert key_of(row(**fields), "map_v2", folds) == key


def test_a_key_tells_its_schema_and_hash() -> None:
    for folds in ((2, 2), (), (4, 1, 3)):
        key = blob_key(HASH, "map_v2", folds)
        assert parse_key(key, folds) == ("map_v2", HASH)
        assert parse_key(f"{key}.notes.txt", folds) == ("map_v2", HASH)


@pytest.mark.parametrize(
    "key",
    [
        "a.png", "map_v2/ab/cd/short", "map_v2/ab/cc/abcdef0123456789abcdef0123456789",
        "map_v2/ab/cd/ABCDEF0123456789ABCDEF0123456789",
        "map_v2/ab/cd/abcdef0123456789abcdef0123456789.",
        "map_v2/ab/cd/abcdef0123456789abcdef0123456789x",
        "map_v2/ab/cd/abcdef0123456789abcdef012345678g", "map_v2/ab/cd/zz/abcdef",
        "map_v2/  / c/  cdef0123456789abcdef0123456789",
    ],
)  # fmt: skip
def test_other_keys_tell_nothing(key: str) -> None:
    assert parse_key(key, (2, 2)) is None


def test_filepaths_and_their_hashes() -> None:
    assert hash_of("a/b.png") == hashlib.md5(b"a/b.png").digest()
    assert filepath_key("./a//b.png") == "a/b.png"
    assert filepath_key("") is None
    assert filepath_key("a\0b") is None


@pytest.mark.parametrize(
    ("filepath", "location", "key"),
    [
        ("a/b.png", "/data", "a/b.png"), ("./a/.//c/../b.png", "/data/", "a/b.png"),
        ("/data/a.png", "//data", "a.png"), ("../x", "/data", None), ("/etc/x", "/data", None),
        ("../database/x", "/data", None), ("a.png", "", "a.png"), ("a.png", "r/v2", "a.png"),
        (".", "/data", None),
    ],
)  # fmt: skip
def test_the_file_that_a_path_names(filepath: str, location: str, key: str | None) -> None:
    assert named_key(filepath, location) == key


def test_what_contents_must_hash_to() -> None:
    assert contents_of(row()) == (b"", HASH)
    assert contents_of(row(attachment_name="n.txt")) == (b"n.txt\0", HASH)
    assert contents_of(row(filepath="a", contents_hash=b"c" * 16)) == (b"", b"c" * 16)
    assert contents_of(row(filepath="a")) == (b"", None)


def test_runs_sort_by_time() -> None:
    first, second = new_run(1_000_000_000, "a-b/c"), new_run(1_000_000_001, "a-b/c")
    assert "/" not in first
    others = ["rows.jsonl", "..", new_run(1_000_000_000, "c"), new_run(1_000_000_000, "b/c")]
    assert only_runs([second, *others, first], "a-b/c") == [first, second]
    assert begun_at(first) == 1_000_000_000


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"protocol": "file", "location": "relative"}, "must be the absolute path of a folder"),
        ({"protocol": "file", "location": "/"}, "must not be the root of all files"),
        ({"protocol": "file", "location": "/a", "bucket": "b"}, "is for a store on s3 only"),
        ({"protocol": "s3", "location": "a"}, "must be given for a store on s3"),
        ({"protocol": "s3", "bucket": "b", "access_key": "AKIA"}, "both or not at all"),
        (
            {"protocol": "s3", "bucket": "b", "access_key": "AKIA", "secret_key": "x"},
            "must be a reference to a secret",
        ),
        ({"protocol": "s3", "bucket": "b", "location": "a", "trash": "a/"}, "location itself"),
        ({"protocol": "s3", "bucket": "b", "location": "a/c", "trash": "/a"}, "that it lies in"),
        ({"protocol": "file", "location": "/a", "trash": "/b/../a/"}, "location itself"),
        ({"protocol": "ftp", "location": "/a"}, "ftp"),
        ({"protocol": "file", "location": "/a", "subfolding": [30, 3]}, "32 at the most"),
        ({"protocol": "file", "location": "/a", "max_share": 0}, "above 0"),
        ({"protocol": "file", "location": "/a", "grace_days": -1}, "0 or more"),
        ({"protocol": "file", "location": "/a", "colour": 1}, "colour"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises((msgspec.ValidationError, SettingsError), match=said):
        msgspec.convert(settings, StoreSettings)


def test_a_site_file_names_the_place(tmp_path: Path) -> None:
    from mapadmin.site import load_site

    path = tmp_path / "mapadmin.toml"
    path.write_text('[site]\nname = "x"\n[stores.report_store]\nprotocol = "s3"\n')
    with pytest.raises(SettingsError, match=r"stores.report_store.bucket must be given"):
        load_site(tmp_path)


def test_a_folder_with_the_name_of_a_row_is_not_taken(tmp_path: Path) -> None:
    """With it, all the files in it would go."""
    used = tmp_path / "session1" / "used.png"
    used.parent.mkdir()
    used.write_bytes(b"x")
    os.utime(used.parent, (1, 1))
    folder, run = Folder("a", str(tmp_path)), new_run(time.time(), "a")
    assert folder.prepare(run, {"session1": 1}, time.time()) == {}
    assert folder.take(run, ["session1"], time.time()) == {"session1": Failed("it is a folder")}
    assert used.exists()


def test_no_store_lies_in_the_trash_of_another(tmp_path: Path) -> None:
    from mapadmin.site import load_site

    (tmp_path / "mapadmin.toml").write_text(
        '[site]\nname = "x"\n[stores.a]\nprotocol = "file"\nlocation = "/data/a"\n'
        'trash = "/data/b/"\n[stores.b]\nprotocol = "file"\nlocation = "/data/b/c"\n'
    )
    with pytest.raises(SettingsError, match=r"stores.a.trash must not be where the store b is"):
        load_site(tmp_path)
