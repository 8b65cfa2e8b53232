"""`ls`, `du`, `stat`, `mkdir`, `rename`, `rm`: as a person types them, against the emulator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.globus.emulator import RIG
from tests.globus.site import GlobusLab
from tests.zygote import MAPADMIN

NAMES = [
    "plain.bin", "with blank", "größe ünïcode 神経", 'quote "double" \'single\'', "new\nline",
    "back\\slash", "per%cent", "a&b=c?d#e+f", "-dash", "$HOME `id`", "esc\x1b[31mred", "tab\there",
]  # fmt: skip


def grow(root: Path, folders: int, files: int) -> int:
    """A tree of `folders` folders in two levels; how many entries."""
    for number in range(folders):
        folder = root / f"s{number // 40:03}" / f"d{number:05}"
        folder.mkdir(parents=True)
        for n in range(files):
            (folder / f"f{n}").touch()
    return sum(len(d) + len(f) for _, d, f in os.walk(root))


def paths(lab: GlobusLab, *args: str) -> list[str]:
    ran = lab.ok("ls", *args, "--json")
    return [json.loads(line)["path"] for line in ran.out.splitlines()]


def test_hostile_names_come_out_as_they_are(lab: GlobusLab) -> None:
    data = lab.emulator.rig / "data"
    for name in NAMES:
        (data / f"folder {name}").mkdir(parents=True)
        (data / f"folder {name}" / name).write_text(name)
    found = paths(lab, "rig:", "-r")
    assert set(found) == {f"/data/folder {n}" for n in NAMES} | {
        f"/data/folder {n}/{n}" for n in NAMES
    }
    plain = lab.ok("ls", "-r", "-l", "rig:")
    assert len(plain.out.splitlines()) == 2 * len(NAMES)  # a newline in a name begins no row
    assert "\x1b" not in plain.out
    for name in NAMES:
        row = lab.ok("stat", f"rig:folder {name}/{name}", "--json").json
        assert (row["type"], row["size"]) == ("file", len(name.encode()))
    # globus-cli, asked the same, gives the same.
    other = lab.emulator.cli("ls", "-r", "-F", "json", f"{RIG}:/data/")
    assert {f"/data/{row['name'].rstrip('/')}" for row in json.loads(other.out)["DATA"]} == set(
        found
    )


def test_links_are_shown_and_not_followed(lab: GlobusLab) -> None:
    data = lab.emulator.rig / "data"
    (data / "a").mkdir(parents=True)
    (data / "a" / "round").symlink_to(data)
    (data / "a" / "file").symlink_to("/etc/hostname")
    (data / "a" / "nowhere").symlink_to("gone")
    assert paths(lab, "rig:", "-r") == [
        "/data/a",
        "/data/a/file",
        "/data/a/nowhere",
        "/data/a/round",
    ]
    assert f"a/round/ -> {data}" in lab.ok("ls", "-rl", "rig:").out


def test_depth_filter_and_hidden_names(lab: GlobusLab) -> None:
    data = lab.emulator.rig / "data"
    (data / "a" / "b" / "c" / "d" / "e").mkdir(parents=True)
    (data / "a" / "b" / "c" / "d" / "e" / "deep.bin").touch()
    (data / ".hidden" / "x").mkdir(parents=True)
    assert paths(lab, "rig:") == ["/data/a"]
    assert paths(lab, "rig:", "-r")[-1] == "/data/a/b/c/d/e/deep.bin"  # at no depth silently cut
    assert paths(lab, "rig:", "-r", "--depth", "1") == ["/data/a", "/data/a/b"]
    assert paths(lab, "rig:", "-r", "--filter", "*.bin") == ["/data/a/b/c/d/e/deep.bin"]
    assert paths(lab, "rig:", "-r", "--all")[:2] == ["/data/.hidden", "/data/a"]


def test_a_big_folder_is_listed_at_once_and_whole(lab: GlobusLab) -> None:
    data = lab.emulator.rig / "data"
    data.mkdir()
    for number in range(10_050):
        (data / f"{number:05}").touch()
    for settings in ({}, {"total": "none"}):
        before = len(lab.emulator.requests()) if settings else 0
        lab.emulator.control(**settings)
        assert len(lab.ok("ls", "rig:").out.splitlines()) == 10_050
        assert sum("/ls?" in r[2] for r in lab.emulator.requests()[before:]) == 1
    lab.emulator.control(most=4000)  # a service that gives less than it was asked for
    assert len(set(lab.ok("ls", "rig:").out.splitlines())) == 10_050
    lab.emulator.control(total="wrong")
    ran = lab.run("ls", "rig:")
    assert (ran.code, "listed 10050 of 10051 entries" in ran.err) == (1, True), ran.err


@pytest.mark.parametrize(
    ("where", "code", "words"),
    [
        ("rig:gone", 1, "rig:/data/gone: there is no such thing"),
        ("rig:/data/../..", 2, "goes up"),
        ("nobody:/", 2, "There is no collection 'nobody'"),
        (":/", 2, "names no collection"),
        ("12345678-1234-1234-1234-123456789abc:/", 3, "no such collection"),
    ],
)
def test_what_is_not_there_is_an_error(lab: GlobusLab, where: str, code: int, words: str) -> None:
    (lab.emulator.rig / "data").mkdir()
    for command in ("ls", "stat", "du"):
        ran = lab.run(command, where)
        assert (ran.code, words in ran.err, ran.out) == (code, True, ""), ran.err


def test_collections_by_uuid_and_by_what_globus_calls_them(lab: GlobusLab) -> None:
    (lab.emulator.rig / "data" / "x").mkdir(parents=True)
    assert paths(lab, f"{RIG}:/data") == ["/data/x"]
    assert paths(lab, "Rig:/data") == ["/data/x"]
    assert lab.run("ls", "r:/data").code == 2  # both "Rig" and "MAP archive": which?
    rows = lab.run("endpoints", "--json").json
    assert [(r["name"], r["reachable"]) for r in rows] == [
        ("archive", True), ("rig", True), ("campus", False)
    ]  # fmt: skip
    assert [r["display_name"] for r in lab.ok("endpoints", "rig", "--json").json] == ["Rig"]


def test_only_commands_that_look_search_for_a_collection(lab: GlobusLab) -> None:
    (lab.emulator.rig / "data").mkdir(parents=True)
    for args in (
        ("mkdir", "Rig:/new"), ("rm", "-r", "--yes", "Rig:/data"), ("rename", "Rig:/data", "new"),
        ("transfer", "rig:", "Rig:/new"), ("transfer", "Rig:/data", "rig:/new"),
        ("grant", "Rig:/data", "bob@example.org"), ("revoke", "Rig:/", "bob@example.org", "--yes"),
        ("login", "--consent", "Rig"),
    ):  # fmt: skip
        ran = lab.run(*args)
        assert (ran.code, "site file has no collection 'Rig'" in ran.err) == (2, True), ran.err
    assert [p.name for p in lab.emulator.rig.rglob("*")] == ["data"]
    assert not (lab.emulator.folder / "requests.log").exists()  # nobody was even asked
    assert "DIR COLLECTION:/ --batch FILE" in " ".join(lab.ok("check", "--help").out.split())


@pytest.mark.timeout(60)
def test_a_collection_that_does_not_exist_is_no_missing_path(lab: GlobusLab) -> None:
    gone = "12345678-1234-1234-1234-123456789abc"
    for command in (["mkdir", "-p"], ["rm", "-r", "--yes"]):
        ran = lab.run(*command, f"{gone}:/a/b")
        assert (ran.code, "no such collection" in ran.err) == (3, True), ran.err
    assert lab.run("rename", f"{gone}:/a", "b").code == 3
    lab.write_site(f'[globus.collections.gone]\nid = "{gone}"\n')
    rows = lab.run("endpoints", "--json")
    assert (rows.code, [r["name"] for r in rows.json][-1]) == (1, "gone")  # with the others
    # A root that is not there has nothing above it.
    lab.emulator.control(failures=[{"match": "/stat", "status": 404, "code": "NotFound"}])
    ran = lab.run("mkdir", "-p", "rig:/a/b")
    assert (ran.code, "rig:/ is not there" in ran.err) == (1, True), ran.err


def test_owners_that_lapse_and_collections_that_are_off(lab: GlobusLab) -> None:
    (lab.emulator.rig / "data").mkdir()
    lab.emulator.write(connected=False)
    lab.write_site(f'[globus.collections.old]\nid = "{RIG}"\nowner_until = 2020-01-01\n')
    ran = lab.run("endpoints")
    assert ran.code == 1
    assert "old: The owner's account lapsed on 2020-01-01." in ran.err
    assert "archive:" in ran.err
    assert max(map(len, ran.out.splitlines())) < 160


def test_a_folder_that_vanishes_and_one_that_fails_are_told(lab: GlobusLab) -> None:
    grow(lab.emulator.rig / "data", 80, 2)
    failure = {"match": r"/ls\?.*d00007", "status": 403, "code": "ClientError.PermissionDenied"}
    lab.emulator.control(failures=[failure], latency=0.2)
    ran = subprocess.Popen(
        [MAPADMIN, "globus", "ls", "-r", "rig:"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=lab.environment,
    )  # fmt: skip
    while not (lab.emulator.folder / "requests.log").exists() or not lab.emulator.calls("s001"):
        time.sleep(0.05)  # once s001 has been listed, d00079 is known to be there
    (lab.emulator.rig / "data" / "s001" / "d00079" / "f0").unlink()
    (lab.emulator.rig / "data" / "s001" / "d00079" / "f1").unlink()
    (lab.emulator.rig / "data" / "s001" / "d00079").rmdir()
    out, err = ran.communicate(timeout=60)
    assert ran.returncode == 1
    assert "d00007: this login may not do that" in err
    assert "d00079: there is no such thing" in err
    assert "Not complete: 2 folders could not be listed." in err
    assert "s001/d00078/f1" in out
    assert "s000/d00008/f0" in out


def test_busy_answers_are_waited_for(lab: GlobusLab) -> None:
    entries = grow(lab.emulator.rig / "data", 40, 1)
    lab.emulator.control(
        failures=[
            {"match": "/ls", "status": 429, "headers": {"Retry-After": "1"}, "skip": 9, "times": 3},
            {"match": "/ls", "status": 503, "code": "ServiceUnavailable", "skip": 20, "times": 2},
        ]
    )
    assert len(paths(lab, "rig:", "-r")) == entries
    statuses = [status for _, _, target, status in lab.emulator.requests() if "/ls" in target]
    assert sorted(set(statuses)) == [200, 429, 503]


def test_tokens_that_lapse_in_the_middle_are_renewed(lab: GlobusLab) -> None:
    entries = grow(lab.emulator.rig / "data", 60, 1)
    lab.emulator.control(failures=[
        {"match": "/ls", "status": 401, "code": "AuthenticationFailed", "skip": 20, "times": 5},
    ])  # fmt: skip
    assert len(paths(lab, "rig:", "-r")) == entries
    lab.emulator.control(token_seconds=61, latency=0.1)  # each lapses, to us, after a second
    assert len(paths(lab, "rig:", "-r")) == entries
    tokens = lab.emulator.calls("/v2/oauth2/token")
    assert 2 <= tokens <= 12  # renewed, and not by each thread for itself


def test_du_adds_up_as_the_disk_does(lab: GlobusLab) -> None:
    data = lab.emulator.rig / "data"
    for number, size in enumerate((5, 7000, 123_456)):
        (data / f"s{number}" / "deep" / "er").mkdir(parents=True)
        (data / f"s{number}" / "deep" / "er" / "x").write_bytes(b"x" * size)
        (data / f"s{number}" / "y").write_bytes(b"y")
    (data / "s0" / "link").symlink_to(data / "s2" / "y")
    rows = lab.ok("du", "rig:", "--json").json
    assert [(r["path"], r["bytes"], r["files"], r["folders"]) for r in rows] == [
        ("/data", 130_464, 7, 9), ("/data/s2", 123_457, 2, 2), ("/data/s1", 7001, 2, 2),
        ("/data/s0", 6, 3, 2),
    ]  # fmt: skip
    assert len(lab.ok("du", "rig:", "--depth", "0").out.splitlines()) == 2
    deep = lab.ok("du", "rig:", "--depth", "3", "--json").json
    assert {"path": "/data/s1/deep/er", "bytes": 7000, "files": 1, "folders": 0} in deep


def test_interrupted_and_unreachable(lab: GlobusLab) -> None:
    grow(lab.emulator.rig / "data", 200, 0)
    lab.emulator.control(latency=0.5)
    running = subprocess.Popen(
        [MAPADMIN, "globus", "ls", "-r", "rig:"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=lab.environment,
    )  # fmt: skip
    assert running.stdout is not None
    running.stdout.readline()
    begun = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert (running.returncode, "Interrupted." in err) == (130, True)
    assert time.monotonic() - begun < 5
    lab.emulator.stop()
    ran = lab.run("ls", "rig:")
    assert ran.code == 4
    assert "Globus cannot be reached: Connection refused." in ran.err


def test_a_reader_that_has_seen_enough_is_no_error(lab: GlobusLab) -> None:
    grow(lab.emulator.rig / "data", 300, 20)
    with subprocess.Popen(
        [MAPADMIN, "globus", "ls", "-r", "rig:"], text=True, env=lab.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == "s000/\n"
        running.stdout.close()
        assert (running.stderr.read(), running.wait(60)) == ("", 0)


def test_mkdir_rename_rm_do_what_they_plan_and_once(lab: GlobusLab) -> None:
    data = lab.emulator.rig / "data"
    data.mkdir()

    def steps(*args: str) -> list[Any]:
        return [s["action"] for s in lab.ok(*args, "--dry-run", "--json").json["steps"]]

    assert lab.run("mkdir", "rig:a/b/c").code == 2
    assert steps("mkdir", "-p", "rig:a/b/c") == ["make folder"] * 3
    assert not (data / "a").exists()
    lab.ok("mkdir", "-p", "rig:a/b/c")
    assert (data / "a" / "b" / "c").is_dir()
    assert "Nothing to do." in lab.ok("mkdir", "-p", "rig:a/b/c").err
    lab.ok("rename", "rig:a/b", "née")
    assert "Nothing to do." in lab.ok("rename", "rig:a/b", "née").err
    assert (data / "a" / "née" / "c").is_dir()
    (data / "a" / "other").write_text("precious")
    ran = lab.run("rename", "rig:a/née", "other")
    assert (ran.code, "is there already" in ran.err) == (1, True)
    assert lab.run("rename", "rig:nothing", "else").code == 1
    assert lab.run("rm", "rig:a").code == 2  # a folder, and no -r
    assert lab.run("rm", "-r", "rig:a").code == 2  # nobody to ask, and no --yes
    for root in ("rig:/", "rig:", "rig:/data"):
        refused = lab.run("rm", "-r", root, "--yes")
        assert (refused.code, "never deleted" in refused.err) == (2, True)
    plan = lab.ok("rm", "-r", "rig:a", "--dry-run", "--json").json
    assert plan["steps"][0]["detail"] == "1 file in 3 folders, 8 B"
    assert (data / "a").exists()
    lab.ok("rm", "-r", "rig:a", "--yes")
    assert not (data / "a").exists()
    again = lab.ok("rm", "-r", "rig:a", "--yes")
    assert "is not there (any more)" in again.err
    assert "Nothing to do." in again.err
    journal = (lab.folder / "state" / "journal.jsonl").read_text()
    assert [json.loads(line)["event"] for line in journal.splitlines()].count("done") == 5


def test_what_the_site_builds_on_is_never_deleted_nor_renamed(lab: GlobusLab) -> None:
    for folder in ("data/a", "video/b"):
        (lab.emulator.rig / folder).mkdir(parents=True)
    lab.write_site("[globus.archive]\nmoved = { raw-video = 'rig:/video' }\n")
    for path in ("/", "", "/data", "/./data", "/video/", "//video"):
        for args in (("rm", "-r", "--yes", f"rig:{path}"), ("rename", f"rig:{path}", "/gone")):
            ran = lab.run(*args)
            assert (ran.code, "never deleted or renamed" in ran.err) == (2, True), (args, ran.err)
    for path in ("/~", "/~/", "/~/data", "~/video", "/./~/"):
        name = f"{RIG}:{path}"
        for command in (["rm", "-r", "--yes", name], ["rename", name, "/gone"], ["ls", name]):
            ran = lab.run(*command)
            assert (ran.code, "begins with `~`" in ran.err) == (2, True), ran.err
    assert {p.name for p in lab.emulator.rig.rglob("*")} == {"data", "a", "video", "b"}
    lab.ok("rename", "rig:/video/b", "c")
    lab.ok("rm", "-r", "--yes", "rig:/video/c", "rig:a")


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_hundred_thousand_entries(lab: GlobusLab) -> None:
    entries = grow(lab.emulator.rig / "data", 1000, 99)
    found = paths(lab, "rig:", "-r")
    assert (len(found), len(set(found))) == (entries, entries)
    rows = lab.ok("du", "rig:", "--depth", "0", "--json").json
    assert rows[0]["files"] == 99_000
    print(f"{entries} entries in {rows[0]['folders'] + 1} folders: 0 lost, 0 doubled")
