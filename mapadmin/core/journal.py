"""Who changed what: JSON lines, written before and after every step, and on disk before it counts.

The local file is the crash log. `mapadmin.db.state` copies it into the database, where
administrators on several machines see one history.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import sync_folder, write_atomic
from mapadmin.core.identity import whoami
from mapadmin.core.plan import Step, StepState


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal.

    `event` is begin, step, end, or what became of a step: done, failed, interrupted, not started.
    (run, seq) names an entry for ever; `time` is UTC, ISO 8601 with milliseconds.
    """

    time: str
    run: str
    seq: int
    event: str
    who: str
    host: str
    command: str
    action: str = ""
    target: str = ""
    detail: str = ""
    error: str = ""


class Journal:
    """Appends the entries of one run of one command. Its file has mode 0600."""

    def __init__(self, path: Path, *, command: str) -> None:
        self.path = path
        self.command = command
        self.run = f"{time.time_ns() // 1_000_000:012x}{os.urandom(3).hex()}"
        self._seq = 0
        self._me = whoami()

    def begin(self, plan_length: int) -> None:
        self._append([self._entry("begin", detail=f"{plan_length} steps")])

    def started(self, steps: Sequence[Step]) -> None:
        self._append([self._of_step("step", step) for step in steps])

    def ended(self, steps: Sequence[Step], states: Sequence[StepState], error: str) -> None:
        entries = []
        for step, state in zip(steps, states, strict=True):
            reason = error if state in (StepState.FAILED, StepState.INTERRUPTED) else ""
            entries.append(self._of_step(state.value, step, reason))
        self._append(entries)

    def end(self, result: str, error: str = "") -> None:
        self._append([self._entry("end", detail=result, error=error)])

    def _of_step(self, event: str, step: Step, error: str = "") -> Entry:
        return self._entry(
            event, action=step.action, target=step.target, detail=step.detail, error=error
        )

    def _entry(
        self, event: str, *, action: str = "", target: str = "", detail: str = "", error: str = ""
    ) -> Entry:
        self._seq += 1
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return Entry(
            time=now, run=self.run, seq=self._seq, event=event, who=self._me.who,
            host=self._me.host, command=self.command, action=action, target=target,
            detail=detail, error=error,
        )  # fmt: skip

    def _append(self, entries: Sequence[Entry]) -> None:
        lines = "".join(json.dumps(_lean(entry), ensure_ascii=False) + "\n" for entry in entries)
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # Two mapadmins of one site may write at once; and a crash may have left half a
                # line, which must not swallow the first one of ours.
                fcntl.flock(fd, fcntl.LOCK_EX)
                size = os.fstat(fd).st_size
                torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
                # Bytes of the command line that are not UTF-8 become `\udc..`, as JSON writes them.
                data = (("\n" if torn else "") + lines).encode("utf-8", "backslashreplace")
                if os.write(fd, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(fd)
                if size == 0:
                    sync_folder(self.path.parent)
            finally:
                os.close(fd)
        except OSError as error:
            raise MapadminError(
                f"Cannot write the journal {self.path}: {error.strerror}.",
                remedy="No step is begun without a journal: free space or mend its permissions.",
            ) from None


def _lean(entry: Entry) -> dict[str, object]:
    """Without the empty fields: most entries have several."""
    return {key: value for key, value in msgspec.structs.asdict(entry).items() if value != ""}


def read_entries(path: Path, *, offset: int = 0) -> Iterator[tuple[int, Entry]]:
    """The entries of a journal file from a byte offset on, each with the offset behind it.

    A line that a crash cut short is passed over. A missing file has no entries. Raises
    MapadminError when the file cannot be read: it is its owner's alone.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise MapadminError(f"Cannot read the journal {path}: {error.strerror}.") from None
    with file:
        file.seek(offset)
        for line in file:
            offset += len(line)
            try:
                yield offset, Entry(**json.loads(line))
            except (ValueError, TypeError):
                continue


class Marks:
    """How far a journal has been copied to each of several places: a file beside the journal.

    Offsets hold for the very file that they were taken from: after the journal was rotated or
    truncated, which its first line tells, copying begins at its beginning.
    """

    def __init__(self, path: Path, journal: Path, offsets: dict[str, int]) -> None:
        self._path = path
        self._journal = journal
        self._offsets = offsets

    @classmethod
    def beside(cls, journal: Path) -> Marks:
        """The marks of a journal; none when there are none, or they are another file's."""
        path = journal.with_suffix(".mirrored")
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            kept = json.loads(path.read_text())
            if kept["first"] == _first_line(journal):
                offsets = {str(place): int(offset) for place, offset in kept["offsets"].items()}
                return cls(path, journal, offsets)
        return cls(path, journal, {})

    def offset(self, place: str) -> int:
        """How many bytes of the journal have been copied to a place."""
        offset = self._offsets.get(place, 0)
        try:
            size = self._journal.stat().st_size
        except OSError:
            return 0
        return offset if offset <= size else 0

    def keep(self, place: str, offset: int) -> None:
        """Remember that the journal has been copied up to there."""
        self._offsets[place] = offset
        kept = {"first": _first_line(self._journal), "offsets": self._offsets}
        write_atomic(self._path, json.dumps(kept), mode=0o600)


def _first_line(journal: Path) -> str:
    """It has the name of a run and a time, so that no other journal begins with it."""
    with journal.open("rb") as file:
        return hashlib.sha256(file.readline()).hexdigest()
