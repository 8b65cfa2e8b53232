"""`import` on real servers: whatever was there, `apply` right afterwards has nothing to do."""

from __future__ import annotations

import itertools
import tomllib

import pytest

from mapadmin.core.errors import ExitCode
from tests.db.histories import live_through, prepare
from tests.lab import ROLES, Lab

AS = "IDENTIFIED BY 'Pw-12345678'"
SEEDS = range(3)


def lab_of(lab: Lab, *statements: str, roles: str = "", **settings: object) -> None:
    """A site whose people nobody has written down yet."""
    lab.roles = roles
    lab.write_site(ignore_accounts=["root"], **settings)
    lab.server.sql("CREATE DATABASE map_lab", *statements)


def person(name: str, *project: str, how: str = "") -> list[str]:
    """An account with its own schemas, and grants on the project's."""
    return [
        f"CREATE USER {name}@'%' {AS} {how}",
        rf"GRANT {OWN} ON `{name}\_%`.* TO {name}@'%'",
        *(rf"GRANT {held} ON `map\_%`.* TO {name}@'%'" for held in project),
    ]


# What the master of an RDS instance can grant: on MariaDB, ALL would be more.
OWN = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY "
    "TABLES, LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, "
    "TRIGGER"
)
READ, WRITE = "SELECT, REFERENCES", "SELECT, REFERENCES, INSERT, UPDATE, DELETE"


def people(lab: Lab) -> dict[str, dict[str, object]]:
    found = tomllib.loads(lab.people())
    return {**found.get("people", {}), **found.get("services", {})}


def roles(lab: Lab) -> object:
    return tomllib.loads((lab.folder / "mapadmin.toml").read_text()).get("roles", {})


def held(lab: Lab) -> list[object]:
    """Everything that the server's own tables say of accounts."""
    tables = ["user", "db", "tables_priv", "columns_priv", "procs_priv"]
    queries = [f"SELECT * FROM mysql.{table} ORDER BY 1, 2, 3, 4" for table in tables]
    return [[row for row in lab.server.sql(query) if "mapadmin" not in row] for query in queries]


def settled(lab: Lab) -> bool:
    """Whether neither `apply` nor the audit's comparison finds anything to do."""
    drift = lab.run("db", "audit", "--json").json["drift"]
    return "Nothing to do." in lab.ok("db", "apply").err and drift == []


# --- an ordinary site --------------------------------------------------------------------------


def ordinary(lab: Lab) -> None:
    statements = [
        *itertools.chain.from_iterable(person(name, READ) for name in ("ann", "bob", "cyn")),
        *person("dan", WRITE), *person("eve", WRITE),
        *person("fay", READ), r"GRANT SELECT ON `shared\_x`.* TO fay@'%'",
        *person("gil", how="ACCOUNT LOCK"), *person("hal", READ, how="REQUIRE SSL"),
        f"CREATE USER worker@'10.1.%' {AS}", rf"GRANT {OWN} ON `map\_%`.* TO worker@'10.1.%'",
        "GRANT PROCESS ON *.* TO worker@'10.1.%'",
        f"CREATE USER webgui@'%' {AS}", rf"GRANT {READ} ON `map\_%`.* TO webgui@'%'",
    ]  # fmt: skip
    lab_of(lab, *statements)


