"""`globus check` on a real pipeline: every kind of fault is found, and none is invented."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from mapadmin.globus.archive import Archive, Wrong
from mapadmin.globus.known import Known, compare_checksums
from tests.globus.emulator import Emulator
from tests.globus.publication import RAW_EPHYS, RAW_VIDEO, Published, database_section
from tests.globus.site import GlobusLab
from tests.servers import RunningServer, master_account


@pytest.fixture
def each(emulator: Emulator, server: RunningServer, tmp_path: Path) -> World:
    """On each of the two servers in turn."""
    return World(emulator, server, tmp_path)


@pytest.fixture
def world(emulator: Emulator, mariadb: RunningServer, tmp_path: Path) -> World:
    """For what has nothing to do with the server."""
    return World(emulator, mariadb, tmp_path)


class World:
    """Two healthy sessions, in the layout of MAP; tests spoil it before `make`."""

    def __init__(self, emulator: Emulator, server: RunningServer, folder: Path) -> None:
        server.wipe()
        self._master = user, password = master_account(server)
        self._server, self._folder = server, folder
        self.lab = GlobusLab(folder / "site", emulator, database_section(server, user), password)
        self.published = Published()
        for number, h2o in ((1, "SC011"), (2, "SC012")):
            run = f"catgt_{h2o}_05112{number}_g0"
            self.published.session(
                440010 + number, number,
                # What discover writes begins with a slash, what publish writes does not.
                ephys=[f"{'/' if number == 1 else ''}{h2o}/{run}/{h2o}_imec{probe}/{h2o} ü{end}"
                       for probe in (0, 1) for end in (".ap.bin", ".ap.meta")],
                video=[f"{h2o}/2021051{number}/side '{t}'.avi" for t in range(3)],
            )  # fmt: skip
        for alias, _, subpath in self.published.files:
            self.put(alias, subpath, f"contents of {subpath}")

    def path(self, alias: str, subpath: str) -> Path:
        root = {"raw-ephys": RAW_EPHYS, "raw-video": RAW_VIDEO}[alias]
        return self.lab.emulator.archive / root.strip("/") / subpath.strip("/")

    def put(self, alias: str, subpath: str, text: str) -> Path:
        path = self.path(alias, subpath)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def first(self, alias: str, number: int = 0) -> Path:
        """One of the files that are archived there."""
        return self.path(alias, [f for a, _, f in self.published.files if a == alias][number])

    def make(self) -> None:
        self.published.make(self._server, *self._master, self._folder / "empty")

    def findings(self, *options: str, code: int = 1) -> list[tuple[str, str]]:
        """Kind and place of everything that is found."""
        ran = self.lab.run("check", "--json", *options)
        assert ran.code == code, ran.out + ran.err
        return [(f["kind"], f["where"]) for f in ran.json["findings"]]


def called(path: Path, lab: GlobusLab) -> str:
    return f"archive:/{path.relative_to(lab.emulator.archive)}"


def test_a_sound_archive_has_no_findings(each: World) -> None:
    each.make()
    ran = each.lab.ok("check", "--json")
    found = ran.json
    assert found["findings"] == []
    assert (found["files"], found["present"], len(found["data_sets"])) == (14, 14, 4)
    assert found["complete"] is True
    plain = each.lab.ok("check")
    assert "14 of 14 files of 4 data sets are there" in plain.err
    assert "No findings." in plain.err
    assert plain.out == ""


def test_every_kind_of_fault_is_found_and_none_invented(each: World, tmp_path: Path) -> None:
    lab, published, emulator = each.lab, each.published, each.lab.emulator
    planted: list[tuple[str, str]] = []
    lab.write_site("[globus.archive]\nstalled_hours = 0\n")

    def plant(kind: str, where: str) -> None:
        planted.append((kind, where))

    each.first("raw-ephys").unlink()
    plant("missing", called(each.first("raw-ephys"), lab))
    each.first("raw-ephys", 1).write_text("")
    plant("empty", called(each.first("raw-ephys", 1), lab))
    spoilt = each.first("raw-video")
    spoilt.unlink()
    spoilt.mkdir()
    plant("no file", called(spoilt, lab))
    dangling = each.first("raw-video", 1)
    dangling.unlink()
    dangling.symlink_to("/nowhere/at/all")
    plant("no file", called(dangling, lab))
    stranger = each.put("raw-video", 'SC011/20210511/stranger\n"x" <b>.avi', "who are you")
    plant("unknown file", called(stranger, lab))
    each.put("raw-ephys", "SC099/catgt_SC099_g0/imec0/a.bin", "12345")
    each.put("raw-ephys", "SC099/catgt_SC099_g0/imec1/b.bin", "12345")
    plant("unknown folder", f"archive:{RAW_EPHYS}/SC099")
    published.data_sets.append(("raw-video", "hollow"))
    plant("no files", "raw-video: hollow")
    plant("unclaimed", "raw-video: hollow")
    published.data_sets.append(("raw-video", "aborted"))
    published.files.append(("raw-video", "aborted", "SC011/20210511/aborted.avi"))
    each.put("raw-video", "SC011/20210511/aborted.avi", "there, but nobody's")
    plant("unclaimed", "raw-video: aborted")
    published.files.append(("raw-video", "aborted", "../outside.avi"))
    plant("bad path", "raw-video: '../outside.avi'")
    published.session(440013, 3)
    published.ephys.append((440013, 3))
    plant("no archive", "session 440013 3")
    # Healthy, though it may not look so: a link to a file, and a folder that is a link.
    target = each.put("raw-video", "elsewhere/real.avi", "real")
    plant("unknown folder", f"archive:{RAW_VIDEO}/elsewhere")
    link = each.first("raw-video", 2)
    link.unlink()
    link.symlink_to(target)
    published.session(440014, 4, video=["linked/20210514/side.avi"])
    each.put("raw-video", "elsewhere/folder/20210514/side.avi", "behind a link")
    each.path("raw-video", "linked").symlink_to(each.path("raw-video", "elsewhere/folder"))
    each.make()
    for then in ("stall", "fail", "inactive"):
        (emulator.rig / f"{then}.bin").write_text("x")
    emulator.control(tasks=[{"match": f"^{t}$", "then": t} for t in ("stall", "fail", "inactive")])
    numbers = {}
    for then in ("stall", "fail", "inactive", "sound"):
        (emulator.rig / f"{then}.bin").write_text("x")
        ran = lab.ok("transfer", f"rig:/{then}.bin", f"rig:/copies/{then}.bin", "--label", then)
        numbers[then] = ran.out.strip()
    assert lab.run("wait", numbers["fail"], "--timeout", "20").code == 1
    lab.ok("wait", numbers["sound"], "--timeout", "20")
    planted += [("transfer", f"task {numbers[t]}") for t in ("stall", "fail", "inactive")]
    assert sorted(each.findings()) == sorted(planted)

    # The same again as a table, as CSV and as HTML.
    shown = lab.run("check", "--csv", str(tmp_path / "f.csv"), "--html", str(tmp_path / "f.html"))
    assert shown.code == 1
    assert f"{len(planted)} findings." in shown.err
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["kind"], row["where"]) for row in rows) == sorted(planted)
    page = (tmp_path / "f.html").read_text()
    assert "stranger" in page
    assert "<b>.avi" not in page  # a name is text, not markup
    assert f"{len(planted)} findings" in page


def test_one_listing_of_each_folder_and_no_call_for_a_file(world: World) -> None:
    world.make()
    world.lab.ok("check")
    emulator = world.lab.emulator
    folders = sum(1 for path in emulator.archive.rglob("*") if path.is_dir())
    assert emulator.calls("/ls?") == folders
    assert emulator.calls("/stat") == 0


def test_a_branch_that_fails_is_told_and_what_is_below_is_not_judged(world: World) -> None:
    world.make()
    failure = {"match": r"/ls\?.*SC011", "status": 502, "code": "ExternalError.DirListingFailed"}
    world.lab.emulator.control(failures=[failure])
    found = world.findings("--location", "raw-ephys")
    assert found == [("not listed", f"archive:{RAW_EPHYS}/SC011")]


def test_a_location_that_is_gone_is_one_finding(world: World) -> None:
    world.make()
    world.lab.emulator.archive.joinpath(RAW_VIDEO.strip("/")).rename(
        world.lab.emulator.archive / "moved away"
    )
    assert world.findings() == [("location", f"archive:{RAW_VIDEO}")]
    # The database still has the old place: the site file says where it is now.
    world.lab.write_site("[globus.archive]\nmoved = { raw-video = 'archive:/moved away' }\n")
    world.lab.ok("check")


def test_sizes_and_times_against_a_saved_baseline(world: World, tmp_path: Path) -> None:
    world.make()
    saved = tmp_path / "baseline.jsonl"
    world.lab.ok("check", "--save-baseline", str(saved))
    assert len(saved.read_text().splitlines()) == 14
    assert world.findings("--baseline", str(saved), code=0) == []
    grown = world.first("raw-ephys")
    grown.write_text(grown.read_text() + "more")
    touched = world.first("raw-ephys", 2)
    os.utime(touched, (1e9, 1e9))
    found = world.findings("--baseline", str(saved))
    assert sorted(found) == [
        ("changed", called(touched, world.lab)), ("size", called(grown, world.lab)),
    ]  # fmt: skip
    # A listing that is not complete replaces no baseline.
    world.lab.emulator.control(
        failures=[{"match": r"/ls\?.*SC011", "status": 502, "code": "ExternalError.X"}]
    )
    old = saved.read_text()
    ran = world.lab.run("check", "--save-baseline", str(saved))
    assert ran.code == 1
    assert "is as it was" in ran.err
    assert saved.read_text() == old


def test_a_manifest_with_sizes_and_checksums(world: World, tmp_path: Path) -> None:
    world.make()
    rows: list[dict[str, Any]] = []
    for alias, _, subpath in world.published.files:
        path = world.path(alias, subpath)
        rows.append({"path": f"/{path.relative_to(world.lab.emulator.archive)}",
                     "size": path.stat().st_size})  # fmt: skip
    rows[0]["size"] += 1
    rows.append({"path": f"{RAW_EPHYS}/SC011/forgotten.bin", "size": 5})
    manifest = tmp_path / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "size"])
        writer.writeheader()
        writer.writerows(rows)
    assert world.findings("--manifest", str(manifest)) == [
        ("size", "archive:" + rows[0]["path"]),
        ("vanished", f"archive:{RAW_EPHYS}/SC011/forgotten.bin"),
    ]


def test_a_manifest_that_was_not_compared_is_told(world: World, tmp_path: Path) -> None:
    world.make()
    manifest = tmp_path / "manifest.csv"
    good = world.first("raw-ephys")
    there = f"/{good.relative_to(world.lab.emulator.archive)},{good.stat().st_size}"
    manifest.write_text(f"path,size\n{there}\n/data/raw/{good.name},5\n/data/raw/b,5\n")
    ran = world.lab.run("check", "--manifest", str(manifest))
    assert ran.code == 1
    assert "1 of 3 lines of the manifest compared." in ran.err
    assert "2 of 3 lines of the manifest: in no storage location" in ran.err + ran.out
    assert world.findings("--manifest", str(manifest)) == [("outside", "archive:/data/raw/b")]
    # Lines of a location that is not looked at are no fault.
    manifest.write_text(f"path,size\n{there}\n")
    options = ("--location", "raw-video", "--manifest", str(manifest))
    assert "0 of 1 line of the manifest compared." in world.lab.run("check", *options).err
    for text in ("", "path,size\n"):
        manifest.write_text(text)
        ran = world.lab.run("check", "--manifest", str(manifest))
        assert (ran.code, "names no file" in ran.err) == (2, True), ran.err


def checksum(text: str, algorithm: str = "") -> Known:
    return Known("manifest", "c", "/f", checksum=text, algorithm=algorithm)


@pytest.mark.parametrize(
    ("known", "compared", "different"),
    [
        ([checksum("aa"), checksum("bb", "MD5")], 1, 1),
        ([checksum("aa", "SHA256"), checksum("AA")], 1, 0),
        ([checksum("aa"), checksum("bbbb", "SHA256")], 0, 0),
        ([checksum("aa", "MD5"), checksum("bb", "CRC")], 0, 0),
        ([checksum("aa", "sha-256"), checksum("bb", "SHA256")], 1, 1),
        ([checksum("aa", "MD5"), checksum("bbbb"), checksum("cccc", "SHA256")], 1, 1),
    ],
)
def test_which_checksums_are_compared(known: list[Known], compared: int, different: int) -> None:
    archive = Archive([])
    assert compare_checksums(archive, [known]) == compared
    assert [p.kind for p in archive.problems] == [Wrong.CHECKSUM] * different


def test_checksums_against_the_records_of_transfers(world: World, tmp_path: Path) -> None:
    world.make()
    emulator = world.lab.emulator
    good, bad = world.first("raw-ephys"), world.first("raw-ephys", 1)
    for path in (good, bad):
        (emulator.rig / path.name).write_text(path.read_text())
        goal = path.relative_to(emulator.archive)
        world.lab.ok("transfer", f"rig:/{path.name}", f"archive:/{goal}", "--sync", "always",
                     "--yes", "--wait")  # fmt: skip
    lines = [
        {"path": f"/{path.relative_to(emulator.archive)}", "algorithm": "sha256",
         "checksum": hashlib.sha256(b"else" if path == bad else path.read_bytes()).hexdigest()}
        for path in (good, bad)
    ]  # fmt: skip
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = world.lab.run("check", "--json", "--records", "--manifest", str(manifest))
    assert ran.json["checksums_compared"] == 2
    assert [(f["kind"], f["where"]) for f in ran.json["findings"]] == [
        ("checksum", called(bad, world.lab))
    ]


def test_files_are_counted_once_and_charged_to_all_that_have_them(
    world: World, tmp_path: Path
) -> None:
    published = world.published
    first = published.files[0]
    published.files.append((first[0], first[1], "/" + first[2].lstrip("/")))  # written down twice
    if published.files[-1] == first:
        published.files[-1] = (first[0], first[1], first[2].lstrip("/"))
    other = next(n for a, n in published.data_sets if a == "raw-ephys" and n != first[1])
    published.files.append(("raw-ephys", other, first[2]))
    world.first("raw-ephys").unlink()
    pipe = world.first("raw-ephys", 1)
    pipe.unlink()
    os.mkfifo(pipe)
    published.files.append(("raw-ephys", other, "l" * 128))
    deep = ("raw-deep", published.locations[0][1], f"{RAW_EPHYS}/deep")
    published.locations.append(deep)
    world.put("raw-ephys", "deep/x.bin", "of another location")
    world.make()
    found = world.lab.run("check", "--json", "--location", "raw-ephys", "--local", str(tmp_path))
    assert [(f["kind"], f["data_set"]) for f in found.json["findings"]] == [
        ("missing", f"raw-ephys: {first[1]}"), ("missing", f"raw-ephys: {other}"),
        ("missing", f"raw-ephys: {other}"), ("no file", f"raw-ephys: {first[1]}"),
    ]  # fmt: skip
    assert (found.json["files"], found.json["present"]) == (10, 6)


def test_tasks_beyond_those_that_are_looked_at_are_told(world: World) -> None:
    world.make()
    emulator = world.lab.emulator
    (emulator.rig / "x").touch()
    world.lab.ok("transfer", "rig:/x", "rig:/y", "--wait")
    assert "newest 1000 tasks" not in world.lab.ok("check", "--all-users").err
    emulator.stop()
    path = emulator.folder / "state.json"
    state = json.loads(path.read_text())
    (task,) = state["tasks"].values()
    for number in range(1001):
        name = f"00000000-0000-4000-9000-{number:012}"
        state["tasks"][name] = {**task, "document": {**task["document"], "task_id": name}}
    path.write_text(json.dumps(state))
    emulator.start()
    for more in ((), ("--all-users",)):
        assert "only the newest 1000 tasks count" in world.lab.ok("check", *more).err
    assert "newest 1000" not in world.lab.ok("check", "--days", "0").err


def test_sizes_against_the_newest_records_of_transfers(world: World) -> None:
    world.make()
    emulator = world.lab.emulator
    path = world.first("raw-ephys")
    goal = path.relative_to(emulator.archive)
    (emulator.rig / "moved").write_text("x")
    world.lab.ok("transfer", "rig:/moved", f"archive:{RAW_EPHYS}/moved", "--wait")
    world.path("raw-ephys", "moved").unlink()  # nobody's, and gone again: no finding
    for text in ("longer than it will be", path.read_text()):
        (emulator.rig / "source").write_text(text)
        world.lab.ok("transfer", "rig:/source", f"archive:/{goal}", "--sync", "checksum", "--wait")
        time.sleep(1.1)  # times of tasks are whole seconds
    assert world.findings("--records", code=0) == []
    path.write_text("cut short")
    assert world.findings("--records") == [("size", called(path, world.lab))]


def test_what_is_missing_is_brought_back_from_a_local_tree(world: World, tmp_path: Path) -> None:
    world.make()
    emulator = world.lab.emulator
    tree = emulator.rig / "data" / "raw-ephys"
    for alias, _, subpath in world.published.files:
        if alias == "raw-ephys":
            copy = tree / subpath.strip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(world.path(alias, subpath).read_text())
    broken = [world.first("raw-ephys", n) for n in (0, 1, 2)]
    broken[0].unlink()
    broken[1].write_text("")
    broken[2].write_text("cut short")
    lost = world.first("raw-video")
    lost.unlink()
    batch = tmp_path / "again.batch"
    options = ("--local", str(emulator.rig / "data"), "--resubmit", str(batch))
    assert world.lab.run("check", *options).code == 1
    # Of what has another size, only the local one is known: it may be the wrong one.
    assert len(batch.read_text().splitlines()) == 2
    assert "1 more file would replace another size" in world.lab.run("check", *options).err
    manifest = tmp_path / "manifest.csv"
    right = (tree / broken[2].relative_to(world.path("raw-ephys", ""))).stat().st_size
    name = f"/{broken[2].relative_to(emulator.archive)}"
    for size, lines in ((len("cut short"), 2), (right + 1, 2), (right, 3)):
        manifest.write_text(f"path,size\n{name},{size}\n")
        found = world.lab.run("check", "--json", *options, "--manifest", str(manifest)).json
        assert (found["resubmitted"], found["held_back"]) == (lines, 3 - lines)
        assert len(batch.read_text().splitlines()) == lines
    world.lab.ok("transfer", "rig:", "archive:/", "--batch", str(batch), "--sync", "checksum",
                 "--wait")  # fmt: skip
    assert world.findings(*options) == [("missing", called(lost, world.lab))]
    assert batch.read_text() == ""


def test_names_of_tables_and_columns_are_settings(each: World, server: RunningServer) -> None:
    each.make()
    ran = each.lab.run("check", "--location", "nowhere")
    assert ran.code == 2
    assert "no storage location 'nowhere'" in ran.err
    server.sql(
        "RENAME TABLE map_publication.`_archived_raw_ephys` TO map_publication.`_kept_ephys`",
        "ALTER TABLE map_publication.data_set__physical_file"
        " RENAME COLUMN file_subpath TO `file%p`",
    )
    ran = each.lab.run("check")
    assert ran.code == 3
    assert "has no column 'file_subpath'" in ran.err
    each.lab.write_site("[globus.archive]\nsubpath_column = 'file%p'\n")
    ran = each.lab.run("check")
    assert ran.code == 3
    assert "`map_publication`.`_archived_raw_ephys`" in ran.err
    assert "globus.archive.archived" in ran.err
    tables = "archived = ['_kept_ephys', '_archived_tracking_video']"
    each.lab.write_site(f"[globus.archive]\nsubpath_column = 'file%p'\n{tables}\n")
    each.lab.ok("check")
