r"""How the two servers compare schema patterns and client hosts, and which row they find first.

These are the servers' rules, not SQL's: patterns are compared byte by byte (`_` stands for one
byte of UTF-8, so `caf_` does not match `café` and `caf__` does), and the rows of one user are
searched in an order that depends on where their first wildcard stands. The order was read in
`ACL_compare` and `get_sort` (MySQL 8.0.23 and later, which sorts addresses first) and in
`get_magic_sort` (MariaDB 10.6 and later), and is tested against both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from mapadmin.db.grants import Flavour, pattern_tokens

_ANY = b"%"
_LITERAL = re.compile(rb"(?:[^\\%_]|\\.|\\\Z)*", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_RUN = re.compile(rb"\\.|%[%_]*", re.DOTALL)
_IPV4 = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_ALL_BITS = 0xFFFFFFFF
_SORT_BITS = 0xFFFFFFFFFFFFFFFF

Rank = tuple[int, ...]


# --- patterns ----------------------------------------------------------------------------------


def matches(flavour: Flavour, pattern: str, name: str) -> bool:
    """Whether a stored schema pattern matches a schema's name."""
    prefix, rest = _prepared(pattern)
    text = name.encode()
    if rest is None:
        return text == prefix
    if not text.startswith(prefix):
        return False
    return rest == _ANY or _regex(flavour, rest).fullmatch(text, len(prefix)) is not None


def literal_prefix(pattern: str) -> bytes:
    """What every name that a stored pattern matches begins with."""
    return _prepared(pattern)[0]


@lru_cache(maxsize=65536)
def _prepared(pattern: str) -> tuple[bytes, bytes | None]:
    """The literal text up to the first wildcard, and what follows it (None: no wildcard).

    Nearly all patterns of a site are a name or a name and `%`: these need no regular expression,
    which would cost more to compile than all else here.
    """
    raw = pattern.encode()
    literal = _LITERAL.match(raw)
    end = literal.end() if literal else 0
    prefix = _ESCAPED.sub(rb"\1", raw[:end])
    if end == len(raw):
        return prefix, None
    return prefix, _ANY if raw[end:] == _ANY else raw[end:]


@lru_cache(maxsize=4096)
def _regex(flavour: Flavour, pattern: bytes) -> re.Pattern[bytes]:
    if flavour is Flavour.MYSQL:
        # Its search takes nothing for a `_` that follows a `%`: it only wants something left.
        pattern = _RUN.sub(_in_mysql, pattern)
    pieces = [""]
    for escaped, char in _bytes_of(pattern):
        if char == "%":
            pieces.append("")
        else:
            pieces[-1] += "." if char == "_" else re.escape(escaped or char)
    return re.compile(_between_anything(pieces).encode("latin-1"), re.DOTALL)


def _bytes_of(pattern: bytes) -> list[tuple[str, str]]:
    """`pattern_tokens` of single bytes."""
    return pattern_tokens(pattern.decode("latin-1"))


def _between_anything(pieces: Sequence[str]) -> str:
    """A regular expression of pieces of fixed length with any text between them.

    The groups are atomic (the first place where a piece fits is as good as any other), so that a
    pattern with many `%` cannot keep a search busy for ever.
    """
    if len(pieces) == 1:
        return pieces[0]
    first, *middle, last = pieces
    return first + "".join(f"(?>.*?{piece})" for piece in middle) + f".*{last}"


def _in_mysql(match: re.Match[bytes]) -> bytes:
    token: bytes = match[0]
    if token[:1] != _ANY:
        return token
    return b"_%" if b"_" in token and match.end() == len(match.string) else _ANY


# --- hosts -------------------------------------------------------------------------------------


class Client(msgspec.Struct, frozen=True):
    """Where a session comes from, as the server sees it.

    `host` is the resolved name, `ip` the address; `general` is set instead when nothing is known
    but the account, whose host pattern then stands for every client that it lets in.
    """

    host: str | None = None
    ip: str | None = None
    general: str | None = None


ROLE = Client(host="")  # MariaDB looks a role's rows up as those of a client without a host


@lru_cache(maxsize=1024)
def client_of(client: str | None, account_host: str, *, names_resolved: bool = True) -> Client:
    """The client that a person names (an address or a host name), or the account's own host.

    A loopback address is `localhost` as well wherever the server resolves names.
    """
    text = (account_host if client is None else client).lower()
    if client is None and (any(char in text for char in "%_/") or not text):
        return Client(general=text)
    if _address(text) is None and ":" not in text:
        return Client(host=text)
    loopback = text.startswith("127.") or text == "::1"
    return Client(host="localhost" if loopback and names_resolved else None, ip=text)


