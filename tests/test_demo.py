"""tools/demo, as `make demo` runs it: with nobody to answer, and in a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mapadmin.sandbox.sandbox import Sandbox
from tests.lab import Ran

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

PROMISED = (
    "$ mapadmin sandbox up ",
    "$ mapadmin db users",
    "$ mapadmin db add-user erin --role experimenter",
    "$ mapadmin db add-user frank --role reader",
    "$ mapadmin db show-user erin",
    "$ mapadmin db show-user frank",
    "units that frank can read: 96",
    "refused: DELETE command denied to user 'frank'",
    "GRANT DROP ON `map\\_%`.* TO 'frank'@'%';",
    "$ mapadmin db audit",
    "# Its exit code is 5.",
    "$ mapadmin db apply",
    "No drift, no findings.",
    "$ mapadmin db remove-user erin",
    "$ mapadmin globus check",
    "$ mapadmin journal",
    "# That was the tour. The sandbox is still up; go on with:",
)


@dataclass
class Demo:
    """The demo with a state folder of the test's own."""

    state: Path

    @property
    def folder(self) -> Path:
        return self.state / "mapadmin" / "demo"

    def run(self, *args: str, **environment: str) -> Ran:
        return self.command(str(ROOT / "tools" / "demo"), *args, **environment)

    def command(self, *argv: str, **environment: str) -> Ran:
        with self.start(*argv, **environment) as process:
            output, _ = process.communicate(timeout=250)
        return Ran(process.returncode, output, "")

    def start(self, *argv: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=self.state,
            env={
                **os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "XDG_STATE_HOME": str(self.state), "DJ_HOST": "elsewhere.invalid",
                "MAPADMIN_SITE": "/nowhere", **environment,
            },
        )  # fmt: skip


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """Its sandbox is gone at the end."""
    new = Demo(tmp_path)
    yield new
    Sandbox(new.folder).down(delete=True)


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_the_tour(demo: Demo, flavour: str) -> None:
    kill_in_the_middle(demo, flavour)
    ran = demo.run(flavour)
    assert ran.code == 0, ran.out
    position = 0
    for promised in PROMISED:
        assert promised in ran.out[position:], promised
        position = ran.out.index(promised, position)
    assert_readable(ran.out)
    assert_no_secret(demo, ran.out)

    # It is up, as it says; and what it says at the end can be typed, as it stands.
    assert Sandbox(demo.folder).status().up
    farewell = ran.out[ran.out.index("# That was the tour.") :]
    typed = demo.command("bash", "-e", "-c", farewell)
    assert typed.code == 0, typed.out
    assert "all its files are deleted" in typed.out
    assert not demo.folder.exists()


def kill_in_the_middle(demo: Demo, flavour: str) -> None:
    """A tour that came to no end; the next one starts afresh."""
    with demo.start(str(ROOT / "tools" / "demo"), flavour) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "$ mapadmin db add-user frank" in line:
                process.kill()
                return
    pytest.fail("the tour ended before Frank was added")


def assert_readable(text: str) -> None:
    """At 80 columns, and without what only a terminal understands."""
    for line in text.splitlines():
        assert line.isprintable(), line
        # Only a path, which cannot be folded, may be longer.
        assert len(line) <= 80 or "/" in max(line.split(), key=len), line
    assert "\n\n\n" not in text


def assert_no_secret(demo: Demo, text: str) -> None:
    database = demo.folder / "database"
    secrets = [
        (database / "root-password").read_text().strip(),
        (demo.folder / "site" / "secrets" / "database-password").read_text().strip(),
        (demo.folder / "erin.password").read_text().split()[-1],
        json.loads((demo.folder / "frank" / "dj_local_conf.json").read_text())["database.password"],
    ]
    for secret in secrets:
        assert len(secret) > 10
        assert secret not in text


def test_it_stops_where_a_command_does_not_do_what_it_should(demo: Demo) -> None:
    nothing = {"MAPADMIN_CACHE": "/nowhere", "MAPADMIN_MYSQL_DIR": ""}
    ran = demo.run("mysql", **nothing)
    assert ran.code == 1
    assert "No MySQL server was found" in ran.out
    assert ran.out.endswith("demo: the last command ended with 1, and 0 was to be expected.\n")


def test_other_words_are_refused(demo: Demo) -> None:
    ran = demo.run("postgres")
    assert (ran.code, ran.out) == (2, "usage: tools/demo [mysql|mariadb]\n")
