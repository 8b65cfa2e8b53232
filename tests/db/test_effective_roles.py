"""Roles, default roles and partial revokes: what changes when a role is active."""

from __future__ import annotations

import pytest

from mapadmin.db.grants import GLOBAL, Account, Flavour
from mapadmin.db.rights.effective import (
    PUBLIC,
    Resolver,
    Session,
    Source,
    effective,
)
from mapadmin.db.rights.restrictions import Holding, aggregate
from tests.db.effective_tables import (
    ALICE,
    LOCAL,
    MARIADB,
    MYSQL,
    account,
    have,
    names,
    on,
    role,
    tables,
)

BOTH = pytest.mark.parametrize("flavour", [MYSQL, MARIADB])


@pytest.mark.parametrize(
    ("user", "granted", "expected"),
    [
        ({}, {r"map\_%": "SELECT"}, "SELECT"),
        ({"*": "DROP"}, {"*": "UPDATE", r"map\_%": "SELECT"}, "DROP SELECT UPDATE"),
        ({"maplab": "INSERT"}, {r"map%": "SELECT"}, "SELECT"),
        # A name without wildcard characters wins; `map_lab` is none, escaped or not.
        ({"m%": "INSERT"}, {"maplab": "SELECT"}, "INSERT"),
        # The pattern that comes first in byte order wins: % before \ before _ before letters.
        ({r"map\_%": "INSERT"}, {"map%": "SELECT"}, "SELECT"),
        ({r"map\_lab": "INSERT"}, {r"map\_%": "SELECT"}, "SELECT"),
        ({r"map\_%": "INSERT"}, {"map_lab": "SELECT"}, "INSERT"),
        ({"map%": "INSERT"}, {"map%": "SELECT"}, "INSERT SELECT"),
    ],
)
def test_mysql_with_an_active_role(
    user: dict[str, str], granted: dict[str, str], expected: str
) -> None:
    reader = role("reader", MYSQL)
    state = tables(MYSQL, account(ALICE, user), account(reader, granted))
    assert have(state, Session(ALICE, roles=frozenset({reader}))) == expected


def test_mysql_with_an_active_role_a_literal_name_wins_and_other_accounts_do_not_count() -> None:
    reader = role("reader", MYSQL)
    rows = {"maplab": "INSERT", "%": "SELECT"}
    state = tables(MYSQL, account(LOCAL), account(ALICE, rows), account(reader, rows))
    roles = frozenset({reader})
    assert have(state, Session(LOCAL, roles=roles), "maplab") == "INSERT"
    found = effective(state, Session(LOCAL, roles=roles), "other")
    assert found == {"SELECT": {Source(on("%"), reader)}}
    assert have(state, Session(LOCAL), "maplab") == "INSERT"


@pytest.mark.parametrize(
    ("user", "granted", "public", "expected"),
    [
        ({"map%": "INSERT"}, {r"map\_lab": "SELECT"}, {"%": "DROP"}, "DROP INSERT SELECT"),
        ({"*": "INSERT"}, {"*": "SELECT"}, {"*": "DROP"}, "DROP INSERT SELECT"),
        ({}, {r"map\_lab": "SELECT", "map%": "UPDATE"}, {}, "SELECT"),
    ],
)
def test_mariadb_unites_user_role_and_public(
    user: dict[str, str], granted: dict[str, str], public: dict[str, str], expected: str
) -> None:
    reader = role("reader", MARIADB)
    held = account(ALICE, user, roles={reader})
    state = tables(MARIADB, held, account(reader, granted), account(PUBLIC, public))
    assert have(state, Session(ALICE, roles=frozenset({reader}))) == expected


@BOTH
def test_roles_bring_the_roles_that_they_hold(flavour: Flavour) -> None:
    outer, inner = role("outer", flavour), role("inner", flavour)
    state = tables(
        flavour,
        account(ALICE, roles={outer}),
        account(outer, {"map%": "SELECT"}, roles={inner}),
        account(inner, {"*": "DROP", "map%": "INSERT"}, roles={outer}),
    )
    found = effective(state, Session(ALICE, roles=frozenset({outer})), "map_lab")
    assert found["DROP"] == {Source(GLOBAL, inner)}
    assert found["INSERT"] == {Source(on("map%"), inner)}
    assert found["SELECT"] == {Source(on("map%"), outer)}
    assert have(state, Session(ALICE)) == ""


def test_mariadb_takes_the_role_and_global_privileges_from_any_account_of_the_user() -> None:
    reader = role("reader", MARIADB)
    held = [account(LOCAL, {"*": "INSERT"}), account(ALICE, {"*": "DROP"}, roles={reader})]
    session = Session(LOCAL, "127.0.0.1", frozenset({reader}))
    state = tables(MARIADB, *held, account(reader, {"map%": "SELECT"}))
    assert have(state, session) == "DROP SELECT"
    held[0] = account(LOCAL, {"*": "INSERT"}, roles={reader})
    state = tables(MARIADB, *held, account(reader, {"map%": "SELECT"}))
    outcomes = Resolver(state).outcomes(session, "map_lab")
    assert sorted(map(names, outcomes)) == ["DROP SELECT", "INSERT SELECT"]


