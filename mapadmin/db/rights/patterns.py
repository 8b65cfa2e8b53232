"""How stored schema patterns relate: does one contain another, do two overlap.

The server lets the most specific matching row win alone; so whoever writes two patterns of which
one contains the other must repeat the wider one's privileges in the narrower row.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache

from mapadmin.db.grants import Flavour, Level, Privileges, Scope, pattern_tokens
from mapadmin.db.rights.matching import specificity

_ANY, _ONE = "%", "_"  # wildcard tokens; literal characters are tokens of the form "=x"


@lru_cache(maxsize=65536)
def _tokens(pattern: str) -> tuple[str, ...]:
    out = []
    # To the servers, `_` stands for one byte, not for one character.
    for escaped, char in pattern_tokens(pattern.encode().decode("latin-1")):
        out.append(f"={escaped}" if escaped else char if char in (_ANY, _ONE) else f"={char}")
    return tuple(out)


def _disjoint_heads(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Quick look: do the literal beginnings differ already? True for nearly all pairs."""
    for left, right in zip(one, other, strict=False):
        if _ANY in (left, right):
            return False
        if left != right and _ONE not in (left, right):
            return True
    return False


def contains(wide: str, narrow: str) -> bool:
    """Whether every name that matches `narrow` matches `wide` as well."""
    outer, inner = _tokens(wide), _tokens(narrow)
    if _disjoint_heads(outer, inner):
        return False

    @cache
    def covers(i: int, j: int) -> bool:
        if i == len(outer):
            return j == len(inner)
        if outer[i] == _ANY:
            return covers(i + 1, j) or (j < len(inner) and covers(i, j + 1))
        if j == len(inner) or inner[j] == _ANY:
            return False
        return (outer[i] == _ONE or outer[i] == inner[j]) and covers(i + 1, j + 1)

    return covers(0, 0)


def overlap(one: str, other: str) -> bool:
    """Whether some name matches both."""
    left, right = _tokens(one), _tokens(other)
    if _disjoint_heads(left, right):
        return False

    @cache
    def meet(i: int, j: int) -> bool:
        if i < len(left) and left[i] == _ANY:
            return meet(i + 1, j) or (j < len(right) and meet(i, j + 1))
        if j < len(right) and right[j] == _ANY:
            return meet(i, j + 1) or (i < len(left) and meet(i + 1, j))
        if i == len(left) or j == len(right):
            return i == len(left) and j == len(right)
        same = left[i] == right[j] or _ONE in (left[i], right[j])
        return same and meet(i + 1, j + 1)

    return meet(0, 0)


def add_up(grants: Mapping[Scope, Privileges], flavour: Flavour) -> dict[Scope, Privileges]:
    """Grants whose narrower patterns carry what the wider ones give, so that privileges add up.

    Raises ValueError for two patterns that overlap without one containing the other (unless the
    one that the server finds first gives all that the other gives), and for two that the server
    cannot tell apart by how specific they are: no pair of rows can then say what is meant on the
    schemas that match both.
    """
    databases = [scope for scope in grants if scope.level is Level.DATABASE]
    out = dict(grants)
    pairs = [
        (scope, other)
        for scope in databases
        for other in databases
        if other is not scope and overlap(scope.schema, other.schema)
    ]
    for scope, other in pairs:
        if contains(other.schema, scope.schema):
            out[scope] = out[scope] | grants[other]
    for scope, other in pairs:
        rank, other_rank = (specificity(flavour, one.schema) for one in (scope, other))
        nested = contains(other.schema, scope.schema) or contains(scope.schema, other.schema)
        if not nested and rank >= other_rank and not out[scope] >= out[other]:
            raise ValueError(
                f"the patterns {scope} and {other} overlap, and neither contains the other"
            )
        if rank == other_rank and out[scope] != out[other]:
            raise ValueError(
                f"on schemas that match both {scope} and {other}, the server takes either"
            )
    return out
