"""The site's rules: names that may be, and what people.toml and the roles come to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapadmin.core.errors import ExitCode, MapadminError, SettingsError, UsageError
from mapadmin.db.grants import (
    GLOBAL,
    GRANT_OPTION,
    Account,
    AccountState,
    Flavour,
    GrantTables,
    Level,
    Privileges,
    Scope,
    pattern_matches,
)
from mapadmin.db.names import (
    check_host,
    check_new_name,
    is_project_schema,
    is_system,
    own_pattern,
    owner_of,
)
from mapadmin.db.policy import Policy, grantable, is_expired
from mapadmin.site import DatabaseSettings, People, Person, Site, SiteFile, SiteSettings

TODAY = date(2027, 6, 30)
OWN = Account("mapadmin")
EVERY = frozenset({"SELECT", "INSERT", "UPDATE", "REFERENCES", "EVENT"})

Roles = dict[str, dict[str, list[str]]]


def site_of(
    *,
    roles: Roles | None = None,
    people: Mapping[str, Person] | None = None,
    services: Mapping[str, Person] | None = None,
    require_tls: bool = False,
) -> Site:
    """A site with these roles and people, made without files."""
    database = DatabaseSettings(
        host="h", password="env:X", project_prefix="map", require_tls=require_tls, schema="madmin"
    )
    settings = SiteFile(site=SiteSettings(name="x"), database=database, roles=roles or {})
    return Site(
        Path("/site"), settings, People(people=dict(people or {}), services=dict(services or {}))
    )


def tables_of(
    *users: str,
    schemas: tuple[str, ...] = (),
    flavour: Flavour = Flavour.MYSQL,
    states: Mapping[Account, AccountState] | None = None,
) -> GrantTables:
    """A server with these accounts and schemas."""
    accounts = {Account(user): AccountState(Account(user)) for user in users}
    return GrantTables(
        flavour=flavour, version=(9, 7, 0), accounts={**accounts, **(states or {})},
        schemas=frozenset(schemas), database_privileges=EVERY,
    )  # fmt: skip


# --- names -------------------------------------------------------------------------------------

SITE = site_of(people={"bob": Person()})
SERVER = tables_of("ann", "al_ice", "Carl", "rdsadmin", "", schemas=("dora_data", "dora", "eve2_x"))
FORM = "a name is an ASCII letter followed by letters, digits and hyphens"
RESERVED = "it is reserved for the server"
PROJECT = "its schemas would be the project's (map_*)"

REFUSED: list[tuple[str, str]] = [
    ("", "it is empty"),
    ("a" * 33, "it has 33 characters, and the server takes 32"),
    ("o'brien", FORM),
    ('o"brien', FORM),
    ("a`b", FORM),
    ("a\\b", FORM),
    ("a%", FORM),
    ("%", FORM),
    ("m\u00fcller", FORM),
    ("\u0430nn", FORM),  # a Cyrillic letter that looks like an a
    ("a\nb", FORM),
    ("ann\n", FORM),
    ("\0", FORM),
    ("a\0b", FORM),
    ("a b", FORM),
    (" ann", FORM),
    ("ann ", FORM),
    ("a.b", FORM),
    ("a@b", FORM),
    ("a/b", FORM),
    ("a*", FORM),
    ("-a", FORM),
    ("1a", FORM),
    ("a;DROP DATABASE x", FORM),
    ("x' OR '1'='1", FORM),
    ("zoe\u200b", FORM),
    ("zo\u0301e", FORM),
    ("\U0001f511", FORM),
    ("_ann", FORM),
    (
        "zo_e",
        ("with an underscore, its schemas would also belong to the user 'zo' (--allow-underscore "
        "permits it)")
    ),
    ("root", RESERVED),
    ("ROOT", RESERVED),
    ("admin", RESERVED),
    ("mysql", RESERVED),
    ("public", RESERVED),
    ("PUBLIC", RESERVED),
    ("test", RESERVED),
    ("sys", RESERVED),
    ("rdsadmin", RESERVED),
    ("RdsTopManager", RESERVED),
    ("mapadmin", "it is mapadmin's own account"),
    ("MapAdmin", "it is mapadmin's own account"),
    ("madmin", "it is the name of mapadmin's own schema"),
    ("map", PROJECT),
    ("al", "al_* would also be the schemas of al_ice"),
    ("AL", "AL_* would also be the schemas of al_ice"),
    ("carl", "there is a user 'Carl' already, and schema names may ignore case"),
    ("BOB", "there is a user 'bob' already, and schema names may ignore case"),
    (
        "dora",
        ("schemas of that prefix exist already (dora_data); --adopt-schemas gives them to the new "
         "account"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "why"), REFUSED)
def test_refused_names(name: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_new_name(name, SITE, SERVER, OWN, service=False)
    assert str(caught.value) == f"{name!r} cannot be a user name here: {why}."
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    "name", ["zoe", "Zoe", "zoe-2", "z", "a" * 32, "alice", "annette", "mapper", "map2", "eve"]
)
def test_permitted_names(name: str) -> None:
    check_new_name(name, SITE, SERVER, OWN, service=False)


def test_names_are_longer_on_mariadb() -> None:
    server = tables_of(flavour=Flavour.MARIADB)
    check_new_name("a" * 61, SITE, server, OWN, service=False)
    with pytest.raises(UsageError, match="its schemas would be longer than 64 characters"):
        check_new_name("a" * 62, SITE, server, OWN, service=False)
    with pytest.raises(UsageError, match="it has 129 characters, and the server takes 128"):
        check_new_name("a" * 129, SITE, server, OWN, service=False)


def test_an_underscore_can_be_permitted_but_not_another_s_prefix() -> None:
    check_new_name("zo_e", SITE, SERVER, OWN, service=False, allow_underscore=True)
    for name, why in (
        ("ann_b", "ann_* would also be the schemas of ann_b"),
        ("ANN_b", "ann_* would also be the schemas of ANN_b"),
        ("map_b", "its schemas would be the project's"),
        ("Map_b", "its schemas would be the project's"),
        ("bob_b", "bob_* would also be the schemas of bob_b"),
    ):
        with pytest.raises(UsageError) as caught:
            check_new_name(name, SITE, SERVER, OWN, service=False, allow_underscore=True)
        assert why in str(caught.value)


def test_services_own_nothing_and_may_share_a_prefix() -> None:
    for name in ("map_worker", "web_gui", "dora", "al"):
        check_new_name(name, SITE, SERVER, OWN, service=True)
    for name in ("root", "mapadmin", "a b", ""):
        with pytest.raises(UsageError):
            check_new_name(name, SITE, SERVER, OWN, service=True)


def test_schemas_left_behind() -> None:
    check_new_name("dora", SITE, SERVER, OWN, service=False, adopt_schemas=True)
    again = tables_of("dora", schemas=("dora_data",))
    check_new_name("dora", SITE, again, OWN, service=False)  # a second run finishes the first
    many = tables_of(schemas=tuple(f"dora_{i}" for i in range(5)))
    with pytest.raises(UsageError, match=r"exist already \(dora_0, dora_1, dora_2\);"):
        check_new_name("dora", SITE, many, OWN, service=False)


@given(st.text(max_size=40))
def test_whatever_is_permitted_reaches_only_its_own(name: str) -> None:
    try:
        check_new_name(name, SITE, SERVER, OWN, service=False)
    except UsageError as error:
        assert str(error).startswith(f"{name!r} cannot be a user name here: ")
        return
    pattern = own_pattern(name)
    assert pattern_matches(pattern, f"{name}_x")
    others = (
        "map_lab",
        "map",
        "ann_x",
        "al_ice_x",
        "bob_x",
        "mysql",
        "dora_data",
        f"{name}x",
        name,
    )
    assert not any(pattern_matches(pattern, schema) for schema in others)


@pytest.mark.parametrize(
    ("name", "system"),
    [("rdsadmin", True), ("rds_superuser_role", True), ("mysql.sys", True), ("mariadb.sys", True),
     ("mysql.session", True), ("mysql.infoschema", True), ("mysqlxsys", False), ("root", False),
     ("ards", False), ("", False)],
)  # fmt: skip
def test_system_accounts(name: str, system: bool) -> None:
    assert is_system(name) is system


HOSTS = ["%", "localhost", "10.1.%", "10.1.0.0/255.255.0.0", "10.0.0.0/8", "::1", "fe80::%",
         "lab-7.example.org", "%.example.org", "host_1", "a" * 255]  # fmt: skip
NO_HOSTS = [
    "",
    " ",
    "a b",
    "a'b",
    "a`b",
    "a\\b",
    "a\n",
    "a\0",
    "h\u00f6st",
    "a@b",
    "a;b",
    "a" * 256,
]


@pytest.mark.parametrize("host", HOSTS)
def test_hosts(host: str) -> None:
    check_host(host)


@pytest.mark.parametrize("host", NO_HOSTS)
def test_no_hosts(host: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_host(host)
    assert str(caught.value) == (
        f"{host!r} is not a host pattern. Use a name, an address, a network "
        "(10.1.0.0/255.255.0.0) or % for any."
    )


# --- whose schema ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "owner"),
    [("alice_data", "alice"), ("al_ice", "al"), ("al_ice_x", "al_ice"), ("alice", ""), ("al", ""),
     ("map_lab", ""), ("alicedata", ""), ("_x", ""), ("al_", "al")],
)  # fmt: skip
def test_owner_of(schema: str, owner: str) -> None:
    assert owner_of(schema, ["al", "alice", "al_ice"]) == owner


@pytest.mark.parametrize(
    ("schema", "project"),
    [("map_lab", True), ("MAP_lab", True), ("map", True), ("map_", True), ("mapper_x", False),
     ("mysql", True), ("SYS", True), ("information_schema", True), ("performance_schema", True),
     ("madmin", True), ("alice_map", False), ("madmin_x", False), ("", False)],
)  # fmt: skip
def test_project_schemas_are_never_dropped(schema: str, project: bool) -> None:
    assert is_project_schema(schema, SITE) is project


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


MISTAKES: list[tuple[dict[str, list[str]], str]] = [
    ({"a.b.c": ["SELECT"]}, "'a.b.c' is neither a schema pattern nor schema.table nor *.*."),
    ({"": ["SELECT"]}, "'' is neither a schema pattern nor schema.table nor *.*."),
    ({"map_*": []}, "'map_*' has no privileges. For example: [\"SELECT\"]."),
    ({"map_*": ["SELEKT"]}, "'map_*': 'SELEKT' is not a privilege."),
    ({"map_*": ["SELECT, INSERT"]}, "'map_*': 'SELECT, INSERT' is not a privilege."),
    ({"map_*": [""]}, "'map_*': '' is not a privilege."),
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