def host_matches(flavour: Flavour, pattern: str, client: Client) -> bool:
    """Whether a row for the host `pattern` applies to a client."""
    if not pattern:
        return flavour is Flavour.MYSQL or client.host == ""
    if client.general is not None:
        return _covers(flavour, pattern.lower(), client.general)
    address, mask, _ = _network(flavour, pattern)
    ip = _address(client.ip) if client.ip else None
    if mask and ip is not None:
        return ip & mask == address
    # Names are compared by another function than schemas are, in MySQL without its peculiarity.
    return (client.host is not None and matches(Flavour.MARIADB, pattern.lower(), client.host)) or (
        client.ip is not None and matches(flavour, pattern, client.ip)
    )


def _covers(flavour: Flavour, pattern: str, general: str) -> bool:
    """Whether `pattern` lets in every client that `general`, itself a pattern, lets in."""
    if pattern in (general, "%"):
        return True
    address, mask, _ = _network(flavour, pattern)
    inner, inner_mask, _ = _network(flavour, general)
    if mask and inner_mask:
        return mask & inner_mask == mask and inner & mask == address
    # A wildcard of `general` is matched by a wildcard of `pattern` only: `%` as a character that
    # no host has, `_` as one ordinary character that no literal in a pattern equals.
    return matches(flavour, pattern, general.replace("%", "\0\0\0").replace("_", "\0"))


def _address(text: str | None) -> int | None:
    match = _IPV4.fullmatch(text or "")
    octets = [int(part) for part in match.groups()] if match else [256]
    if max(octets) > 255:
        return None
    return octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3]


@lru_cache(maxsize=4096)
def _network(flavour: Flavour, pattern: str) -> tuple[int, int, int]:
    """Address, mask and kind (0 one address, 1 CIDR, 2 dotted mask); zeros for anything else."""
    text, slash, mask_text = pattern.partition("/")
    address = _address(text)
    if address is None:
        return 0, 0, 0
    if not slash:
        return (address, _ALL_BITS, 0) if flavour is Flavour.MYSQL else (0, 0, 0)
    mask = _address(mask_text)
    if flavour is Flavour.MARIADB:
        return (address, mask, 2) if mask else (0, 0, 0)
    if mask is not None and not (~mask & _ALL_BITS) + 1 & ~mask & _ALL_BITS:
        return address, mask, 2
    if mask_text.isascii() and mask_text.isdigit() and 1 <= int(mask_text) <= 32:
        return address, _ALL_BITS << 32 - int(mask_text) & _ALL_BITS, 1
    return 0, 0, 0


# --- the order of the rows ---------------------------------------------------------------------


def specificity(flavour: Flavour, pattern: str) -> int:
    """A number that is larger for the schema pattern which the server finds first.

    Two patterns with the same number are found in an order that the tables do not tell.
    """
    raw = pattern.encode()
    return _mysql_sort(raw) if flavour is Flavour.MYSQL else -_magic(raw, 64)


def row_rank(flavour: Flavour, user: str, host: str, pattern: str) -> Rank:
    """The place of a row of `mysql.db` in the server's search order; the smallest comes first."""
    parts = host.encode(), pattern.encode(), user.encode()
    if flavour is Flavour.MARIADB:
        sort = ((_magic(parts[0], 255) << 30) + _magic(parts[1], 64) << 1) + (not user)
        return (sort & _SORT_BITS,)
    sort = 0
    for part in parts:
        sort = (sort << 8) + _mysql_sort(part)
    address, mask, kind = _network(flavour, host)
    return (0, kind, -mask, -sort) if address else (1, 0, 0, -sort)


@lru_cache(maxsize=1024)
def _mysql_sort(pattern: bytes) -> int:
    """`get_sort`: 128 for a literal, else the first wildcard's place (2 to 127), `%` alone 1."""
    literal = _LITERAL.match(pattern)
    place = literal.end() if literal else 0
    if place == len(pattern):
        return 128 if pattern else 0
    return 1 if pattern == _ANY else min(place + 2, 127)


@lru_cache(maxsize=1024)
def _magic(pattern: bytes, longest: int) -> int:
    """`get_magic_sort`: grows with the number of names that a pattern may match.

    Lengths are counted in bytes but `longest` in characters; the wrap of an unsigned difference
    is the server's.
    """
    literals = ones = manys = prefix = 0
    previous = ""
    for escaped, char in _bytes_of(pattern):
        if char in ("%", "_") and not ones and not manys:
            prefix = literals
        if char == "%":
            manys += previous != "%"
        elif char == "_":
            ones += 1
        else:
            literals += 1
        previous = "" if escaped else char
    free = (longest - literals - ones) & _ALL_BITS if manys else 0
    manys, ones = min(manys, 31), min(ones, 31)
    base, digit = longest + 1, min(longest + 1, 32)
    if free > ones:
        return (((free * 2 + 1) * base + manys) * digit + ones) * base + prefix
    return ((ones * 2 * base + free) * digit + manys) * base + prefix
