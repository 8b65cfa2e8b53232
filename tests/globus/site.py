"""A site whose Globus is an emulator, and the installed command on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.globus.emulator import ARCHIVE, CRON, MAPPED, RIG, SECRET, Emulator
from tests.lab import Ran
from tests.zygote import run_mapadmin


@dataclass
class GlobusLab:
    """`run` is what a person would type. `database` is the text of that section, if any."""

    folder: Path
    emulator: Emulator
    database: str = ""
    password: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.write_site()

    def write_site(self, more: str = "", *, client: str = CRON, by_secret: bool = True) -> None:
        """(Re)write mapadmin.toml; `more` stands at its end, behind [globus.collections.*]."""
        secret = 'client_secret = "env:GLOBUS_SECRET"\n' if by_secret else ""
        text = f"""
[site]
name = "lab"
state = "state"
{self.database}
[globus]
client_id = "{client}"
{secret}service_url = "{self.emulator.url}"
requests_per_second = 0
[globus.collections.archive]
id = "{ARCHIVE}"
[globus.collections.rig]
id = "{RIG}"
path = "/data"
[globus.collections.campus]
id = "{MAPPED}"
{more}
"""
        self.write("mapadmin.toml", text)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ, "MAPADMIN_SITE": str(self.folder), "GLOBUS_SECRET": SECRET,
            "LAB_PASSWORD": self.password, "PYTHONWARNINGS": "error", "COLUMNS": "80",
        }  # fmt: skip

    def run(self, *args: str, stdin: str = "", **environment: str) -> Ran:
        """Run `mapadmin globus ARGS…` to its end."""
        done = run_mapadmin(
            "globus", *args, stdin=stdin, env={**self.environment, **environment}, cwd=self.folder
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *args: str, stdin: str = "") -> Ran:
        """Run a command that must succeed."""
        ran = self.run(*args, stdin=stdin)
        assert ran.code == 0, f"{args}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran
