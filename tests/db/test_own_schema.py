"""mapadmin's schema and the server's are nobody's, whatever a wildcard in a role or a name says."""

from __future__ import annotations

import msgspec
import pytest

from mapadmin.core.errors import SettingsError, UsageError
from mapadmin.db.grants import Flavour
from mapadmin.db.names import NameRules
from mapadmin.db.policy import Policy
from mapadmin.site import Person
from tests.db.pure import OWN, TODAY, site_of, tables_of
from tests.lab import Lab

# The pure site's own schema is madmin.
CASES = [
    ("ma*", "INSERT", "madmin"),
    ("m?dmin", "REFERENCES", "madmin"),
    ("*", "UPDATE", "madmin"),
    ("my*", "INSERT", "mysql"),
    ("performance_*", "UPDATE", "performance_schema"),
    ("ma*", "SELECT", ""),
    ("*", "SELECT", ""),
    ("madmin", "INSERT", ""),
    ("madmin_*", "INSERT", ""),
    ("mysql", "INSERT", ""),
]


@pytest.mark.parametrize("flavour", Flavour)
@pytest.mark.parametrize(("pattern", "privilege", "opened"), CASES)
def test_wildcards_that_open_what_is_not_theirs(
    flavour: Flavour, pattern: str, privilege: str, opened: str
) -> None:
    site = site_of(roles={"role": {pattern: [privilege]}})
    policy = Policy(site, tables_of(flavour=flavour), OWN, TODAY)
    if not opened:
        policy.wanted("ann", Person(role="role"), service=True)
        return
    with pytest.raises(SettingsError, match=f"ann: a grant on .* would also open {opened}"):
        policy.wanted("ann", Person(role="role"), service=True)


def test_names_without_wildcards_where_the_server_has_none() -> None:
    tables = msgspec.structs.replace(tables_of(), partial_revokes=True)
    policy = Policy(site_of(roles={"role": {"ma*": ["INSERT"]}}), tables, OWN, TODAY)
    policy.wanted("ann", Person(role="role"), service=True)


@pytest.mark.parametrize("name", ["information", "performance", "Performance", "my"])
def test_names_whose_schemas_would_include_them(name: str) -> None:
    site = site_of()
    database = msgspec.structs.replace(site.database, schema="my_admin")
    settings = msgspec.structs.replace(site.settings, database=database)
    rules = NameRules(type(site)(site.folder, settings, site.people), tables_of(), OWN)
    with pytest.raises(UsageError, match="its schemas would include"):
        rules.check(name, service=False)
    rules.check(name, service=True)


def test_a_role_that_opens_mapadmin_s_schema_is_refused(lab: Lab) -> None:
    lab.roles = lab.roles.replace('"map_*"', '"map*"')
    lab.write_site()
    lab.write_people("")
    ran = lab.run("db", "add-user", "ida", "--role", "experimenter")
    assert ran.code == 3
    assert "ida: a grant on map* would also open mapadmin, mapadmin's own schema." in ran.err
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'ida'") == ((0,),)


@pytest.mark.parametrize("name", ["performance", "ma"])
def test_a_person_whose_schemas_would_include_it_is_refused(name: str, lab: Lab) -> None:
    lab.write_site(schema="ma_admin")
    lab.roles = '[roles.reader]\nlab = ["SELECT"]\n'
    lab.write_site()
    lab.write_people(f'[people.{name}]\nrole = "reader"\n')
    ran = lab.run("db", "apply")
    assert ran.code == 3
    assert f"{name}: a grant on {name}_* would also open" in ran.err
    lab.write_people("")
    ran = lab.run("db", "add-user", name, "--role", "reader")
    assert ran.code in (2, 3)
    assert lab.server.sql(f"SELECT COUNT(*) FROM mysql.user WHERE user = '{name}'") == ((0,),)


def test_grants_by_hand_are_critical_and_not_taken_over(lab: Lab) -> None:
    lab.roles = ""
    lab.write_site()
    lab.server.sql(
        "CREATE USER u1@'%' IDENTIFIED BY 'pw-A1b2c3d4e5'",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON `map%`.* TO u1@'%'",
    )
    ran = lab.ok("db", "import")
    assert "u1@% is left alone: it cannot be written: a grant on map* would also open" in ran.err
    found = {(one["id"], one["severity"], one["subject"]) for one in lab.run(
        "db", "audit", "--json"
    ).json["findings"]}  # fmt: skip
    assert ("own-schema-open", "critical", "u1@%") in found
    lab.write_site(schema="admin_of_map")
    lab.ok("db", "import")
    assert "Nothing to do." in lab.ok("db", "apply").err
