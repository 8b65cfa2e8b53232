"""The rules of `effective` without roles, on hand-made grant tables."""

from __future__ import annotations

import pytest

from mapadmin.db.grants import GLOBAL, GRANT_OPTION, Account, AccountState, Flavour
from mapadmin.db.rights.effective import (
    Resolver,
    Session,
    Source,
    effective,
)
from tests.db.effective_tables import (
    ALICE,
    LOCAL,
    MARIADB,
    MYSQL,
    account,
    grants,
    have,
    names,
    on,
    tables,
)

BOTH = pytest.mark.parametrize("flavour", [MYSQL, MARIADB])


@BOTH
@pytest.mark.parametrize(
    ("held", "schema", "expected"),
    [
        ({}, "map_lab", ""),
        ({"*": "SELECT"}, "map_lab", "SELECT"),
        ({"*": "SELECT SUPER"}, "map_lab", "SELECT"),  # what means nothing on a schema is left out
        ({r"map\_%": "SELECT"}, "map_lab", "SELECT"),
        ({r"map\_%": "SELECT"}, "mapXlab", ""),
        ({"map_%": "SELECT"}, "mapXlab", "SELECT"),
        ({r"map\_%": "SELECT", r"map\_lab": "INSERT"}, "map_lab", "INSERT"),
        ({r"map\_%": "SELECT", r"map\_lab": "INSERT"}, "map_lab2", "SELECT"),
        ({r"map\_%": "SELECT", "map%": "DROP", "%": "DELETE"}, "map_lab", "SELECT"),
        ({r"map\_%": "SELECT", "map%": "DROP", "%": "DELETE"}, "mapX", "DROP"),
        ({r"map\_%": "SELECT", "map%": "DROP", "%": "DELETE"}, "other", "DELETE"),
        ({"*": "UPDATE", r"map\_lab": "INSERT", "%": "DROP"}, "map_lab", "INSERT UPDATE"),
    ],
)
def test_the_most_specific_row_wins_alone(
    flavour: Flavour, held: dict[str, str], schema: str, expected: str
) -> None:
    assert have(tables(flavour, account(ALICE, held)), Session(ALICE), schema) == expected


@BOTH
def test_sources_name_the_scope_and_the_holder(flavour: Flavour) -> None:
    state = tables(flavour, account(ALICE, {"*": "SELECT", "map%": "SELECT INSERT"}))
    found = effective(state, Session(ALICE), "map_lab")
    everywhere, row = Source(GLOBAL, ALICE), Source(on("map%"), ALICE)
    assert found == {"SELECT": {everywhere, row}, "INSERT": {row}}


@BOTH
@pytest.mark.parametrize(
    ("client", "expected"),
    [("127.0.0.1", "INSERT"), (None, "INSERT"), ("localhost", "INSERT"), ("10.0.0.1", "SELECT")],
)
def test_rows_are_found_by_user_and_client_not_by_account(
    flavour: Flavour, client: str | None, expected: str
) -> None:
    """A row for a more specific host wins whatever its pattern."""
    held = [account(ALICE, {r"map\_lab": "SELECT"}), account(LOCAL, {"%": "INSERT"})]
    assert have(tables(flavour, *held), Session(LOCAL, client)) == expected


@BOTH
def test_rows_of_another_host_of_the_user_count(flavour: Flavour) -> None:
    state = tables(flavour, account(ALICE, {"*": "DROP", "map%": "SELECT"}), account(LOCAL))
    found = effective(state, Session(LOCAL), "map_lab")
    assert found == {"SELECT": {Source(on("map%"), ALICE)}}  # but not its global privileges
    assert have(state, Session(ALICE)) == "DROP SELECT"


@BOTH
@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Account("alice"), "SELECT"),
        (Account("", "%"), "SELECT"),
        (Account("", "10.%"), ""),
        (Account("bob"), ""),
    ],
)
def test_rows_of_accounts_that_do_not_exist(
    flavour: Flavour, other: Account, expected: str
) -> None:
    orphans = {other: grants({"map%": "SELECT"})}
    assert have(tables(flavour, account(LOCAL), orphans=orphans), Session(LOCAL)) == expected


def test_names_are_compared_in_lower_case_where_the_server_folds_them() -> None:
    held = account(ALICE, {r"Map\_%": "SELECT"})
    assert have(tables(MYSQL, held), Session(ALICE), "map_lab") == ""
    folding = tables(MYSQL, held, lower_case_table_names=1)
    assert have(folding, Session(ALICE), "MAP_lab") == "SELECT"


@BOTH
def test_equally_specific_rows_leave_the_choice_to_the_server(flavour: Flavour) -> None:
    state = tables(flavour, account(ALICE, {"%ap%": "SELECT", "%ab%": "INSERT"}))
    found = Resolver(state).outcomes(Session(ALICE), "map_lab")
    assert sorted(map(names, found)) == ["INSERT", "SELECT"]
    assert have(state, Session(ALICE)) == "INSERT SELECT"
    assert len(Resolver(state).outcomes(Session(ALICE), "map")) == 1


@BOTH
def test_the_right_to_grant_is_a_privilege_like_others(flavour: Flavour) -> None:
    held = AccountState(ALICE, {GLOBAL: frozenset({GRANT_OPTION, "SUPER"})})
    assert have(tables(flavour, held), Session(ALICE)) == GRANT_OPTION


def test_without_a_list_of_schema_privileges_all_global_ones_are_told() -> None:
    state = tables(MYSQL, account(ALICE, {"*": "SUPER"}), database_privileges=frozenset())
    assert have(state, Session(ALICE)) == "SUPER"


def test_an_account_that_does_not_exist_has_what_rows_give_it() -> None:
    state = tables(MYSQL, orphans={ALICE: grants({"map%": "SELECT"})})
    assert have(state, Session(ALICE)) == "SELECT"
