"""add-user, set-role, set-password, lock, unlock: as a person types them, on both servers."""

from __future__ import annotations

import json
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.lab import Lab

PEOPLE = "# The people of the lab\n\n# (sorted by hand)\n"


def project(lab: Lab) -> None:
    """A little of the project: one schema with one table."""
    lab.server.sql(
        "CREATE DATABASE map_lab",
        "CREATE TABLE map_lab.subject (id INT PRIMARY KEY)",
        "INSERT INTO map_lab.subject VALUES (1)",
    )


def ask(connection: Any, sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def may(connection: Any, sql: str) -> bool:
    """Whether a statement is let through; any other error than a denial is an error of the test."""
    try:
        ask(connection, sql)
    except pymysql.err.MySQLError as error:
        assert error.args[0] in (1044, 1142, 1143, 1227), error
        return False
    return True


def test_a_new_person_reaches_what_is_theirs_and_nothing_else(lab: Lab) -> None:
    project(lab)
    lab.write_people(PEOPLE)
    lab.server.sql("CREATE DATABASE aliceXother")
    ran = lab.ok("db", "add-user", "alice", "--role", "reader", "--email", "a@example.org")
    with lab.login("alice", lab.password_of(ran)) as alice:
        assert may(alice, "CREATE DATABASE alice_own")
        assert may(alice, "CREATE TABLE alice_own.t (id INT PRIMARY KEY)")
        assert may(alice, "SELECT * FROM map_lab.subject")
        assert not may(alice, "INSERT INTO map_lab.subject VALUES (2)")
        assert not may(alice, "CREATE TABLE aliceXother.t (id INT)")
        assert not may(alice, "CREATE DATABASE bob_own")
        # A scientist's table that hangs on the project's needs REFERENCES there.
        assert may(
            alice,
            "CREATE TABLE alice_own.mine (id INT PRIMARY KEY, "
            "FOREIGN KEY (id) REFERENCES map_lab.subject (id))",
        )
    assert lab.people().startswith(PEOPLE)
    assert 'email = "a@example.org"' in lab.people()


def test_the_same_command_again_does_nothing(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "add-user", "alice", "--role", "reader")
    again = lab.ok("db", "add-user", "alice", "--role", "reader")
    assert "Nothing to do." in again.err
    assert again.out == ""


def test_a_dry_run_changes_nothing_at_all(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    ran = lab.ok("db", "add-user", "alice", "--role", "reader", "--dry-run")
    assert "create account" in ran.out
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'alice'") == ((0,),)
    assert lab.server.sql("SHOW DATABASES LIKE 'mapadmin'") == ()
    assert lab.people() == PEOPLE
    assert not (lab.folder / "state").exists()


def test_without_people_toml_the_server_remembers_the_role(lab: Lab) -> None:
    ran = lab.ok("db", "add-user", "alice", "--role", "reader")
    assert "people.toml" in ran.err
    assert not (lab.folder / "people.toml").exists()
    lab.ok("db", "set-role", "alice", "experimenter")
    assert lab.server.sql("SELECT role FROM mapadmin.account") == (("experimenter",),)


def test_a_given_password_is_not_shown(lab: Lab) -> None:
    ran = lab.ok(
        "db",
        "add-user",
        "alice",
        "--role",
        "reader",
        "--password-stdin",
        stdin="S3cret-'x\\\" %s pw\n",
    )
    assert "S3cret" not in ran.out + ran.err
    lab.login("alice", "S3cret-'x\\\" %s pw").close()


def test_a_password_that_clients_would_send_differently_is_refused(lab: Lab) -> None:
    ran = lab.run("db", "add-user", "alice", "--role", "reader", "--password-stdin", stdin="zoë")
    assert ran.code == 2
    assert "ASCII" in ran.err
    assert "zoë" not in ran.err
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'alice'") == ((0,),)


def test_a_password_file_is_private_and_never_overwritten(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "password"
    ran = lab.ok("db", "add-user", "alice", "--role", "reader", "--password-file", str(file))
    assert "Password of" not in ran.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text().split("\t")[1].strip()
    lab.login("alice", password).close()
    refused = lab.run("db", "add-user", "bob", "--role", "reader", "--password-file", str(file))
    assert refused.code == 2
    assert "exists already" in refused.err
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'bob'") == ((0,),)


@pytest.mark.parametrize("option", ["--password-file", "--dj-config"])
def test_a_file_of_a_run_that_was_cut_short_is_replaced(
    lab: Lab, tmp_path: Path, option: str
) -> None:
    """The file was written, but the account not yet marked as finished."""
    lab.write_people("")
    file = tmp_path / "handed-over"
    command = ["db", "add-user", "hal", "--role", "reader", option, str(file)]
    lab.ok(*command)
    first = file.read_text()
    assert f"{file} exists already" in lab.run(*command).err  # it is finished
    cut_short = "UPDATE mapadmin.account SET state = 'creating' WHERE user = 'hal'"
    lab.server.sql(cut_short)
    lab.ok(*command)
    second = file.read_text()
    assert second != first
    assert file.stat().st_mode & 0o777 == 0o600
    password = second.rstrip().split("\t")[-1]
    if option == "--dj-config":
        password = json.loads(second)["database.password"]
    lab.login("hal", password).close()
    for others in ("hal@%\tx\nida@%\ty\n", "", "{}", second.replace("hal", "ida")):
        file.write_text(others)
        lab.server.sql(cut_short)
        ran = lab.run(*command)
        assert (ran.code, file.read_text()) == (2, others)
        assert "exists already" in ran.err
    file.unlink()
    lab.ok(*command)


def test_a_list_of_passwords_of_a_run_that_was_cut_short_is_replaced(lab: Lab) -> None:
    lab.write_people('[people.hal]\nrole = "reader"\n[people.ida]\nrole = "reader"\n')
    file = lab.folder / "passwords"
    command = ["db", "apply", "--password-file", str(file)]
    lab.ok(*command)
    first = file.read_text()
    cut_short = "UPDATE mapadmin.account SET state = 'creating'"
    lab.server.sql(f"{cut_short} WHERE user = 'hal'")
    assert f"{file} exists already" in lab.run(*command).err  # it has ida's, which counts
    lab.server.sql(cut_short)
    lab.ok(*command)
    assert file.read_text() != first
    for line in file.read_text().splitlines():
        account, password = line.split("\t")
        lab.login(account.removesuffix("@%"), password).close()


@pytest.mark.parametrize("version", ["0.14", "2"])
def test_a_datajoint_configuration_is_ready_to_use(lab: Lab, tmp_path: Path, version: str) -> None:
    file = tmp_path / "dj.json"
    lab.ok(
        "db", "add-user", "alice", "--role", "reader",
        "--dj-config", str(file), "--dj-version", version,
    )  # fmt: skip
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    config = json.loads(file.read_text())
    if version == "2":
        config = {f"database.{key}": value for key, value in config["database"].items()}
    assert (config["database.host"], config["database.port"]) == ("127.0.0.1", lab.server.port)
    assert config["database.use_tls"] is True
    lab.login(config["database.user"], config["database.password"]).close()


def test_json_never_holds_a_password(lab: Lab, tmp_path: Path) -> None:
    assert lab.run("db", "add-user", "alice", "--role", "reader", "--json").code == 2
    file = tmp_path / "password"
    ran = lab.ok("db", "add-user", "al", "--role", "reader", "--json", "--password-file", str(file))
    password = file.read_text().split("\t")[1].strip()
    assert ran.json["result"] == "done"
    assert {step["state"] for step in ran.json["steps"]} == {"done"}
    assert password not in ran.out + ran.err


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "it is empty"),
        ("a" * 200, "characters"),
        ("o'brien", "ASCII letter"),
        ('o"brien', "ASCII letter"),
        ("a`b", "ASCII letter"),
        ("a\\b", "ASCII letter"),
        ("a%", "ASCII letter"),
        ("al_ice", "underscore"),
        ("zoë", "ASCII letter"),
        ("a\nb", "ASCII letter"),
        ("x'; DROP USER root; --", "ASCII letter"),
        ("root", "reserved"),
        ("mysql.sys", "of the server's own"),
        ("rdsadmin", "of the server's own"),
        ("map", "the project's"),
        ("mapadmin", "mapadmin's own schema"),
        ("bob", "would also be the schemas of"),
    ],
)
def test_names_that_cannot_be(lab: Lab, name: str, complaint: str) -> None:
    lab.write_people('[people.bob_junior]\nrole = "reader"\n')
    before = lab.server.sql("SELECT user, host FROM mysql.user ORDER BY 1, 2")
    ran = lab.run("db", "add-user", "--role", "reader", "--", name)
    assert ran.code == 2
    assert complaint in ran.err
    assert len([line for line in ran.err.splitlines() if line.startswith("Error:")]) == 1
    assert lab.server.sql("SELECT user, host FROM mysql.user ORDER BY 1, 2") == before
    assert "junior" in lab.people()
    assert lab.server.sql("SHOW DATABASES LIKE 'mapadmin'") == ()


