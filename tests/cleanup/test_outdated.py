"""`cleanup outdated`: real pipelines, deleted from by their own DataJoint."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mapadmin.cleanup.stage import _is_unchanged, _old_files
from mapadmin.core.errors import MapadminError
from mapadmin.core.secret import Secret
from mapadmin.db.server import connect
from mapadmin.pipeline.remote import listening, run_helper
from mapadmin.site.folder import load_site
from tests.lab import Lab
from tests.pipeline.environments import Pipeline, python_of
from tests.pipeline.fixtures import ON_MARIADB, MakePipeline


def rules(lab: Lab, one: Pipeline, *texts: str, more: str = "") -> None:
    """A site file with these rules, and the pipeline's own Python as its command."""
    command = [*one.shell, python_of(one.generation)]
    lab.roles = f"[pipeline]\ncommand = {json.dumps(command)}\n[cleanup]\nparts = ['outdated']\n"
    lab.roles += "".join(f"[[cleanup.outdated]]\n{text}\n" for text in texts) + more
    lab.write_site()


def rows(lab: Lab, table: str) -> int:
    ((number,),) = lab.server.sql(f"SELECT COUNT(*) FROM {table}")
    return int(str(number))


@contextmanager
def listens(lab: Lab) -> Iterator[str]:
    """The lock without which the helper deletes nothing, on a connection of its own."""
    site = load_site(lab.folder)
    server = connect(site.database, Secret(lab.password), site.folder)
    try:
        with listening(server) as lock:
            yield lock
    finally:
        server.close()


SHORT = """
name = "short"
schema = "map_lab"
table = "Spikes"
restriction = "session <= 3 AND made_by LIKE '%:%'"
"""


@pytest.fixture
def one(request: pytest.FixtureRequest, lab: Lab, pipeline: MakePipeline) -> Pipeline:
    """Ten sessions, their spikes, and a report on each."""
    generation = getattr(request, "param", 0)
    made = pipeline(generation)
    made.make(*[(n, 0, "") for n in range(1, 11)], populate=True, reports=True)
    return made


def test_rows_are_deleted_with_all_that_hangs_on_them(lab: Lab, one: Pipeline) -> None:
    rules(lab, one, SHORT)
    planned = lab.ok("cleanup", "outdated", "--dry-run", "--json").json
    assert [(item["target"], item["count"]) for item in planned["parts"][0]["planned"]] == [
        ("map_lab.Spikes", 3),
        ("map_lab.SpikeReport", 3),
    ]
    assert (rows(lab, "map_lab.__spikes"), rows(lab, "map_lab.__spike_report")) == (10, 10)
    asked = lab.ok("cleanup", "outdated")
    assert "nothing is deleted without --yes (3 of map_lab.Spikes, 3 of map_lab.S" in asked.err
    assert rows(lab, "map_lab.__spikes") == 10
    done = lab.ok("cleanup", "--yes")
    assert "Cleaned up: outdated 6 items." in done.err
    assert (rows(lab, "map_lab.__spikes"), rows(lab, "map_lab.__spike_report")) == (7, 7)
    again = lab.ok("cleanup", "--yes", "--quiet")
    assert (again.out, again.err) == ("", "")


def test_datajoint_2_deletes_its_own(mysql_lab: Lab, mysql_pipeline: MakePipeline) -> None:
    made = mysql_pipeline(2)
    made.make(*[(n, 0, "") for n in range(1, 11)], populate=True, reports=True)
    rules(mysql_lab, made, SHORT)
    done = mysql_lab.ok("cleanup", "--yes")
    assert "Cleaned up: outdated 6 items." in done.err
    assert rows(mysql_lab, "map_lab.__spike_report") == 7


@ON_MARIADB
@pytest.mark.parametrize("one", [12, 13], indirect=True)
def test_older_datajoints_delete_their_own(lab: Lab, one: Pipeline) -> None:
    """And refuse, as 0.14 does, what was not counted: their guard holds."""
    rules(lab, one, SHORT)
    assert "Cleaned up: outdated 6 items." in lab.ok("cleanup", "--yes").err
    assert (rows(lab, "map_lab.__spikes"), rows(lab, "map_lab.__spike_report")) == (7, 7)
    request = {
        "do": "delete", "table": "`map_lab`.`__spikes`", "restrictions": ["session = 9"],
        "allowed": ["`map_lab`.`__spikes`"], "schemas": ["map_lab"],
    }  # fmt: skip
    with (
        listens(lab) as lock,
        pytest.raises(MapadminError, match=r"rows of .* hang on it, which were not there"),
    ):
        list(run_helper(load_site(lab.folder), {**request, "while_held": lock}))
    assert (rows(lab, "map_lab.__spikes"), rows(lab, "map_lab.__spike_report")) == (7, 7)


