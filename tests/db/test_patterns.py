"""How patterns relate, against counting out every name of a small world."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapadmin.db.grants import GLOBAL, Flavour, Level, Privileges, Scope
from mapadmin.db.rights.matching import matches, specificity
from mapadmin.db.rights.patterns import add_up, contains, overlap

# `c` stands for all the letters that no pattern names. Five letters are enough for patterns of
# three tokens: a longer name adds nothing that a shorter one does not show.
TOKENS = ["a", "b", "%", "_"]
PATTERNS = ["".join(p) for n in range(4) for p in itertools.product(TOKENS, repeat=n)]
NAMES = ["".join(name) for n in range(6) for name in itertools.product("abc", repeat=n)]
MATCHED = {
    p: frozenset(name for name in NAMES if matches(Flavour.MARIADB, p, name)) for p in PATTERNS
}


def test_overlap_counted_out() -> None:
    for one, other in itertools.product(PATTERNS, repeat=2):
        assert overlap(one, other) == bool(MATCHED[one] & MATCHED[other]), (one, other)


def test_contains_counted_out() -> None:
    """Never wrongly; and never missed, unless one lone character is set against `%`."""
    for wide, narrow in itertools.product(PATTERNS, repeat=2):
        inside = MATCHED[narrow] <= MATCHED[wide]
        if contains(wide, narrow):
            assert inside, (wide, narrow)
        elif "_" not in wide:
            assert not inside, (wide, narrow)


CONTAINED: list[tuple[str, str, bool]] = [
    (r"map\_%", r"map\_lab", True),
    (r"map\_%", r"map\_lab\_%", True),
    (r"map\_%", r"map\_%", True),
    (r"map\_lab", r"map\_%", False),
    ("map_%", r"map\_%", True),  # an unescaped underscore opens more
    (r"map\_%", "map_%", False),
    ("map%", r"map\_%", True),
    ("%", r"map\_%", True),
    ("%", "", True),
    (r"al\_%", r"al\_ice\_%", True),
    (r"al\_%", r"alice\_%", False),
    ("%lab", r"map\_lab", True),
    (r"\%", "%", False),
    (r"\\%", r"\\\_", True),
]


@pytest.mark.parametrize(("wide", "narrow", "expected"), CONTAINED)
def test_contains(wide: str, narrow: str, expected: bool) -> None:
    assert contains(wide, narrow) is expected
    assert not expected or overlap(wide, narrow)


NEARLY = st.text("ab%_\\", max_size=10)


@given(NEARLY, NEARLY, NEARLY)
def test_laws(one: str, other: str, third: str) -> None:
    assert contains(one, one)
    assert contains("%", one)
    assert overlap(one, other) == overlap(other, one)
    if contains(one, other):
        assert overlap(one, other)
        assert not contains(other, third) or contains(one, third)


def test_long_patterns_take_no_time() -> None:
    assert not contains("%a" * 31 + "%b", "%a" * 32)
    assert overlap("%a" * 31 + "%", "%b" * 31 + "%")
    assert not overlap("%a" * 31, "%b" * 31)


# --- add_up ------------------------------------------------------------------------------------


def db(pattern: str) -> Scope:
    return Scope(Level.DATABASE, pattern)


def held(**privileges: str) -> dict[Scope, Privileges]:
    """`held(map_lab="S I")`: names are globs without wildcards but for a trailing X, `%`."""
    return {
        db(name.replace("_", r"\_").replace("X", "%")): frozenset(text.split())
        for name, text in privileges.items()
    }


TABLE = Scope(Level.TABLE, "map_lab", "subject")
SUMS: list[tuple[str, dict[Scope, Privileges], dict[Scope, Privileges]]] = [
    ("nothing", {}, {}),
    ("one", held(map_X="S"), held(map_X="S")),
    ("apart", held(map_X="S", ann_X="A"), held(map_X="S", ann_X="A")),
    ("narrow in wide", held(map_X="S", map_lab="I"), held(map_X="S", map_lab="S I")),
    (
        "three deep",
        held(X="U", map_X="S", map_lab="I"),
        held(X="U", map_X="U S", map_lab="U S I"),
    ),
    (
        "two in one",
        held(map_X="S", map_a="I", map_b="D"),
        held(map_X="S", map_a="S I", map_b="S D"),
    ),
    ("the order does not count", held(map_lab="I", map_X="S"), held(map_lab="S I", map_X="S")),
    ("nothing in the narrow one", held(map_X="S", map_lab=""), held(map_X="S", map_lab="S")),
    (
        "the same names by other patterns",
        {db("%%"): frozenset("a"), db("%"): frozenset("b")},
        {db("%%"): frozenset("ab"), db("%"): frozenset("ab")},
    ),
    (
        "an underscore that is a wildcard holds more names",
        {db("map_%"): frozenset("a"), db(r"map\_%"): frozenset("b")},
        {db("map_%"): frozenset("a"), db(r"map\_%"): frozenset("ab")},
    ),
    (
        "other levels are left alone",
        {GLOBAL: frozenset("g"), TABLE: frozenset("t"), db("%"): frozenset("s")},
        {GLOBAL: frozenset("g"), TABLE: frozenset("t"), db("%"): frozenset("s")},
    ),
    ("an account with nothing", {GLOBAL: frozenset()}, {GLOBAL: frozenset()}),
]


@pytest.mark.parametrize("flavour", Flavour)
@pytest.mark.parametrize(("name", "given_", "expected"), SUMS)
def test_add_up(
    name: str,
    given_: dict[Scope, Privileges],
    expected: dict[Scope, Privileges],
    flavour: Flavour,
) -> None:
    before = dict(given_)
    assert add_up(given_, flavour) == expected, name
    assert list(add_up(given_, flavour)) == list(given_)
    assert given_ == before


CROSSING: list[tuple[str, str, str]] = [
    ("map%", "%lab", "overlap, and neither contains the other"),
    ("a_", "_a", "overlap, and neither contains the other"),
]


@pytest.mark.parametrize("flavour", Flavour)
@pytest.mark.parametrize(("one", "other", "why"), CROSSING)
def test_patterns_that_cross(one: str, other: str, why: str, flavour: Flavour) -> None:
    with pytest.raises(ValueError, match=why):
        add_up({db(one): frozenset("s"), db(other): frozenset("i")}, flavour)


def test_patterns_that_the_server_cannot_rank() -> None:
    """MySQL looks at the place of the first wildcard only."""
    grants = {db("a%"): frozenset("s"), db("a%b"): frozenset("si")}
    with pytest.raises(ValueError, match=r"that match both a\* and a\*b, the server takes either"):
        add_up(grants, Flavour.MYSQL)
    assert add_up({scope: frozenset("s") for scope in grants}, Flavour.MYSQL)


GRANTS = st.dictionaries(
    st.sampled_from([p for p in PATTERNS if p]).map(db),
    st.frozensets(st.sampled_from("SIU"), min_size=1),
    max_size=4,
)


@settings(max_examples=400)
@given(GRANTS, st.sampled_from(Flavour))
def test_the_row_that_the_server_takes_holds_what_all_rows_say(
    grants: dict[Scope, Privileges], flavour: Flavour
) -> None:
    """The point of it: the server takes one row, and that one must be enough, and no more."""
    try:
        summed = add_up(grants, flavour)
    except ValueError:
        return
    for name in ("a", "ab", "abc", "cc", "b", "aa", "bab"):
        matching = [scope for scope in summed if matches(Flavour.MARIADB, scope.schema, name)]
        meant = frozenset[str]().union(*(grants[scope] for scope in matching))
        best = max((specificity(flavour, scope.schema) for scope in matching), default=0)
        for scope in matching:
            if specificity(flavour, scope.schema) == best:
                assert summed[scope] == meant
