"""`remove-user` killed at every step and in between: the same command finishes the work."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.db.leaving import (
    PLAIN,
    accounts_of,
    everything,
    leftovers,
    load,
    manifest,
    plain,
    prepare,
    schemas_of,
)
from tests.lab import Lab

SECOND = "alice_second"


def ready(lab: Lab) -> dict[str, object]:
    """Alice with two schemas; all that they hold."""
    lab.server.wipe()
    lab.write_people("")
    password = prepare(lab)
    plain(lab, password)
    with lab.login("alice", password) as alice, alice.cursor() as cursor:
        for statement in (
            f"CREATE DATABASE {SECOND}",
            f"CREATE TABLE {SECOND}.f (id INT PRIMARY KEY, f FLOAT) ENGINE=InnoDB",
            f"INSERT INTO {SECOND}.f VALUES (1, 0.123456789), (2, 1e-30)",
            (
                f"CREATE VIEW {SECOND}.v AS SELECT f.id, s.note FROM {SECOND}.f"
                " JOIN map_lab.session s USING (id)"
            ),
        ):
            cursor.execute(statement)
        alice.commit()
    return {schema: everything(lab.server, schema) for schema in (PLAIN, SECOND)}


def events(lab: Lab) -> int:
    try:
        return (lab.folder / "state" / "journal.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def killed_at_event(lab: Lab, command: list[str], number: int, signum: int) -> bool:
    """Run it until the journal has so many more lines; False when it came to its end."""
    base = events(lab)
    process = lab.start(*command)
    while process.poll() is None and events(lab) < base + number:
        time.sleep(0.0005)
    return ended(process, signum)


def killed_after(lab: Lab, command: list[str], seconds: float) -> bool:
    process = lab.start(*command)
    time.sleep(seconds)
    return ended(process, signal.SIGKILL)


def ended(process: subprocess.Popen[str], signum: int) -> bool:
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode != 0


def settled(lab: Lab) -> None:
    """Until the server has noticed that the killed one is gone, and what it ran has ended."""
    deadline = time.monotonic() + 30
    while lab.server.sql(
        "SELECT id FROM information_schema.processlist"
        f" WHERE user = '{lab.user}' OR user LIKE '%verify%'"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def check_between(lab: Lab, before: dict[str, object], folder: Path | None) -> None:
    """After a kill: each schema is there, or in a verified archive; `apply` brings nobody back."""
    there = schemas_of(lab.server)
    known = manifest(folder) if folder and (folder / "manifest.json").exists() else {}
    for schema, held in before.items():
        if schema in there and folder is not None:
            assert everything(lab.server, schema) == held
        elif folder is not None:
            assert (folder / known[schema]["file"]).exists()
    begun = "alice" not in lab.people()
    locked = lab.server.sql("SELECT 1 FROM mysql.db WHERE user = 'alice'")
    lab.ok("db", "apply", "--password-file", str(lab.folder / f"passwords{time.monotonic_ns()}"))
    if begun:
        assert "alice" not in lab.people()
        assert lab.server.sql("SELECT 1 FROM mysql.db WHERE user = 'alice'") == locked


def check_end(lab: Lab, before: dict[str, object], folder: Path | None) -> None:
    assert accounts_of(lab.server) == schemas_of(lab.server) == leftovers(lab.server) == []
    assert lab.server.sql("SELECT COUNT(*) FROM mapadmin.account") == ((0,),)
    assert "alice" not in lab.people()
    if folder is None:
        return
    assert not list(folder.glob(".*"))
    lab.server.sql("CREATE USER alice@'%'", "GRANT ALL ON *.* TO alice@'%'")
    for schema, held in before.items():
        load(lab, folder / manifest(folder)[schema]["file"])
        assert everything(lab.server, schema) == held


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("signum", "places"),
    [
        pytest.param(signal.SIGKILL, range(2, 60, 5), id="some"),
        pytest.param(signal.SIGKILL, range(1, 60), id="all", marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, range(1, 60), id="all-term", marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize("fate", ["--archive", "--drop-schemas"])
def test_killed_at_every_step(
    lab: Lab, tmp_path: Path, fate: str, signum: int, places: range
) -> None:
    cut = 0
    for number in places:
        before = ready(lab)
        folder = tmp_path / f"archives{number}" if fate == "--archive" else None
        options = [fate, str(folder)] if folder else [fate]
        command = ["db", "remove-user", "alice", *options, "--yes"]
        if not killed_at_event(lab, command, number, signum):
            check_end(lab, before, folder)
            break
        cut += 1
        settled(lab)
        check_between(lab, before, folder)
        lab.ok(*command)
        check_end(lab, before, folder)
    print(f"remove-user {fate} cut short by signal {signum} at {cut} events")
    assert cut > 8 // places.step


@pytest.mark.timeout(900)
@pytest.mark.soak
def test_killed_at_any_moment_of_an_archive(lab: Lab, tmp_path: Path) -> None:
    """Also again and again: a run that comes through finishes what all before it began."""
    seed = random.Random(lab.server.flavour)
    kills = 0
    usual = 0.0  # seconds that a run takes which nobody cuts short
    for number in range(9):
        before = ready(lab)
        folder = tmp_path / f"archives{number}"
        command = ["db", "remove-user", "alice", "--archive", str(folder), "--yes"]
        for _ in range(3 if usual else 0):
            if not killed_after(lab, command, seed.uniform(0.1, usual)):
                break
            kills += 1
            settled(lab)
            check_between(lab, before, folder)
        begun = time.monotonic()
        lab.ok(*command)
        usual = usual or time.monotonic() - begun
        check_end(lab, before, folder)
    print(f"remove-user --archive killed {kills} times at any moment of {usual:.1f} s")
    assert kills > 6


def test_ownership_is_not_forgotten_when_people_toml_no_longer_says_it(lab: Lab) -> None:
    """Whose schemas they are is known in people.toml only, which is edited first."""
    prepare(lab)
    people = "[services.store]\nown_schemas = true\n[people.guest]\nown_schemas = false\n"
    lab.write_people(lab.people() + people)
    lab.ok("db", "apply", "--password-file", str(lab.folder / "passwords"))
    lab.server.sql("CREATE DATABASE store_x", "CREATE DATABASE guest_x")
    for name in ("store", "guest"):
        command = ["db", "remove-user", name, "--drop-schemas", "--yes"]
        base = events(lab)
        process = lab.start(*command)
        while process.poll() is None and f"[services.{name}]" in lab.people():
            time.sleep(0.0005)
        while process.poll() is None and f"[people.{name}]" in lab.people():
            time.sleep(0.0005)
        ended(process, signal.SIGKILL)
        assert events(lab) > base
        settled(lab)
        lab.ok(*command)
    assert schemas_of(lab.server, "store_") == []
    assert schemas_of(lab.server, "guest_") == ["guest_x"]