def test_a_persons_own_rows_stop_the_delete(lab: Lab, one: Pipeline) -> None:
    lab.server.sql(
        "CREATE DATABASE alice_notes",
        "CREATE TABLE alice_notes.chosen (session INT PRIMARY KEY,"
        " FOREIGN KEY (session) REFERENCES map_lab.__spike_report (session)) ENGINE=InnoDB",
        "INSERT INTO alice_notes.chosen VALUES (2)",
    )
    lab.write_people("[people.alice]\n")
    other = SHORT.replace("short", "other").replace("<= 3", "= 9")
    rules(lab, one, SHORT, other)
    ran = lab.run("cleanup", "--yes")
    assert ran.code == 1
    assert "1 row of alice_notes.Chosen, which alice owns" in ran.err
    # The other rule does not touch it, and is carried out.
    assert (rows(lab, "map_lab.__spikes"), rows(lab, "alice_notes.chosen")) == (9, 1)
    assert "outdated 2 items, 1 failure" in ran.err


NOTES = (
    "CREATE DATABASE alice_notes",
    (
        "CREATE TABLE alice_notes.note (session INT PRIMARY KEY, FOREIGN KEY (session) REFERENCES"
        " map_lab.__spikes (session) ON DELETE {rule}) ENGINE=InnoDB"
    ),
)


@pytest.mark.parametrize("rule", ["CASCADE", "RESTRICT"])
def test_a_foreign_key_out_of_sight_stops_it(lab: Lab, one: Pipeline, rule: str) -> None:
    """By CASCADE, the server itself would delete rows that nobody has counted."""
    lab.server.sql(
        *(text.format(rule=rule) for text in NOTES),
        "INSERT INTO alice_notes.note SELECT session FROM map_lab.__spikes",
        "CREATE DATABASE IF NOT EXISTS mapadmin",
        "CREATE USER limited@'%' IDENTIFIED BY 'pw'",
        "GRANT PROCESS ON *.* TO limited@'%'",
        "GRANT ALL ON `map\\_%`.* TO limited@'%'",
        "GRANT ALL ON mapadmin.* TO limited@'%'",
    )
    lab.user, lab.password = "limited", "pw"
    rules(lab, one, SHORT)
    for more in (["--dry-run"], ["--yes"], ["--yes", "--force"]):
        ran = lab.run("cleanup", "outdated", *more)
        assert ran.code == 1
        assert "alice_notes.note" in ran.err
    lab.server.sql("GRANT SELECT ON *.* TO limited@'%'")  # as is advised
    ran = lab.run("cleanup", "outdated", "--yes")
    assert (ran.code, "3 rows of alice_notes.Note" in ran.err) == (1, True)
    assert (rows(lab, "map_lab.__spikes"), rows(lab, "alice_notes.note")) == (10, 10)


@ON_MARIADB
@pytest.mark.parametrize("rule", ["CASCADE", "SET NULL"])
def test_a_key_that_deletes_by_itself_stops_it_without_rows(
    lab: Lab, one: Pipeline, rule: str
) -> None:
    """A row could come in until the delete is there."""
    lab.server.sql(*(text.format(rule=rule).replace("PRIMARY KEY", "") for text in NOTES))
    rules(lab, one, SHORT)
    ran = lab.run("cleanup", "outdated", "--yes")
    assert (ran.code, "alice_notes.note, outside the pipeline, is ON DELETE" in ran.err) == (
        1,
        True,
    )
    assert rows(lab, "map_lab.__spikes") == 10