def test_mariadb_finds_the_rows_of_a_user_with_the_roles_name() -> None:
    reader = role("reader", MARIADB)
    state = tables(
        MARIADB,
        account(ALICE, roles={reader}),
        account(reader),
        account(Account("reader"), {"map%": "SELECT"}),
    )
    assert have(state, Session(ALICE, roles=frozenset({reader}))) == "SELECT"


# --- logins ------------------------------------------------------------------------------------

READER, WRITER = role("reader", MYSQL), role("writer", MYSQL)


@pytest.mark.parametrize(
    ("granted", "default", "variables", "expected"),
    [
        ({READER}, set(), {}, set()),
        ({READER}, {READER}, {}, {READER}),
        ({READER}, {WRITER}, {}, set()),
        ({READER, WRITER}, {READER}, {"activate_all_roles": True}, {READER, WRITER}),
        (set(), set(), {"mandatory_roles": {WRITER}}, set()),
        (set(), {WRITER}, {"mandatory_roles": {WRITER}}, {WRITER}),
        (set(), set(), {"mandatory_roles": {WRITER}, "activate_all_roles": True}, {WRITER}),
        (
            {READER},
            {READER},
            {"mandatory_roles": {WRITER}, "activate_mandatory_roles": True},
            {READER, WRITER},
        ),
        (set(), set(), {"mandatory_roles": {Account("gone")}, "activate_all_roles": True}, set()),
    ],
)
def test_roles_after_a_login_to_mysql(
    granted: set[Account],
    default: set[Account],
    variables: dict[str, object],
    expected: set[Account],
) -> None:
    state = tables(
        MYSQL,
        account(ALICE, roles=granted, default_roles=default),
        account(READER),
        account(WRITER),
        **variables,
    )
    assert Resolver(state).default_session(ALICE, "10.0.0.1") == Session(
        ALICE, "10.0.0.1", frozenset(expected)
    )


def test_roles_after_a_login_to_mariadb() -> None:
    reader = role("reader", MARIADB)
    held = account(LOCAL, default_roles={reader})
    state = tables(MARIADB, held, account(reader))
    assert Resolver(state).default_session(LOCAL).roles == frozenset()
    state = tables(MARIADB, held, account(ALICE, roles={reader}), account(reader))
    assert Resolver(state).default_session(LOCAL, "127.0.0.1").roles == {reader}


# --- partial revokes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "schema", "expected"),
    [
        ({"map_lab": "SELECT"}, "map_lab", "SELECT"),
        ({"map_lab": "SELECT"}, "mapXlab", ""),
        ({r"map\_lab": "SELECT", "map%": "SELECT"}, "map_lab", ""),
        ({"*": "SELECT INSERT"}, "map_lab", "INSERT"),
        ({"*": "SELECT INSERT"}, "map_other", "INSERT SELECT"),
        ({"*": "SELECT INSERT", "map_lab": "SELECT"}, "map_lab", "INSERT SELECT"),
    ],
)
def test_partial_revokes(held: dict[str, str], schema: str, expected: str) -> None:
    restrictions = {"map_lab": frozenset({"SELECT"})} if "*" in held else {}
    state = tables(MYSQL, account(ALICE, held, restrictions=restrictions), partial_revokes=True)
    assert have(state, Session(ALICE), schema) == expected


def held(everywhere: str, restrictions: str = "", schema: str = "") -> Holding:
    """What a holder has on everything, less what on schema `s`, and what on `s` itself."""
    lost = {"s": frozenset(restrictions.split())} if restrictions else {}
    literal = {"s": frozenset(schema.split())} if schema else {}
    return Holding(frozenset(everywhere.split()), lost, literal)


@pytest.mark.parametrize(
    ("holders", "expected"),
    [
        ([held("A B", "A"), held("")], "A"),
        ([held("A B", "A"), held("A")], ""),
        ([held("A B", "A B"), held("A")], "B"),
        ([held("A"), held("A", "A")], ""),
        ([held(""), held("A", "A")], "A"),
        ([held("", schema="A"), held("A", "A")], ""),
        ([held("A B", "A B"), held("", schema="A")], "B"),
        ([held("A", "A"), held("A", "A")], "A"),
        ([held("A B", "A B"), held("A", "A")], "A B"),
        ([held("A B", "A"), held("B C", "C")], "A C"),
    ],
)
def test_restrictions_of_several_holders(holders: list[Holding], expected: str) -> None:
    lost, _ = aggregate(holders)
    assert names(lost.get("s", ())) == expected


def test_a_grant_of_a_role_lifts_a_restriction_and_is_named_as_the_source() -> None:
    reader = role("reader", MYSQL)
    state = tables(
        MYSQL,
        account(
            ALICE, {"*": "SELECT INSERT"}, restrictions={"lab": frozenset({"SELECT", "INSERT"})}
        ),
        account(reader, {"lab": "SELECT"}),
        partial_revokes=True,
    )
    found = effective(state, Session(ALICE, roles=frozenset({reader})), "lab")
    assert found == {"SELECT": {Source(on("lab"), reader)}}
