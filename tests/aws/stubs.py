"""The listing stub as a process of the tests' own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.aws.stub_s3 import SHAPES, class_of, size_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Store:
    """A stub that runs, and what is in it."""

    port: int
    keys: list[str]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> tuple[int, int]:
        """Requests so far, and how many at once at most."""
        with urllib.request.urlopen(f"{self.endpoint}/_counts", timeout=30) as answer:
            pages, most = json.loads(answer.read())
        return pages, most

    def truth(self, prefix: str = "", depth: int = 0) -> dict[tuple[str, str], tuple[int, int]]:
        """(folder, class) -> objects and bytes, counted here from the keys themselves."""
        found: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
        for key in self.keys:
            if key.startswith(prefix):
                folders = key.removeprefix(prefix).split("/")[:-1][:depth]
                name = (prefix + "".join(f + "/" for f in folders), class_of(key))
                number, size = found[name]
                found[name] = (number + 1, size + size_of(key))
        return dict(found)


@contextmanager
def running_store(**config: Any) -> Iterator[Store]:
    """A store with this configuration (see `stub_s3.Config`), ended at the end."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "port")
        path = Path(folder, "config.json")
        path.write_text(json.dumps({"ready": str(ready), **config}))
        process = subprocess.Popen([sys.executable, "-m", "tests.aws.stub_s3", path], cwd=ROOT)
        try:
            deadline = time.monotonic() + 60
            while not ready.is_file():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            shape, count = config.get("shape", "balanced"), config.get("count", 1000)
            yield Store(int(ready.read_text()), sorted(set(SHAPES[shape](count))))
        finally:
            process.terminate()
            process.wait(30)