@ON_MARIADB
def test_a_persons_row_that_comes_in_between_stops_it_too(lab: Lab, one: Pipeline) -> None:
    """What counts is what was counted: the helper deletes from no other table."""
    lab.server.sql(
        "CREATE DATABASE alice_notes",
        "CREATE TABLE alice_notes.chosen (session INT PRIMARY KEY,"
        " FOREIGN KEY (session) REFERENCES map_lab.__spikes (session)) ENGINE=InnoDB",
    )
    late = one.folder / "late"
    late.write_text("#!/bin/sh\n" + late_insert(lab, one))
    late.chmod(0o755)
    rules(lab, one, SHORT)
    text = (lab.folder / "mapadmin.toml").read_text()
    (lab.folder / "mapadmin.toml").write_text(
        text.replace("command = [", f"command = [{json.dumps(str(late))}, ")
    )
    ran = lab.run("cleanup", "--yes")
    assert ran.code == 1
    assert "`alice_notes`.`chosen` hang" in ran.err
    assert (rows(lab, "map_lab.__spikes"), rows(lab, "alice_notes.chosen")) == (10, 1)


def late_insert(lab: Lab, one: Pipeline) -> str:
    """A row of Alice's, put in before the command that the site names begins."""
    program = (
        "import json, os, pymysql; w = json.loads(os.environ['LAB_PIPELINE'])\n"
        "c = pymysql.connect(host=w['host'], port=w['port'], user=w['user'],"
        " password=w['password'], ssl={'ca': w['ca']}, autocommit=True)\n"
        "c.cursor().execute('INSERT IGNORE INTO alice_notes.chosen VALUES (2)')\n"
    )
    where = json.dumps(json.dumps(json.loads(one.environment["LAB_PIPELINE"])))
    path = one.folder / "late.py"
    path.write_text(f"import os; os.environ['LAB_PIPELINE'] = {where}\n{program}")
    del lab
    return f'{python_of(0)} {path}\nexec "$@"\n'


@ON_MARIADB
def test_killed_again_and_again_it_finishes(lab: Lab, one: Pipeline) -> None:
    """With SIGKILL, later each time: rows go with all that hangs on them, or not at all."""
    rules(lab, one, SHORT)
    kills = 0
    while True:
        running = lab.start("cleanup", "outdated", "--yes")
        deadline = time.monotonic() + 0.3 * (kills + 1)
        while running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        left = rows(lab, "map_lab.__spikes"), rows(lab, "map_lab.__spike_report")
        assert left in ((10, 10), (10, 7), (7, 7)), left  # between two counts, it may go on
        killed = running.poll() is None
        running.kill()
        _, said = running.communicate()
        kills += killed
        if not killed and "at work" not in said:  # the server may not have noticed the last death
            break
    assert running.returncode == 0, said
    assert (rows(lab, "map_lab.__spikes"), rows(lab, "map_lab.__spike_report")) == (7, 7)
    assert kills > 2


# Like `docker exec -i`: what it has started does not end with it.
OUTLIVED = """import subprocess, sys, time
out = open(sys.argv[1], "w+b", buffering=0)
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=out, start_new_session=True)
child.stdin.write(sys.stdin.buffer.read())
child.stdin.close()
answers = open(sys.argv[1], "rb")
while True:
    ended = child.poll() is not None
    sys.stdout.buffer.write(answers.read())
    sys.stdout.flush()
    if ended:
        sys.exit(child.returncode)
    time.sleep(0.05)
"""


@ON_MARIADB
@pytest.mark.parametrize("one", [0, 12], indirect=True)
def test_a_helper_that_outlives_its_command_ends_with_mapadmin(lab: Lab, one: Pipeline) -> None:
    program, answers = one.folder / "outlived.py", one.folder / "answers"
    program.write_text(OUTLIVED)
    rules(lab, one, SHORT)
    site_file = lab.folder / "mapadmin.toml"
    shell = json.dumps([python_of(0), str(program), str(answers)])[:-1]
    site_file.write_text(site_file.read_text().replace("command = [", f"command = {shell}, "))
    tables = ["`map_lab`.`__spikes`", "`map_lab`.`__spike_report`"]
    request = {
        "do": "delete", "table": tables[0], "allowed": tables, "schemas": ["map_lab"],
        "restrictions": [f"session = {n} AND SLEEP(0.3) = 0" for n in range(1, 11)],
    }  # fmt: skip
    with listens(lab) as lock:
        running = run_helper(load_site(lab.folder), {**request, "while_held": lock})
        assert next(running)["event"] == "deleted"
        running.close()
    deadline = time.monotonic() + 60
    while b'"error"' not in answers.read_bytes():
        assert time.monotonic() < deadline, answers.read_bytes()
        time.sleep(0.1)
    assert "does not listen any more" in answers.read_text()
    assert 7 <= rows(lab, "map_lab.__spikes") == rows(lab, "map_lab.__spike_report") <= 9


