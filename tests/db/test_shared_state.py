"""What several administrators share: the lock, people.toml, mapadmin's schema, the journal."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, Ran
from tests.zygote import MAPADMIN

READER, EXPERIMENTER = (f'[people.xia]\nrole = "{role}"\n' for role in ("reader", "experimenter"))


def count(lab: Lab, table: str) -> Any:
    return lab.server.sql(f"SELECT COUNT(*) FROM mapadmin.{table}")[0][0]


def journal(lab: Lab) -> Path:
    return lab.folder / "state" / "journal.jsonl"


def lines(lab: Lab) -> int:
    return len(journal(lab).read_text().splitlines())


# --- people.toml and the lock -------------------------------------------------------------------


def while_it_waits(lab: Lab, meanwhile: Callable[[], object], *args: str) -> Ran:
    """Run a command; `meanwhile` is done by whoever holds the lock for which it waits."""
    with lab.server.root() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('mapadmin:mapadmin', 0)")
        process = lab.start(*args)
        waiting = (
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT GET_LOCK%'"
        )
        until = time.monotonic() + 20
        while lab.server.sql(waiting) != ((1,),) and time.monotonic() < until:
            time.sleep(0.01)
        meanwhile()
        cursor.execute("SELECT RELEASE_LOCK('mapadmin:mapadmin')")
        out, err = process.communicate(timeout=60)
    return Ran(process.returncode, out, err)


def test_apply_goes_by_what_people_toml_says_when_its_turn_comes(lab: Lab) -> None:
    lab.write_people(READER)
    lab.ok("db", "apply")
    ran = while_it_waits(lab, lambda: lab.write_people(EXPERIMENTER), "db", "apply", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert {(step["action"], step["target"]) for step in ran.json["steps"]} == {
        ("record", "xia@%"), ("grant", "xia@%")
    }  # fmt: skip


def test_prune_removes_nobody_who_came_back_meanwhile(lab: Lab) -> None:
    lab.write_people(READER)
    lab.ok("db", "apply")
    lab.write_people("")
    ran = while_it_waits(
        lab, lambda: lab.write_people(READER), "db", "apply", "--prune", "--yes", "--force"
    )
    assert ran.code == 0
    assert "Nothing to do." in ran.err


def test_a_role_that_went_meanwhile_is_refused(lab: Lab) -> None:
    lab.write_people(READER)
    lab.ok("db", "apply")

    def without_experimenters() -> None:
        lab.roles = '[roles.reader]\n"map_*" = ["SELECT"]\n'
        lab.write_site()

    ran = while_it_waits(lab, without_experimenters, "db", "set-role", "xia", "experimenter")
    assert ran.code == 2
    assert "There is no role 'experimenter'" in ran.err


def test_another_server_meanwhile_is_refused(lab: Lab) -> None:
    lab.write_people(READER)
    ran = while_it_waits(lab, lambda: lab.write_site(schema="elsewhere"), "db", "apply")
    assert ran.code == 3
    assert "was changed meanwhile" in ran.err
    assert lab.server.sql("SHOW DATABASES LIKE 'elsewhere'") == ()


# --- mapadmin's schema ---------------------------------------------------------------------------


@pytest.mark.parametrize("made", [0, 1, 3, 5])
def test_a_schema_that_was_not_finished_is_finished(made: int, lab: Lab) -> None:
    """By a run that was cut short, or by somebody who made it beforehand."""
    lab.ok("db", "add-user", "dora", "--role", "reader")
    tables = ["account", "holder", "journal", "schema_size", "meta"]
    lab.server.sql(*(f"DROP TABLE mapadmin.{table}" for table in tables[made:]), "DROP USER dora")
    lab.write_people(READER)
    assert lab.run("db", "audit").code == 5
    assert lab.run("journal").code == 0
    lab.ok("db", "users")
    lab.ok("db", "apply")
    assert "Nothing to do." in lab.ok("db", "apply").err
    assert lab.server.sql("SELECT value FROM mapadmin.meta") == (("1",),)


def test_a_schema_that_one_may_not_read_is_an_error(lab: Lab) -> None:
    lab.write_people(READER)
    lab.ok("db", "apply")
    lab.server.sql(
        "CREATE USER looker@'%' IDENTIFIED BY 'pw-A1b2c3d4e5'",
        "GRANT SELECT ON mysql.* TO looker@'%'", "GRANT SHOW DATABASES ON *.* TO looker@'%'",
    )  # fmt: skip
    lab.password = "pw-A1b2c3d4e5"
    lab.user = "looker"
    lab.write_site()
    ran = lab.run("db", "audit")
    assert ran.code == 3
    assert "lacks a privilege" in ran.err


def test_a_schema_with_a_long_name(lab: Lab) -> None:
    lab.write_site(schema="m" + "x" * 63)
    lab.ok("db", "add-user", "kim", "--role", "reader")
    assert "Nothing to do." in lab.ok("db", "add-user", "kim", "--role", "reader").err


# --- the journal ---------------------------------------------------------------------------------


def test_bytes_that_are_not_utf8_do_not_stop_the_journal(lab: Lab) -> None:
    line = ["db", "add-user", "tia", "--role", "reader", "--password-file"]
    odd = [os.fsencode(word) for word in (MAPADMIN, *line)] + [os.fsencode(lab.folder) + b"/p\xff"]
    for _ in range(2):  # the second time, the command line goes into `holder` as well
        done = subprocess.run(
            odd, env=lab.environment, capture_output=True, timeout=60, check=False
        )
        lab.server.sql("UPDATE mapadmin.account SET state = 'creating'")
        (lab.folder / os.fsdecode(b"p\xff")).unlink(missing_ok=True)
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert count(lab, "journal") == lines(lab)
    commands = lab.server.sql("SELECT DISTINCT command FROM mapadmin.journal")
    assert [str(command).endswith("/p\\udcff'") for (command,) in commands] == [True]


def test_a_rotated_journal_is_copied_from_its_beginning(lab: Lab) -> None:
    lab.ok("db", "add-user", "ida", "--role", "reader")
    lab.ok("db", "set-role", "ida", "experimenter")
    before = count(lab, "journal")
    assert before == lines(lab)
    journal(lab).rename(journal(lab).with_name("journal.old"))
    lab.ok("db", "set-role", "ida", "reader")
    assert count(lab, "journal") == before + lines(lab)
    before = count(lab, "journal")
    os.truncate(journal(lab), 0)
    for role in ("experimenter", "reader", "experimenter"):  # it grows beyond what it was
        lab.ok("db", "set-role", "ida", role)
    assert count(lab, "journal") == before + lines(lab)


def test_each_server_and_schema_gets_the_whole_journal(lab: Lab) -> None:
    lab.ok("db", "add-user", "ida", "--role", "reader")
    lab.write_site(schema="other")
    lab.ok("db", "add-user", "jon", "--role", "reader")
    assert lab.server.sql("SELECT COUNT(*) FROM other.journal") == ((lines(lab),),)
    lab.write_site(schema="mapadmin")
    lab.ok("db", "add-user", "kim", "--role", "reader")
    assert count(lab, "journal") == lines(lab)