def test_mapadmins_own_account_is_refused(lab: Lab) -> None:
    ran = lab.run("db", "add-user", lab.user, "--role", "reader")
    assert ran.code == 2
    assert "mapadmin's own account" in ran.err or "reserved" in ran.err


def test_schemas_left_by_somebody_are_not_inherited_unasked(lab: Lab) -> None:
    lab.server.sql("CREATE DATABASE alice_old")
    ran = lab.run("db", "add-user", "alice", "--role", "reader")
    assert ran.code == 2
    assert "alice_old" in ran.err
    lab.ok("db", "add-user", "alice", "--role", "reader", "--adopt-schemas")


def test_an_account_made_by_hand_is_not_touched(lab: Lab) -> None:
    lab.server.sql("CREATE USER 'alice'@'%' IDENTIFIED BY 'theirs'")
    ran = lab.run("db", "add-user", "alice", "--role", "reader")
    assert ran.code == 2
    assert "db import alice" in ran.err
    lab.login("alice", "theirs").close()


def test_an_open_session_has_the_new_role_at_once(lab: Lab) -> None:
    project(lab)
    lab.write_people(PEOPLE)
    ran = lab.ok("db", "add-user", "alice", "--role", "reader")
    with lab.login("alice", lab.password_of(ran)) as alice:
        assert not may(alice, "INSERT INTO map_lab.subject VALUES (2)")
        lab.ok("db", "set-role", "alice", "experimenter")
        assert may(alice, "INSERT INTO map_lab.subject VALUES (2)")
        lab.ok("db", "set-role", "alice", "reader")
        assert not may(alice, "INSERT INTO map_lab.subject VALUES (3)")
        assert may(alice, "SELECT * FROM map_lab.subject")
    assert 'role = "reader"' in lab.people()


