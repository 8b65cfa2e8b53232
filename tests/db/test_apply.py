"""`apply`: check, apply, check again; on both servers, as a person types it."""

from __future__ import annotations

import pymysql
import pytest

from tests.lab import ROLES, Lab

PEOPLE = """
[people.alice]
role = "reader"
[people.bob]
role = "experimenter"
expires = 2099-12-31
[people.carol]
role = "reader"
hosts = ["%", "10.1.%"]
grants = { "map_lab" = ["INSERT"], "alice_shared" = ["SELECT"] }
[services.worker]
role = "worker"
"""


def settled(lab: Lab) -> bool:
    """Whether `apply` has nothing (left) to do."""
    return "Nothing to do." in lab.ok("db", "apply").err


def test_apply_makes_everybody_and_then_does_nothing(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    dry = lab.ok("db", "apply", "--dry-run")
    assert dry.out.count("create account") == 5
    ran = lab.ok("db", "apply")
    assert ran.out.count("Password of") == 5
    assert settled(lab)


def test_passwords_of_new_accounts_work(lab: Lab, tmp_path: object) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "apply", "--password-file", f"{tmp_path}/passwords")
    with open(f"{tmp_path}/passwords") as file:  # noqa: PTH123
        passwords = dict(line.rstrip("\n").split("\t") for line in file)
    assert set(passwords) == {"alice@%", "bob@%", "carol@%", "carol@10.1.%", "worker@%"}
    for account in ("alice", "bob", "worker"):
        lab.login(account, passwords[f"{account}@%"]).close()


@pytest.mark.parametrize(
    "spoil",
    [
        "GRANT INSERT ON `map\\_lab`.* TO alice@'%'",
        "GRANT SELECT ON `bob\\_%`.* TO alice@'%'",
        "GRANT SELECT, PROCESS ON *.* TO alice@'%'",
        "GRANT SELECT ON `alice\\_%`.* TO alice@'%' WITH GRANT OPTION",
        "REVOKE SELECT ON `map\\_%`.* FROM alice@'%'",
        "REVOKE DROP ON `alice\\_%`.* FROM alice@'%'",
        "GRANT SELECT (id), UPDATE (id) ON map_lab.subject TO alice@'%'",
        "GRANT DELETE ON map_lab.subject TO alice@'%'",
        "GRANT EXECUTE ON PROCEDURE map_lab.tidy TO alice@'%'",
        "ALTER USER alice@'%' ACCOUNT LOCK",
        "ALTER USER alice@'%' REQUIRE SSL",
    ],
)
def test_whatever_was_spoilt_by_hand_is_put_right(lab: Lab, spoil: str) -> None:
    lab.server.sql(
        "CREATE DATABASE map_lab",
        "CREATE TABLE map_lab.subject (id INT PRIMARY KEY)",
        "CREATE PROCEDURE map_lab.tidy() SELECT 1",
    )
    lab.write_people(PEOPLE)
    lab.ok("db", "apply")
    lab.server.sql(spoil)
    before = lab.ok("db", "apply", "--dry-run", "--json").json["steps"]
    assert {step["target"] for step in before} == {"alice@%"}
    lab.ok("db", "apply")
    assert settled(lab)


def test_a_native_role_that_was_granted_by_hand_is_taken_away(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "apply")
    lab.server.sql("CREATE ROLE powerful", "GRANT powerful TO alice@'%'")
    ran = lab.ok("db", "apply")
    if lab.server.flavour == "mariadb":  # which lets only a role's administrators do that
        assert "REVOKE powerful FROM alice@%" in ran.err
    else:
        assert "Done: 1 step." in ran.err
    assert settled(lab)


def test_a_role_of_the_site_changes_for_everybody(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "apply")
    lab.roles = ROLES.replace('["SELECT", "REFERENCES"]', '["SELECT", "REFERENCES", "SHOW VIEW"]')
    lab.write_site()
    steps = lab.ok("db", "apply", "--dry-run", "--json").json["steps"]
    assert sorted({step["target"] for step in steps}) == ["alice@%", "carol@%", "carol@10.1.%"]
    lab.ok("db", "apply")
    assert settled(lab)


def test_overlapping_patterns_add_up(lab: Lab) -> None:
    """The server lets the most specific row win alone; people expect privileges to add up."""
    lab.server.sql("CREATE DATABASE map_lab", "CREATE TABLE map_lab.subject (id INT PRIMARY KEY)")
    lab.write_people(PEOPLE)
    ran = lab.ok("db", "apply")
    (line,) = [line for line in ran.out.splitlines() if "carol@%" in line]
    with lab.login("carol", line.rpartition(" ")[2], "map_lab") as carol, carol.cursor() as cursor:
        cursor.execute("INSERT INTO subject VALUES (1)")
        cursor.execute("SELECT * FROM subject")
        assert cursor.fetchall() == ((1,),)


def test_patterns_that_cannot_add_up_are_refused(lab: Lab) -> None:
    lab.write_people('[people.alice]\nrole = "reader"\ngrants = { "*_lab" = ["INSERT"] }\n')
    ran = lab.run("db", "apply")
    assert ran.code == 3
    assert "neither contains the other" in ran.err
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'alice'") == ((0,),)


