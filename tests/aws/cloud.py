"""The sandbox's AWS as a server of the tests, and a site on it with the installed command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapadmin.aws.calls import ALL, On
from mapadmin.sandbox.aws.seed import ACCOUNT, BUCKETS, DATABASE, INSTANCE, REGION, Clients
from tests.lab import Ran
from tests.zygote import run_mapadmin

ROOT = Path(__file__).parents[2]


def recording(file: Path) -> dict[str, str]:
    """The environment of a mapadmin that writes down in `file` what it asks AWS for."""
    recorder = Path(__file__).parent / "recorder"
    return {"PYTHONPATH": str(recorder), "MAPADMIN_TEST_CALLS": str(file)}


def assert_in_policy(file: Path, *on: On) -> None:
    """Every call that was written down is in the table that `aws policy` is made from.

    With `on`: as a call on one of these.
    """
    made = set(file.read_text().split("\n")) - {""}
    assert made, "no call was recorded"
    known = [call for call in ALL if not on or set(call.on) & set(on)]
    assert made <= {f"{call.service} {call.operation}" for call in known}


@dataclass
class Cloud:
    """An emulator that runs, and what goes wrong in it."""

    port: int
    calls_file: Path

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _ask(self, path: str, data: object = None) -> bytes:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.endpoint + path, body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    @contextmanager
    def faults(self, *faults: dict[str, Any]) -> Iterator[None]:
        """For the body: `operation` (or `*`), `status`, `code` or `body`; `times`, `delay` (s)."""
        self._ask("/_faults", faults)
        try:
            yield
        finally:
            self._ask("/_faults", [])

    def calls(self) -> list[str]:
        """The operations that were asked for since the last change of faults."""
        found: list[str] = json.loads(self._ask("/_calls"))
        return found

    @property
    def clients(self) -> Clients:
        """botocore's own clients: somebody else at work."""
        return Clients(self.endpoint, "somebody")


@contextmanager
def running_cloud(folder: Path, *options: str) -> Iterator[Cloud]:
    """The emulator, filled and answering; ended at the end.

    What any test has made mapadmin ask of it must then be in the table of calls.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.aws.faulty", "--port=0",
             f"--folder={folder}", *options],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (folder / "emulator.json").is_file():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ready = json.loads((folder / "emulator.json").read_text())
        cloud = Cloud(int(ready["port"]), folder / "calls")
        cloud.clients.sts.get_caller_identity()
        yield cloud
        if cloud.calls_file.exists():  # the benchmarks write nothing down
            assert_in_policy(cloud.calls_file)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@dataclass
class AwsLab:
    """A site folder whose AWS is the emulator; `database` is the text of a [database] section."""

    folder: Path
    cloud: Cloud
    database: str = ""
    settings: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        keys = self.folder / "keys"
        keys.write_text("[default]\naws_access_key_id = k\naws_secret_access_key = s\n")
        self.write_site()

    def write_site(self, thresholds: str = "", **changes: object) -> None:
        """(Re)write mapadmin.toml; `changes` are keys of [aws]; None leaves one out."""
        self.settings.update(changes)
        settings: dict[str, object] = {
            "account": ACCOUNT, "region": REGION, "database": DATABASE, "instance": INSTANCE,
            "credentials": "keys", "endpoint": self.cloud.endpoint, "serves": ["the Web GUI"],
            "reboot_seconds": 1,
            **self.settings,
        }  # fmt: skip
        lines = [f"{k} = {json.dumps(v)}" for k, v in settings.items() if v is not None]
        buckets = ", ".join(f'{k} = "{v}"' for k, v in BUCKETS.items())
        path = self.folder / "mapadmin.toml"
        path.write_text(
            '[site]\nname = "lab"\nstate = "state"\n\n[aws]\n' + "\n".join(lines)
            + f"\nbuckets = {{ {buckets} }}\nlimits = {{ archive = 5000000 }}\n"
            + (f"[aws.thresholds]\n{thresholds}\n" if thresholds else "") + self.database
        )  # fmt: skip
        path.chmod(0o644)

    def environment(self, **more: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        return {
            **clean, "MAPADMIN_SITE": str(self.folder), "PYTHONWARNINGS": "error", "COLUMNS": "80",
            "HOME": str(self.folder), **recording(self.cloud.calls_file),
            "AWS_EC2_METADATA_DISABLED": "true", **more,
        }  # fmt: skip

    def run(self, *args: str, **environment: str) -> Ran:
        """Run `mapadmin ARGS…` to its end."""
        done = run_mapadmin(*args, env=self.environment(**environment))
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def ok(self, *args: str) -> Ran:
        """Run a command that must succeed."""
        ran = self.run(*args)
        assert ran.code == 0, f"{args}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def checks(self, code: int = 0, *args: str) -> dict[str, tuple[str, str]]:
        """What `aws status` says: name -> state, detail."""
        ran = self.run("aws", *args, "status", "--json")
        assert ran.code == code, ran.out + ran.err
        return {row["name"]: (row["state"], row["detail"]) for row in ran.json}
