"""Ctrl-C and SIGTERM: raised as Interrupted, held back where something must not be cut off.

Not by the signal mask, which is each thread's own: the kernel would give the signal to any other
thread, and Python raises it in the main one all the same.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mapadmin.core.errors import Interrupted

_held = False  # an interruption is to wait
_waiting = False  # one came meanwhile


def install() -> None:
    """From now on, what an init system or `timeout` sends is an interruption like Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _waiting  # noqa: PLW0603  a process has one handler
    del number, frame
    if _held:
        _waiting = True
    else:
        raise Interrupted


@contextmanager
def held_back() -> Iterator[None]:
    """Hold interruptions back for the body; one that came meanwhile is raised at its end."""
    global _held  # noqa: PLW0603
    before = _held
    try:
        _held = True
        yield
    finally:
        _held = before
        if not before:
            _raise_waiting()


@contextmanager
def let_through() -> Iterator[None]:
    """Inside `held_back`, a body that may be interrupted after all; also by what came before."""
    global _held  # noqa: PLW0603
    before = _held
    try:
        _held = False
        _raise_waiting()
        yield
    finally:
        _held = before


def _raise_waiting() -> None:
    global _waiting  # noqa: PLW0603
    if _waiting:
        _waiting = False
        raise Interrupted