def connection_id(connection: pymysql.connections.Connection[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        return int(cursor.fetchone()[0])


def test_sessions_with_a_default_schema_are_named_because_they_keep_their_access(lab: Lab) -> None:
    """Both servers look a schema's privileges up when a session chooses it, and never again."""
    lab.write_people("")
    password = lab.password_of(lab.ok("db", "add-user", "gus", "--role", "experimenter"))
    lab.server.sql("CREATE DATABASE map_lab", "CREATE TABLE map_lab.t (id INT PRIMARY KEY)")
    with lab.login("gus", password) as free, lab.login("gus", password, "map_lab") as held:
        ran = lab.ok("db", "set-role", "gus", "reader")
        held.cursor().execute("INSERT INTO t VALUES (1)")
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            free.cursor().execute("INSERT INTO map_lab.t VALUES (2)")
        number = connection_id(held)
        assert f"gus has 1 open session with a default schema ({number})" in ran.err
        assert "`mapadmin db kill --user gus`" in ran.err
        lab.write_people(lab.people().replace("reader", "worker"))
        assert f"({number})" in lab.ok("db", "apply").err
        lab.ok("db", "kill", "--user", "gus", "--yes")
    with lab.login("gus", password, "map_lab"):
        lab.write_people(lab.people().replace("worker", "reader"))
        held_now = lab.ok("db", "apply", "--json").json["notes"]
        assert len(held_now) == 1
        assert lab.ok("db", "apply", "--json").json["notes"] == []
    assert "open session" not in lab.ok("db", "set-role", "gus", "worker").err


def test_a_role_change_never_interrupts_what_both_roles_allow(lab: Lab) -> None:
    """A session reads without pause while its account goes to and fro between shapes of roles."""
    project(lab)
    lab.roles += '\n[roles.narrow]\nmap_lab = ["SELECT", "UPDATE"]\n"map_*" = ["REFERENCES"]\n'
    lab.roles += '[roles.wide]\n"*" = ["SELECT"]\n'
    lab.write_site()
    password = lab.password_of(lab.ok("db", "add-user", "alice", "--role", "reader"))
    stop = threading.Event()
    reads, denied = [0], [0]

    def read() -> None:
        with lab.login("alice", password) as alice:
            while not stop.is_set():
                allowed = may(alice, "SELECT * FROM map_lab.subject")
                reads[0] += 1
                denied[0] += not allowed

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for role in ("narrow", "experimenter", "wide", "worker", "narrow", "reader", "wide"):
            lab.ok("db", "set-role", "alice", role)
    finally:
        stop.set()
        thread.join()
    print(f"reads during 7 role changes: {reads[0]}, denied: {denied[0]}")
    assert reads[0] > 100
    assert denied[0] == 0


def test_passwords_change_and_old_ones_end(lab: Lab) -> None:
    first = lab.password_of(lab.ok("db", "add-user", "alice", "--role", "reader"))
    second = lab.password_of(lab.ok("db", "set-password", "alice"))
    lab.login("alice", second).close()
    with pytest.raises(pymysql.err.OperationalError):
        lab.login("alice", first)


def test_two_passwords_for_a_while_where_the_server_can(lab: Lab) -> None:
    first = lab.password_of(lab.ok("db", "add-user", "alice", "--role", "reader"))
    ran = lab.run("db", "set-password", "alice", "--keep-old")
    if lab.server.flavour == "mariadb":
        assert ran.code == 2
        assert "no dual passwords" in ran.err
        lab.login("alice", first).close()
        return
    second = lab.password_of(ran)
    lab.login("alice", first).close()
    lab.login("alice", second).close()
    lab.ok("db", "set-password", "alice", "--discard-old")
    lab.login("alice", second).close()
    with pytest.raises(pymysql.err.OperationalError):
        lab.login("alice", first)


def test_a_new_password_ends_an_outdated_or_impossible_way_to_log_in(lab: Lab) -> None:
    lab.write_people("")
    lab.ok("db", "add-user", "jon", "--role", "reader")
    if lab.server.flavour == "mariadb":
        lab.server.sql("ALTER USER jon@'%' IDENTIFIED VIA mysql_native_password OR unix_socket")
        ran = lab.ok("db", "set-password", "jon")
        assert "jon@% logs in by mysql_native_password from now on, and no longer by unix_s" in (
            " ".join(ran.err.split())
        )
        lab.login("jon", lab.password_of(ran)).close()
        return
    for plugin in ("mysql_native_password", "authentication_gone"):
        lab.server.sql(
            f"UPDATE mysql.user SET plugin = '{plugin}',"
            f" authentication_string = '*{'A' * 40}' WHERE user = 'jon'",
            "FLUSH PRIVILEGES",
        )
        refused = lab.run("db", "set-password", "jon", "--keep-old")
        assert refused.code == 2
        assert f"no plugin {plugin}" in refused.err
        ran = lab.ok("db", "set-password", "jon")
        assert f"no longer by {plugin}" in ran.err
        lab.login("jon", lab.password_of(ran)).close()
        found = lab.server.sql("SELECT plugin FROM mysql.user WHERE user = 'jon'")
        assert found == (("caching_sha2_password",),)
    assert "Note" not in lab.ok("db", "set-password", "jon").err


def test_lock_and_unlock(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    password = lab.password_of(lab.ok("db", "add-user", "alice", "--role", "reader"))
    lab.ok("db", "lock", "alice")
    with pytest.raises(pymysql.err.OperationalError):
        lab.login("alice", password)
    assert "Nothing to do." in lab.ok("db", "apply").err
    assert "Nothing to do." in lab.ok("db", "lock", "alice").err
    lab.ok("db", "unlock", "alice")
    lab.login("alice", password).close()
    assert "Nothing to do." in lab.ok("db", "apply").err


def test_a_new_role_without_people_toml_does_not_unlock(lab: Lab) -> None:
    password = lab.password_of(lab.ok("db", "add-user", "alice", "--role", "reader"))
    lab.ok("db", "lock", "alice")
    lab.ok("db", "set-role", "alice", "experimenter")
    with pytest.raises(pymysql.err.OperationalError):
        lab.login("alice", password)
    lab.ok("db", "unlock", "alice")
    lab.login("alice", password).close()


def test_a_new_role_does_not_count_an_unfinished_account_as_finished(lab: Lab) -> None:
    """Its password was never handed over: marked as managed, nobody would ever get one."""
    lab.write_people("")
    lab.ok("db", "add-user", "alice", "--role", "reader")
    lab.server.sql(
        "UPDATE mapadmin.account SET state = 'creating'", "ALTER USER alice ACCOUNT LOCK"
    )
    for change in (("set-role", "alice", "experimenter"), ("set-password", "alice")):
        refused = lab.run("db", *change)
        assert (refused.code, refused.out) == (2, "")
        assert "mapadmin db add-user alice --role reader" in refused.err
    ran = lab.ok("db", "add-user", "alice", "--role", "reader")
    lab.login("alice", lab.password_of(ran)).close()


def test_without_people_toml_a_second_add_user_changes_nothing(lab: Lab) -> None:
    """What the server remembers counts: a lock, a last day, that it is a service."""
    lab.ok("db", "add-user", "alice", "--role", "reader", "--expires", "2099-01-31")
    lab.ok("db", "lock", "alice")
    lab.ok("db", "add-user", "robot", "--role", "worker", "--service")
    for line in (["alice", "--role", "reader"], ["robot", "--role", "worker", "--service"]):
        assert "Nothing to do." in lab.ok("db", "add-user", *line).err
    refused = lab.run("db", "add-user", "robot", "--role", "worker")
    assert (refused.code, refused.out) == (2, "")
    assert "robot is a service already." in refused.err
    refused = lab.run("db", "add-user", "alice", "--role", "worker")
    assert "mapadmin db set-role alice worker" in refused.err


def test_grants_that_an_earlier_account_left_are_not_inherited(lab: Lab) -> None:
    """The server refuses to make an account for which it has such rows."""
    lab.write_people('[people.alice]\nrole = "reader"\n')
    lab.server.sql(
        "CREATE DATABASE map_lab",
        "INSERT INTO mysql.db (Host, Db, User, Drop_priv) VALUES ('%', 'map_lab', 'alice', 'Y')",
        "FLUSH PRIVILEGES",
    )
    ran = lab.ok("db", "apply", "--json", "--password-file", str(lab.folder / "passwords"))
    assert "clear leftovers" in [step["action"] for step in ran.json["steps"]]
    assert (
        lab.server.sql("SELECT Drop_priv FROM mysql.db WHERE user = 'alice' AND db = 'map_lab'")
        == ()
    )
    assert "Nothing to do." in lab.ok("db", "apply").err


def test_a_lock_is_called_expired_only_when_it_is(lab: Lab) -> None:
    lab.write_people('[people.alice]\nrole = "reader"\nexpires = 2099-01-31\nlocked = true\n')
    lab.ok("db", "apply")
    lab.server.sql("ALTER USER alice ACCOUNT UNLOCK")
    ran = lab.ok("db", "apply", "--dry-run")
    assert "lock account" in ran.out
    assert "expired" not in ran.out


def test_somebody_in_people_toml_without_an_account_yet(lab: Lab) -> None:
    lab.write_people('[people.alice]\nrole = "reader"\n')
    refused = lab.run("db", "lock", "alice")
    assert refused.code == 2
    assert "`mapadmin db apply` makes the account." in refused.err


def test_a_new_role_leaves_an_account_of_somebody_elses_making_alone(lab: Lab) -> None:
    lab.write_people('[people.alice]\nrole = "reader"\n')
    lab.server.sql("CREATE USER 'alice'@'%' IDENTIFIED BY 'theirs'")
    ran = lab.ok("db", "set-role", "alice", "experimenter")
    assert "alice@% is not managed, and is left alone" in ran.err


def test_a_second_host_is_a_second_account(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    lab.ok("db", "add-user", "alice", "--role", "reader")
    lab.ok("db", "add-user", "alice", "--role", "reader", "--host", "10.1.%")
    rows = lab.server.sql("SELECT host FROM mysql.user WHERE user = 'alice' ORDER BY host")
    assert rows == (("%",), ("10.1.%",))
    assert "Nothing to do." in lab.ok("db", "apply").err


def test_an_expired_account_is_made_locked_and_cannot_be_unlocked(lab: Lab) -> None:
    lab.write_people(PEOPLE)
    ran = lab.ok("db", "add-user", "guest", "--role", "reader", "--expires", "2020-01-31")
    with pytest.raises(pymysql.err.OperationalError):
        lab.login("guest", lab.password_of(ran))
    refused = lab.run("db", "unlock", "guest")
    assert refused.code == 2
    assert "expired on 2020-01-31" in refused.err


def test_no_secret_in_journal_process_list_or_logs(lab: Lab) -> None:
    """The general log of MySQL hides passwords itself; MariaDB is only ever sent hashes."""
    lab.server.sql("SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON")
    seen: list[str] = []
    stop = threading.Event()

    def watch() -> None:
        with lab.server.root() as root:
            while not stop.is_set():
                seen.extend(
                    str(row) for row in ask(root, "SELECT info FROM information_schema.processlist")
                )
                time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    secrets = ["Gx7-visible-if-leaked", "Hy8-visible-if-leaked"]
    try:
        lab.ok("db", "add-user", "alice", "--role", "reader", "--password-stdin", stdin=secrets[0])
        lab.ok("db", "set-password", "alice", "--password-stdin", stdin=secrets[1])
        generated = lab.password_of(lab.ok("db", "add-user", "bob", "--role", "reader"))
    finally:
        stop.set()
        thread.join()
        lab.server.sql("SET GLOBAL general_log = OFF")
    logged = "\n".join(
        str(row[0]) for row in lab.server.sql("SELECT argument FROM mysql.general_log")
    )
    journal = (lab.folder / "state" / "journal.jsonl").read_text()
    shared = str(lab.server.sql("SELECT * FROM mapadmin.journal"))
    assert "alice" in logged
    for secret in (*secrets, generated):
        assert secret not in logged
        assert secret not in journal
        assert secret not in shared
        assert secret not in "\n".join(seen)
