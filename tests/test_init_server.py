"""`mapadmin init --from-server`: a site that runs already, and the commands that come next."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mapadmin.core import templates
from mapadmin.core.errors import ExitCode
from mapadmin.site import load_site
from mapadmin.site_text import starter_roles
from tests.lab import Lab, Ran
from tests.servers import RunningServer
from tests.zygote import run_mapadmin


@dataclass
class Shell:
    """A person in a folder, with nothing set up."""

    folder: Path
    password: str = ""

    def run(self, *args: str) -> Ran:
        done = run_mapadmin(
            *args,
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder / "home"),
                "PYTHONWARNINGS": "error",
                "LAB_PASSWORD": self.password,
            },
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *args: str) -> Ran:
        ran = self.run(*args)
        assert ran.code == 0, (args, ran)
        return ran


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "here"
    (folder / "home").mkdir(parents=True)
    return Shell(folder)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def lab(server: RunningServer, master: tuple[str, str], tmp_path: Path) -> Iterator[Lab]:
    server.wipe()
    yield Lab(tmp_path / "unused", server, *master)


def connected(lab: Lab) -> tuple[str, ...]:
    return (
        "--host", lab.server.host, "--port", str(lab.server.port), "--user", lab.user,
        "--ca", str(lab.server.ca), "--password-ref", "env:LAB_PASSWORD",
        "--project-prefix", "map",
    )  # fmt: skip


def populate(lab: Lab) -> None:
    statements = ["CREATE DATABASE map_lab"]
    for name in ("ann", "bob"):
        statements += [
            f"CREATE USER {name}@'%' IDENTIFIED BY 'Pw-12345678'",
            rf"GRANT SELECT, CREATE ON `{name}\_%`.* TO {name}@'%'",
            rf"GRANT SELECT ON `map\_%`.* TO {name}@'%'",
        ]
    lab.server.sql(*statements, "CREATE USER odd@'%'", "GRANT PROXY ON ann@'%' TO odd@'%'")


def test_a_running_site(lab: Lab, shell: Shell) -> None:
    populate(lab)
    shell.password = lab.password
    before = lab.server.sql("SELECT * FROM mysql.user"), lab.server.sql("SHOW DATABASES")
    ran = shell.ok("init", "lab", "--from-server", *connected(lab))
    assert (lab.server.sql("SELECT * FROM mysql.user"), lab.server.sql("SHOW DATABASES")) == before
    assert "odd@% is left alone: it may act as ann@%" in ran.err
    site = load_site(shell.folder / "lab")
    assert site.settings.roles == {"reader": {"map_*": ["SELECT"]}}
    assert set(site.everyone()) == {"ann", "bob"}
    assert (shell.folder / "lab" / "people.toml").read_text().startswith("# Who may use")
    # And the rest of mapadmin works there.
    at = ("--site", str(shell.folder / "lab"))
    assert shell.run(*at, "db", "audit").code == int(ExitCode.DRIFT)
    assert "ann" in shell.ok(*at, "db", "users").out
    taken = shell.ok(*at, "db", "import", "--json").json["steps"]
    assert {step["action"] for step in taken} == {"create schema", "record"}
    assert "Nothing to do." in shell.ok(*at, "db", "apply").err


def test_an_empty_server_still_gets_roles(lab: Lab, shell: Shell) -> None:
    shell.password = lab.password
    shell.ok("init", "lab", "--from-server", *connected(lab))
    assert load_site(shell.folder / "lab").settings.roles == starter_roles("map")


def test_a_server_that_refuses(lab: Lab, shell: Shell) -> None:
    shell.password = "wrong"
    ran = shell.run("init", "lab", "--from-server", *connected(lab))
    assert ran.code == int(ExitCode.SETTINGS)
    assert tree(shell.folder) == {"home"}


def test_people_who_are_written_down_already(lab: Lab, shell: Shell) -> None:
    (shell.folder / "lab").mkdir(mode=0o755)
    (shell.folder / "lab" / "people.toml").write_text("# mine\n")
    refused = shell.run("init", "lab", "--from-server", *connected(lab))
    assert refused.code == int(ExitCode.USAGE)
    assert "people.toml exists already" in refused.err


# --- templates ---------------------------------------------------------------------------------


def test_a_template_says_what_it_misses() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="'role' is undefined"):
        templates.render("site/people.toml", name="x")


def test_templates_stand_beside_the_package() -> None:
    assert (templates.folder() / "site" / "mapadmin.toml").is_file()
