"""A site of the tests' own: a folder, a real server behind it, and the installed command."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.zygote import MAPADMIN, run_mapadmin

if TYPE_CHECKING:
    from pymysql.connections import Connection

    from tests.servers import RunningServer


ROLES = """
[roles.reader]
"map_*" = ["SELECT", "REFERENCES"]
[roles.experimenter]
"map_*" = ["SELECT", "REFERENCES", "INSERT", "UPDATE", "DELETE"]
[roles.worker]
"map_*" = ["ALL"]
"""


@dataclass(frozen=True)
class Ran:
    """What a run of the command gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Lab:
    """A site folder whose database is a test server; `run` is what a person would type."""

    folder: Path
    server: RunningServer
    user: str
    password: str
    database: dict[str, object] = field(default_factory=dict)
    roles: str = ROLES

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.write_site()

    def write_site(self, **changes: object) -> None:
        """(Re)write mapadmin.toml; `changes` are keys of [database]."""
        self.database.update(changes)
        settings: dict[str, object] = {
            "host": self.server.host,
            "port": self.server.port,
            "user": self.user,
            "password": "env:LAB_PASSWORD",
            "ca": str(self.server.ca),
            "project_prefix": "map",
            **self.database,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        text = '[site]\nname = "lab"\nstate = "state"\n\n[database]\n' + "\n".join(lines) + "\n"
        self._write("mapadmin.toml", text + self.roles)

    def write_people(self, text: str) -> None:
        self._write("people.toml", text)

    def people(self) -> str:
        return (self.folder / "people.toml").read_text()

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)

    @property
    def environment(self) -> dict[str, str]:
        inherited = dict(os.environ)
        # With it, what is printed is out at once; without it, as for most people, it is not.
        inherited.pop("PYTHONUNBUFFERED", None)
        return {
            **inherited,
            "MAPADMIN_SITE": str(self.folder),
            "LAB_PASSWORD": self.password,
            "PYTHONWARNINGS": "error",
            "COLUMNS": "80",
        }

    def run(self, *args: str, stdin: str = "", **environment: str) -> Ran:
        """Run `mapadmin ARGS…` to its end."""
        done = run_mapadmin(*args, env={**self.environment, **environment}, stdin=stdin)
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *args: str, stdin: str = "") -> Ran:
        """Run a command that must succeed."""
        ran = self.run(*args, stdin=stdin)
        assert ran.code == 0, f"{args}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command without waiting for it."""
        return subprocess.Popen(
            [MAPADMIN, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def login(self, user: str, password: str, database: str | None = None) -> Connection[Any]:
        """A connection of a person, over verified TLS."""
        return self.server.connect(user, password, database)

    def password_of(self, ran: Ran) -> str:
        """The password that a run has shown."""
        (line,) = [line for line in ran.out.splitlines() if line.startswith("Password of")]
        return line.rpartition(" ")[2]
