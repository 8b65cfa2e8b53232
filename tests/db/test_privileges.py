"""Privileges as people write them and as servers store them."""

from __future__ import annotations

import pytest

from mapadmin.core.errors import SettingsError
from mapadmin.db.policy import Policy
from mapadmin.site import Person
from tests.db.pure import OWN, TODAY, site_of, tables_of
from tests.lab import Lab

REFUSED = [
    ("map_lab.t(name)", "GRANT OPTION", "GRANT OPTION cannot be had on a column."),
    ("map_lab.t(name)", "DELETE", "DELETE cannot be had on a column."),
    ("map_lab.t", "EXECUTE", "EXECUTE cannot be had on a table."),
    ("procedure map_lab.p", "SELECT", "SELECT cannot be had on a procedure."),
    ("package body map_lab.p", "INSERT", "INSERT cannot be had on a package body."),
    ("*.*", "usage", "'USAGE' is not a privilege."),
    ("map_*", "USAGE", "'USAGE' is not a privilege."),
    ("map_lab.t", "PROCESS", "PROCESS cannot be had on single schemas."),
]


@pytest.mark.parametrize(("scope", "privilege", "said"), REFUSED)
def test_what_is_never_there_is_refused(scope: str, privilege: str, said: str) -> None:
    policy = Policy(site_of(), tables_of(), OWN, TODAY)
    with pytest.raises(SettingsError) as refused:
        policy.wanted("ann", Person(grants={scope: [privilege]}), service=True)
    assert refused.value.message.endswith(said)


def test_what_can_be_had_on_each_thing_converges(lab: Lab) -> None:
    """Everything that is let through is granted, and found again."""
    lab.server.sql(
        "CREATE DATABASE map_lab", "CREATE TABLE map_lab.t (name INT)",
        "CREATE PROCEDURE map_lab.p() SELECT 1",
    )  # fmt: skip
    lab.user, lab.password = "root", lab.server.root_password
    lab.write_site()
    table = ["ALTER", "CREATE", "CREATE VIEW", "DELETE", "DROP", "GRANT OPTION", "INDEX", "INSERT"]
    table += ["REFERENCES", "SELECT", "SHOW VIEW", "TRIGGER", "UPDATE"]
    if lab.server.flavour == "mariadb":
        table.append("DELETE VERSIONING ROWS")
    column = ["SELECT", "INSERT", "UPDATE", "REFERENCES"]
    lab.write_people(
        "[services.all.grants]\n"
        f'"map_lab.t" = {table}\n"map_lab.t(name)" = {column}\n'
        '"procedure map_lab.p" = ["EXECUTE", "ALTER ROUTINE", "GRANT OPTION"]\n'
    )
    lab.ok("db", "apply")
    assert "Nothing to do." in lab.ok("db", "apply").err


def test_synonyms_converge(lab: Lab) -> None:
    names = ["REPLICATION CLIENT", "replication slave"]
    if lab.server.flavour == "mariadb":
        names += ["REPLICA MONITOR", "REPLICATION REPLICA", "REPLICATION REPLICA ADMIN"]
        names += ["DELETE VERSIONING ROWS", "READ ONLY ADMIN", "BINLOG MONITOR"]
        lab.user, lab.password = "root", lab.server.root_password
        lab.write_site()
    lab.write_people(f'[services.backup.grants]\n"*.*" = {names}\n')
    lab.ok("db", "apply")
    assert "Nothing to do." in lab.ok("db", "apply").err
    assert lab.run("db", "audit", "--json").json["drift"] == []
