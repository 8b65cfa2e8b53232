"""Which names may be, and whose schemas are whose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapadmin.core.errors import ExitCode, UsageError
from mapadmin.db.grants import Flavour
from mapadmin.db.names import (
    check_host,
    check_new_name,
    is_project_schema,
    is_system,
    own_pattern,
    owner_of,
)
from mapadmin.db.rights.matching import matches
from mapadmin.site import Person
from tests.db.pure import OWN, site_of, tables_of

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
    ("MAP", PROJECT),
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
    assert matches(Flavour.MARIADB, pattern, f"{name}_x")
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
    assert not any(matches(Flavour.MARIADB, pattern, schema) for schema in others)


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
