"""What goes wrong in the middle: the next run of the same command finishes the work."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.lab import Lab, Ran

PEOPLE = "".join(f'[people.p{n:02}]\nrole = "reader"\n' for n in range(12))
PEOPLE += '[services.worker]\nrole = "worker"\n'


def journal_lines(lab: Lab) -> int:
    try:
        return (lab.folder / "state" / "journal.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def stop_at_line(lab: Lab, process: subprocess.Popen[str], line: int, number: int) -> bool:
    """Send a signal once the journal has this many lines; False when the run ended before."""
    while process.poll() is None:
        if journal_lines(lab) >= line:
            process.send_signal(number)
            process.wait()
            return True
        time.sleep(0.0005)
    return False


def converged(lab: Lab) -> bool:
    return "Nothing to do." in lab.ok("db", "apply").err


@pytest.mark.parametrize(
    ("number", "lines"),
    [(signal.SIGKILL, range(1, 15)), (signal.SIGINT, (1, 4, 8, 10)), (signal.SIGTERM, (2, 6, 9))],
)
def test_add_user_cut_short_at_every_step_is_finished_by_the_next_run(
    lab: Lab, number: int, lines: Iterable[int]
) -> None:
    lab.write_people("")
    cut = 0
    for line in lines:
        name = f"u{line:02}"
        before = journal_lines(lab)
        process = lab.start("db", "add-user", name, "--role", "reader")
        cut += stop_at_line(lab, process, before + line, number)
        out, err = process.communicate()
        if number != signal.SIGKILL and process.returncode != 0:
            assert process.returncode == 130, err
        again = lab.ok("db", "add-user", name, "--role", "reader")
        # A run that was killed after it showed the password, and before the server remembered
        # that it had, does not count: the next one makes a new password, and that is what holds.
        shown = [ran for ran in (again, Ran(0, out, err)) if "Password of" in ran.out]
        assert shown, "nobody has the password"
        rows = lab.server.sql(f"SELECT state FROM mapadmin.account WHERE user = '{name}'")
        assert rows == (("managed",),)
        lab.login(name, lab.password_of(shown[0])).close()
    print(f"add-user cut short by signal {number}: {cut} times")
    assert cut > 1
    assert converged(lab)


def test_apply_killed_again_and_again_gets_there(lab: Lab) -> None:
    """SIGKILL after a growing delay until a run comes through; nothing is lost or doubled."""
    lab.write_people(PEOPLE)
    kills = 0
    delay = 0.1
    while True:
        process = lab.start("db", "apply")
        try:
            process.communicate(timeout=delay)
            if process.returncode == 0:
                break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        delay += 0.03
    print(f"apply killed {kills} times before it came through")
    assert kills > 1
    assert converged(lab)
    states = lab.server.sql("SELECT state, COUNT(*) FROM mapadmin.account GROUP BY state")
    assert states == (("managed", 13),)


def test_a_lost_connection_stops_the_run_and_the_next_one_finishes(lab: Lab) -> None:
    lab.write_people(
        PEOPLE * 1 + "".join(f'[people.q{n:03}]\nrole = "reader"\n' for n in range(400))
    )
    stop = threading.Event()
    killed = [0]

    def kill_sessions() -> None:
        with lab.server.root() as root, root.cursor() as cursor:
            while not stop.is_set():
                cursor.execute(
                    "SELECT id FROM information_schema.processlist "
                    f"WHERE user = '{lab.user}' AND info LIKE '%GRANT%'"
                )
                for (number,) in cursor.fetchall():
                    try:
                        cursor.execute(f"KILL {number}")
                        killed[0] += 1
                    except Exception:  # noqa: BLE001  it ended by itself
                        pass
                    stop.set()
                time.sleep(0.001)

    thread = threading.Thread(target=kill_sessions)
    thread.start()
    ran = lab.run("db", "apply", "--password-file", str(lab.folder.parent / "first"))
    stop.set()
    thread.join()
    assert killed[0] == 1
    assert ran.code == 4, ran.err
    assert "connection was lost" in ran.err
    assert "Run the same command again" in ran.err
    lab.ok("db", "apply", "--password-file", str(lab.folder.parent / "second"))
    assert converged(lab)


def test_two_at_once_one_waits_its_turn_or_says_who_works(lab: Lab) -> None:
    lab.write_people("")
    lab.ok("db", "add-user", "first", "--role", "reader")
    with lab.server.root() as root, root.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('mapadmin:mapadmin', 0)")
        ran = lab.run("db", "add-user", "second", "--role", "reader")
        assert ran.code == 1
        assert "Another mapadmin is changing accounts" in ran.err
    processes = [lab.start("db", "add-user", f"many{n}", "--role", "reader") for n in range(6)]
    codes = []
    for process in processes:
        _, err = process.communicate()
        codes.append(process.returncode)
        if process.returncode:
            assert "Another mapadmin is changing accounts" in err
            assert (
                "has been running `mapadmin db add-user" in err
                or "connection" in err
                or "just now" in err
            )
    for n in range(6):
        lab.ok("db", "add-user", f"many{n}", "--role", "reader")
    print(f"six at once: exit codes {codes}")
    assert converged(lab)
    text = lab.people()
    assert all(f"[people.many{n}]" in text for n in range(6))


def test_server_down(lab: Lab) -> None:
    lab.write_site(port=1)
    ran = lab.run("db", "add-user", "alice", "--role", "reader")
    assert ran.code == 4
    assert "127.0.0.1:1" in ran.err
    assert len(ran.err.splitlines()) <= 2


def test_wrong_password(lab: Lab) -> None:
    ran = lab.run("db", "users", LAB_PASSWORD="wrong-pw-here")
    assert ran.code == 3
    assert "database.password" in ran.err
    assert "wrong-pw-here" not in ran.err


def test_a_secret_that_does_not_resolve(lab: Lab) -> None:
    lab.write_site(password="env:NO_SUCH_VARIABLE_HERE")
    ran = lab.run("db", "users")
    assert ran.code == 3
    assert "NO_SUCH_VARIABLE_HERE" in ran.err
    lab.write_site(password="hunter2")
    ran = lab.run("db", "users")
    assert ran.code == 3
    assert "must be a reference" in ran.err
    assert "hunter2" not in ran.err


def test_wrong_certificate_authority(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other",
         "-keyout", str(tmp_path / "key.pem"), "-out", str(other)],
        check=True, capture_output=True,
    )  # fmt: skip
    lab.write_site(ca=str(other))
    ran = lab.run("db", "users")
    assert ran.code == 3
    assert "certificate" in ran.err
    lab.write_site(ca=str(tmp_path / "missing.pem"))
    ran = lab.run("db", "users")
    assert ran.code == 3
    assert "missing.pem" in ran.err


def test_a_name_that_the_certificate_does_not_have(lab: Lab) -> None:
    lab.write_site(host="127.0.0.2")
    ran = lab.run("db", "users")
    assert ran.code in (3, 4)
    assert ran.code == 4 or "certificate" in ran.err


def test_a_read_only_server(lab: Lab) -> None:
    lab.write_people("")
    lab.ok("db", "add-user", "first", "--role", "reader")
    lab.server.sql("SET GLOBAL read_only = ON")
    try:
        ran = lab.run("db", "add-user", "alice", "--role", "reader")
    finally:
        lab.server.sql("SET GLOBAL read_only = OFF")
    assert ran.code == 1
    assert "read-only" in ran.err
    assert "alice" not in lab.people()
    lab.ok("db", "add-user", "alice", "--role", "reader")
    assert converged(lab)


def test_nothing_is_changed_when_the_journal_cannot_be_written(lab: Lab) -> None:
    lab.write_people("")
    (lab.folder / "state" / "journal.jsonl").mkdir(mode=0o700, parents=True)
    ran = lab.run("db", "add-user", "alice", "--role", "reader")
    assert ran.code == 1
    assert "journal" in ran.err
    assert lab.server.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'alice'") == ((0,),)
