"""The sandbox's Globus comes up with it, works, and goes with it."""

from __future__ import annotations

import json
import tomllib

from mapadmin.sandbox.tables import SESSIONS
from tests.sandbox.box import Box


def test_globus_in_the_sandbox(mariadb_box: Box) -> None:
    box = mariadb_box

    def globus(*args: str) -> str:
        return box.ok("--site", str(box.site), "globus", *args).out

    (part,) = [part for part in box.status()["parts"] if part["name"] == "globus"]
    settings = tomllib.loads((box.site / "mapadmin.toml").read_text())["globus"]
    assert (part["state"], settings["service_url"]) == (
        "running", f"http://127.0.0.1:{part['port']}/"
    )  # fmt: skip
    assert [row["reachable"] for row in json.loads(globus("endpoints", "--json"))] == [True, True]
    (box.folder / "globus" / "rig" / "session").mkdir()
    (box.folder / "globus" / "rig" / "session" / "x.bin").write_text("spikes")
    globus("transfer", "rig:session", "archive:/session", "--wait")
    assert globus("ls", "-r", "archive:/session").splitlines() == ["x.bin"]
    told = box.run("--site", str(box.site), "globus", "permissions", "archive", "--check")
    assert told.code == 5
    globus("grant", "archive:/", "alice", "--write")
    assert (
        "as people.toml says"
        in box.ok("--site", str(box.site), "globus", "permissions", "archive", "--check").err
    )
    box.down()
    assert box.run("--site", str(box.site), "globus", "ls", "archive:/").code == 4
    box.up()
    rows = json.loads(globus("tasks", "--json"))  # it remembers what it did
    assert [row["how"] for row in rows] == ["succeeded"]
    assert (box.site / "secrets" / "globus-secret").stat().st_mode & 0o777 == 0o600
    assert (box.folder / "globus").stat().st_mode & 0o777 == 0o700


def test_the_archive_is_what_the_pipeline_says(mariadb_box: Box) -> None:
    box = mariadb_box

    def check() -> tuple[int, dict[str, int]]:
        ran = box.run("--site", str(box.site), "globus", "check", "--json")
        assert (ran.json["files"], ran.json["complete"]) == (3 * SESSIONS, True)
        return ran.code, ran.json["counts"]

    assert check() == (0, {})
    archive = box.folder / "globus" / "archive"
    next(archive.rglob("*.mp4")).unlink()
    next(archive.rglob("*.ap.bin")).write_text("")
    assert check() == (1, {"missing": 1, "empty": 1})
    box.down()
    box.up()  # what was spoilt stays so
    assert check() == (1, {"missing": 1, "empty": 1})
