"""Several streams of lines as one, each line as it comes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from typing import TypeVar

from mapadmin.core.errors import MapadminError

_K = TypeVar("_K")


def follow(sources: Mapping[_K, Iterator[str]]) -> Iterator[tuple[_K, str]]:
    """The lines of all sources, each read by a thread of its own, until all have ended.

    One that fails ends alone; its error is raised when all others have ended. The threads end with
    the process: what they read ends when it is closed.
    """
    lines: queue.SimpleQueue[tuple[_K, str | MapadminError | None]] = queue.SimpleQueue()

    def read(key: _K, source: Iterator[str]) -> None:
        end: MapadminError | None = None
        try:
            for line in source:
                lines.put((key, line))
        except MapadminError as error:
            end = error
        lines.put((key, end))

    for key, source in sources.items():
        threading.Thread(target=read, args=(key, source), daemon=True).start()
    open_sources, failure = len(sources), None
    while open_sources:
        key, line = lines.get()
        if isinstance(line, str):
            yield key, line
        else:
            open_sources -= 1
            failure = failure or line
    if failure is not None:
        raise failure
