"""A site with external stores on a real server, filled by the real DataJoint 0.14."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import ROLES, Lab
from tests.servers import RunningServer

PROGRAM = str(Path(__file__).with_name("program.py"))
DAY = 86_400.0
SECRET = "not-a-real-key"


class Program:
    """The figure program, which has imported DataJoint once and for all."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", PROGRAM],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip

    def ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@dataclass
class FigureLab:
    """A Lab with one store (or more), and DataJoint beside it as another person's program."""

    lab: Lab
    program: Program
    folder: Path
    s3: S3 | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    more_stores: dict[str, str] = field(default_factory=dict)  # name -> location

    def __post_init__(self) -> None:
        self.stage.mkdir(parents=True, exist_ok=True)
        if self.s3 is None:
            self.store.mkdir(exist_ok=True)
        self.write_site()

    @property
    def server(self) -> RunningServer:
        return self.lab.server

    @property
    def stage(self) -> Path:
        return self.folder / "stage"

    @property
    def store(self) -> Path:
        """The store's location, of one in a folder."""
        return self.folder / "store"

    @property
    def trash(self) -> Path:
        return self.store / ".mapadmin-trash"

    def locations(self) -> dict[str, str]:
        first = "reports/v2" if self.s3 else str(self.store)
        return {"report_store": first, **self.more_stores}

    def write_site(self, **settings: Any) -> None:
        """(Re)write the site file; `settings` are keys of [stores.*]."""
        self.settings.update(settings)
        # Another test on this machine may run what looks like the worker of old.
        lines = [ROLES, '[cleanup]\nlegacy_command = ""']
        for name, location in self.locations().items():
            values = {"location": location, "settle": 0.2, "max_share": 1.0, **self.settings}
            if self.s3:
                values |= {
                    "protocol": "s3", "bucket": self.s3.bucket, "endpoint": self.s3.endpoint,
                    "secure": False, "access_key": "env:LAB_S3_KEY",
                    "secret_key": "env:LAB_S3_KEY", **self.settings,
                }  # fmt: skip
            else:
                values["protocol"] = "file"
            lines.append(f"[stores.{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        self.lab.roles = "\n".join(lines) + "\n"
        os.environ["LAB_S3_KEY"] = SECRET
        self.lab.write_site()

    # --- DataJoint ------------------------------------------------------------------------------

    @property
    def whereabouts(self) -> dict[str, Any]:
        """Where everything is, for the figure program."""
        specs: dict[str, dict[str, Any]] = {}
        for name, location in self.locations().items():
            spec: dict[str, Any] = {"protocol": "file", "location": location}
            if self.s3:
                spec = {
                    "protocol": "s3", "location": location, "bucket": self.s3.bucket,
                    "endpoint": self.s3.endpoint, "secure": False,
                    "access_key": SECRET, "secret_key": SECRET,
                }  # fmt: skip
            specs[name] = {**spec, "stage": str(self.stage)}
        return {
            "host": self.server.host, "port": self.server.port, "user": "root",
            "password": self.server.root_password, "ca": str(self.server.ca),
            "stage": str(self.stage), "stores": specs,
        }  # fmt: skip

    def datajoint(self, **request: Any) -> Any:
        """Have the figure program do something; what it printed, if anything."""
        answer = self.program.ask({**request, "lab": self.whereabouts})
        assert answer["code"] == 0, answer["out"]
        return json.loads(answer["out"]) if answer["out"] else None

    def start(self, out: Path, **request: Any) -> int:
        """Have the figure program do something on its own, printing into `out`; its process id."""
        return int(self.program.ask({**request, "lab": self.whereabouts, "out": str(out)})["pid"])

    def make(self, number: int, **request: Any) -> None:
        """Figures 0 to `number`, all of them old."""
        self.datajoint(do="make", first=0, last=number, **request)
        self.age()

    def delete(self, *numbers: int, **request: Any) -> None:
        """Delete rows of the user's tables; the tracking tables keep theirs."""
        self.datajoint(do="delete", numbers=numbers, **request)

    def check(self, **request: Any) -> int:
        """Read back every file that a row refers to; how many there are. None may be lost."""
        answer = self.datajoint(do="check", **request)
        assert answer["lost"] == [], answer["lost"][:5]
        return int(answer["read"])

    def age(self, days: float = 8.0) -> None:
        """Let rows and files be older by so many days."""
        for schema, table in self.server.sql(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_name LIKE '~external%'"
        ):
            self.server.sql(
                f"UPDATE `{schema}`.`{table}` SET timestamp = timestamp - INTERVAL "
                f"{int(days * 24)} HOUR"
            )
        if self.s3:
            self.s3.age(days)
            return
        for location in self.locations().values():
            for name in _below(Path(location)):
                path = Path(location, name)
                moment = path.lstat().st_mtime - days * DAY
                os.utime(path, (moment, moment), follow_symlinks=False)

    # --- what there is --------------------------------------------------------------------------

    def tracked(self, schema: str = "map_v2", store: str = "report_store") -> int:
        """Rows of a tracking table."""
        ((number,),) = self.server.sql(f"SELECT COUNT(*) FROM `{schema}`.`~external_{store}`")
        return int(str(number))

    def files(self) -> set[str]:
        """Keys of all files in the store, the trash left out."""
        if self.s3:
            found = {key.removeprefix("reports/v2/") for key in self.s3.list("reports/v2/")}
            return {key for key in found if not key.startswith(".mapadmin-trash/")}
        return _below(self.store) - {f".mapadmin-trash/{name}" for name in _below(self.trash)}

    def trashed(self) -> set[str]:
        """Keys of all files in the trash."""
        if self.s3:
            keys = self.s3.list("reports/v2/.mapadmin-trash/")
            return {key.partition("/files/")[2] for key in keys if "/files/" in key}
        names = _below(self.trash)
        return {name.partition("/files/")[2] for name in names if "/files/" in name}


def _below(folder: Path) -> set[str]:
    return {
        str(Path(here, name).relative_to(folder))
        for here, _, names in os.walk(folder)
        for name in names
    }


@dataclass
class S3:
    """moto's server, and a bucket in it."""

    endpoint: str
    bucket: str = "map-reports"

    @property
    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3", endpoint_url=f"http://{self.endpoint}", region_name="us-east-1",
            aws_access_key_id=SECRET, aws_secret_access_key=SECRET,
        )  # fmt: skip

    def list(self, prefix: str = "") -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix
        )
        return {each["Key"] for page in pages for each in page.get("Contents", ())}

    def age(self, days: float) -> None:
        """moto has no such thing: a file of S3 is as old as the grace is short in these tests."""
        time.sleep(2.1)


@contextmanager
def running_moto(folder: Path) -> Iterator[S3]:
    """moto as a server of its own, on a free loopback port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder / "moto.log").open("wb")
    with log, subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=log, stderr=log,
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None and time.monotonic() < deadline, "moto"
                time.sleep(0.1)
            s3 = S3(f"127.0.0.1:{port}")
            s3.client.create_bucket(Bucket=s3.bucket)
            yield s3
        finally:
            process.kill()
