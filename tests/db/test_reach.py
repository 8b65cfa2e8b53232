"""What an account reaches, put together; on hand-made grant tables."""

from __future__ import annotations

import pytest

from mapadmin.db.commands._columns import described, reached
from mapadmin.db.grants import Account, AccountState, Flavour, GrantTables, Level, Scope
from mapadmin.db.rights.reach import Reach, Reacher
from tests.db.effective_tables import (
    ALICE,
    KNOWN,
    LOCAL,
    MARIADB,
    MYSQL,
    account,
    role,
    tables,
)

MAP = [f"map_{number:02}" for number in range(60)]
Line = tuple[str, str, str]


def lines(found: list[Reach]) -> list[Line]:
    """Each line as a person reads it: where, what, from which grant."""
    return [
        (reached(line), described(line.level, line.privileges, KNOWN), str(line.origin))
        for line in found
    ]


def of(state: GrantTables, name: Account = ALICE, *, each: bool = False) -> list[Line]:
    return lines(Reacher(state).of_account(name, each=each))


BOTH = pytest.mark.parametrize("flavour", [MYSQL, MARIADB])


@BOTH
def test_many_equal_schemas_are_one_line(flavour: Flavour) -> None:
    state = tables(
        flavour,
        account(ALICE, {r"map\_%": "SELECT", r"alice\_%": " ".join(KNOWN)}),
        schemas=frozenset({*MAP, "alice_own", "mysql", "other"}),
    )
    found = Reacher(state).of_account(ALICE)
    assert lines(found) == [
        ("alice_* (1 schema)", "ALL", "alice_*"),
        ("map_* (60 schemas)", "SELECT", "map_*"),
    ]
    assert found[1].schemas == tuple(MAP)
    each = of(state, each=True)
    assert each[0] == ("alice_own", "ALL", "alice_*")
    assert [line[0] for line in each[1:]] == MAP


@BOTH
def test_a_schema_with_a_row_of_its_own_is_a_line_of_its_own(flavour: Flavour) -> None:
    state = tables(
        flavour,
        account(ALICE, {r"map\_%": "SELECT", r"map\_07": "INSERT SELECT"}),
        schemas=frozenset(MAP),
    )
    assert of(state) == [
        ("map_* (59 schemas)", "SELECT", "map_*"),
        ("map_07", "INSERT, SELECT", "map_07"),
    ]


@BOTH
def test_a_pattern_without_schemas_is_shown(flavour: Flavour) -> None:
    state = tables(flavour, account(ALICE, {r"alice\_%": "SELECT"}), schemas=frozenset(MAP))
    assert of(state) == [("alice_* (no schema)", "SELECT", "alice_*")]


@BOTH
def test_what_is_held_everywhere_is_said_once(flavour: Flavour) -> None:
    state = tables(
        flavour,
        account(ALICE, {"*": "SELECT PROCESS", r"map\_%": "INSERT"}),
        schemas=frozenset({"map_01", "mysql"}),
    )
    assert of(state) == [("*.*", "PROCESS, SELECT", "*.*"), ("map_* (1 schema)", "INSERT", "map_*")]
    assert of(state, each=True) == [
        ("*.*", "PROCESS, SELECT", "*.*"),
        ("map_01", "INSERT", "map_*"),
        ("map_01", "SELECT", "*.*"),
        ("mysql", "SELECT", "*.*"),
    ]


@BOTH
def test_roles_count_when_they_are_active_by_default(flavour: Flavour) -> None:
    readers, unused = role("readers", flavour), role("unused", flavour)
    state = tables(
        flavour,
        account(ALICE, roles={readers, unused}, default_roles={readers}),
        account(readers, {r"map\_%": "SELECT", "*": "DROP"}, is_role=True),
        account(unused, {r"map\_%": "INSERT"}, is_role=True),
        schemas=frozenset(MAP),
    )
    name = str(readers)
    assert of(state) == [
        ("*.*", "DROP", f"role {name}: *.*"),
        ("map_* (60 schemas)", "SELECT", f"role {name}: map_*"),
    ]
    assert Reacher(state).active_roles(ALICE) == {readers}
    assert Reacher(state).everywhere(ALICE) == {"DROP"}
    assert Reacher(state).on_schema(ALICE, "map_01") == {"DROP", "SELECT"}


