"""What the message of a failed job means, so that a thousand messages are a handful of causes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

# (in the message, what it means). The first that is found counts.
_MEANINGS = [
    (r"Deadlock|\b1213\b", "deadlock between workers"),
    (r"Lock wait timeout|\(1205\b", "lock held too long by another session"),
    (r"DuplicateError|Duplicate entry|IntegrityError: \(1062", "the row was there already"),
    (r"SIGTERM|SystemExit", "the worker was stopped"),
    (r"KeyboardInterrupt", "the worker was interrupted"),
    (
        r"LostConnectionError|Lost connection|server has gone away|\(20(?:06|13)\b",
        "the connection to the database was lost",
    ),
    (r"MaxRetryError|ConnectionError|ConnectTimeout|EndpointConnection", "a server did not answer"),
    (r"different version of", "a stored file differs from the one to be stored"),
    (r"MissingExternalFile|FileNotFoundError|No such file|NoSuchKey", "a file is missing"),
    (r"No space left|Disk quota", "a disk is full"),
    (r"MemoryError|Cannot allocate memory|Unable to allocate", "out of memory"),
    (r"command denied|AccessError|AccessDenied|PermissionError", "permission denied"),
    (r"Max(?:imum)? ?allowed ?packet|bigger than 'max_allowed_packet'", "a blob is too large"),
    (r"foreign key constraint fails|\(1452\b|\(1451\b", "a row that is referred to is missing"),
]
_COMPILED = [(re.compile(pattern, re.IGNORECASE), meaning) for pattern, meaning in _MEANINGS]

# What differs between two messages of one cause.
_VARIABLE = [
    (re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE), "…"),
    (re.compile(r"0x[0-9a-fA-F]+"), "…"),
    (re.compile(r"(?<![\w.])/(?:[\w.+@%~-]+/)*[\w.+@%~-]+"), "/…"),
    (re.compile(r"\{[^{}]*\}|'[^']*'|\"[^\"]*\""), "…"),
    (re.compile(r"\b\d[\d.:,_-]*"), "…"),
]


def meaning_of(message: str) -> str:
    """A cause in a few words, or the message without what differs from job to job."""
    for pattern, meaning in _COMPILED:
        if pattern.search(message):
            return meaning
    text = message.strip().partition("\n")[0][:300]
    for pattern, replacement in _VARIABLE:
        text = pattern.sub(replacement, text)
    return text[:120] or "no message"


def like_fits(message: str, patterns: Sequence[str]) -> bool:
    """Whether a message fits one of these patterns of SQL's LIKE, whatever its case."""
    return any(_like(pattern).fullmatch(message) for pattern in patterns)


@lru_cache(256)
def _like(pattern: str) -> re.Pattern[str]:
    out, escaped = "", False
    for char in pattern:
        if escaped or char not in "%_\\":
            out += re.escape(char)
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            out += ".*" if char == "%" else "."
    return re.compile(out, re.IGNORECASE | re.DOTALL)