def test_an_ordinary_site(lab: Lab) -> None:
    ordinary(lab)
    before = held(lab)
    ran = lab.ok("db", "import")
    assert "8 people and 2 services" in ran.err
    assert held(lab) == before
    assert roles(lab) == {
        "reader": {"map_*": ["SELECT", "REFERENCES"]},
        "experimenter": {"map_*": ["SELECT", "REFERENCES", "INSERT", "UPDATE", "DELETE"]},
        "worker": {"map_*": ["ALL"]},
    }
    assert people(lab) == {
        **{name: {"role": "reader"} for name in ("ann", "bob", "cyn", "webgui")},
        **{name: {"role": "experimenter"} for name in ("dan", "eve")},
        "fay": {"role": "reader", "grants": {"shared_x": ["SELECT"]}},
        "gil": {"locked": True},
        "hal": {"role": "reader", "require_tls": True},
        "worker": {"role": "worker", "hosts": ["10.1.%"], "grants": {"*.*": ["PROCESS"]}},
    }
    assert settled(lab)
    assert "Nothing to do." in lab.ok("db", "import").err
    # From now on mapadmin looks after them.
    lab.ok("db", "set-role", "ann", "experimenter")
    lab.ok("db", "unlock", "gil")
    assert settled(lab)


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    ordinary(lab)
    before = (lab.folder / "mapadmin.toml").read_text(), held(lab)
    ran = lab.ok("db", "import", "--dry-run", "--json")
    assert ran.json["result"] == "dry run"
    assert {"write mapadmin.toml", "write people.toml", "record"} <= {
        step["action"] for step in ran.json["steps"]
    }
    assert ((lab.folder / "mapadmin.toml").read_text(), held(lab)) == before
    assert not (lab.folder / "people.toml").exists()
    assert lab.server.sql("SHOW DATABASES LIKE 'mapadmin'") == ()


def test_only_some(lab: Lab) -> None:
    ordinary(lab)
    lab.ok("db", "import", "ann", "worker")
    assert set(people(lab)) == {"ann", "worker"}
    assert settled(lab)
    lab.ok("db", "import", "bob")
    assert people(lab)["bob"] == {"role": "reader"}  # the role is there already
    assert settled(lab)
    ran = lab.run("db", "import", "nobody")
    assert ran.code == int(ExitCode.USAGE)
    assert "no account of 'nobody'" in ran.err


def test_comments_and_roles_stay(lab: Lab) -> None:
    wording = '\n[roles.looker]  # who may look\n# only look\n"map_*" = ["references", "select"]\n'
    lab_of(lab, *person("ann", READ), *person("bob", WRITE), *person("cyn", WRITE), roles=wording)
    lab.write_people("# The lab\n\n[people]\n")
    lab.ok("db", "import")
    text = (lab.folder / "mapadmin.toml").read_text()
    assert wording in text
    assert "[roles.experimenter]" in text
    assert lab.people().startswith("# The lab\n")
    assert people(lab)["ann"] == {"role": "looker"}
    assert settled(lab)


# --- what cannot be described ------------------------------------------------------------------

LEFT: list[tuple[str, list[str], str]] = [
    ("proxies", ["GRANT PROXY ON nobody@'%' TO eve@'%'"], "may act as nobody@%"),
    (
        "rows that take away",
        [rf"GRANT {READ} ON `map\_%`.* TO eve@'%'", r"GRANT INSERT ON `map\_lab`.* TO eve@'%'"],
        "as they would it lacks REFERENCES, SELECT on map_lab",
    ),
    (
        "patterns that cross",
        [r"GRANT SELECT ON `map%`.* TO eve@'%'", "GRANT INSERT ON `%lab`.* TO eve@'%'"],
        "overlap, and neither contains the other",
    ),
    (
        "hosts that differ",
        [f"CREATE USER eve@'10.1.%' {AS}"],
        "eve@10.1.% lacks ALL on eve_*, unlike eve@%: make them alike first",
    ),
]


@pytest.mark.parametrize(("name", "statements", "reason"), LEFT, ids=[one[0] for one in LEFT])
def test_what_cannot_be_described_is_left(
    lab: Lab, name: str, statements: list[str], reason: str
) -> None:
    lab_of(lab, *person("ann", READ), "CREATE USER nobody@'%' ACCOUNT LOCK", *person("eve"))
    lab.server.sql(*statements)
    ran = lab.ok("db", "import", "--json")
    (note,) = [note for note in ran.json["notes"] if "left alone" in note]
    assert reason in note, name
    assert set(people(lab)) == {"ann", "nobody"}
    assert settled(lab)
    assert "unknown-account" in lab.run("db", "audit").out


