"""Accounts that are never changed, even if mapadmin's schema says that they are managed."""

from __future__ import annotations

import pytest

from tests.lab import Lab

PASSWORD = "pw-A1b2c3d4e5"
SOMEBODY = '[people.other]\nrole = "reader"\n'


@pytest.fixture
def boss(lab: Lab) -> Lab:
    """A site whose administrator's account was taken over while another one was in use."""
    lab.write_people(SOMEBODY)
    lab.server.sql(
        f"CREATE USER boss@'%' IDENTIFIED BY '{PASSWORD}'",
        "GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION",
    )
    lab.ok("db", "apply")
    lab.server.sql(
        "INSERT INTO mapadmin.account VALUES ('boss', '%', 'managed', '', 1, NULL, NOW())"
    )
    lab.user, lab.password = "boss", PASSWORD
    lab.write_site()
    lab.ok("db", "apply")  # what ALL means depends on who grants it
    return lab


def test_prune_does_not_drop_the_branch_it_sits_on(boss: Lab) -> None:
    ran = boss.ok("db", "apply", "--prune", "--yes", "--force")
    assert "Note: boss@% is left alone: it is mapadmin's own account" in ran.err
    assert boss.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'boss'") == ((1,),)
    assert boss.run("db", "audit", "--json").json["leavers"] == []


def test_apply_does_not_revoke_its_own_privileges(boss: Lab) -> None:
    boss.write_people(SOMEBODY + '[services.boss]\nrole = "reader"\n')
    ran = boss.ok("db", "apply")
    assert "Nothing to do." in ran.err
    assert "boss@% is left alone" in ran.err
    boss.server.sql("UPDATE mapadmin.account SET state = 'creating' WHERE user = 'boss'")
    assert "Nothing to do." in boss.ok("db", "apply").err
    boss.login("boss", PASSWORD).close()


@pytest.mark.parametrize(
    "command",
    [
        ["set-role", "boss", "reader"], ["lock", "boss"], ["unlock", "boss"],
        ["set-expiry", "boss", "2020-01-01"], ["set-password", "boss"],
        ["add-user", "boss", "--role", "reader", "--service"],
    ],
)  # fmt: skip
def test_commands_refuse_it(command: list[str], boss: Lab) -> None:
    ran = boss.run("db", *command)
    assert ran.code == 2
    assert "boss is never changed: it is mapadmin's own account." in ran.err
    boss.login("boss", PASSWORD).close()


def test_what_is_ignored_is_left_alone(lab: Lab) -> None:
    lab.write_people(SOMEBODY + '[people.guest]\nrole = "reader"\n')
    lab.ok("db", "apply")
    lab.write_people(SOMEBODY)
    lab.write_site(ignore_accounts=["guest"])
    ran = lab.ok("db", "apply", "--prune", "--yes", "--force")
    assert "guest@% is left alone: it is in database.ignore_accounts" in ran.err
    assert lab.run("db", "lock", "guest").code == 2
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'guest'") == ((1,),)
