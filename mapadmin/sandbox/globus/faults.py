"""What goes wrong, on demand: control.json, read again whenever it changes.

latency         seconds before every answer of Transfer
rate            requests a second, over 10 s; what is above gets a 429 with Retry-After
token_seconds   how long tokens live that are given from now on (default: two days)
expired_before  tokens given before this Unix time are refused with 401
most            entries that one listing gives at most
total           "none": listings do not say how many there are; "wrong": one more than there are
failures        [{"match": regex over "METHOD path?query", "status": 503, "code": "…",
                  "message": "…", "times": 2, "skip": 1, "headers": {…}}]
tasks           [{"match": regex over the label and the paths, "then": "stall", "fail",
                  "inactive", "pause", "queue" or "slow"}]
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from mapadmin.sandbox.globus.answers import ApiError

WINDOW = 10.0  # seconds over which requests are counted
TOKEN_SECONDS = 172_800


class Faults:
    """The settings of the moment, and how often each failure was given."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._settings: dict[str, Any] = {}
        self._given: dict[int, int] = {}
        self._times: deque[float] = deque()

    def setting(self, name: str, default: Any) -> Any:
        """A value of control.json as it is now."""
        self._refresh()
        return self._settings.get(name, default)

    def meet(self, request: str) -> None:
        """Wait and refuse as the settings say. Raises ApiError."""
        latency = float(self.setting("latency", 0.0))
        if latency:
            time.sleep(latency)
        self._count(float(self.setting("rate", 0.0)))
        for index, failure in enumerate(self.setting("failures", [])):
            if re.search(failure["match"], request) and self._is_due(index, failure):
                raise ApiError(
                    int(failure.get("status", 503)),
                    str(failure.get("code", "ServiceUnavailable")),
                    str(failure.get("message", "This failure was asked for")),
                    **failure.get("more", {}),
                    headers={str(k): str(v) for k, v in failure.get("headers", {}).items()},
                )

    def of_task(self, texts: list[str]) -> str:
        """What is to become of a task with this label and these paths; empty: it just runs."""
        for rule in self.setting("tasks", []):
            if any(re.search(rule["match"], text) for text in texts):
                return str(rule["then"])
        return ""

    def _is_due(self, index: int, failure: dict[str, Any]) -> bool:
        with self._lock:
            given = self._given[index] = self._given.get(index, 0) + 1
        skip = int(failure.get("skip", 0))
        return skip < given <= skip + int(failure.get("times", 10**9))

    def _count(self, rate: float) -> None:
        if not rate:
            return
        now = time.monotonic()
        with self._lock:
            while self._times and self._times[0] < now - WINDOW:
                self._times.popleft()
            if len(self._times) >= rate * WINDOW:
                wait = max(1, round(self._times[0] + WINDOW - now + 0.5))
                raise ApiError(
                    429, "TooManyRequests", "Too many requests", headers={"Retry-After": str(wait)}
                )
            self._times.append(now)

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino)
        except FileNotFoundError:
            seen = (0, 0)
        with self._lock:
            if seen == self._seen:
                return
            try:
                settings = json.loads(self._path.read_bytes()) if seen != (0, 0) else {}
            except (OSError, ValueError):
                return  # being written: the next request reads it
            self._settings, self._given, self._seen = settings, {}, seen
