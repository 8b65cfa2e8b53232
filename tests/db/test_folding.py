"""A server that keeps the names of schemas in lower case, whatever people.toml says."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from mapadmin.core.errors import UsageError
from mapadmin.db.grants import Flavour, Level, Scope
from mapadmin.db.names import NameRules
from mapadmin.db.ownership import Owners
from mapadmin.db.policy import Policy
from mapadmin.site import Person
from tests.db.pure import EVERY, OWN, TODAY, site_of, tables_of
from tests.lab import Lab
from tests.servers import master_account, running_server

FOLDING = pytest.mark.parametrize("folds", [0, 1, 2])


@pytest.fixture(scope="module")
def folding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """MariaDB, because MySQL wants to be told so when its data directory is made."""
    folder = tmp_path_factory.mktemp("folding")
    with running_server("mariadb", folder / "server", "--lower-case-table-names=1") as server:
        user, password = master_account(server)
        yield Lab(folder / "site", server, user, password)


def test_apply_leaves_everybody_their_own_schemas(folding: Lab) -> None:
    folding.roles += '[roles.mixed]\n"Map_Lab.Subject" = ["SELECT"]\n"Map_*" = ["SELECT"]\n'
    folding.write_site()
    folding.server.sql("CREATE DATABASE map_lab", "CREATE TABLE map_lab.subject (id INT)")
    folding.write_people("")
    ran = folding.ok("db", "add-user", "Alice", "--role", "mixed")
    assert "Nothing to do." in folding.ok("db", "apply").err
    with folding.login("Alice", folding.password_of(ran)) as alice, alice.cursor() as cursor:
        cursor.execute("CREATE DATABASE Alice_own")
        cursor.execute("SELECT * FROM map_lab.subject")
    audit = folding.run("db", "audit", "--json").json
    assert audit["drift"] == []
    assert [one for one in audit["findings"] if "Alice" in one["subject"]] == []


def test_schemas_of_another_case_are_not_inherited_by_accident(folding: Lab) -> None:
    folding.server.sql("CREATE DATABASE Bob_old")
    ran = folding.run("db", "add-user", "Bob", "--role", "reader", "--dry-run")
    assert ran.code == 2
    assert "bob_old" in ran.err


@FOLDING
@pytest.mark.parametrize("flavour", Flavour)
def test_what_is_wanted_is_what_the_server_stores(flavour: Flavour, folds: int) -> None:
    tables = msgspec.structs.replace(tables_of(flavour=flavour), lower_case_table_names=folds)
    grants = {
        "Map_*": ["SELECT"], "Map_Lab.Subject": ["UPDATE"], "Map_Lab.Subject(Name)": ["INSERT"],
        "procedure Map_Lab.Tidy": ["EXECUTE"], "*.*": ["PROCESS"],
    }  # fmt: skip
    policy = Policy(site_of(roles={"mixed": grants}), tables, OWN, TODAY)
    (wanted,) = policy.wanted("Ann", Person(role="mixed"), service=False)
    low = str.lower if folds else str
    assert wanted.grants == {
        Scope(Level.DATABASE, low(r"Map\_%")): {"SELECT"},
        Scope(Level.DATABASE, low(r"Ann\_%")): EVERY,
        Scope(Level.TABLE, low("Map_Lab"), low("Subject")): {"UPDATE"},
        Scope(Level.COLUMN, low("Map_Lab"), low("Subject"), "Name"): {"INSERT"},
        Scope(Level.PROCEDURE, low("Map_Lab"), "Tidy"): {"EXECUTE"},
        Scope(Level.GLOBAL): {"PROCESS"},
    }


@FOLDING
def test_inheritance_ignores_case_where_the_server_does(folds: int) -> None:
    tables = msgspec.structs.replace(tables_of(schemas=("ann_old",)), lower_case_table_names=folds)
    rules = NameRules(site_of(), tables, OWN)
    if folds:
        with pytest.raises(UsageError, match="ann_old"):
            rules.check("Ann", service=False)
    else:
        rules.check("Ann", service=False)


@FOLDING
def test_whose_a_schema_is(folds: int) -> None:
    tables = msgspec.structs.replace(tables_of(), lower_case_table_names=folds)
    owner = Owners(site_of(people={"Ann": Person()}), tables).owner("ann_x")
    assert owner.name == ("Ann" if folds else "")