def test_public_counts_on_mariadb() -> None:
    public = Account("PUBLIC", "")
    state = tables(
        MARIADB,
        account(ALICE),
        account(public, {r"test\_%": "SELECT"}, is_role=True),
        schemas=frozenset({"test_1"}),
    )
    assert of(state) == [("test_* (1 schema)", "SELECT", "PUBLIC: test_*")]


@BOTH
def test_the_row_of_another_account_is_named(flavour: Flavour) -> None:
    state = tables(
        flavour,
        account(LOCAL),
        account(ALICE, {r"map\_%": "SELECT"}),
        schemas=frozenset({"map_01"}),
    )
    assert of(state, LOCAL) == [("map_* (1 schema)", "SELECT", "row of alice@%: map_*")]
    # The other way round the client may be anywhere, so the row of localhost does not count.
    assert of(tables(flavour, account(ALICE), account(LOCAL, {"x": "SELECT"}))) == []


@BOTH
def test_tables_and_routines_are_added(flavour: Flavour) -> None:
    held = {
        Scope(Level.TABLE, "map_01", "subject"): frozenset({"SELECT"}),
        Scope(Level.COLUMN, "map_01", "subject", "sex"): frozenset({"UPDATE"}),
        Scope(Level.PROCEDURE, "map_02", "tidy"): frozenset({"EXECUTE"}),
        Scope(Level.PROXY, "bob", "%"): frozenset({"PROXY"}),
    }
    state = tables(flavour, AccountState(ALICE, held), schemas=frozenset(MAP))
    assert of(state) == [
        ("map_01.subject", "SELECT", "map_01.subject"),
        ("map_01.subject(sex)", "UPDATE", "map_01.subject(sex)"),
        ("procedure map_02.tidy", "EXECUTE", "procedure map_02.tidy"),
        ("proxy for bob@%", "PROXY", "proxy for bob@%"),
    ]
    one = lines(Reacher(state).of_schema("map_02", [ALICE]))
    assert one == [("procedure map_02.tidy", "EXECUTE", "procedure map_02.tidy")]


@BOTH
def test_of_the_rows_of_one_name_the_most_specific_host_counts_for_a_table(
    flavour: Flavour,
) -> None:
    def holds(name: Account, privilege: str) -> AccountState:
        return AccountState(name, {Scope(Level.TABLE, "map_01", "t"): frozenset({privilege})})

    state = tables(flavour, holds(ALICE, "SELECT"), holds(LOCAL, "INSERT"))
    assert of(state, LOCAL) == [("map_01.t", "INSERT", "map_01.t")]
    state = tables(flavour, holds(ALICE, "SELECT"), account(LOCAL))
    assert of(state, LOCAL) == [("map_01.t", "SELECT", "row of alice@%: map_01.t")]


@BOTH
def test_who_reaches_a_schema(flavour: Flavour) -> None:
    bob, carol = Account("bob"), Account("carol")
    state = tables(
        flavour,
        account(ALICE, {r"map\_%": "SELECT"}),
        account(bob, {"*": " ".join(KNOWN)}),
        account(carol, {r"other\_%": "SELECT"}),
        schemas=frozenset(MAP),
    )
    found = Reacher(state).of_schema("map_07", [ALICE, bob, carol])
    assert [(line.user, *line_) for line, line_ in zip(found, lines(found), strict=True)] == [
        ("alice", "map_07", "SELECT", "map_*"),
        ("bob", "map_07", "ALL", "*.*"),
    ]
    (future,) = Reacher(state).of_schema("other_new", [carol])
    assert (future.on, future.schemas) == ("other_new", ())


@pytest.mark.parametrize(
    ("level", "privileges", "text"),
    [
        ("database", KNOWN, "ALL"),
        ("database", {"ALL"}, "ALL"),
        ("database", {*KNOWN, "GRANT OPTION"}, "ALL with GRANT OPTION"),
        ("database", {"SELECT", "DROP"}, "DROP, SELECT"),
        ("global", {*KNOWN, "SUPER"}, "ALL on schemas; SUPER"),
        ("global", KNOWN, "ALL on schemas"),
        ("global", {"PROCESS"}, "PROCESS"),
        ("table", {"SELECT"}, "SELECT"),
        ("role", set(), "member"),
        ("role", {"ADMIN OPTION"}, "member, may grant it"),
    ],
)
def test_privileges_in_words(level: str, privileges: set[str], text: str) -> None:
    assert described(level, privileges, KNOWN) == text
