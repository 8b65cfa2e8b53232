"""One mapadmin at a time on a server: a lock of the server's (GET_LOCK), with who holds it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import msgspec

from mapadmin.core.identity import whoami
from mapadmin.core.lock import Holder, LockedError
from mapadmin.core.text import encodable
from mapadmin.db.state import State

_MAX_NAME = 64  # characters; MySQL refuses longer ones


class Doing(StrEnum):
    """What one mapadmin at a time does on a server; the words say what it is doing."""

    CHANGING = "changing accounts"
    CLEANING = "cleaning up"


@contextmanager
def turn(
    state: State, command: str, *, wait: float = 3.0, doing: Doing = Doing.CHANGING
) -> Iterator[None]:
    """Be the only mapadmin that does this on the server of `state`, for the body.

    Raises LockedError naming the holder, after `wait` seconds.
    """
    server = state.server
    name = lock_name(doing, server.settings.schema)
    if not server.acquire_lock(name, wait):
        raise LockedError(
            f"Another mapadmin is {doing} on this server: {_holder(state, name)}.",
            remedy="Wait for it to finish, then run this again.",
        )
    try:
        if state.has("holder"):
            me = whoami()
            row = Holder(me.who, me.host, os.getpid(), encodable(command), time.time())
            server.query(
                f"REPLACE INTO {state.table('holder')} VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [name, server.connection_id, *msgspec.structs.astuple(row)],
            )
        yield
    finally:
        server.release_lock(name)


def lock_name(doing: Doing, schema: str) -> str:
    """The server's name of a lock: readable, unless that would be too long."""
    name = f"mapadmin:{schema}" if doing is Doing.CHANGING else f"mapadmin:{doing}:{schema}"
    if len(name) <= _MAX_NAME:
        return name
    return f"mapadmin:{doing}:{hashlib.sha256(schema.encode()).hexdigest()[:32]}"


def _holder(state: State, name: str) -> str:
    number = state.server.lock_holder(name)
    if number is None:
        return "it has finished just now"
    if state.has("holder"):
        rows = state.server.query(
            f"SELECT who, place, pid, command, since FROM {state.table('holder')} "
            "WHERE lock_name = %s AND connection_id = %s",
            [name, number],
        )
        if rows:
            return str(Holder(*rows[0]))
    return f"connection {number}"