BAD = [
    ('name = "a"\nschema = "map_nope"\ntable = "Spikes"\nrestriction = "1=1"', "no schema 'map_n"),
    ('name = "a"\nschema = "map_lab"\ntable = "Spike"\nrestriction = "1=1"', "Did you mean Spikes"),
    ('name = "a"\nschema = "map_lab"\ntable = "Spikes"\nrestriction = "1=1"', "max_share"),
    ('name = "a"\nschema = "map_lab"\ntable = "Spikes"\nrestriction = "nope = 1"', "nope"),
    ('name = "a"\nschema = "map_lab"\ntable = "Spikes"\nrestriction = "1; DROP TABLE x"', "semico"),
    ('name = "a"\nschema = "map_lab"\ntable = "Spikes"\nquery = "SELECT 1 AS other"', "session"),
    (
        SHORT + "max_rows = 5",
        "6 rows, more than its max_rows of 5",
    ),
]


@ON_MARIADB
def test_bad_rules_delete_nothing_and_say_why(lab: Lab, one: Pipeline) -> None:
    for text, complaint in BAD:
        rules(lab, one, text)
        ran = lab.run("cleanup", "outdated", "--yes")
        assert (ran.code, complaint in ran.err) == (1, True), (text, ran.err)
    assert rows(lab, "map_lab.__spikes") == 10
    forced = lab.ok("cleanup", "outdated", "--yes", "--force")
    assert "outdated 6 items" in forced.err


@ON_MARIADB
@pytest.mark.parametrize(("engine", "left", "code"), [("InnoDB", 8, 0), ("MyISAM", 10, 1)])
def test_what_comes_to_match_meanwhile_stays(
    lab: Lab, one: Pipeline, engine: str, left: int, code: int
) -> None:
    """The limits hold for the rows that are deleted, not only for those that were counted."""
    lab.server.sql(
        f"CREATE TABLE map_lab.limits (n INT) ENGINE={engine}",
        "INSERT INTO map_lab.limits VALUES (2)",
    )
    condition = "SLEEP(0.4) = 0 AND session <= (SELECT MAX(n) FROM map_lab.limits)"
    rules(lab, one, SHORT.replace("session <= 3 AND made_by LIKE '%:%'", condition))
    running = lab.start("cleanup", "outdated", "--yes")
    sleeping = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'"
    while running.poll() is None and lab.server.sql(sleeping) == ((0,),):
        time.sleep(0.02)
    lab.server.sql("UPDATE map_lab.limits SET n = 4")
    _, said = running.communicate()
    assert (running.returncode, rows(lab, "map_lab.__spikes")) == (code, left), said
    assert ("a moment later" in said) == (code == 1), said


@ON_MARIADB
def test_a_query_that_yields_keys(lab: Lab, one: Pipeline) -> None:
    query = "SELECT session FROM map_lab.session WHERE session % 5 = 0"
    rules(lab, one, f'name = "q"\nschema = "map_lab"\ntable = "__spikes"\nquery = "{query}"')
    assert "outdated 4 items" in lab.ok("cleanup", "--yes").err
    assert rows(lab, "map_lab.__spikes") == 8


NO_PYTHON: list[tuple[list[str], str]] = [
    ([], "names no Python"),
    (["/nowhere/python"], "cannot run /nowhere/python"),
    (["false"], "ended with exit code 1"),
    (["env", "-i", "/usr/bin/env", "python3", "-S", "-I"], "No module named 'datajoint'"),
]


@ON_MARIADB
def test_without_the_pipelines_python_nothing_is_deleted(lab: Lab, one: Pipeline) -> None:
    for command, complaint in NO_PYTHON:
        rules(lab, one, SHORT)
        path = lab.folder / "mapadmin.toml"
        lines = path.read_text().splitlines()
        other = f"command = {json.dumps(command)}"
        path.write_text(
            "".join(f"{other if line.startswith('command') else line}\n" for line in lines)
        )
        ran = lab.run("cleanup", "--yes")
        assert (ran.code, complaint in ran.err) == (1, True), ran.err
    assert rows(lab, "map_lab.__spikes") == 10


# --- stage directories ---------------------------------------------------------------------------


