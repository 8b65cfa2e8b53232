"""From grant tables to people.toml and back: what is taken over comes out as it went in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapadmin.db.adoption.adopt import Adopter, Adoption
from mapadmin.db.adoption.role_inference import Holding, infer, privilege_names
from mapadmin.db.compare import differences, is_same
from mapadmin.db.grants import (
    Account,
    AccountState,
    Flavour,
    GrantTables,
    Level,
    Privileges,
    Scope,
)
from mapadmin.db.names import own_pattern
from mapadmin.db.policy import Policy, Wanted
from mapadmin.db.rights.patterns import add_up
from mapadmin.db.state import Managed, Stage
from mapadmin.site import People, Person, Site
from tests.db.effective_tables import account, grants
from tests.db.pure import EVERY, OWN, TODAY, Roles, site_of, tables_of

ALL = " ".join(EVERY)
PROJECT = r"map\_%"


def adopted(
    states: Iterable[AccountState],
    *names: str,
    site: Site | None = None,
    managed: Mapping[Account, Managed] | None = None,
    **options: bool,
) -> Adoption:
    tables = tables_of(states={one.account: one for one in states})
    adopter = Adopter(site or site_of(), tables, managed or {}, OWN, TODAY)
    return adopter.adopt(names, **options)


def person(name: str, held: Mapping[str, str] | None = None, **more: Any) -> AccountState:
    return account(Account(name), {own_pattern(name): ALL, **(held or {})}, **more)


def service(name: str, held: Mapping[str, str] | None = None, **more: Any) -> AccountState:
    return account(Account(name), held or {}, **more)


# --- entries -----------------------------------------------------------------------------------

ENTRIES: list[tuple[str, AccountState, bool, Person]] = [
    ("a person", person("ann"), False, Person()),
    ("a service", service("ann"), True, Person()),
    ("locked", person("ann", locked=True), False, Person(locked=True)),
    ("TLS", person("ann", tls=True), False, Person(require_tls=True)),
    (
        "a native role",
        person("ann", roles=[Account("analyst")]),
        False,
        Person(native_roles=["analyst@%"]),
    ),
    (
        "not all on their own schemas",
        account(Account("ann"), {r"ann\_%": "SELECT"}),
        False,
        Person(own_schemas=False, grants={"ann_*": ["SELECT"]}),
    ),
    (
        "more than all on their own schemas",
        account(Account("ann"), {r"ann\_%": f"{ALL} DROP"}),
        False,
        Person(grants={"ann_*": ["DROP"]}),
    ),
    (
        "a forgotten backslash",
        account(Account("ann"), {"ann_%": ALL}),
        False,
        Person(own_schemas=False, grants={"ann?*": ["ALL"]}),
    ),
    (
        "a forgotten underscore",
        account(Account("ann"), {"ann%": ALL}),
        False,
        Person(own_schemas=False, grants={"ann*": ["ALL"]}),
    ),
    (
        "elsewhere",
        person("ann", {r"lab\_x": "SELECT", "*": "PROCESS"}),
        False,
        Person(grants={"lab_x": ["SELECT"], "*.*": ["PROCESS"]}),
    ),
    ("the project", person("ann", {PROJECT: "SELECT"}), False, Person(role="reader")),
    ("a worker", service("ann", {PROJECT: ALL}), True, Person(role="worker")),
    ("all, but no service", person("ann", {PROJECT: ALL}), False, Person(role="full")),
    (
        "no usual name for it",
        person("ann", {PROJECT: "EVENT"}),
        False,
        Person(grants={"map_*": ["EVENT"]}),
    ),
]


@pytest.mark.parametrize(("name", "state", "is_service", "expected"), ENTRIES)
def test_entries(name: str, state: AccountState, is_service: bool, expected: Person) -> None:
    found = adopted([state])
    entries = found.services if is_service else found.people
    assert entries == {"ann": expected}, name
    assert found.left == {}
    assert [one.account for one in found.marks] == [Account("ann")]


def test_what_tls_the_site_wants() -> None:
    site = site_of(require_tls=True)
    assert adopted([person("ann", tls=True)], site=site).people == {"ann": Person()}
    plain = adopted([person("ann")], site=site)
    assert plain.people == {"ann": Person(require_tls=False)}


def test_tables_columns_and_routines() -> None:
    held = {
        Scope(Level.TABLE, "map_lab", "t"): frozenset({"SELECT"}),
        Scope(Level.COLUMN, "map_lab", "t", "c"): frozenset({"UPDATE"}),
        Scope(Level.PROCEDURE, "map_lab", "p"): frozenset({"EXECUTE"}),
    }
    found = adopted([AccountState(Account("ann"), held)])
    assert found.services["ann"].grants == {
        "map_lab.t": ["SELECT"],
        "map_lab.t(c)": ["UPDATE"],
        "procedure map_lab.p": ["EXECUTE"],
    }


REFUSED: list[tuple[str, AccountState, str]] = [
    ("anonymous", account(Account("", "localhost")), "anonymous"),
    ("reserved", service("root"), "reserved for the server"),
    ("mapadmin's schema", service("madmin"), "mapadmin's own schema"),
    ("no host", account(Account("ann", "")), "no host"),
    ("partial revokes", person("ann", restrictions={"x": frozenset({"SELECT"})}), "partial"),
    (
        "proxy",
        AccountState(Account("ann"), {Scope(Level.PROXY, "bob", "%"): frozenset({"PROXY"})}),
        "may act as bob@%",
    ),
    (
        "a table with a dot",
        AccountState(Account("ann"), {Scope(Level.TABLE, "a.b", "t"): frozenset({"SELECT"})}),
        "its grant on a.b.t cannot be written",
    ),
    (
        "a routine with a dot",
        AccountState(Account("ann"), {Scope(Level.PROCEDURE, "a", "b.c"): frozenset({"EXECUTE"})}),
        "cannot be written",
    ),
    ("a stray backslash", person("ann", {r"a\bc": "SELECT"}), "cannot be written"),
    ("crossing", person("ann", {"map%": "SELECT", "%lab": "INSERT"}), "neither contains"),
    (
        "a row that takes away",
        person("ann", {PROJECT: "SELECT", r"map\_lab": "INSERT"}),
        "it lacks SELECT on map_lab",
    ),
    ("no privilege", person("ann", {"x": "FLY"}), "'FLY' is not a privilege"),
]


@pytest.mark.parametrize(("name", "state", "reason"), REFUSED)
def test_refused(name: str, state: AccountState, reason: str) -> None:
    found = adopted([state, person("bob")])
    assert reason in found.left[state.account], name
    assert set(found.people) == {"bob"}
    assert [one.account.user for one in found.exact] == ["bob"]
    assert "left alone" in found.notes()[-1]


def test_what_is_silently_passed_over() -> None:
    site = site_of()
    database = msgspec.structs.replace(site.database, ignore_accounts=["other"])
    site.settings = msgspec.structs.replace(site.settings, database=database)
    states = [
        service("rdsadmin"), service("other"), service("mapadmin"),
        service("role", is_role=True), account(Account("PUBLIC", "")),
    ]  # fmt: skip
    found = adopted(states, site=site)
    assert found == Adoption()
    named = adopted(states, "other", "mapadmin", site=site)
    assert named.left == {
        Account("other"): "it is in database.ignore_accounts",
        Account("mapadmin"): "it is mapadmin's own account",
    }


# --- several hosts -----------------------------------------------------------------------------

NEAR = Account("ann", "10.%")


def test_hosts_that_are_alike() -> None:
    near = AccountState(NEAR, person("ann").grants)
    assert adopted([person("ann"), near]).people == {"ann": Person(hosts=["%", "10.%"])}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"grants": {}}, "ann@10.% lacks ALL on ann_*, unlike ann@%"),
        ({"locked": True}, "ann@10.% is locked"),
        ({"tls": True}, "ann@10.% must use TLS"),
        ({"roles": frozenset({Account("r")})}, "ann@10.% has the native role r@%"),
    ],
)
def test_hosts_that_differ(fields: dict[str, Any], reason: str) -> None:
    near = AccountState(NEAR, **{"grants": person("ann").grants, **fields})
    found = adopted([person("ann"), near])
    assert found.people == {}
    assert found.left.keys() == {Account("ann"), NEAR}
    assert all(why.startswith(reason) for why in found.left.values())
    (note,) = found.notes()
    assert note.startswith("ann@%, ann@10.% are left alone")


def test_a_role_that_one_host_lacks() -> None:
    near = AccountState(NEAR, person("ann").grants)
    found = adopted([person("ann", roles=[Account("r")]), near])
    assert set(found.left) == {Account("ann"), NEAR}


# --- what is known already ---------------------------------------------------------------------

READER: Roles = {"reader": {"map_*": ["SELECT"]}}


def test_an_entry_that_says_what_is_there() -> None:
    site = site_of(roles=READER, people={"ann": Person(role="reader", email="a@b")})
    found = adopted([person("ann", {PROJECT: "SELECT"})], site=site)
    assert (found.people, found.left) == ({}, {})
    assert found.marks == found.exact == [found.marks[0]]
    assert found.marks[0].role == "reader"


def test_an_entry_that_says_something_else() -> None:
    site = site_of(roles=READER, people={"ann": Person(role="reader")})
    states = [person("ann", {PROJECT: "INSERT"})]
    found = adopted(states, site=site)
    assert (found.people, found.marks) == ({}, [])
    assert found.left[Account("ann")].startswith("it has INSERT on map_*, unlike its entry")
    forced = adopted(states, site=site, as_written=True)
    assert (forced.as_written, forced.exact, forced.left) == ([Account("ann")], [], {})
    assert [one.account for one in forced.marks] == [Account("ann")]


def test_as_written_invents_no_hosts() -> None:
    site = site_of(people={"ann": Person(hosts=["localhost"])})
    found = adopted([service("ann")], site=site, as_written=True)
    assert (found.marks, set(found.left)) == ([], {Account("ann")})


def test_a_new_host() -> None:
    site = site_of(people={"ann": Person(email="a@b")})
    managed = {Account("ann"): Managed(Account("ann"), Stage.MANAGED)}
    near = AccountState(NEAR, person("ann").grants)
    found = adopted([person("ann"), near], site=site, managed=managed)
    assert found.people == {"ann": Person(email="a@b", hosts=["%", "10.%"])}
    assert [one.account for one in found.marks] == [NEAR]


def remembered(stage: Stage = Stage.MANAGED, **more: Any) -> dict[Account, Managed]:
    return {Account("ann"): Managed(Account("ann"), stage, **more)}


def test_what_mapadmin_remembers() -> None:
    site = site_of()
    site.has_people_file = False
    managed = remembered(role="boss", expires=TODAY)
    found = adopted([person("ann", {PROJECT: "SELECT"})], site=site, managed=managed)
    assert found.people == {"ann": Person(role="boss", expires=TODAY)}
    assert found.roles == {"boss": {"map_*": ["SELECT"]}}
    assert found.marks == []  # it is marked already, and just so
    assert [one.account for one in found.exact] == [Account("ann")]


def test_who_left_people_toml() -> None:
    managed = remembered()
    found = adopted([person("ann")], managed=managed)
    assert "it left people.toml" in found.left[Account("ann")]
    assert adopted([person("ann")], "ann", managed=managed).people == {"ann": Person()}


def test_who_was_never_finished() -> None:
    found = adopted([person("ann")], managed=remembered(Stage.CREATING))
    assert "cut short" in found.left[Account("ann")]


def test_who_expired_but_is_not_locked() -> None:
    site = site_of()
    site.has_people_file = False
    gone = TODAY.replace(year=2020)
    managed = remembered(expires=gone)
    assert (
        "is not locked" in adopted([person("ann")], site=site, managed=managed).left[Account("ann")]
    )
    found = adopted([person("ann", locked=True)], site=site, managed=managed)
    assert found.people == {"ann": Person(expires=gone)}


# --- roles -------------------------------------------------------------------------------------


def roles_of(states: list[AccountState], site: Site | None = None) -> dict[str, str]:
    found = adopted(states, site=site)
    assert not found.left
    return {name: one.role for name, one in {**found.people, **found.services}.items()}


def test_what_several_hold_is_a_role() -> None:
    states = [person(name, {PROJECT: "EVENT"}) for name in ("ann", "bob")]
    assert roles_of(states) == {"ann": "role-1", "bob": "role-1"}


def test_the_most_frequent_has_the_usual_name() -> None:
    states = [person("ann", {PROJECT: "SELECT"})]
    states += [person(name, {PROJECT: "SELECT REFERENCES"}) for name in ("bob", "cyn")]
    states += [person(name, {PROJECT: "SELECT", r"map\_x": "SELECT EVENT"}) for name in "de"]
    found = adopted(states)
    assert found.roles == {
        "reader": {"map_*": ["SELECT", "REFERENCES"]},
        "role-1": {"map_*": ["SELECT"], "map_x": ["SELECT", "EVENT"]},
    }
    assert found.people["ann"] == Person(grants={"map_*": ["SELECT"]})


def test_a_second_role_of_a_kind() -> None:
    states = [person(name, {PROJECT: "SELECT"}) for name in "ab"]
    states += [person(name, {PROJECT: "SELECT REFERENCES"}) for name in "cde"]
    states += [person(name, {"map%": "SELECT"}) for name in "fg"]
    assert set(adopted(states).roles) == {"reader", "reader-2", "reader-3"}


def test_whoever_holds_more_has_the_largest_role_that_fits() -> None:
    states = [person(name, {PROJECT: "SELECT"}) for name in "ab"]
    states += [person(name, {PROJECT: "SELECT INSERT"}) for name in "cd"]
    states.append(person("e", {PROJECT: "SELECT INSERT", r"map\_x": "SELECT INSERT EVENT"}))
    found = adopted(states)
    assert found.people["e"] == Person(
        role="experimenter", grants={"map_x": ["SELECT", "INSERT", "EVENT"]}
    )


def test_roles_of_the_site_are_used() -> None:
    roles: Roles = {
        "looker": {"map_*": ["references", "Select"]},
        "wide": {"map_*": ["SELECT"], "lab_*": ["SELECT"]},
        "broken": {"map*": ["SELECT"], "*_x": ["INSERT"]},
    }
    states = [
        person("ann", {PROJECT: "SELECT REFERENCES"}),
        person("bob", {PROJECT: "SELECT", r"lab\_%": "SELECT"}),
        person("cyn", {PROJECT: "SELECT", r"lab\_%": "SELECT INSERT"}),
    ]
    found = adopted(states, site=site_of(roles=roles))
    assert {name: one.role for name, one in found.people.items()} == {
        "ann": "looker", "bob": "wide", "cyn": "wide",
    }  # fmt: skip
    assert found.roles == {}
    assert found.people["cyn"].grants == {"lab_*": ["INSERT"]}


def test_names_that_the_site_uses_already_are_not_taken() -> None:
    roles: Roles = {"reader": {"map_*": ["SELECT"]}, "role-1": {"lab_*": ["SELECT"]}}
    states = [person(name, {PROJECT: "SELECT REFERENCES"}) for name in "ab"]
    states += [person(name, {PROJECT: "EVENT"}) for name in "cd"]
    found = adopted(states, site=site_of(roles=roles))
    assert set(found.roles) == {"reader-2", "role-2"}


def test_a_role_goes_with_those_it_was_made_for() -> None:
    bad = {PROJECT: "SELECT", r"map\_lab": "INSERT"}
    found = adopted([person("ann", bad), person("bob", bad), person("cyn", {PROJECT: "SELECT"})])
    assert set(found.left) == {Account("ann"), Account("bob")}
    assert found.roles == {"reader": {"map_*": ["SELECT"]}}


def test_infer_prefers_what_somebody_named() -> None:
    held = grants({PROJECT: "SELECT"})
    one = Holding("ann", service=False, grants=held, shared=held, preferred="b")
    known = {"a": held, "b": held}
    assert infer([one], known, EVERY, "map").of == {"ann": "b"}


def test_the_words_for_privileges() -> None:
    schema, everything = Scope(Level.DATABASE, "x"), Scope(Level.GLOBAL)
    assert privilege_names(schema, EVERY | {"DROP"}, EVERY) == ["ALL", "DROP"]
    assert privilege_names(schema, frozenset({"UPDATE", "ALTER", "SELECT"}), EVERY) == [
        "SELECT", "UPDATE", "ALTER",
    ]  # fmt: skip
    assert "ALL" not in privilege_names(everything, EVERY, EVERY)


def test_patterns_that_cross_may_add_up_all_the_same() -> None:
    """Where the row that the server finds first gives all that the other gives."""
    wide, narrow = Scope(Level.DATABASE, PROJECT), Scope(Level.DATABASE, "map_lab")
    held = {wide: frozenset({"SELECT"}), narrow: frozenset({"SELECT", "INSERT"})}
    assert add_up(held, Flavour.MARIADB) == held
    with pytest.raises(ValueError, match="overlap"):
        add_up(held, Flavour.MYSQL)  # which finds `map\_%` first: its wildcard comes later
    with pytest.raises(ValueError, match="overlap"):
        add_up({**held, narrow: frozenset({"INSERT"})}, Flavour.MARIADB)


# --- the difference in words -------------------------------------------------------------------


def test_differences() -> None:
    state = person("ann", {PROJECT: "SELECT INSERT"}, locked=True, roles=[Account("r")])
    wanted = Wanted(Account("ann"), grants({PROJECT: "SELECT UPDATE"}), tls=True)
    assert differences(wanted, state, EVERY) == [
        "has ALL on ann_*",
        "has INSERT on map_*",
        "lacks UPDATE on map_*",
        "is locked",
        "may log in without TLS",
        "has the native role r@%",
    ]
    assert not is_same(wanted, state)


# --- anything ----------------------------------------------------------------------------------

NAMES = ["ann", "bob", "al", "al_ice", "we ird", 'q"', "a.b", "st*r", "[x]", "é", "\x01\n", "x\\"]
PATTERNS = [PROJECT, "map_%", "map%", r"map\_lab", "map_lab", "%", "lab", r"a\%b", r"a\b", "%lab"]
privileges = st.frozensets(st.sampled_from(sorted(EVERY | {"GRANT OPTION", "DROP"})), min_size=1)


@st.composite
def accounts(draw: st.DrawFn) -> AccountState:
    name = draw(st.sampled_from(NAMES))
    held: dict[Scope, Privileges] = {}
    if draw(st.booleans()):
        held[Scope(Level.DATABASE, own_pattern(name))] = draw(st.just(EVERY) | privileges)
    scopes = st.one_of(
        st.sampled_from(PATTERNS).map(lambda pattern: Scope(Level.DATABASE, pattern)),
        st.sampled_from(
            [
                Scope(Level.GLOBAL),
                Scope(Level.TABLE, "map_lab", "t"),
                Scope(Level.TABLE, "map.lab", "t"),
                Scope(Level.FUNCTION, "map_lab", "f"),
                Scope(Level.PROXY, "bob", "%"),
            ]
        ),
    )
    held |= draw(st.dictionaries(scopes, privileges, max_size=3))
    return AccountState(
        Account(name, draw(st.sampled_from(["%", "%", "localhost", "10.%"]))),
        held,
        locked=draw(st.booleans()),
        tls=draw(st.booleans()),
        roles=draw(st.frozensets(st.sampled_from([Account("r"), Account("s", "x")]), max_size=1)),
    )


@settings(max_examples=500)
@given(st.lists(accounts(), max_size=8), st.sampled_from(Flavour), st.booleans())
def test_whatever_is_taken_over_comes_out_as_it_went_in(
    states: list[AccountState], flavour: Flavour, require_tls: bool
) -> None:
    by_account = {one.account: one for one in states}
    site = site_of(roles=READER, require_tls=require_tls)
    tables = GrantTables(flavour, (11,), by_account, database_privileges=EVERY)
    found = Adopter(site, tables, {}, OWN, TODAY).adopt()
    after = Site(
        site.folder,
        msgspec.structs.replace(site.settings, roles={**site.settings.roles, **found.roles}),
        People(people=found.people, services=found.services),
    )
    everyone = Policy(after, tables, OWN, TODAY).everyone()
    assert {one.account for one in found.exact} == everyone.keys()
    for name, wanted in everyone.items():
        assert is_same(wanted, by_account[name])
    assert everyone.keys() | found.left.keys() == by_account.keys()
    assert not everyone.keys() & found.left.keys()
