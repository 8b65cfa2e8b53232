"""set-expiry, on both servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pymysql
import pytest

from tests.lab import Lab

PEOPLE = """# The people of the lab

[people.alice]  # records
role = "reader"
expires = 2099-12-31  # end of her contract

[services.worker]
role = "worker"
"""


def may_log_in(lab: Lab, password: str) -> bool:
    try:
        lab.login("alice", password).close()
    except pymysql.err.OperationalError:
        return False
    return True


def test_the_last_day_moves_and_comments_stay(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "apply")
    ran = lab.ok("db", "set-expiry", "alice", "2098-06-30")
    assert "Done: 2 steps." in ran.err
    assert lab.people() == PEOPLE.replace("2099-12-31", "2098-06-30")
    again = lab.ok("db", "set-expiry", "alice", "2098-06-30")
    assert (again.out, again.err) == ("", "Nothing to do.\n")
    lab.ok("db", "set-expiry", "alice", "never")
    assert lab.people() == PEOPLE.replace("expires = 2099-12-31  # end of her contract\n", "")
    assert lab.ok("db", "set-expiry", "alice", "never").err == "Nothing to do.\n"
    assert "Nothing to do." in lab.ok("db", "apply").err


def test_an_account_is_locked_when_its_day_is_over_and_unlocked_when_extended(lab: Lab) -> None:
    lab.write_people("")
    password = lab.password_of(lab.ok("db", "add-user", "alice", "--role", "reader"))
    today = datetime.now(UTC).date()
    lab.ok("db", "set-expiry", "alice", str(today + timedelta(days=1)))
    assert may_log_in(lab, password)
    ran = lab.ok("db", "set-expiry", "alice", "2020-01-31", "--json")
    assert ran.json["result"] == "done"
    assert [step["action"] for step in ran.json["steps"]] == [
        "write people.toml", "record", "lock account",
    ]  # fmt: skip
    assert not may_log_in(lab, password)
    refused = lab.run("db", "unlock", "alice")
    assert "set-expiry alice DATE" in refused.err
    assert "Nothing to do." in lab.ok("db", "apply").err
    lab.ok("db", "set-expiry", "alice", "never")
    assert may_log_in(lab, password)


def test_who_was_locked_by_hand_stays_locked(lab: Lab) -> None:
    lab.write_people("")
    password = lab.password_of(lab.ok("db", "add-user", "alice", "--role", "reader"))
    lab.ok("db", "lock", "alice")
    ran = lab.ok("db", "set-expiry", "alice", "2099-01-01")
    assert "alice stays locked (`mapadmin db unlock alice` ends that)" in ran.err
    assert not may_log_in(lab, password)


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "apply")
    ran = lab.ok("db", "set-expiry", "alice", "2020-01-31", "--dry-run")
    assert "lock account" in ran.out
    assert lab.people() == PEOPLE
    assert "Nothing to do." in lab.ok("db", "apply").err


@pytest.mark.parametrize(
    ("name", "day", "complaint"),
    [
        ("alice", "soon", "'soon' is not a day."),
        ("alice", "2027-02-30", "'2027-02-30' is not a day."),
        ("alice", "", "'' is not a day."),
        ("nobody", "never", "does not manage anybody called 'nobody'"),
        ("worker", "2098-06-30", "worker is a service"),
    ],
)
def test_what_cannot_be(lab: Lab, name: str, day: str, complaint: str) -> None:
    lab.write_people(PEOPLE)
    ran = lab.run("db", "set-expiry", name, day)
    assert (ran.code, ran.out) == (2, "")
    assert complaint in ran.err
    assert lab.people() == PEOPLE


def test_an_account_of_somebody_elses_making_is_left_alone(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.server.sql("CREATE USER 'alice'@'%' IDENTIFIED BY 'theirs'")
    ran = lab.ok("db", "set-expiry", "alice", "2020-01-31")
    assert "alice@% is not managed, and is left alone" in ran.err
    assert may_log_in(lab, "theirs")


def test_without_people_toml_the_server_remembers_the_day(lab: Lab) -> None:
    password = lab.password_of(lab.ok("db", "add-user", "alice", "--role", "reader"))
    lab.ok("db", "set-expiry", "alice", "2020-01-31")
    assert not may_log_in(lab, password)
    lab.ok("db", "set-expiry", "alice", "never")
    assert may_log_in(lab, password)
    assert lab.server.sql("SELECT expires FROM mapadmin.account") == ((None,),)


def test_without_people_toml_it_does_not_unlock(lab: Lab) -> None:
    password = lab.password_of(lab.ok("db", "add-user", "alice", "--role", "reader"))
    lab.ok("db", "lock", "alice")
    lab.ok("db", "set-expiry", "alice", "2099-01-01")
    assert not may_log_in(lab, password)


def test_an_unfinished_account_is_not_counted_as_finished(lab: Lab) -> None:
    lab.write_people("")
    lab.ok("db", "add-user", "alice", "--role", "reader", "--host", "127.%")
    lab.server.sql(
        "UPDATE mapadmin.account SET state = 'creating'", "ALTER USER alice@'127.%' ACCOUNT LOCK"
    )
    refused = lab.run("db", "set-expiry", "alice", "2099-01-01")
    assert refused.code == 2
    assert "mapadmin db add-user alice --role reader --host 127.%" in refused.err
    ran = lab.ok("db", "add-user", "alice", "--role", "reader", "--host", "127.%")
    assert may_log_in(lab, lab.password_of(ran))
