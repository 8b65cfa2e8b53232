"""Passwords as the servers store them, so that a password itself is never part of a statement.

MariaDB writes statements to its logs as they are. MySQL hides passwords from its logs, but shows
them in the process list for as long as a statement runs.
"""

from __future__ import annotations

import os
from itertools import cycle, islice

from mapadmin.core.secret import Secret
from mapadmin.db.grants import AccountState, Flavour, GrantTables

NATIVE = "mysql_native_password"
SHA2 = "caching_sha2_password"

_ROUNDS = 5000  # what MySQL writes as 005, and its least
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Which bytes of the digest make up each group of four characters, by the specification.
_GROUPS = (
    (0, 10, 20), (21, 1, 11), (12, 22, 2), (3, 13, 23), (24, 4, 14),
    (15, 25, 5), (6, 16, 26), (27, 7, 17), (18, 28, 8), (9, 19, 29),
)  # fmt: skip


class Hashed(Secret):
    """A password of which `reveal` gives the stored form, computed when it is sent."""

    __slots__ = ("_plugin",)

    def __init__(self, password: Secret, plugin: str) -> None:
        super().__init__(password.reveal())
        self._plugin = plugin

    def reveal(self) -> str:
        """The stored form by the account's plugin."""
        return stored(Secret(self._value), self._plugin)


def stored(password: Secret, plugin: str) -> str:
    """The stored form of a password, for NATIVE or SHA2."""
    return native(password) if plugin == NATIVE else sha2(password, _random_salt())


def password_plugin(state: AccountState | None, tables: GrantTables) -> str:
    """By what a new password of an account (None: of a new account) is to be checked.

    The plugin that it has, unless that is MySQL's outdated one, or one that the server no longer
    has: then as a new account would have it. MariaDB has a single form for all.
    """
    if tables.flavour is Flavour.MARIADB:
        return NATIVE
    if state is None or state.plugin == NATIVE or is_missing(state.plugin, tables):
        return tables.default_plugin
    return state.plugin


def is_missing(plugin: str, tables: GrantTables) -> bool:
    """Whether the server has no such plugin (any more); an account without one has the usual."""
    known = {name.lower() for name in tables.plugins}
    return bool(known and plugin) and plugin.lower() not in known


def nobodys(flavour: Flavour, plugin: str) -> str | None:
    """A stored form that no known password has; None for a plugin whose form is not known."""
    if flavour is Flavour.MARIADB or plugin == NATIVE:
        return "*" + os.urandom(20).hex().upper()
    if plugin == SHA2:
        return "$A$005$" + os.urandom(32).hex()[:63]
    return None


def native(password: Secret) -> str:
    """mysql_native_password: `*` and SHA1 of SHA1, in hexadecimal."""
    import hashlib

    inner = hashlib.sha1(password.reveal().encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def sha2(password: Secret, salt: str) -> str:
    """caching_sha2_password: `$A$005$`, 20 characters of salt and 43 of SHA-crypt.

    SHA-crypt as specified by U. Drepper (2008), with 5,000 rounds of SHA-256. The libraries that
    have it take at most 16 characters of salt; MySQL wants 20.
    """
    from hashlib import sha256

    key, grain = password.reveal().encode(), salt.encode()
    size = len(key)
    inner = sha256(key + grain + key).digest()
    start = key + grain + _repeat(inner, size)
    bits = size
    while bits:
        start += inner if bits & 1 else key
        bits >>= 1
    digest = sha256(start).digest()
    keys = _repeat(sha256(key * size).digest(), size)
    grains = _repeat(sha256(grain * (16 + digest[0])).digest(), len(grain))
    # What is hashed with the digest in each round comes back every 42 rounds.
    middles = [(grains if turn % 3 else b"") + (keys if turn % 7 else b"") for turn in range(42)]
    turns = [(turn & 1, (keys + m) if turn & 1 else (m + keys)) for turn, m in enumerate(middles)]
    for odd, rest in islice(cycle(turns), _ROUNDS):
        digest = sha256(rest + digest if odd else digest + rest).digest()
    return f"$A$005${salt}{_encode(digest)}"


def _random_salt() -> str:
    return os.urandom(10).hex()


def _repeat(block: bytes, size: int) -> bytes:
    return (block * (size // len(block) + 1))[:size]


def _encode(digest: bytes) -> str:
    out = []
    for a, b, c in _GROUPS:
        out.append(_characters(digest[a] << 16 | digest[b] << 8 | digest[c], 4))
    out.append(_characters(digest[31] << 8 | digest[30], 3))
    return "".join(out)


def _characters(value: int, count: int) -> str:
    return "".join(_ALPHABET[value >> 6 * place & 63] for place in range(count))