def test_accounts_of_others_are_never_touched(lab: Lab) -> None:
    lab.server.sql(
        "CREATE USER 'alice'@'%' IDENTIFIED BY 'theirs'",
        "CREATE USER stranger@'%' IDENTIFIED BY 'x'",
        "GRANT SELECT ON `map\\_%`.* TO stranger@'%'",
    )
    lab.write_people(PEOPLE)
    ran = lab.ok("db", "apply", "--prune", "--yes")
    assert "alice@%" in ran.err
    assert "db import" in ran.err
    lab.login("alice", "theirs").close()
    lab.login("stranger", "x").close()
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.db WHERE user = 'alice'") == ((0,),)


def test_prune_removes_leavers_within_the_limit(lab: Lab) -> None:
    people = "".join(f'[people.p{n:02}]\nrole = "reader"\n' for n in range(10))
    lab.write_people(people)
    lab.ok("db", "apply")
    lab.server.sql("CREATE DATABASE p00_data", "CREATE TABLE p00_data.t (id INT)")
    lab.write_people(people.replace('[people.p00]\nrole = "reader"\n', ""))
    assert settled(lab)  # without --prune, leavers are left alone
    refused = lab.run("db", "apply", "--prune")
    assert refused.code == 2
    assert "--yes" in refused.err
    lab.ok("db", "apply", "--prune", "--yes")
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user LIKE 'p0%'") == ((9,),)
    assert lab.server.sql("SHOW DATABASES LIKE 'p00%'") == (("p00_data",),)
    lab.write_people('[people.p01]\nrole = "reader"\n')
    limited = lab.run("db", "apply", "--prune", "--yes")
    assert limited.code == 1
    assert "8 of 9" in limited.err
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user LIKE 'p0%'") == ((9,),)
    lab.ok("db", "apply", "--prune", "--yes", "--force")
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user LIKE 'p0%'") == ((1,),)


def test_prune_ends_the_sessions_of_who_leaves(lab: Lab) -> None:
    lab.write_people("")
    add = ("db", "add-user", "zoe", "--role", "reader")
    stays = lab.password_of(lab.ok(*add))
    goes = lab.password_of(lab.ok(*add, "--host", "localhost"))
    session = lab.login("zoe", goes)
    people = lab.people()
    lab.write_people('[people.zoe]\nrole = "reader"\n')
    ran = lab.ok("db", "apply", "--prune", "--force", "--yes", "--json")
    assert [(step["action"], step["target"]) for step in ran.json["steps"]] == [
        ("lock account", "zoe@localhost"), ("end sessions", "zoe@localhost"),
        ("drop account", "zoe@localhost"),
    ], people  # fmt: skip
    with pytest.raises(pymysql.err.OperationalError):
        session.cursor().execute("SELECT 1")
    lab.login("zoe", stays).close()
    assert settled(lab)


def test_an_account_is_unlocked_only_when_it_has_nothing_too_much(lab: Lab) -> None:
    lab.write_people('[people.vic]\nrole = "reader"\nlocked = true\n')
    lab.ok("db", "apply")
    lab.server.sql("GRANT DELETE ON *.* TO vic@'%'")
    lab.write_people('[people.vic]\nrole = "reader"\n')
    steps = lab.ok("db", "apply", "--json").json["steps"]
    assert [step["action"] for step in steps] == ["revoke", "unlock account"]
    assert settled(lab)


def test_what_an_unfinished_account_shall_be_counts(lab: Lab) -> None:
    """One whose password was set, and so unlocked, but never handed over."""
    lab.write_people('[people.hal]\nrole = "reader"\n')
    lab.ok("db", "apply")
    lab.server.sql("UPDATE mapadmin.account SET state = 'creating'")
    lab.write_people('[people.hal]\nrole = "reader"\nlocked = true\nrequire_tls = true\n')
    ran = lab.ok("db", "apply", "--json", "--password-file", str(lab.folder / "passwords"))
    actions = [step["action"] for step in ran.json["steps"]]
    assert actions == ["record", "lock account", "require TLS", "set password"]
    ((created,),) = lab.server.sql("SHOW CREATE USER hal@'%'")
    assert "ACCOUNT LOCK" in str(created)
    assert "REQUIRE SSL" in str(created)
    assert settled(lab)


def test_prune_leaves_a_definer(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "apply")
    lab.server.sql(
        "CREATE DATABASE map_lab",
        "CREATE DEFINER = bob@'%' VIEW map_lab.v AS SELECT 1 AS one",
    )
    lab.write_people(
        PEOPLE.replace('[people.bob]\nrole = "experimenter"\nexpires = 2099-12-31\n', "")
    )
    ran = lab.ok("db", "apply", "--prune", "--yes")
    assert "view map_lab.v" in ran.err
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'bob'") == ((1,),)


def test_expired_people_are_locked(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "apply")
    lab.write_people(PEOPLE.replace("2099-12-31", "2020-12-31"))
    ran = lab.ok("db", "apply")
    assert "Done" in ran.err
    assert settled(lab)
    lab.write_people(PEOPLE)
    lab.ok("db", "apply")
    assert settled(lab)


def test_tls_can_be_demanded_of_everybody(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "apply")
    lab.write_site(require_tls=True)
    steps = lab.ok("db", "apply", "--dry-run", "--json").json["steps"]
    assert {step["action"] for step in steps} == {"require TLS"}
    lab.ok("db", "apply")
    assert settled(lab)


def test_without_people_toml_apply_says_so(lab: Lab) -> None:
    ran = lab.run("db", "apply")
    assert ran.code == 3
    assert "people.toml" in ran.err
