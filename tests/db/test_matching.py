"""The servers' comparisons and search order, case by case."""

from __future__ import annotations

import pytest

from mapadmin.db.grants import Flavour
from mapadmin.db.rights.matching import (
    Client,
    client_of,
    host_matches,
    matches,
    row_rank,
    specificity,
)

MYSQL, MARIADB = Flavour.MYSQL, Flavour.MARIADB


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("map_lab", "map_lab", True),
        ("map_lab", "mapXlab", True),
        (r"map\_lab", "map_lab", True),
        (r"map\_lab", "mapXlab", False),
        ("map%", "map", True),
        ("map%", "map_lab", True),
        ("map%", "ma", False),
        ("%", "anything", True),
        ("%lab", "map_lab", True),
        ("m%b%", "map_lab", True),
        ("Map", "map", False),
        (r"a\b", "ab", True),
        (r"a\b", r"a\b", False),
        (r"a\\b", r"a\b", True),
        ("a\\", "a\\", True),
        ("a.c", "abc", False),
        ("a\n%", "a\nb", True),
        ("caf_", "café", False),  # one byte, not one character
        ("caf__", "café", True),
        ("caf%", "café", True),
        ("%é", "café", True),
        ("", "", True),
    ],
)
def test_patterns_match_byte_by_byte(pattern: str, name: str, expected: bool) -> None:
    assert matches(MYSQL, pattern, name) is expected
    assert matches(MARIADB, pattern, name) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "mysql", "mariadb"),
    [
        ("a%_b", "ab", True, False),
        ("a%_b", "axb", True, True),
        ("a%__", "ab", True, False),
        ("a%_", "a", False, False),
        ("a_%", "a", False, False),
        (r"a%\_b", "ab", False, False),
    ],
)
def test_mysql_takes_nothing_for_an_underscore_after_a_percent(
    pattern: str, name: str, mysql: bool, mariadb: bool
) -> None:
    assert matches(MYSQL, pattern, name) is mysql
    assert matches(MARIADB, pattern, name) is mariadb


LOCAL = Client("localhost", "127.0.0.1")


@pytest.mark.parametrize(
    ("pattern", "client", "mysql", "mariadb"),
    [
        ("%", LOCAL, True, True),
        ("localhost", LOCAL, True, True),
        ("LOCAL%", LOCAL, True, True),
        ("127.0.0.1", LOCAL, True, True),
        ("127.%", LOCAL, True, True),
        ("128.%", LOCAL, False, False),
        ("127.0.0.0/255.0.0.0", LOCAL, True, True),
        ("127.0.0.0/255.255.255.255", LOCAL, False, False),
        ("127.0.0.0/8", LOCAL, True, False),
        ("10.0.0.0/8", LOCAL, False, False),
        ("127.0.0.0/33", LOCAL, False, False),
        ("127.0.0.0/255.0.255.0", LOCAL, False, True),  # MySQL wants the bits in a row
        ("pc_.example.org", Client("pc7.example.org", "10.1.2.3"), True, True),
        ("10.1.2.%", Client("pc7.example.org", "10.1.2.3"), True, True),
        ("10.1.2.%", Client("pc7.example.org"), False, False),
        ("::1", Client("localhost", "::1"), True, True),
        ("", LOCAL, True, False),
        ("", Client(""), True, True),
        ("%", Client(""), True, True),
        ("%", Client(general="%"), True, True),
        ("127.%", Client(general="%"), False, False),
        ("%", Client(general="127.%"), True, True),
        ("127.%", Client(general="127.0.0._"), True, True),
        ("127.0.0.1", Client(general="127.0.0._"), False, False),
        ("10.0.0.0/255.0.0.0", Client(general="10.1.0.0/255.255.0.0"), True, True),
        ("10.1.0.0/255.255.0.0", Client(general="10.0.0.0/255.0.0.0"), False, False),
    ],
)
def test_hosts(pattern: str, client: Client, mysql: bool, mariadb: bool) -> None:
    assert host_matches(MYSQL, pattern, client) is mysql
    assert host_matches(MARIADB, pattern, client) is mariadb


