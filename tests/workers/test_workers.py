"""`workers jobs`, `errors`, `retry`, `progress`, over jobs that DataJoint has left."""

from __future__ import annotations

import json
import re

import pytest

from tests.cleanup.made import copies, fill, job_table, jobs_left, reserve
from tests.lab import Lab
from tests.pipeline.environments import Pipeline, python_of
from tests.pipeline.fixtures import ON_MARIADB, MakePipeline

SESSIONS = [
    (1, 0, ""),
    (2, 0, "Deadlock found when trying to get lock"),
    (3, 0, "bad unit 17 in /data/a.npy"),
    (4, 0, "bad unit 18 in /data/b.npy"),
]


def with_python(lab: Lab, one: Pipeline) -> None:
    """A site that names the pipeline's own Python."""
    command = [*one.shell, python_of(one.generation)]
    lab.roles = f"[pipeline]\ncommand = {json.dumps(command)}\n"
    lab.write_site()


def test_both_layouts_in_one_database(mysql_lab: Lab, mysql_pipeline: MakePipeline) -> None:
    lab = mysql_lab
    for generation in (0, 2):
        mysql_pipeline(generation, f"map_lab{generation}").make(*SESSIONS, populate=True)
    tables = lab.server.sql("SELECT table_schema, table_name FROM information_schema.tables")
    shown = lab.ok("workers", "jobs").out.splitlines()
    assert [line.split() for line in shown] == [
        ["table", "reserved", "error", "pending", "ignored", "oldest"],
        ["map_lab0.Spikes", "-", "3", "-", "-", "-"],
        ["map_lab2.Spikes", "-", "3", "-", "-", "-"],
    ]
    groups = lab.ok("workers", "errors", "--examples", "2", "--json").json
    assert [(one["table"], one["count"], one["generic"]) for one in groups] == [
        ("map_lab0.Spikes", 2, False), ("map_lab2.Spikes", 2, False),
        ("map_lab0.Spikes", 1, True), ("map_lab2.Spikes", 1, True),
    ]  # fmt: skip
    assert groups[0]["meaning"] == "ValueError: bad unit … in /…"
    for group in groups[:2]:
        assert sorted(one["key"]["session"] for one in group["examples"]) == [3, 4]
    text = lab.ok("workers", "errors", "Spikes", "--match", "unit 18", "--show").out
    assert text.count('raise ValueError(row["trouble"])') == 2
    assert text.count("Spikes: session=4\n") == 2
    assert "session=3" not in text
    ran = lab.ok("workers", "retry", "--key", "session=3", "--json").json
    assert [one["detail"] for one in ran["steps"] if one["action"] == "retry jobs"] == [
        "1 failed job", "1 failed job",
    ]  # fmt: skip
    counts = {one["name"]: one for one in lab.ok("workers", "jobs", "--json").json}
    assert counts["map_lab0.Spikes"]["error"] == counts["map_lab2.Spikes"]["error"] == 2
    assert counts["map_lab2.Spikes"]["pending"] == 1
    # Nothing but mapadmin's own schema has come into being.
    later = lab.server.sql("SELECT table_schema, table_name FROM information_schema.tables")
    assert {one[0] for one in set(later) - set(tables)} == {"mapadmin"}


@ON_MARIADB
def test_retry_by_table_pattern_and_key(lab: Lab, pipeline: MakePipeline) -> None:
    one = pipeline()
    one.make(*SESSIONS, populate=True)
    assert lab.run("workers", "retry").code == 2
    assert "Did you mean Spikes" in lab.run("workers", "retry", "Spike").err
    planned = lab.ok("workers", "retry", "--all", "--dry-run")
    assert "3 failed jobs" in planned.out
    assert jobs_left(lab, "map_lab", "error") == 3
    lab.ok("workers", "retry", "map_lab.Spikes", "--match", "*unit 1?*")  # `?` is a question mark
    assert jobs_left(lab, "map_lab", "error") == 3
    lab.ok("workers", "retry", "map_lab.Spikes", "--match", "bad*17")
    assert jobs_left(lab, "map_lab", "error") == 2
    lab.ok("workers", "retry", "--key", '{"session": 4}')
    done = lab.ok("workers", "retry", "--all")
    assert "1 job to be tried again; copies go to mapadmin.cleared_job" in done.err
    assert "Nothing to do." in lab.ok("workers", "retry", "--all").err
    assert len(copies(lab, "retry")) == 3
    for wrong in ("session", "=4", '{"session"'):
        assert lab.run("workers", "retry", "--key", wrong).code == 2
    one.make(populate=True)
    assert jobs_left(lab, "map_lab", "error") == 3


@ON_MARIADB
def test_a_broken_key_is_no_obstacle(lab: Lab) -> None:
    job_table(lab, "map_lab")
    fill(lab, "map_lab", "error", 2, message="KeyError")
    lab.server.sql("UPDATE map_lab.`~jobs` SET `key` = 'mYm\\0rubbish', error_stack = 'x' LIMIT 1")
    (group,) = lab.ok("workers", "errors", "--json", "--examples", "5", "--show").json
    assert group["count"] == 2
    assert {json.dumps(one["key"]) for one in group["examples"]} == {
        "{}", '{"?": "not readable"}',
    }  # fmt: skip
    lab.ok("workers", "retry", "--all")
    assert jobs_left(lab, "map_lab", "error") == 0


