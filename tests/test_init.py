"""`mapadmin init`: a site folder that is right from the first moment on."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapadmin.site import (
    ArchiveSettings,
    AwsSettings,
    AwsThresholds,
    DatabaseSettings,
    GlobusSettings,
    People,
    SiteFile,
    SiteSettings,
    StoreProtocol,
    StoreSettings,
    Tls,
    load_site,
)
from mapadmin.site_text import site_text, starter_roles
from tests.core.processes import Ran, session


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a site may be made, also with the most careless umask."""
    tmp_path.chmod(0o755)
    before = os.umask(0)
    yield tmp_path / "lab"
    os.umask(before)


def init(folder: Path, *options: str) -> Ran:
    (ran,) = session(["init", str(folder), *options], XDG_STATE_HOME=str(folder.parent / "state"))
    return ran


FILES = {"mapadmin.toml": 0o644, "people.toml": 0o644, ".gitignore": 0o644, "secrets": 0o700}


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


# --- a new site --------------------------------------------------------------------------------


def test_new_site(folder: Path) -> None:
    ran = init(folder)
    assert (ran.code, ran.out) == (0, "")
    assert "Done: 5 steps." in ran.errors
    assert f"mapadmin --site {folder} db check" in ran.errors
    assert modes(folder) == FILES
    site = load_site(folder)
    assert site.name == "lab"
    assert site.database == DatabaseSettings(
        host="localhost", password="env:MAPADMIN_DB_PASSWORD", project_prefix="lab",
        ignore_accounts=["root"],
    )  # fmt: skip
    assert site.settings.roles == starter_roles("lab")
    assert site.has_people_file
    assert not site.everyone()
    assert "secrets/" in (folder / ".gitignore").read_text().splitlines()


def test_options_are_what_the_site_says(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    ca = folder / "ca.pem"
    ca.write_text("x")
    ran = init(
        folder, "--name", "map", "--host", "db.example.org", "--port", "3307", "--user", "adm",
        "--password-ref", "file:secrets/db", "--tls", "require", "--ca", str(ca),
        "--project-prefix", "proj",
    )  # fmt: skip
    assert ran.code == 0
    site = load_site(folder)
    assert site.name == "map"
    assert site.database == DatabaseSettings(
        host="db.example.org", port=3307, user="adm", password="file:secrets/db", tls=Tls.REQUIRE,
        ca="ca.pem", project_prefix="proj", ignore_accounts=["root"],
    )  # fmt: skip
    assert list(site.settings.roles["reader"]) == ["proj_*"]


@pytest.mark.parametrize(
    ("name", "site", "prefix"),
    [("map", "map", "map"), ("My Lab!", "my-lab", "my_lab"), ("map-lab", "map-lab", "map_lab")],
)
def test_name_comes_from_the_folder(name: str, site: str, prefix: str, folder: Path) -> None:
    made = folder.parent / name
    assert init(made).code == 0
    assert load_site(made).name == site
    assert load_site(made).database.project_prefix == prefix


def own_sections(folder: Path) -> str:
    """mapadmin.toml without the sections that it has as comments only."""
    return (folder / "mapadmin.toml").read_text().partition("# What else a site may have")[0]


def test_every_setting_is_explained(folder: Path) -> None:
    init(folder)
    lines = own_sections(folder).splitlines()
    for cls in (SiteSettings, DatabaseSettings):
        for field in msgspec.structs.fields(cls):
            (at,) = [
                i
                for i, line in enumerate(lines)
                if line.removeprefix("# ").startswith(f"{field.name} =")
            ]
            assert lines[at - 1].startswith("# ") or field.name == "port", field.name
    assert max(map(len, lines)) <= 100


def test_what_stands_behind_a_hash_is_the_default(folder: Path) -> None:
    init(folder)
    text = own_sections(folder)
    keys = {f.name for cls in (SiteSettings, DatabaseSettings) for f in msgspec.structs.fields(cls)}
    said = "\n".join(
        line.removeprefix("# ") if line.removeprefix("# ").split(" = ")[0] in keys else line
        for line in text.splitlines()
    )
    assert said != text
    assert msgspec.convert(tomllib.loads(said), SiteFile) == load_site(folder).settings


def test_other_sections_are_valid_without_their_marks(folder: Path) -> None:
    init(folder)
    path = folder / "mapadmin.toml"
    text = path.read_text()
    start = text.index("# [globus]")
    others = text[start:]
    assert all(line.startswith("# ") or not line for line in others.splitlines())
    path.write_text(text[:start] + re.sub("^# ", "", others, flags=re.MULTILINE))
    site = load_site(folder)
    assert site.aws == AwsSettings(account="123456789012")
    assert (site.globus.archive, site.globus.in_flight) == (ArchiveSettings(), 16)
    assert set(site.globus.collections) == {"archive"}
    store = site.settings.stores["raw"]
    assert msgspec.structs.replace(store, location="/x") == StoreSettings(
        protocol=StoreProtocol.FILE, location="/x"
    )
    for cls in (AwsSettings, AwsThresholds, GlobusSettings, ArchiveSettings, StoreSettings):
        for field in msgspec.structs.fields(cls):
            assert f"# {field.name} = " in others or f".{field.name}" in others, field.name


def test_example_of_people_is_valid(folder: Path) -> None:
    init(folder)
    text = (folder / "people.toml").read_text()
    assert msgspec.convert(tomllib.loads(text), People) == People()
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("["))
    people = msgspec.convert(tomllib.loads("\n".join(lines[start:])), People)
    assert people.people
    assert people.services
    roles = load_site(folder).settings.roles
    assert {p.role for p in (*people.people.values(), *people.services.values())} <= set(roles)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "'", "\\", "\n", '"""', "{{ x }}", "{% x %}", "${x}", "#", "\x7f", "\0", "\u2028"]
)


