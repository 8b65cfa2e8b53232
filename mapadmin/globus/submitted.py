"""What was submitted from this machine: the same again, while it is under way, is the same task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from mapadmin.core.files import make_private_folder, write_atomic

MOST = 200  # documents that are remembered, the newest


class Submission(msgspec.Struct, frozen=True):
    """`task` is empty as long as the service's answer has not come."""

    submission_id: str
    task: str = ""


class Submitted:
    """A file of the state folder. One that cannot be read counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, document: Mapping[str, Any]) -> Submission | None:
        """The last submission of this document (without `submission_id`), if there was one."""
        return self._load().get(_key(document))

    def keep(self, document: Mapping[str, Any], submission: Submission) -> None:
        """Remember it. Raises MapadminError."""
        known = self._load()
        known.pop(_key(document), None)
        known[_key(document)] = submission
        newest = dict(list(known.items())[-MOST:])
        make_private_folder(self._path.parent)
        write_atomic(self._path, msgspec.json.encode(newest).decode(), mode=0o600)

    def _load(self) -> dict[str, Submission]:
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Submission])
        return {}


def _key(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