def test_what_is_not_the_sites(lab: Lab) -> None:
    lab_of(
        lab, *person("ann"), *person("other"), "CREATE USER ''@'far.example.org'",
        "CREATE ROLE analyst", f"CREATE USER mapadmin@'%' {AS}",
    )  # fmt: skip
    lab.write_site(ignore_accounts=["root", "other"])
    ran = lab.ok("db", "import")
    assert set(people(lab)) == {"ann"}
    assert "''@far.example.org is left alone: it is an anonymous account" in ran.err
    assert "mapadmin@% is left alone: it is the name of mapadmin's own schema" in ran.err
    assert "other" not in ran.err
    # Named, they get an answer.
    again = lab.ok("db", "import", "other", "admin", "--dry-run")
    assert "other@% is left alone: it is in database.ignore_accounts" in again.err
    assert "admin@% is left alone: it is reserved for the server" in again.err


def test_partial_revokes_have_no_words(lab: Lab) -> None:
    if lab.server.flavour == "mariadb":  # which has none
        return
    lab_of(lab, *person("ann"))
    lab.server.sql(
        "SET GLOBAL partial_revokes = ON", "GRANT SELECT ON *.* TO ann@'%'",
        "REVOKE SELECT ON map_lab.* FROM ann@'%'",
    )  # fmt: skip
    try:
        assert "it has partial revokes" in lab.ok("db", "import").err
    finally:
        lab.server.sql("DROP USER ann@'%'", "SET GLOBAL partial_revokes = OFF")


def test_several_hosts_and_native_roles(lab: Lab) -> None:
    lab_of(
        lab, "CREATE ROLE analyst", r"GRANT SELECT ON `map\_%`.* TO analyst", *person("ann", READ),
        f"CREATE USER ann@'10.1.%' {AS}", rf"GRANT {OWN} ON `ann\_%`.* TO ann@'10.1.%'",
        rf"GRANT {READ} ON `map\_%`.* TO ann@'10.1.%'", "GRANT analyst TO ann@'%'",
        "GRANT analyst TO ann@'10.1.%'",
    )  # fmt: skip
    lab.ok("db", "import")
    role = "analyst" if lab.server.flavour == "mariadb" else "analyst@%"
    assert people(lab)["ann"] == {
        "role": "reader", "hosts": ["%", "10.1.%"], "native_roles": [role],
    }  # fmt: skip
    assert settled(lab)


# --- what mapadmin knows already ---------------------------------------------------------------


def test_people_who_were_only_remembered_on_the_server(lab: Lab) -> None:
    lab.write_site(ignore_accounts=["root"])
    lab.server.sql("CREATE DATABASE map_lab")
    lab.ok("db", "add-user", "ann", "--role", "experimenter", "--expires", "2099-01-01")
    lab.ok("db", "add-user", "job", "--role", "experimenter", "--service")
    lab.ok("db", "import")
    found = tomllib.loads(lab.people())
    assert set(found["people"]) == {"ann"}
    assert str(found["people"]["ann"]["expires"]) == "2099-01-01"
    assert found["services"]["job"] == {"role": "experimenter"}
    assert settled(lab)


def test_people_who_left_are_not_brought_back_by_accident(lab: Lab) -> None:
    ordinary(lab)
    lab.ok("db", "import")
    kept = lab.people().replace("[people.bob]", "[people.bobby]")
    lab.write_people(kept.replace('[people.bobby]\nrole = "reader"\n', ""))
    ran = lab.ok("db", "import")
    assert "bob@% is left alone: it left people.toml" in ran.err
    assert "bob" not in people(lab)
    lab.ok("db", "import", "bob")
    assert people(lab)["bob"] == {"role": "reader"}
    assert settled(lab)