@pytest.mark.parametrize(
    ("client", "account_host", "resolved", "expected"),
    [
        ("127.0.0.1", "%", True, LOCAL),
        ("127.0.0.1", "%", False, Client(None, "127.0.0.1")),
        ("::1", "%", True, Client("localhost", "::1")),
        ("10.1.2.3", "%", True, Client(None, "10.1.2.3")),
        ("PC7.Example.org", "%", True, Client("pc7.example.org")),
        (None, "localhost", True, Client("localhost")),
        (None, "127.0.0.1", True, LOCAL),
        (None, "%", True, Client(general="%")),
        (None, "10.%", True, Client(general="10.%")),
        (None, "10.0.0.0/255.0.0.0", True, Client(general="10.0.0.0/255.0.0.0")),
    ],
)
def test_clients(client: str | None, account_host: str, resolved: bool, expected: Client) -> None:
    assert client_of(client, account_host, names_resolved=resolved) == expected


@pytest.mark.parametrize(
    ("flavour", "order"),
    [
        # MySQL looks only for the place of the first wildcard.
        (MYSQL, [r"map\_lab1", r"map\_lab\_%", r"map\_l%", r"map\_%", "map_lab1", "%a", "%"]),
        (MARIADB, ["map1lab", "map_lab", "map__ab", r"map\_lab%", r"map\_%", "m%p%", "m%", "%"]),
    ],
)
def test_specificity_grows_with_what_is_found_first(flavour: Flavour, order: list[str]) -> None:
    numbers = [specificity(flavour, pattern) for pattern in order]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("flavour", "one", "other"),
    [
        (MYSQL, "map%", "map_lab%"),
        (MYSQL, "map_", "map%"),
        (MYSQL, "a", "bbb"),
        (MARIADB, "%a%", "%b%"),
        (MARIADB, "a%b_", "a%_b"),
    ],
)
def test_patterns_that_the_server_thinks_equal(flavour: Flavour, one: str, other: str) -> None:
    assert specificity(flavour, one) == specificity(flavour, other)


@pytest.mark.parametrize(
    ("flavour", "first", "second"),
    [
        # user, host, pattern: the host counts before the schema
        (MYSQL, ("u", "localhost", "%"), ("u", "%", "map")),
        (MYSQL, ("u", "127.0.0.1", "%"), ("u", "localhost", "map")),
        (MYSQL, ("u", "127.0.0.1", "%"), ("u", "127.0.0.1/32", "map")),
        (MYSQL, ("u", "127.0.0.0/24", "%"), ("u", "127.0.0.0/8", "map")),
        (MYSQL, ("u", "127.0.0.0/8", "%"), ("u", "127.0.0.0/255.255.255.0", "map")),
        (MYSQL, ("u", "127.0.0.0/255.0.0.0", "%"), ("u", "127.%", "map")),
        (MYSQL, ("u", "%", "map"), ("", "%", "map")),
        (MYSQL, ("", "%", "map"), ("u", "%", "m%")),
        (MARIADB, ("u", "localhost", "%"), ("u", "%", "map")),
        (MARIADB, ("u", "127.0.0._", "%"), ("u", "127.%", "map")),
        (MARIADB, ("u", "%", "map"), ("", "%", "map")),
        (MARIADB, ("", "localhost", "m%"), ("u", "%", "map")),
        (MARIADB, ("r", "", "%"), ("r", "%", "map")),
    ],
)
def test_the_servers_search_order(
    flavour: Flavour, first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    assert row_rank(flavour, *first) < row_rank(flavour, *second)


def test_a_long_pattern_wraps_round_in_mariadb() -> None:
    """Its free length is 64 characters less the bytes of the pattern, as an unsigned number."""
    assert specificity(MARIADB, "é" * 40 + "%") < specificity(MARIADB, "%")
