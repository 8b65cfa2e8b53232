"""What the site file says of workers: what is refused, rendered, and counts as a change."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mapadmin.core.errors import SettingsError
from mapadmin.images.image import Image
from mapadmin.site import Site, load_site
from mapadmin.workers.beats import Beat, Job
from mapadmin.workers.engine import Life, Place, Worker
from mapadmin.workers.generation import Definition, Generation, define, load
from mapadmin.workers.status import DatabaseView, ReservedJob, join, judge
from tests.pipeline.environments import python_of

COLLECTED = time.time()
_SITE = """
[site]
name = "lab_2"
state = "state"
[database]
host = "db.example.org"
password = "env:X"
project_prefix = "map"
tls = "verify"
ca = "ca.pem"
[workers]
account = "worker"
password = "env:WORKER_PASSWORD"
user = "{user}"
{more}
[workers.kinds.compute]
command = ["scripts/mapshell.py", "automate-computation"]
{kind}
"""
IMAGE = Image("pipeline:1", "sha256:" + "1" * 64, "c" * 40, "/main")
ME = f"{os.geteuid()}:{os.getegid()}"


def site(folder: Path, more: str = 'image = "pipeline:1"', kind: str = "", user: str = ME) -> Site:
    folder.mkdir(exist_ok=True)
    (folder / "ca.pem").write_text("certificates\n")
    path = folder / "mapadmin.toml"
    path.write_text(_SITE.format(user=user, more=more, kind=kind))
    path.chmod(0o600)
    return load_site(folder)


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_PASSWORD", "s3cret")


@pytest.mark.parametrize(
    ("more", "kind", "says"),
    [
        ("", "", "image or [workers.build] must be given"),
        ('image = "a"\nbuild = { repository = "b" }', "", "and not both"),
        ('build = { repository = "" }', "", "workers.build.repository must not be empty"),
        ('build = { repository = "r", ref = "--x" }', "", "must be a branch, tag or commit"),
        ('build = { repository = "r", dockerfile = "../D" }', "", "inside the repository"),
        ('image = "a"\nengine = "ecs"', "", "must be one of: compose, swarm"),
        ('image = "a"\ndirectory = "main"', "", "must be an absolute path"),
        ('image = "a"\nstart_timeout = 0', "", "must be 1 to 3600 seconds"),
        ('image = "a"\nenvironment = { DJ_PASS = "x" }', "", "must not have DJ_PASS"),
        ('image = "a"\nenvironment = { "A B" = "x" }', "", "is no variable's name"),
        ('image = "a"\nvolumes = ["data:/data"]', "count = -1", "count must be 0 or more"),
        ('image = "a"\nvolumes = ["./data:/data"]', "", "must be like /data:/data"),
        ('image = "a"\nvolumes = ["/data"]', "", "must be like /data:/data"),
        ('image = "a"', 'memory = "lots"', 'must be like "8g"'),
        ('image = "a"', "cpus = -1.0", "cpus must be 0 or more"),
        ('image = "a"', 'volumes = ["/a:/b:rx"]', "must be like /data:/data"),
        ('image = "a"\n[workers.kinds.Compute]\ncommand = ["a"]', "", "lower-case letters"),
        ('image = "a"\n[workers.kinds.a]\ncommand = []', "", "must be a script"),
        ('image = "a"\n[workers.kinds.a]\ncommand = ["-c", "x"]', "", "begin with a script"),
    ],
)
def test_what_is_refused(tmp_path: Path, more: str, kind: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        site(tmp_path / "site", more, kind)
    assert says in str(caught.value)


def test_a_password_is_a_reference(tmp_path: Path) -> None:
    site(tmp_path / "site")
    path = tmp_path / "site" / "mapadmin.toml"
    path.write_text(path.read_text().replace("env:WORKER_PASSWORD", "hunter2"))
    with pytest.raises(SettingsError) as caught:
        load_site(tmp_path / "site")
    assert "must be a reference to a secret" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def rendered(one: Site, number: int = 3) -> tuple[Definition, Generation, Path]:
    definition = define(one, IMAGE)
    generation = Generation(number, definition)
    generation.render([Place("compute", 1), Place("compute", 2)])
    return definition, generation, generation.folder


def test_what_is_rendered(tmp_path: Path) -> None:
    hostile = "a'b\"c$HOME${X}\\n: #{{ 7 }}"
    more = f'image = "pipeline:1"\nenvironment = {{ ODD = {json.dumps(hostile)} }}'
    definition, generation, folder = rendered(site(tmp_path / "site", more, 'memory = "8g"'))
    text = (folder / "compose.yaml").read_text()
    assert text.count('hostname: "lab-2-g3-compute-') == 2
    assert json.dumps(hostile).replace("$", "$$") in text
    for line in (
        "stop_signal: SIGUSR1",
        "init: false",
        "restart: unless-stopped",
        'mem_limit: "8g"',
    ):
        assert line in text
    assert "create_host_path: false" in text
    old = json.loads((folder / "dj_local_conf.json").read_text())
    new = json.loads((folder / "datajoint.json").read_text())
    assert old["database.host"] == new["database"]["host"] == "db.example.org"
    assert old["database.use_tls"] == {"ca": "/mapadmin/ca.pem"}
    assert new["database"]["use_tls"] is True
    secret = folder / "secret.json"
    assert json.loads(secret.read_text()) == {"user": "worker", "password": "s3cret"}
    assert secret.stat().st_mode & 0o777 == 0o600
    others = [path for path in folder.iterdir() if path.is_file() and path != secret]
    assert len(others) == 7
    assert not any("s3cret" in path.read_text() for path in others)
    assert "s3cret" not in repr(definition)
    assert load(Path(definition.home), 3) == definition
    assert len(generation.host(Place("c" * 16, 999))) <= 63


def test_what_counts_as_a_change(tmp_path: Path) -> None:
    """Not how many there are, nor the password, nor which generation it is."""
    before = define(site(tmp_path / "site"), IMAGE)
    assert define(site(tmp_path / "site", kind="count = 9"), IMAGE).config == before.config
    assert msgspec.structs.replace(before, secret="other").config == before.config
    others = [
        msgspec.structs.replace(before, runner="new"),
        msgspec.structs.replace(before, image=msgspec.structs.replace(IMAGE, id="sha256:2")),
        define(site(tmp_path / "site", kind='memory = "8g"'), IMAGE),
        define(site(tmp_path / "site", more='image = "a"\nvolumes = ["/a:/b"]'), IMAGE),
    ]
    assert len({before.config, *(one.config for one in others)}) == 5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"database.password": "x"}', "holds a secret, 'database.password'"),
        ('{"stores": {"a": {"secret_key": "x"}}}', "holds a secret, 'secret_key'"),
        ('{"database": {"password": "x"}}', "holds a secret"),
    ],
)
def test_datajoint_settings_that_are_refused(tmp_path: Path, content: str, says: str) -> None:
    one = site(tmp_path / "site", 'image = "a"\ndatajoint = "dj.json"')
    with pytest.raises(SettingsError, match="cannot read"):
        define(one, IMAGE)
    (tmp_path / "site" / "dj.json").write_text(content)
    with pytest.raises(SettingsError) as caught:
        define(one, IMAGE)
    assert says in str(caught.value)


def test_datajoint_settings_are_merged(tmp_path: Path) -> None:
    one = site(tmp_path / "site", 'image = "a"\ndatajoint = "dj.json"')
    extra = {"database": {"host": "inside"}, "stores": {"report": {"protocol": "file"}}}
    (tmp_path / "site" / "dj.json").write_text(json.dumps(extra))
    found = {name: json.loads(text) for name, text in define(one, IMAGE).configs.items()}
    assert found["dj_local_conf.json"]["database.host"] == "inside"
    assert found["datajoint.json"]["database"]["host"] == "inside"
    assert all(one["stores"] == extra["stores"] for one in found.values())


@pytest.mark.parametrize("generation", [12, 0, 2], ids=["0.12", "0.14", "2.x"])
def test_datajoint_has_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: int
) -> None:
    """What is rendered, read by each DataJoint under the runner, with a store's keys."""
    monkeypatch.setenv("ACCESS", "AKIA1")
    monkeypatch.setenv("SECRET", "k3y")
    keys = 'access_key = "env:ACCESS"\nsecret_key = "env:SECRET"'
    store = '[stores.{}]\nprotocol = "s3"\nbucket = "b"\n' + keys + "\n"
    kinds = "count = 1\n" + store.format("report") + store.format("unknown")
    one = site(tmp_path / "site", 'image = "a"\ndatajoint = "dj.json"', kinds)
    report = {"protocol": "s3", "bucket": "b", "endpoint": "s3.example.org", "location": "x"}
    (tmp_path / "site" / "dj.json").write_text(json.dumps({"stores": {"report": report}}))
    folder = rendered(one)[2]
    script = folder / "look.py"
    script.write_text(
        "import sys, json, os\nsys.modules['matplotlib'] = None\nimport datajoint as dj\n"
        "print(json.dumps([dj.config['database.host'], os.environ['DJ_PASS'],"
        " dict(dj.config['stores'])]))\n"
    )
    ran = subprocess.run(
        [python_of(generation), "-P", "-W", "ignore", "runner.py", "--secret", "secret.json",
         str(script)], cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    host, password, stores = json.loads(ran.stdout.splitlines()[-1])
    assert (host, password) == ("db.example.org", "s3cret")
    assert {name: value for name, value in stores.items() if isinstance(value, dict)} == {
        "report": {**report, "access_key": "AKIA1", "secret_key": "k3y"}
    }
    others = [path for path in folder.iterdir() if path.is_file() and path.name != "secret.json"]
    assert not any("k3y" in path.read_text() for path in others)


def worker(life: Life = Life.RUNNING, code: int | None = None) -> Worker:
    return Worker(id="1", place=Place("a", 1), generation=1, host="h", life=life, exit_code=code)


def beat(**more: Any) -> Beat:
    now = time.time()
    given = {"host": "h", "pid": 1, "started": now, "state": "idle", "since": now, "beat": now}
    return Beat(**{**given, **more})


@pytest.mark.parametrize(
    ("one", "said", "age", "hosts", "state", "problem"),
    [
        (worker(), beat(), 100.0, {"h"}, "idle", ""),
        (worker(), beat(), 100.0, set(), "idle", "has no session on the database"),
        (worker(), beat(), 100.0, None, "idle", ""),
        (worker(), beat(state="starting"), 3.0, set(), "starting", ""),
        (worker(), beat(draining=True, jobs=[Job("s", "t")]), 9.0, {"h"}, "draining", ""),
        (worker(), beat(beat=time.time() - 70), 99.0, {"h"}, "hung", "last heartbeat 1 min"),
        (worker(), None, 3.0, set(), "starting", ""),
        (worker(), None, 300.0, set(), "hung", "has written no heartbeat"),
        (worker(Life.RESTARTING, 4), None, 3.0, None, "restarting", "with exit code 4"),
        (worker(Life.ENDED, 0), beat(state="ended"), None, None, "stopped", ""),
        (worker(Life.ENDED, 137), beat(), None, None, "dead", "exit code 137"),
        (worker(Life.CREATED), None, None, None, "created", ""),
    ],
)
def test_what_a_worker_is(
    one: Worker, said: Beat | None, age: float | None, hosts: set[str] | None, state: str,
    problem: str,
) -> None:  # fmt: skip
    if said is not None:  # made when the tests were collected, which may be minutes ago
        said = msgspec.structs.replace(said, beat=said.beat + time.time() - COLLECTED)
    begun = None if age is None else time.time() - age
    found = judge(one, said, begun, 0, hosts)
    assert found.state == state
    assert problem in found.problem
    assert bool(problem) == bool(found.problem)


def test_reserved_jobs_of_nobody_are_not_well() -> None:
    jobs = [
        ReservedJob(table="s.T", host="h", pid=1, seconds=1.0, verdict="named"),
        ReservedJob(table="s.T", host="gone", pid=1, seconds=1.0, verdict="dead"),
    ]
    view = DatabaseView(hosts={"h"}, reserved=jobs, errors=2)
    status = join("lab", "compose", [worker()], {"1": beat()}, {}, view, {"a": 2})
    assert (status.healthy, status.orphans, status.reserved) == (False, [jobs[1]], 2)
    assert jobs[0].worker == "g1/a-1"
    assert any("1 a, where the site file says 2" in note for note in status.notes)
    view.reserved.pop()
    assert join("lab", "compose", [worker()], {"1": beat()}, {}, view, {"a": 1}).healthy
    assert not join("lab", "compose", [], {}, {}, view, {"a": 1}).healthy
    assert join("lab", "compose", [], {}, {}, view, {"a": 0}).healthy