def test_people_who_are_in_people_toml_are_only_marked(lab: Lab) -> None:
    ordinary(lab)
    text = '[people.ann]  # the boss\nrole = "reader"\n\n[people.bob]\nrole = "worker"\n'
    lab.roles = ROLES
    lab.write_site()
    lab.write_people(text)
    ran = lab.ok("db", "import", "ann", "bob")
    assert "bob@% is left alone: it lacks" in ran.err
    assert "--as-written" in ran.err
    assert lab.people() == text
    assert settled(lab)
    # As written: bob becomes what people.toml says, at the next apply.
    assert "`apply` will change it" in lab.ok("db", "import", "bob", "--as-written").err
    would = lab.ok("db", "apply", "--dry-run", "--json").json["steps"]
    assert [(step["action"], step["target"]) for step in would] == [("grant", "bob@%")]


def test_a_new_host_of_somebody_known(lab: Lab) -> None:
    ordinary(lab)
    lab.ok("db", "import")
    lab.server.sql(
        f"CREATE USER ann@'10.1.%' {AS}", rf"GRANT {OWN} ON `ann\_%`.* TO ann@'10.1.%'",
        rf"GRANT {READ} ON `map\_%`.* TO ann@'10.1.%'",
    )  # fmt: skip
    lab.ok("db", "import")
    assert people(lab)["ann"] == {"role": "reader", "hosts": ["%", "10.1.%"]}
    assert settled(lab)


def test_an_account_that_was_never_finished(lab: Lab) -> None:
    ordinary(lab)
    lab.ok("db", "import", "ann")
    lab.server.sql(
        "INSERT INTO mapadmin.account VALUES ('bob', '%', 'creating', '', 0, NULL, NOW())"
    )
    assert "its creation was cut short" in lab.ok("db", "import", "bob").err


def test_what_a_kill_left_is_finished(lab: Lab) -> None:
    """The files come first: an account that is marked and in no file would be one that left."""
    ordinary(lab)
    actions = [step["action"] for step in lab.ok("db", "import", "--json").json["steps"]]
    assert actions == sorted(actions, key=ORDER.index)
    lab.server.sql("DROP DATABASE mapadmin")  # killed before the accounts were remembered
    before = lab.people(), (lab.folder / "mapadmin.toml").read_text()
    again = lab.ok("db", "import", "--json").json["steps"]
    assert {step["action"] for step in again} == {"create schema", "record"}
    assert (lab.people(), (lab.folder / "mapadmin.toml").read_text()) == before
    assert settled(lab)


ORDER = ["create schema", "write mapadmin.toml", "write people.toml", "record"]


# --- histories ---------------------------------------------------------------------------------


def imported_and_settled(lab: Lab, seed: int) -> int:
    """Live through a history, import it, look; how many accounts were taken over."""
    lab_of(lab)
    lab.server.sql("DROP DATABASE map_lab")
    prepare(lab.server)
    live_through(lab.server, seed)
    before = held(lab)
    ran = lab.ok("db", "import", "--json")
    taken: int = sum(step["action"] == "record" for step in ran.json["steps"])
    left = sum(note.count("@") for note in ran.json["notes"] if "left alone" in note)
    assert taken + left > 15, ran.json
    assert "Nothing to do." in lab.ok("db", "apply").err
    assert "Nothing to do." in lab.ok("db", "import").err
    assert held(lab) == before
    return taken


@pytest.mark.parametrize("seed", SEEDS)
def test_random_histories(lab: Lab, seed: int) -> None:
    assert imported_and_settled(lab, seed) > 5


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_random_histories(lab: Lab) -> None:
    total = 0
    for seed in range(100, 150):
        lab.server.wipe()
        for name in ("mapadmin.toml", "people.toml"):
            (lab.folder / name).unlink(missing_ok=True)
        total += imported_and_settled(lab, seed)
    print(f"\n{lab.server.flavour}: 50 histories, {total} accounts taken over")