@ON_MARIADB
def test_a_table_that_cannot_be_read_hides_no_other(lab: Lab) -> None:
    for number in range(3):
        job_table(lab, f"map_l{number}")
        reserve(lab, f"map_l{number}", number + 1, age=100 * number)
    lab.server.sql("ALTER TABLE map_l1.`~jobs` DROP COLUMN user")
    ran = lab.run("workers", "jobs", "--json")
    assert ran.code == 1
    assert [(one["schema"], one["reserved"]) for one in ran.json] == [("map_l0", 1), ("map_l2", 3)]
    assert abs(ran.json[1]["oldest_reserved"] - 200) < 60
    assert "map_l1.~jobs is not read: it lacks the column user." in ran.err
    one = lab.run("workers", "jobs", "map_l2.*").out
    assert re.search(r"map_l2\.Spikes +3 .* 3 min", one)
    assert "map_l0" not in one


def test_what_an_account_may_not_read_is_said(lab: Lab) -> None:
    for schema in ("map_a", "map_b"):
        job_table(lab, schema)
        reserve(lab, schema, 1)
    lab.server.sql(
        "CREATE USER eve@'%' IDENTIFIED BY 'x'",
        "GRANT SELECT ON map_a.* TO eve@'%'",
        "GRANT INSERT ON map_b.`~jobs` TO eve@'%'",
    )
    eve = Lab(lab.folder, lab.server, "eve", "x", roles="")
    ran = eve.run("workers", "jobs")
    assert (ran.code, "map_a.Spikes" in ran.out) == (1, True)
    assert "map_b.~jobs is not read" in ran.err


def test_hostile_names_and_messages(lab: Lab) -> None:
    schema = "map_`x%s;'"
    quoted = "`map_``x%s;'`"
    job_table(lab, quoted)
    fill(lab, quoted, "error", 1, message="a\x1b[31m %s {x} \\\\n", table="__%d")
    assert "map_`x%s;'" in lab.ok("workers", "jobs").out
    shown = lab.ok("workers", "errors", "--show").out
    assert "\x1b" not in shown
    lab.ok("workers", "retry", "--match", "%s")
    assert lab.ok("workers", "jobs").err == "No jobs.\n"
    rows = lab.server.sql("SELECT schema_name, table_name FROM mapadmin.cleared_job")
    assert rows == ((schema, "__%d"),)


def test_progress_by_the_pipelines_own_datajoint(lab: Lab, pipeline: MakePipeline) -> None:
    one = pipeline()
    one.make(*SESSIONS, populate=True)
    with_python(lab, one)
    tables = lab.server.sql("SELECT table_schema, table_name FROM information_schema.tables")
    shown = lab.ok("workers", "progress").out
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["map_lab.SpikeReport", "0", "1", "0", "%"], ["map_lab.Spikes", "1", "4", "25", "%"],
    ]  # fmt: skip
    assert tables == lab.server.sql(
        "SELECT table_schema, table_name FROM information_schema.tables"
    )
    assert lab.run("workers", "progress", "Nope").code == 2


@ON_MARIADB
@pytest.mark.parametrize("generation", [12, 13])
def test_progress_by_older_datajoints(lab: Lab, pipeline: MakePipeline, generation: int) -> None:
    """With and without the pipeline's modules; nothing is made or filled."""
    one = pipeline(generation)
    one.make(*SESSIONS, populate=True)
    (one.folder / "own_pipeline.py").write_text(_MODULE.format(schema="map_lab", int="int"))
    with_python(lab, one)
    tables = lab.server.sql("SELECT table_schema, table_name FROM information_schema.tables")
    for modules, total in (([], 4), (["own_pipeline"], 2)):  # of the even sessions
        path = lab.folder / "mapadmin.toml"
        path.write_text(path.read_text().partition("modules")[0] + f"modules = {modules}\n")
        ran = lab.run("workers", "progress", "Spikes", "--json")
        assert [(row["done"], row["total"]) for row in ran.json] == [(1, total)], ran.err
    assert tables == lab.server.sql(
        "SELECT table_schema, table_name FROM information_schema.tables"
    )


def test_progress_with_the_pipelines_modules(mysql_lab: Lab, mysql_pipeline: MakePipeline) -> None:
    """Their own key_source counts; importing them makes and fills no table."""
    for generation in (0, 2):
        mysql_lab.server.wipe()
        one = mysql_pipeline(generation, f"map_lab{generation}")
        one.make(*SESSIONS, populate=True)
        text = _MODULE.format(schema=one.schema, int="int32" if generation else "int")
        (one.folder / "own_pipeline.py").write_text(text)
        with_python(mysql_lab, one)
        path = mysql_lab.folder / "mapadmin.toml"
        path.write_text(path.read_text() + "modules = ['own_pipeline']\n")
        before = mysql_lab.server.sql("SELECT table_name FROM information_schema.tables")
        ran = mysql_lab.run("workers", "progress", "--json")
        rows = {row["name"]: row for row in ran.json}
        spikes = rows[f"map_lab{generation}.Spikes"]
        assert (spikes["done"], spikes["total"]) == (1, 2), ran.err  # of the even sessions
        assert before == mysql_lab.server.sql("SELECT table_name FROM information_schema.tables")
        assert "is not declared" in ran.err or "Later" in ran.err


_MODULE = """
import datajoint as dj
schema = dj.Schema("{schema}")

@schema
class Session(dj.Manual):
    definition = '''
    session : {int}
    ---
    seconds : float
    trouble : varchar(255)
    '''

@schema
class Kind(dj.Lookup):
    definition = '''
    kind : varchar(8)
    '''
    contents = [("a",), ("b",)]

@schema
class Spikes(dj.Computed):
    definition = '''
    -> Session
    ---
    made_by : varchar(255)
    '''
    key_source = Session & "session <= 2"

@schema
class Later(dj.Computed):
    definition = '''
    -> Spikes
    '''
"""


@ON_MARIADB
def test_progress_without_a_python(lab: Lab) -> None:
    ran = lab.run("workers", "progress")
    assert (ran.code, "names no Python" in ran.err, "[pipeline]" in ran.err) == (3, True, True)
