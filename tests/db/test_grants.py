"""Scopes and patterns as a site file writes them, and as the server stores them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mapadmin.db.grants import (
    GLOBAL,
    Account,
    Flavour,
    Level,
    Scope,
    glob_to_pattern,
    parse_scope,
    pattern_to_glob,
)
from mapadmin.db.rights import matching

# --- patterns ----------------------------------------------------------------------------------

GLOBS: list[tuple[str, str]] = [
    ("map_*", r"map\_%"),
    ("alice_*", r"alice\_%"),
    ("map_lab", r"map\_lab"),
    ("*", "%"),
    ("?", "_"),
    ("map?lab", "map_lab"),
    ("map*lab?", "map%lab_"),
    ("[*]", "*"),
    ("[?][[]", "?["),
    ("a]b", "a]b"),
    ("100%", r"100\%"),
    ("a\\b", r"a\\b"),
    ("a[.]b", "a.b"),
    ("[_]", r"\_"),
    ("[%]", r"\%"),
    ("[\\]", r"\\"),
    ("m\u00fcller_*", "m\u00fcller\\_%"),
    ("a`b'c\"d", "a`b'c\"d"),
    ("a\nb", "a\nb"),
    ("", ""),
]


@pytest.mark.parametrize(("glob", "pattern"), GLOBS)
def test_glob_to_pattern(glob: str, pattern: str) -> None:
    assert glob_to_pattern(glob) == pattern


@pytest.mark.parametrize(("glob", "pattern"), [case for case in GLOBS if "[_" not in case[0]])
def test_pattern_to_glob_and_back(glob: str, pattern: str) -> None:
    assert glob_to_pattern(pattern_to_glob(pattern)) == pattern
    assert glob_to_pattern(glob) == pattern


SMALL = st.sampled_from(list("ab*?[].()_%\\`'\"é\n "))
CHARACTERS = SMALL | st.characters(exclude_categories=["Cs"])


def escaped(char: str) -> str:
    return f"\\{char}" if char in "\\_%" else char


# As a server holds them when a careful person wrote the grant: a backslash only where it counts.
CANONICAL = st.lists(CHARACTERS.map(escaped) | st.sampled_from(["%", "_"]), max_size=12).map(
    "".join
)


@given(CANONICAL)
@example(r"\\\_%")
def test_no_pattern_is_lost(pattern: str) -> None:
    assert glob_to_pattern(pattern_to_glob(pattern)) == pattern


@given(st.text(SMALL, max_size=12))
@example("ab\\")
@example(r"\a\b")
def test_any_pattern_keeps_its_meaning(pattern: str) -> None:
    """Escapes that mean nothing (a stored backslash before a letter) are written without them."""
    again = glob_to_pattern(pattern_to_glob(pattern))
    assert glob_to_pattern(pattern_to_glob(again)) == again
    for name in (pattern, again, pattern.replace("\\", ""), "a", "ab", "aab", ""):
        assert matches(pattern, name) == matches(again, name)


@given(st.text(CHARACTERS, max_size=12))
def test_a_literal_name_as_a_glob_matches_itself_only(name: str) -> None:
    pattern = "".join(map(escaped, name))
    assert matching.matches(Flavour.MARIADB, glob_to_pattern(pattern_to_glob(pattern)), name)
    assert not matching.matches(Flavour.MARIADB, pattern, name + "x")


def matches(pattern: str, name: str) -> bool:
    """The server's rule, spelled out: by bytes, `%` any number, `_` one, a backslash escapes."""
    return _matches(pattern.encode(), name.encode())


def _matches(pattern: bytes, name: bytes) -> bool:
    if not pattern:
        return not name
    first, rest = pattern[:1], pattern[1:]
    if first == b"%":
        return any(_matches(rest, name[i:]) for i in range(len(name) + 1))
    if first == b"_":
        return bool(name) and _matches(rest, name[1:])
    if first == b"\\" and rest:
        first, rest = rest[:1], rest[1:]
    return name[:1] == first and _matches(rest, name[1:])


@given(st.text("ab%_\\é\n", max_size=7), st.text("ab%_\\é\n", max_size=6))
def test_pattern_matches_as_the_rule_says(pattern: str, name: str) -> None:
    assert matching.matches(Flavour.MARIADB, pattern, name) == matches(pattern, name)


# --- scopes ------------------------------------------------------------------------------------

SCOPES: list[tuple[str, Scope]] = [
    ("*.*", GLOBAL),
    ("map_*", Scope(Level.DATABASE, r"map\_%")),
    ("map_lab", Scope(Level.DATABASE, r"map\_lab")),
    ("*", Scope(Level.DATABASE, "%")),
    ("a[.]b", Scope(Level.DATABASE, "a.b")),
    ("a[(]b", Scope(Level.DATABASE, "a(b")),
    ("procedure x", Scope(Level.DATABASE, "procedure x")),
    ("map_lab.subject", Scope(Level.TABLE, "map_lab", "subject")),
    ("map_lab.#lookup", Scope(Level.TABLE, "map_lab", "#lookup")),
    ("map_lab.subject(name)", Scope(Level.COLUMN, "map_lab", "subject", "name")),
    ("procedure map_lab.tidy", Scope(Level.PROCEDURE, "map_lab", "tidy")),
    ("function map_lab.f", Scope(Level.FUNCTION, "map_lab", "f")),
]


@pytest.mark.parametrize(("text", "scope"), SCOPES)
def test_scope(text: str, scope: Scope) -> None:
    assert parse_scope(text) == scope
    assert str(scope) == text


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".b", "a.b.c", "*.b", "a.*", "a*.b", "a.b?", "a(b)", "a.b()", "a.b(c", "a[.b",
     "a(", "[", "a.b(c)d", "procedure a.b.c", "*.*.*"],
)  # fmt: skip
def test_no_scope(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither a schema pattern nor schema\.table nor \*\.\*"):
        parse_scope(text)


PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=".()[]*?"), min_size=1)
TABLES = st.builds(Scope, st.just(Level.TABLE), PLAIN, PLAIN)
COLUMNS = st.builds(Scope, st.just(Level.COLUMN), PLAIN, PLAIN, PLAIN)
ROUTINES = st.builds(Scope, st.sampled_from([Level.PROCEDURE, Level.FUNCTION]), PLAIN, PLAIN)
SCHEMAS = st.builds(
    Scope, st.just(Level.DATABASE), CANONICAL.filter(lambda p: p and ")" not in p)
)  # fmt: skip


@given(st.one_of(TABLES, COLUMNS, ROUTINES, SCHEMAS, st.just(GLOBAL)))
def test_scope_there_and_back(scope: Scope) -> None:
    if scope.level in (Level.TABLE, Level.COLUMN) and scope.schema.startswith(
        ("procedure ", "function ")
    ):
        return
    assert parse_scope(str(scope)) == scope


# --- order and looks ---------------------------------------------------------------------------


def test_accounts() -> None:
    assert str(Account("alice")) == "alice@%"
    assert str(Account("reader", "")) == "reader"
    assert sorted([Account("b"), Account("a", "x"), Account("a", "%")]) == [
        Account("a", "%"),
        Account("a", "x"),
        Account("b"),
    ]


def test_scopes_sort_from_wide_to_narrow() -> None:
    scopes = [scope for _, scope in SCOPES]
    levels = [scope.level for scope in sorted(scopes)]
    assert levels == sorted(levels)
    assert sorted(scopes)[0] is GLOBAL
