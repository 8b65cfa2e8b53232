"""What people.toml and the roles come to: accounts with their grants."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pytest

from mapadmin.core.errors import MapadminError, SettingsError
from mapadmin.db.grants import (
    GLOBAL,
    GRANT_OPTION,
    Account,
    AccountState,
    GrantTables,
    Level,
    Privileges,
    Scope,
)
from mapadmin.db.names import own_pattern
from mapadmin.db.policy import Policy, grantable, is_expired
from mapadmin.site import Person
from tests.db.pure import EVERY, OWN, TODAY, Roles, site_of, tables_of

# --- roles and people --------------------------------------------------------------------------

ROLES: Roles = {
    "reader": {"map_*": ["SELECT", "REFERENCES"]},
    "writer": {"map_*": ["select"], "map_lab": [" insert "], "map_lab.subject": ["UPDATE"]},
    "worker": {"map_*": ["ALL"]},
    "monitor": {"*.*": ["PROCESS"]},
}
MAP, LAB = Scope(Level.DATABASE, r"map\_%"), Scope(Level.DATABASE, r"map\_lab")


def policy_of(
    *, roles: Roles = ROLES, require_tls: bool = False, tables: GrantTables | None = None
) -> Policy:
    return Policy(site_of(roles=roles, require_tls=require_tls), tables or tables_of(), OWN, TODAY)


def grants_of(person: Person, *, service: bool = False) -> Mapping[Scope, Privileges]:
    (wanted,) = policy_of().wanted("ann", person, service=service)
    return wanted.grants


ANN = Scope(Level.DATABASE, r"ann\_%")


def test_roles() -> None:
    assert policy_of().role_grants("reader") == {MAP: {"SELECT", "REFERENCES"}}
    assert policy_of().role_grants("worker") == {MAP: EVERY}
    assert policy_of().role_grants("monitor") == {GLOBAL: {"PROCESS"}}


COMPILED: list[tuple[str, Person, bool, dict[Scope, set[str] | Privileges]]] = [
    ("nobody's role", Person(), False, {ANN: EVERY}),
    ("a service with nothing", Person(), True, {}),
    ("a person", Person(role="reader"), False, {MAP: {"SELECT", "REFERENCES"}, ANN: EVERY}),
    ("a service", Person(role="reader"), True, {MAP: {"SELECT", "REFERENCES"}}),
    ("a service with schemas", Person(own_schemas=True), True, {ANN: EVERY}),
    ("a person without", Person(own_schemas=False), False, {}),
    (
        "a narrower grant carries the wider one",
        Person(role="writer", own_schemas=False),
        False,
        {
            MAP: {"SELECT"},
            LAB: {"SELECT", "INSERT"},
            Scope(Level.TABLE, "map_lab", "subject"): {"UPDATE"},
        },
    ),
    (
        "grants of one's own add to the role's",
        Person(role="reader", own_schemas=False, grants={"map_*": ["INSERT"], "map_lab": ["ALL"]}),
        False,
        {MAP: {"SELECT", "REFERENCES", "INSERT"}, LAB: EVERY},
    ),
    (
        "two spellings of one pattern",
        Person(own_schemas=False, grants={"map_lab": ["SELECT"], "map[_]lab": ["INSERT"]}),
        False,
        {LAB: {"SELECT", "INSERT"}},
    ),
    (
        "a grant on one of one's own schemas loses nothing",
        Person(grants={"ann_x": ["SELECT"]}),
        False,
        {ANN: EVERY, Scope(Level.DATABASE, r"ann\_x"): EVERY},
    ),
]


@pytest.mark.parametrize(("name", "person", "service", "expected"), COMPILED)
def test_grants(
    name: str, person: Person, service: bool, expected: dict[Scope, Privileges]
) -> None:
    assert grants_of(person, service=service) == expected, name


def test_one_account_for_each_host() -> None:
    person = Person(role="reader", hosts=["%", "10.1.%"], native_roles=["r"], expires=TODAY)
    one, other = policy_of().wanted("ann", person, service=False)
    assert (one.account, other.account) == (Account("ann"), Account("ann", "10.1.%"))
    assert one.grants == other.grants
    assert (one.role, one.service, one.expires) == ("reader", False, TODAY)
    assert one.native_roles == {"r"}


def test_everyone() -> None:
    site = site_of(
        roles=ROLES,
        people={"ann": Person(role="reader"), "bob": Person(hosts=["a", "b"])},
        services={"worker": Person(role="worker")},
    )
    wanted = Policy(site, tables_of(), OWN, TODAY).everyone()
    assert list(wanted) == [
        Account("ann"), Account("bob", "a"), Account("bob", "b"), Account("worker")
    ]  # fmt: skip
    assert wanted[Account("worker")].service
    assert wanted[Account("worker")].grants == {MAP: EVERY}


@pytest.mark.parametrize(
    ("expires", "over"),
    [(None, False), (TODAY, False), (date(2027, 6, 29), True), (date(2027, 7, 1), False)],
)
def test_expiry(expires: date | None, over: bool) -> None:
    """The last day counts."""
    person = Person(expires=expires)
    assert is_expired(person, TODAY) is over
    (wanted,) = policy_of().wanted("ann", person, service=False)
    assert wanted.locked is over
    (locked,) = policy_of().wanted("ann", Person(expires=expires, locked=True), service=False)
    assert locked.locked


@pytest.mark.parametrize("site", [True, False])
@pytest.mark.parametrize("person", [True, False, None])
def test_tls_of_a_person_overrides_the_site_s(site: bool, person: bool | None) -> None:
    policy = policy_of(require_tls=site)
    (wanted,) = policy.wanted("ann", Person(require_tls=person), service=False)
    assert wanted.tls is (site if person is None else person)


PROCESS = (
    "'map_*': PROCESS cannot be had on single schemas. "
    'It is granted on everything: "*.*" = ["PROCESS"].'
)
MISTAKES: list[tuple[dict[str, list[str]], str]] = [
    ({"a.b.c": ["SELECT"]}, "'a.b.c' is neither a schema pattern nor schema.table nor *.*."),
    ({"": ["SELECT"]}, "'' is neither a schema pattern nor schema.table nor *.*."),
    ({"map_*": []}, "'map_*' has no privileges. For example: [\"SELECT\"]."),
    ({"map_*": ["SELEKT"]}, "'map_*': 'SELEKT' is not a privilege."),
    ({"map_*": ["SELECT, INSERT"]}, "'map_*': 'SELECT, INSERT' is not a privilege."),
    ({"map_*": [""]}, "'map_*': '' is not a privilege."),
    (
        {"map_*": ["SELECT", "process"]},
        PROCESS,
    ),
    ({"map_lab.subject": ["ALL"]}, "'map_lab.subject': ALL is for schemas only. Name privileges."),
    ({"*.*": ["ALL PRIVILEGES"]}, "'*.*': ALL is for schemas only. Name privileges."),
    (
        {"x" * 65: ["SELECT"]},
        f"'{'x' * 65}' is stored as 65 characters, and the server takes 64.",
    ),
    (
        {"_" * 33: ["SELECT"]},
        f"'{'_' * 33}' is stored as 66 characters, and the server takes 64.",
    ),
]


@pytest.mark.parametrize(("grants", "said"), MISTAKES)
def test_mistakes_in_grants(grants: dict[str, list[str]], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        policy_of(roles={"r": grants})
    assert str(caught.value) == f"mapadmin.toml: roles.r: {said}"
    with pytest.raises(SettingsError) as caught:
        grants_of(Person(grants=grants))
    assert str(caught.value) == f"/site/people.toml: ann: {said}"


def test_grant_on_the_whole_server_that_is_no_privilege() -> None:
    with pytest.raises(MapadminError, match=r"'SELECT; DROP' is not a privilege\."):
        policy_of(roles={"r": {"*.*": ["select; drop"]}})


def test_patterns_that_cross() -> None:
    person = Person(own_schemas=False, grants={"map*": ["SELECT"], "*lab": ["INSERT"]})
    with pytest.raises(SettingsError) as caught:
        grants_of(person)
    assert str(caught.value) == (
        "/site/people.toml: ann: the patterns map* and *lab overlap, and neither contains the "
        "other. Write patterns of which one contains the other."
    )


# --- what ALL means ----------------------------------------------------------------------------


def state(account: Account, grants: Mapping[Scope, Privileges]) -> dict[Account, AccountState]:
    return {account: AccountState(account, grants=grants)}


def test_all_is_what_may_be_handed_on() -> None:
    """An RDS master may not grant everything that its server knows."""
    some = frozenset({"SELECT", "INSERT", "PROCESS"})
    master = state(OWN, {GLOBAL: some | {GRANT_OPTION}})
    assert grantable(tables_of(states=master), OWN) == {"SELECT", "INSERT"}
    local = state(OWN, {MAP: EVERY | {GRANT_OPTION}})
    assert grantable(tables_of(states=local), OWN) == EVERY
    assert grantable(tables_of(), OWN) == EVERY


def test_all_for_one_who_only_reads_is_what_most_people_hold() -> None:
    half, reader = frozenset({"SELECT", "INSERT"}), state(OWN, {GLOBAL: frozenset({"SELECT"})})
    people = {
        account: AccountState(account, grants={Scope(Level.DATABASE, own_pattern(name)): held})
        for name, held in (("a", half), ("b", half), ("c", EVERY), ("d", frozenset[str]()))
        if (account := Account(name))
    }
    assert grantable(tables_of(states={**reader, **people}), OWN) == half
    assert grantable(tables_of(states=reader), OWN) == EVERY