def test_stage_loses_old_copies_of_what_the_store_has(lab: Lab, tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    contents = {
        "a/old.png": b"old",
        "a/new.png": b"new",
        "c/d/only.png": b"only",
        "b/other.png": b"other",
        "b/gone.png": b"x",
        "b/last.png": b"the last copy",
    }
    store = tmp_path / "store"
    lab.server.sql(
        "CREATE DATABASE map_report",
        "CREATE TABLE map_report.`~external_report_store` (hash BINARY(16) PRIMARY KEY,"
        " size BIGINT UNSIGNED, attachment_name VARCHAR(255), filepath VARCHAR(1000),"
        " contents_hash BINARY(16), timestamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP)",
    )
    for name, content in contents.items():
        path = stage / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if name != "b/last.png":
            (store / name).parent.mkdir(parents=True, exist_ok=True)
            (store / name).write_bytes(content)
        if name != "a/new.png":
            os.utime(path, (time.time() - 30 * 86400,) * 2)
        tracked = b"another content" if name == "b/other.png" else content
        if name != "b/gone.png":
            lab.server.sql(
                "INSERT INTO map_report.`~external_report_store` (hash, size, filepath,"
                f" contents_hash) VALUES (X'{md5(name.encode())}', {len(content)}, '{name}',"
                f" X'{md5(tracked)}')"
            )
    odd = Path(os.fsdecode(bytes(stage) + b"/e/\xff.png"))
    odd.parent.mkdir()
    odd.write_bytes(b"a name that is not UTF-8")
    for path in (odd, stage / "c" / "d", stage / "c"):
        os.utime(path, (time.time() - 30 * 86400,) * 2)
    (stage / "young").mkdir()
    lab.roles = (
        f"[stores.report_store]\nprotocol = 'file'\nlocation = {json.dumps(str(store))}\n"
        "[cleanup]\nparts = ['outdated']\n[[cleanup.stage]]\nstore = 'report_store'\n"
        f"folder = {json.dumps(str(stage))}\n"
    )
    lab.write_site()
    planned = lab.ok("cleanup", "--dry-run", "--json").json["parts"][0]
    assert (planned["items"], planned["bytes"]) == (2, 7)
    ran = lab.ok("cleanup")
    assert "outdated 2 items (7 B)" in ran.err
    left = {str(path.relative_to(stage)) for path in stage.rglob("*.png")}
    assert left == set(contents) - {"a/old.png", "c/d/only.png"} | {os.fsdecode(b"e/\xff.png")}
    # Empty since then: gone. Empty, but young: somebody may be about to fill it.
    assert (stage / "young").is_dir()
    assert not (stage / "c").exists()
    store.rename(tmp_path / "not mounted")
    os.utime(stage / "a/new.png", (time.time() - 30 * 86400,) * 2)
    ran = lab.run("cleanup")
    assert (ran.code, (stage / "a/new.png").exists()) == (1, True)
    lab.roles = lab.roles[lab.roles.index("[cleanup]") :]
    lab.write_site()
    ran = lab.run("cleanup")
    assert (ran.code, "has no [stores.report_store]" in ran.err) == (1, True)


def test_a_staged_file_that_changed_since_it_was_compared_stays(tmp_path: Path) -> None:
    for name in ("same", "longer", "later", "link"):
        path = tmp_path / name
        path.write_bytes(b"staged")
        os.utime(path, (1, 1))
    found = list(_old_files(tmp_path, tmp_path.stat().st_dev, time.time()))
    (tmp_path / "longer").write_bytes(b"staged again")
    os.utime(tmp_path / "later", (1, 2))
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("same")
    assert {one.path.name for one in found if _is_unchanged(one)} == {"same"}


def md5(content: bytes) -> str:
    return uuid.UUID(bytes=hashlib.md5(content).digest()).hex


@ON_MARIADB
def test_a_stage_that_is_the_store_is_refused(lab: Lab, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "stage").mkdir(parents=True)
    for folder in (store, store / "stage", lab.folder):
        lab.roles = (
            f"[stores.report_store]\nprotocol = 'file'\nlocation = {json.dumps(str(store))}\n"
            "[cleanup]\nparts = ['outdated']\n[[cleanup.stage]]\nstore = 'report_store'\n"
            f"folder = {json.dumps(str(folder))}\n"
        )
        lab.write_site()
        ran = lab.run("cleanup")
        assert (ran.code, "is no stage directory" in ran.err) == (1, True)