@settings(deadline=None, max_examples=40)
@given(
    host=WORDS.filter(str.strip), user=WORDS.filter(bool), ca=WORDS,
    port=st.integers(1, 65535), tls=st.sampled_from(Tls),
    ignored=st.lists(WORDS, max_size=3), limit=st.floats(0, 1),
    roles=st.dictionaries(WORDS, st.dictionaries(WORDS, st.lists(WORDS, max_size=2), max_size=2),
                          max_size=3),
)  # fmt: skip
def test_whatever_a_site_says_is_what_is_read(
    host: str, user: str, ca: str, port: int, tls: Tls, ignored: list[str], limit: float,
    roles: dict[str, dict[str, list[str]]],
) -> None:  # fmt: skip
    file = SiteFile(
        site=SiteSettings(name="x", state=ca),
        database=DatabaseSettings(
            host=host, user=user, ca=ca, port=port, tls=tls, ignore_accounts=ignored,
            prune_limit=limit, password="env:X", project_prefix="map",
        ),
        roles=roles,
    )  # fmt: skip
    assert msgspec.convert(tomllib.loads(site_text(file)), SiteFile) == file


# --- what is there already ---------------------------------------------------------------------


def test_a_second_time_changes_nothing(folder: Path) -> None:
    init(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    ran = init(folder)
    assert (ran.code, ran.out) == (2, "")
    assert ran.errors == (
        f"Error: {folder}/mapadmin.toml exists already.\n  Edit it, or name another folder.\n"
    )
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("there", [[], ["secrets"], [".gitignore", "people.toml", "secrets"]])
def test_finishes_what_was_cut_short(there: list[str], folder: Path) -> None:
    """mapadmin.toml comes last: without it there is no site yet, and a second run makes it."""
    folder.mkdir(mode=0o755)
    for name in there:
        if name == "secrets":
            (folder / name).mkdir(mode=0o700)
        else:
            (folder / name).write_text("# mine\n")
            (folder / name).chmod(0o644)
    ran = init(folder)
    assert ran.code == 0, ran.errors
    assert modes(folder) == FILES
    assert load_site(folder).name == "lab"
    if "people.toml" in there:
        assert (folder / "people.toml").read_text() == "# mine\n"
        assert f"{folder}/people.toml is there already, and stays as it is" in ran.errors


def test_dry_run_writes_nothing(folder: Path) -> None:
    ran = init(folder, "--dry-run", "--json")
    assert (ran.code, ran.errors) == (0, "")
    document = json.loads(ran.out)
    assert document["result"] == "dry run"
    targets = [step["target"] for step in document["steps"]]
    assert targets[0] == str(folder)
    assert targets[-1] == str(folder / "mapadmin.toml")
    assert list(folder.parent.iterdir()) == []
    assert json.loads(init(folder, "--json").out)["result"] == "done"


# --- bad input ---------------------------------------------------------------------------------

MISTAKES: list[tuple[list[str], str]] = [
    (["--password-ref", "hunter2"], "--password-ref must be a reference to a secret"),
    (["--name", "Lab"], "site.name 'Lab' must be 1 to 32 lower-case letters"),
    (["--project-prefix", "map_"], "database.project_prefix 'map_' must be letters"),
    (["--port", "0"], "database.port must be between 1 and 65535"),
    (["--port", "x"], "Invalid value for '--port'"),
    (["--host", ""], "database.host must not be empty"),
    (["--user", ""], "database.user must not be empty"),
    (["--tls", "maybe"], "Invalid value for '--tls': 'maybe'"),
    (["--ca", "/nonexistent/ca.pem"], "--ca: there is no file /nonexistent/ca.pem."),
]


def test_mistakes_make_nothing(folder: Path) -> None:
    lines = [["init", str(folder), *options] for options, _ in MISTAKES]
    for (options, said), ran in zip(MISTAKES, session(*lines), strict=True):
        assert ran.code == 2, options
        assert said in " ".join(ran.errors.split()), options
        assert "hunter2" not in ran.errors
    assert not folder.exists()


def test_places_where_no_site_can_be(folder: Path) -> None:
    file = folder.parent / "file"
    file.write_text("x")
    assert init(file).errors == f"Error: {file} is not a folder.\n"
    (below,) = session(["init", str(file / "lab")], XDG_STATE_HOME=str(folder / "state"))
    assert below.code == 1
    assert f"Error: Cannot create {file}/lab: Not a directory.\n" in below.errors
    shutil.rmtree(folder)
    folder.mkdir()
    folder.chmod(0o777)
    shared = init(folder)
    assert shared.code == 3
    assert f"{folder} can be written by others (mode 0777)." in shared.errors
    assert list(folder.iterdir()) == []
