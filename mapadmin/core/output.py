"""stdout and stderr, which may be full, or whose reader may be gone: that breaks off no work.

`mapadmin … | head`: whoever read has seen enough. What is written from then on goes nowhere, the
run goes on to its end and has the exit code that it would have had. A full disk is an error, told
at the end of the run (see `check`), or at once by what must not be lost (`Report.once`).
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from mapadmin.core.errors import MapadminError

_failures: dict[int, OSError] = {}  # by the number of the stream's file, the first one


def write(text: str) -> bool:
    """Data to stdout; False when it goes nowhere any more, and long output had better end."""
    return _write(sys.stdout, text)


def flush() -> bool:
    """What was written is to be out; False when it, or something before it, could not be."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up(sys.stdout, error)
    return not _has_failed(sys.stdout)


def tell(text: str) -> None:
    """A sentence to stderr, behind the data that was written before it."""
    flush()
    _write(sys.stderr, text)


def check() -> None:
    """Raises MapadminError when data were lost that somebody wanted to read."""
    if not flush() and not isinstance(_failures[1], BrokenPipeError):
        raise lost()


def lost() -> MapadminError:
    """The error of data that could not be written, whatever the reason."""
    return MapadminError(f"Cannot write the output: {_failures[1].strerror}.")


def _write(stream: TextIO, text: str) -> bool:
    try:
        stream.write(text)
    except OSError as error:
        _give_up(stream, error)
    return not _has_failed(stream)


def _has_failed(stream: TextIO) -> bool:
    return _number(stream) in _failures


def _give_up(stream: TextIO, error: OSError) -> None:
    """What is still in its buffer would otherwise be tried, and complained about, once more."""
    number = _number(stream)
    _failures.setdefault(number, error)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def _number(stream: TextIO) -> int:
    return 2 if stream is sys.stderr else 1
