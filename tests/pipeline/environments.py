"""The two DataJoints of the tests: 0.14 beside mapadmin, 2.x in an environment of its own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapadmin.sandbox.programs import cache_folder
from tests.servers import RunningServer

PROGRAM = Path(__file__).with_name("lab_pipeline.py")
VERSION_2 = "2.3.5"
_FOLDER = f"datajoint-{VERSION_2}"


def python_of(generation: int) -> str:
    """The Python that has DataJoint 0.14 or 2.x; the latter is installed into the cache once."""
    return sys.executable if generation == 0 else str(_install() / "bin" / "python")


def _install() -> Path:
    """Several test processes may want it at once, and one may be killed while it installs."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / _FOLDER
    with (cache / f"{_FOLDER}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run(
                [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet",
                 f"datajoint=={VERSION_2}", "pymysql[rsa]>=1.1"],
                check=True,
            )  # fmt: skip
            (folder / "complete").touch()
    return folder


@dataclass
class Pipeline:
    """One schema of a laboratory on a test server, in one generation of DataJoint (0 or 2)."""

    server: RunningServer
    folder: Path
    generation: int
    schema: str
    user: str
    password: str
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Nothing but the connection: DataJoint would read more from home and from here."""
        where = {
            "host": self.server.host, "port": self.server.port, "ca": str(self.server.ca),
            "user": self.user, "password": self.password,
        }  # fmt: skip
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "LAB_PIPELINE": json.dumps(where),
            "PYTHONDONTWRITEBYTECODE": "",
        }  # fmt: skip

    def command(self, do: str, **request: Any) -> list[str]:
        request = {"do": do, "schema": self.schema, **request}
        return [python_of(self.generation), "-P", str(PROGRAM), json.dumps(request)]

    @property
    def shell(self) -> list[str]:
        """What stands before a Python that is to find DataJoint's configuration by itself."""
        (self.folder / "dj_local_conf.json").write_text(
            json.dumps({"database.port": self.server.port, "loglevel": "ERROR"})
        )
        (self.folder / "datajoint.json").write_text(
            json.dumps({"database": {"port": self.server.port}})
        )
        variables = {
            "DJ_HOST": self.server.host, "DJ_USER": self.user, "DJ_PASS": self.password,
            "PATH": os.environ["PATH"], "HOME": str(self.folder),
        }  # fmt: skip
        return ["env", "-i", "-C", str(self.folder), *(f"{k}={v}" for k, v in variables.items())]

    def make(
        self, *sessions: tuple[int, float, str], populate: bool = False, reports: bool = False
    ) -> None:
        """Declare the tables, and fill in sessions: number, seconds of work, trouble."""
        done = subprocess.run(
            self.command("make", sessions=sessions, populate=populate, reports=reports),
            cwd=self.folder,
            env=self.environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def work(self, **request: Any) -> subprocess.Popen[str]:
        """A worker, which computes until it is killed."""
        worker = subprocess.Popen(
            self.command("work", **request), cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.running.append(worker)
        return worker

    def stop(self) -> None:
        """Kill what still works."""
        for worker in self.running:
            worker.kill()
        for worker in self.running:
            worker.communicate()
        self.running.clear()
