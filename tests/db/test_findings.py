"""What the audit finds, from tables made by hand: one case for each thing and each degree of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest

from mapadmin.db.findings import Facts, Severity, find
from mapadmin.db.findings.model import few
from mapadmin.db.grants import (
    GLOBAL,
    GRANT_OPTION,
    Account,
    AccountState,
    Flavour,
    Grants,
    GrantTables,
    Level,
    Scope,
)
from mapadmin.db.policy import Wanted
from mapadmin.db.state import Managed, Stage
from mapadmin.site import DatabaseSettings
from tests.db.effective_tables import account, grants

MYSQL, MARIADB = Flavour.MYSQL, Flavour.MARIADB
TODAY = date(2027, 6, 30)
OWN = Account("mapadmin")
ANN, BOB, JOB = Account("ann"), Account("bob"), Account("job")
EVERY = frozenset({"SELECT", "INSERT", "UPDATE", "REFERENCES", "CREATE"})
ALL = " ".join(EVERY)
HASH = "2A41"
PASSWORD = {MYSQL: "caching_sha2_password", MARIADB: "mysql_native_password"}


@dataclass
class World:
    """A server and a site on which nothing is wrong; a case changes one thing."""

    flavour: Flavour = MYSQL
    accounts: dict[Account, AccountState] = field(default_factory=dict)
    wanted: dict[Account, Wanted] = field(default_factory=dict)
    managed: dict[Account, Managed] = field(default_factory=dict)
    roles: dict[str, Grants] = field(default_factory=dict)
    schemas: set[str] = field(default_factory=lambda: {"map_lab", "ann_own"})
    settings: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add(OWN, {"*": ALL})
        self.person(ANN, {r"ann\_%": ALL, r"map\_%": "SELECT"})

    def add(self, name: Account, held: Mapping[str, str] | None = None, **more: Any) -> None:
        """An account on the server."""
        more.setdefault("auth", HASH)
        more.setdefault("plugin", PASSWORD[self.flavour])
        self.accounts[name] = account(name, held or {}, **more)

    def person(
        self, name: Account, held: Mapping[str, str], *, service: bool = False, **more: Any
    ) -> None:
        """An account that is as people.toml has it, and managed."""
        self.add(name, held)
        self.wanted[name] = Wanted(name, grants(held), service=service, **more)
        self.managed[name] = Managed(name, Stage.MANAGED, service=service)

    def change(self, name: Account, held: Mapping[str, str] | None = None, **more: Any) -> None:
        """Spoil an account on the server."""
        old = self.accounts[name]
        fields = {key: getattr(old, key) for key in AccountState.__struct_fields__}
        fields["grants"] = {**old.grants, **grants(held or {})}
        self.accounts[name] = AccountState(**{**fields, **more})

    def facts(self) -> Facts:
        self.server.setdefault("plugins", frozenset(PASSWORD.values()) - {""})
        self.server.setdefault("secure_transport", True)
        self.server.setdefault("sql_mode", "NO_AUTO_CREATE_USER")
        return Facts(
            settings=DatabaseSettings(
                host="h", password="env:X", project_prefix="map", **self.settings
            ),
            tables=GrantTables(
                self.flavour, (9, 7), self.accounts, schemas=frozenset(self.schemas),
                database_privileges=EVERY, **self.server,
            ),
            own=OWN, today=TODAY, managed=self.managed, wanted=self.wanted, roles=self.roles,
            every_privilege=EVERY,
        )  # fmt: skip

    def found(self) -> list[tuple[str, str, str]]:
        return [(one.id, one.severity.value, one.subject) for one in find(self.facts())]

    def details(self) -> str:
        return "\n".join(one.detail for one in find(self.facts()))


@pytest.fixture(params=Flavour)
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_nothing_is_wrong(world: World) -> None:
    assert world.found() == []


# --- who can log in ----------------------------------------------------------------------------


def test_accounts_that_nobody_knows(world: World) -> None:
    world.add(BOB, {r"bob\_%": ALL})
    world.add(JOB, locked=True)
    world.add(Account("rdsadmin", "localhost"))
    world.add(Account("root", "localhost"))
    world.settings["ignore_accounts"] = ["root"]
    assert world.found() == [
        ("unknown-account", "medium", "bob@%"),
        ("unknown-account", "low", "job@%"),
    ]
    assert "it holds ALL on bob_*" in world.details()
    assert "it holds no grants" in world.details()


def test_a_site_without_people_knows_nobody(world: World) -> None:
    world.wanted = {}
    assert world.found() == []  # mapadmin remembers ann
    world.managed = {}
    assert world.found() == [("unknown-account", "medium", "ann@%")]


def test_accounts_that_were_never_taken_over(world: World) -> None:
    world.managed = {}
    assert world.found() == [("not-taken-over", "low", "ann@%")]
    world.change(ANN, {r"bob\_%": "SELECT"}, locked=True)
    world.schemas.add("bob_own")
    assert world.found() == [("not-taken-over", "medium", "ann@%")]
    assert "it has SELECT on bob_*, and 1 more differences" in world.details()


def test_an_account_that_was_never_finished(world: World) -> None:
    world.managed[ANN] = Managed(ANN, Stage.CREATING)
    world.managed[BOB] = Managed(BOB, Stage.CREATING)  # not even made
    assert world.found() == [("unfinished-account", "medium", "ann@%")]


def test_anonymous_accounts(world: World) -> None:
    world.add(Account("", "localhost"), auth="")
    assert world.found() == [("anonymous-account", "critical", "''@localhost")]


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"auth": ""}, "critical"),
        ({"auth": "", "plugin": ""}, "critical"),
        ({"auth": "", "plugin": "mysql_native_password"}, "critical"),
        ({"auth": "", "locked": True}, "low"),
        ({"auth": "", "plugin": "auth_socket"}, None),
        ({"auth": "", "plugin": "unix_socket"}, None),
        ({"other_auth": (("mysql_native_password", ""),)}, "critical"),
        ({"other_auth": (("unix_socket", ""),)}, None),
        ({"auth": "", "is_role": True, "locked": True}, None),
    ],
)
def test_empty_passwords(world: World, fields: dict[str, Any], severity: str | None) -> None:
    world.settings["ignore_accounts"] = ["old"]  # how one gets in is not only its owner's affair
    world.add(Account("old"), **fields)
    world.server["plugins"] = frozenset()
    found = [(rule, how) for rule, how, _ in world.found() if rule == "empty-password"]
    assert found == ([("empty-password", severity)] if severity else [])


def test_plugins() -> None:
    world = World(MYSQL)
    world.change(ANN, plugin="mysql_native_password")
    assert world.found() == [("native-password", "medium", "ann@%")]
    assert "no longer has" not in world.details()
    world.server["plugins"] = frozenset({"caching_sha2_password"})
    assert "no longer has" in world.details()
    world.change(ANN, plugin="authentication_ldap_simple")
    assert world.found() == [("missing-plugin", "medium", "ann@%")]
    world.server["plugins"] = frozenset()  # not known
    assert world.found() == []


def test_plugins_of_mariadb() -> None:
    world = World(MARIADB)
    assert world.accounts[ANN].plugin == "mysql_native_password"
    assert world.found() == []
    world.change(ANN, plugin="ed25519")
    assert world.found() == [("missing-plugin", "medium", "ann@%")]


TLS: list[tuple[str, bool, dict[str, Any], dict[str, Any], list[str]]] = [
    ("the site does not ask", False, {}, {}, []),
    ("it asks", True, {}, {}, ["bob@%", "mapadmin@%"]),
    ("it is required", True, {"tls": True}, {}, ["mapadmin@%"]),
    ("nobody can log in", True, {"locked": True}, {}, ["mapadmin@%"]),
    ("not over the net", True, {"plugin": "unix_socket"}, {}, ["mapadmin@%"]),
    ("the server asks everybody", True, {}, {"secure_transport": True}, []),
]


@pytest.mark.parametrize(("name", "site", "bob", "server", "expected"), TLS)
def test_tls(
    name: str, site: bool, bob: dict[str, Any], server: dict[str, Any], expected: list[str],
    world: World,
) -> None:  # fmt: skip
    world.server = {"secure_transport": False, **server}
    world.settings["require_tls"] = site
    world.wanted[ANN] = Wanted(ANN, world.accounts[ANN].grants, tls=False)  # says people.toml
    world.add(BOB, **bob)
    world.server["plugins"] = frozenset()
    found = [subject for rule, _, subject in world.found() if rule == "tls-not-required"]
    assert found == expected, name
    clear = [rule for rule, _, _ in world.found() if rule == "clear-connections"]
    assert clear == ([] if site else ["clear-connections"])


def test_tls_that_people_toml_asks_for(world: World) -> None:
    world.server["secure_transport"] = False
    world.settings["require_tls"] = True
    world.wanted[ANN] = Wanted(ANN, world.accounts[ANN].grants, tls=True)
    assert ("tls-not-required", "medium", "ann@%") in world.found()


def test_expired_guests(world: World) -> None:
    yesterday = TODAY - timedelta(days=1)
    world.wanted[ANN] = Wanted(ANN, world.accounts[ANN].grants, expires=yesterday)
    assert world.found() == [("expired-account", "high", "ann@%")]
    world.change(ANN, locked=True)
    assert world.found() == []
    world.change(ANN, locked=False)
    world.wanted[ANN] = Wanted(ANN, world.accounts[ANN].grants, expires=TODAY)
    assert world.found() == []


def test_expired_guests_that_only_mapadmin_remembers(world: World) -> None:
    world.wanted = {}
    world.managed[ANN] = Managed(ANN, Stage.MANAGED, expires=date(2020, 1, 1))
    assert world.found() == [("expired-account", "high", "ann@%")]


def test_names_that_differ_by_case(world: World) -> None:
    world.person(Account("Ann"), {r"Ann\_%": ALL})
    assert ("names-differ-by-case", "low", "Ann, ann") in world.found()
    world.server["lower_case_table_names"] = 1
    world.change(Account("Ann"), {r"ann\_%": ALL})  # that is how such a server stores it
    assert ("names-differ-by-case", "high", "Ann, ann") in world.found()


# --- what grants say ---------------------------------------------------------------------------

UNESCAPED: list[tuple[str, str, bool, str | None]] = [
    ("escaped", r"map\_lab", False, None),
    ("opens another", "map_lab", False, "high"),
    ("opens nothing else", "map_ephys", False, "medium"),
    ("wanted, opens another", "map_lab", True, "medium"),
    ("wanted, opens nothing else", "map_ephys", True, "low"),
    ("half escaped", r"map\_l_b", False, "high"),
    ("no underscore", "map%", False, None),
]


@pytest.mark.parametrize(("name", "pattern", "wanted", "severity"), UNESCAPED)
def test_unescaped_underscores(
    name: str, pattern: str, wanted: bool, severity: str | None, world: World
) -> None:
    world.schemas |= {"mapXlab", "map_ephys"}
    (world.person if wanted else world.add)(BOB, {pattern: "SELECT"})
    found = [how for rule, how, _ in world.found() if rule == "unescaped-underscore"]
    assert found == ([severity] if severity else []), name
    if severity == "high":
        opened = "mapXlab" if pattern == "map_lab" else "map_lab"
        assert f"also opens {opened}; held by bob@%" in world.details()


def test_unescaped_underscores_are_one_finding_a_pattern(world: World) -> None:
    for number in range(20):
        world.person(Account(f"u{number:02}"), {"map_%": "SELECT"})
    assert world.found() == [("unescaped-underscore", "low", "map_%")]
    assert "held by u00@%, u01@%, u02@% and 17 more" in world.details()


def test_grants_on_nothing(world: World) -> None:
    world.add(
        BOB,
        {r"bob\_%": ALL, "bob%": ALL, "gone": "SELECT", r"old\_%": "SELECT", r"map\_%": "SELECT"},
    )
    table = Scope(Level.TABLE, "lost", "t")
    world.change(BOB, grants={**world.accounts[BOB].grants, table: frozenset({"SELECT"})})
    found = [detail for detail in world.details().split("\n") if "no such schema" in detail]
    assert found == [
        "it holds SELECT on gone, and there is no such schema",
        "it holds SELECT on lost.t, and there is no such schema",
        "it holds SELECT on old_*, and there is no such schema",
    ]


def test_grants_on_what_people_toml_expects(world: World) -> None:
    world.person(BOB, {"future": "SELECT"})
    assert world.found() == []


def test_grants_of_nobody(world: World) -> None:
    world.server["orphans"] = {
        Account("ghost"): grants({r"map\_%": "SELECT"}),
        Account("root", "::1"): {Scope(Level.PROXY, "", ""): frozenset({"PROXY"})},
    }
    assert world.found() == [
        ("orphan-grants", "medium", "ghost@%"),
        ("orphan-grants", "low", "root@::1"),
    ]


@pytest.mark.parametrize(
    ("held", "severity"),
    [({"test": "SELECT INSERT"}, "high"), ({r"test\_%": "SELECT"}, "medium"), ({}, None)],
)
def test_what_everybody_may(world: World, held: dict[str, str], severity: str | None) -> None:
    world.schemas.add("test")
    world.server["orphans"] = {Account("", "%"): grants(held)} if held else {}
    expected = [("public-grants", severity, "''@%")] if severity else []
    assert world.found() == expected
    if "test" in held:
        assert "(there are test)" in world.details()


def test_what_public_may() -> None:
    world = World(MARIADB)
    world.add(Account("PUBLIC", ""), {"*": "SELECT"}, is_role=True)
    assert world.found() == [("public-grants", "medium", "PUBLIC")]


COLLISIONS: list[tuple[str, list[str], list[str], list[str]]] = [
    ("apart", ["al", "bo"], [], []),
    ("a prefix", ["al", "al_ice"], [], ["al"]),
    ("in other letters", ["Al", "al_ice"], [], ["Al"]),
    ("three", ["a", "a_b", "a_b_c"], [], ["a", "a", "a_b"]),
    ("no underscore between", ["al", "alice"], [], []),
    ("a service owns nothing", ["al"], ["al_ice"], []),
    ("the project's name", ["map"], [], ["map"]),
    ("within the project", ["map_ann"], [], ["map_ann"]),
]


@pytest.mark.parametrize(("name", "owners", "services", "expected"), COLLISIONS)
def test_prefix_collisions(
    name: str, owners: list[str], services: list[str], expected: list[str], world: World
) -> None:
    for user in owners:
        pattern = user.replace("_", r"\_") + r"\_%"
        world.person(Account(user), {pattern: ALL})
    for user in services:
        world.person(Account(user), {}, service=True)
    found = [subject for rule, _, subject in world.found() if rule == "prefix-collision"]
    assert found == expected, name


def test_nobody_owns_the_projects_schemas(world: World) -> None:
    world.person(Account("map"), {r"map\_%": ALL})
    assert "map_* are schemas of the project (map_*)" in world.details()


def test_roles_about_nothing(world: World) -> None:
    world.roles = {
        "reader": grants({r"map\_%": "SELECT"}),
        "a": grants({r"lab\_%": "SELECT"}),
        "b": grants({r"lab\_%": "INSERT", "*": "PROCESS"}),
    }
    assert world.found() == [("role-on-nothing", "info", "lab_*")]
    assert "roles a, b: there is no such schema" in world.details()


def test_schemas_that_are_not_shown_are_not_called_missing(world: World) -> None:
    world.schemas = set()
    world.add(OWN, {"*": "PROCESS"})
    world.add(BOB, {"gone": "SELECT"}, locked=True)
    world.roles = {"reader": grants({r"map\_%": "SELECT"})}
    assert world.found() == [
        ("unknown-account", "low", "bob@%"),
        ("schemas-not-visible", "info", "mapadmin@%"),
    ]


# --- power -------------------------------------------------------------------------------------

GLOBALS: list[tuple[str, str]] = [
    ("SUPER", "high"),
    ("FILE", "high"),
    ("CREATE_USER", "high"),
    ("INSERT", "high"),
    ("SELECT", "medium"),
    ("PROCESS", "medium"),
    ("REPLICATION_CLIENT", "low"),
    ("SHOW_DATABASES PROCESS", "medium"),
    ("SYSTEM_VARIABLES_ADMIN", "high"),
]


@pytest.mark.parametrize(("held", "severity"), GLOBALS)
def test_global_privileges(held: str, severity: str, world: World) -> None:
    named = frozenset(
        word if word.endswith("ADMIN") else word.replace("_", " ") for word in held.split()
    )
    world.change(ANN, grants={**world.accounts[ANN].grants, GLOBAL: named})
    assert world.found() == [("global-privilege", severity, "ann@%")]


def test_global_privileges_that_people_toml_gives(world: World) -> None:
    world.person(BOB, {"*": "SUPER"})
    world.person(JOB, {"*": "SUPER"}, service=True)
    assert world.found() == [("global-privilege", "info", "bob@%")]
    assert world.details().endswith("SUPER on everything, as people.toml says")


def test_many_global_privileges_in_few_words(world: World) -> None:
    world.change(ANN, {"*": "A B C D SELECT SUPER FILE PROCESS"})
    assert world.details() == (
        "it holds A, B, C, D, FILE, SUPER and 2 more privileges on everything"
    )


def test_grant_option(world: World) -> None:
    own = Scope(Level.DATABASE, r"ann\_%")
    held = world.accounts[ANN].grants
    world.change(ANN, grants={**held, own: EVERY | {GRANT_OPTION}})
    assert world.found() == [("grant-option", "medium", "ann@%")]
    world.wanted[ANN] = Wanted(ANN, world.accounts[ANN].grants)
    assert world.found() == [("grant-option", "info", "ann@%")]
    world.change(ANN, grants={**held, GLOBAL: frozenset({GRANT_OPTION})})
    assert world.found() == [("grant-option", "high", "ann@%")]


def test_dynamic_privileges_that_can_be_handed_on() -> None:
    world = World(MYSQL)
    world.change(ANN, {"*": "PROCESS"}, grantable=frozenset({"PROCESS"}))
    assert ("grant-option", "medium", "ann@%") in world.found()


def test_proxies(world: World) -> None:
    scope = Scope(Level.PROXY, "boss", "%")
    world.change(ANN, grants={**world.accounts[ANN].grants, scope: frozenset({"PROXY"})})
    assert world.found() == [("proxy", "medium", "ann@%")]
    assert "act as boss@%" in world.details()


def test_native_roles(world: World) -> None:
    role, inner = Account("analyst", ""), Account("inner", "")
    world.add(role, {r"map\_%": "SELECT"}, is_role=True, roles=[inner])
    world.add(inner, {"map_x": "INSERT"}, is_role=True)
    world.change(ANN, roles=frozenset({role}))
    assert ("native-role", "medium", "ann@%") in world.found()
    assert "analyst, which gives SELECT on map_*; INSERT on map?x" in world.details()
    world.wanted[ANN] = Wanted(ANN, world.accounts[ANN].grants, native_roles=frozenset({"analyst"}))
    assert world.found() == [("native-role", "info", "ann@%")]


# --- the server --------------------------------------------------------------------------------


def test_partial_revokes(world: World) -> None:
    world.server["partial_revokes"] = True
    assert ("partial-revokes", "high", "partial_revokes") in world.found()


@pytest.mark.parametrize("flavour", Flavour)
def test_a_grant_that_makes_accounts(flavour: Flavour) -> None:
    world = World(flavour)
    world.server["sql_mode"] = "STRICT_TRANS_TABLES"
    expected = [("grant-makes-accounts", "medium", "sql_mode")] if flavour is MARIADB else []
    assert world.found() == expected


def test_mandatory_roles() -> None:
    world = World(MYSQL)
    world.add(Account("all"), {r"map\_%": "SELECT"}, is_role=True)
    world.server["mandatory_roles"] = frozenset({Account("all")})
    assert world.found() == [("mandatory-role", "medium", "all@%")]


# --- what is reached beyond what is wanted -----------------------------------------------------


def beyond(world: World) -> list[tuple[str, str]]:
    return [
        (one.severity.value, one.detail.partition(", which")[0])
        for one in find(world.facts())
        if one.id == "reaches-beyond"
    ]


def test_a_grant_too_many_is_followed_to_the_schemas(world: World) -> None:
    world.schemas |= {"bob_a", "bob_b"}
    world.change(ANN, {r"bob\_%": "SELECT"})
    assert beyond(world) == [("medium", "it has SELECT on bob_a, bob_b")]
    world.change(ANN, {r"bob\_%": "SELECT INSERT"})
    assert beyond(world) == [("high", "it has INSERT, SELECT on bob_a, bob_b")]


def test_what_is_wanted_is_not_beyond(world: World) -> None:
    world.schemas.add("map_two")
    world.change(ANN, {"map_lab": "SELECT", r"map\_two": "SELECT INSERT"})
    # The narrower row is found first on map_two, and on map_lab it gives nothing new.
    assert beyond(world) == [("high", "it has INSERT on map_two")]


def test_a_row_of_another_host(world: World) -> None:
    world.schemas.add("secret")
    world.server["orphans"] = {Account("ann", "10.%"): grants({"secret": "SELECT"})}
    assert beyond(world) == []  # a session of ann@% is not known to come from there
    world.server["orphans"] = {}
    near = Account("ann", "localhost")
    world.person(near, {r"ann\_%": ALL, r"map\_%": "SELECT"})
    world.change(ANN, {"secret": "SELECT"})
    # The row of ann@% reaches a session of ann@localhost as well.
    assert beyond(world) == [("medium", "it has SELECT on secret")] * 2
    assert "that comes from ann@%" in world.details()


def test_what_a_native_role_opens(world: World) -> None:
    world.schemas.add("secret")
    role = Account("analyst", "" if world.flavour is MARIADB else "%")
    world.add(role, {"secret": "SELECT"}, is_role=True, locked=True)
    world.change(ANN, roles=frozenset({role}))
    assert beyond(world) == [("medium", "it has SELECT on secret")]
    assert f"that comes from {role}" in world.details()
    world.wanted[ANN] = Wanted(ANN, world.accounts[ANN].grants, native_roles=frozenset({str(role)}))
    assert beyond(world) == []


def test_only_managed_accounts_are_followed(world: World) -> None:
    world.schemas.add("secret")
    world.change(ANN, {"secret": "SELECT"})
    world.managed = {}
    assert beyond(world) == []


# --- the list ----------------------------------------------------------------------------------


def test_the_worst_comes_first(world: World) -> None:
    world.add(Account("", "localhost"))
    world.add(BOB)
    world.add(JOB, locked=True)
    world.change(ANN, {"*": "SUPER"})
    world.server["secure_transport"] = False
    ranks = [one.severity.rank for one in find(world.facts())]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(Severity)


def test_every_rule_has_a_remedy_and_a_name_of_its_own() -> None:
    from mapadmin.db.findings import logins, model, patterns, power, reach, server

    rules = [
        rule
        for module in (logins, patterns, power, reach, server)
        for rule in vars(module).values()
        if isinstance(rule, model.Rule)
    ]
    ids = [rule.id for rule in {id(rule): rule for rule in rules}.values()]
    assert len(ids) == len(set(ids)) > 20
    assert all(rule.remedy.endswith(".") for rule in rules)


def test_few() -> None:
    assert few(["a"]) == "a"
    assert few(["a", "b", "c"]) == "a, b, c"
    assert few(["a", "b", "c", "d"]) == "a, b, c and 1 more"
