"""`cleanup jobs` on both servers: what is retried, what is cleared, what is left alone."""

from __future__ import annotations

import time
from pathlib import Path

from tests.cleanup.made import NOBODY, copies, fill, job_table, jobs_left, reserve
from tests.lab import Lab
from tests.pipeline.fixtures import ON_MARIADB, MakePipeline

SITE = "[cleanup.jobs]\ngrace = 2\nconfirm = 0.1\nretries = 2\n"


def site(lab: Lab, text: str = SITE) -> None:
    lab.roles = text
    lab.write_site()


def test_generic_errors_are_retried_until_they_are_poisonous(
    lab: Lab, pipeline: MakePipeline
) -> None:
    """A real job that fails again and again, in the same way."""
    site(lab)
    one = pipeline()
    one.make((1, 0, "Deadlock found when trying to get lock"), (2, 0, "bad unit 7"), populate=True)
    for number in (1, 2):
        assert "jobs 1 item." in lab.ok("cleanup").err
        one.make(populate=True)
        assert jobs_left(lab, "map_lab", "error") == 2, number
    ran = lab.ok("cleanup")
    assert "map_lab.Spikes: 1 poisonous job, tried again 2 times already" in ran.err
    assert "jobs 0 items." in ran.err
    assert len(copies(lab, "generic error")) == 2
    # A person who knows better may try once more.
    lab.ok("workers", "retry", "Spikes", "--match", "Deadlock")
    assert jobs_left(lab, "map_lab", "error") == 1


def test_a_person_who_retries_a_job_starts_its_count_anew(lab: Lab) -> None:
    site(lab)
    job_table(lab, "map_lab")
    for retry in (1, 2, 3):
        fill(lab, "map_lab", "error", 1, message="Deadlock")
        left = 0 if retry < 3 else 1
        lab.ok("cleanup")
        assert jobs_left(lab, "map_lab", "error") == left, retry
    lab.ok("workers", "retry", "--all")
    for retry in (1, 2, 3):
        fill(lab, "map_lab", "error", 1, message="Deadlock")
        lab.ok("cleanup")
        assert jobs_left(lab, "map_lab", "error") == (0 if retry < 3 else 1), retry


def test_old_copies_are_deleted_and_with_them_the_count(lab: Lab) -> None:
    site(lab)
    job_table(lab, "map_lab")
    fill(lab, "map_lab", "error", 1200, message="Deadlock")
    lab.ok("cleanup")
    lab.server.sql(
        "UPDATE mapadmin.cleared_job SET cleared = cleared - INTERVAL 181 DAY"
        " ORDER BY id LIMIT 1100"
    )
    ran = lab.ok("cleanup", "--dry-run")
    assert "mapadmin.cleared_job  of 1100 cleared jobs, older than 180 days" in ran.out
    assert len(copies(lab, "generic error")) == 1200
    site(lab, SITE + "copies_days = 0\n")
    assert "jobs 0 items." in lab.ok("cleanup").err
    site(lab)
    done = lab.ok("cleanup", "jobs", "--json").json["parts"][0]
    assert (done["items"], done["details"]["copies_deleted"]) == (1100, 1100)
    assert len(copies(lab, "generic error")) == 100
    journal = lab.ok("journal", "--json").out
    assert journal.count('"delete copies"') >= 3  # batches of 500
    assert "jobs 0 items." in lab.ok("cleanup").err
    # Whose copies are gone is tried again as if for the first time.
    site(lab, SITE.replace("retries = 2", "retries = 1"))
    fill(lab, "map_lab", "error", 1200, message="Deadlock")
    lab.ok("cleanup")
    assert jobs_left(lab, "map_lab", "error") == 100


def test_what_is_reserved_by_a_living_worker_stays(lab: Lab, pipeline: MakePipeline) -> None:
    site(lab)
    one = pipeline()
    one.make((1, 60, ""), (2, 60, ""))
    workers = [one.work(host="node-a"), one.work(host="node-a", named="started")]
    deadline = time.monotonic() + 60
    while not lab.server.sql("SHOW TABLES FROM map_lab LIKE '~jobs'") or (
        jobs_left(lab, "map_lab") < 2
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(3)
    alive = lab.ok("cleanup", "--json").json["parts"][0]
    assert (alive["items"], alive["details"]["alive"]) == (0, 2)
    # They lose their connections; the named one, which comes back, is known by its name.
    workers[0].kill()
    workers[0].wait()
    assert lab.ok("cleanup", "--json").json["parts"][0]["details"]["dead"] == 1
    assert jobs_left(lab, "map_lab") == 1
    workers[1].kill()
    workers[1].wait()
    assert lab.ok("cleanup", "--json").json["parts"][0]["details"]["dead"] == 1
    assert (jobs_left(lab, "map_lab"), len(copies(lab, "dead reservation"))) == (0, 2)


def test_the_grace_holds(lab: Lab) -> None:
    site(lab, "[cleanup.jobs]\ngrace = 1800\nconfirm = 0.1\n")
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 2, age=1500)
    reserve(lab, "map_lab", 0)
    assert "jobs 0 items" in lab.ok("cleanup").err
    lab.server.sql("UPDATE map_lab.`~jobs` SET timestamp = NOW() - INTERVAL 1900 SECOND LIMIT 1")
    assert "jobs 1 item." in lab.ok("cleanup").err


@ON_MARIADB
def test_a_reservation_that_changes_between_the_looks_stays(lab: Lab) -> None:
    site(lab, "[cleanup.jobs]\ngrace = 2\nconfirm = 8\n")
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 2)
    running = lab.start("cleanup", "jobs")
    between = (
        "SELECT 1 FROM information_schema.processlist"
        f" WHERE user = '{lab.user}' AND command = 'Sleep' AND time BETWEEN 2 AND 5"
    )
    deadline = time.monotonic() + 60
    while not lab.server.sql(between):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    changed = "UPDATE map_lab.`~jobs` SET timestamp = NOW() - INTERVAL 99 SECOND LIMIT 1"
    lab.server.sql(changed)
    _, err = running.communicate(timeout=60)
    assert "jobs 1 item." in err
    assert jobs_left(lab, "map_lab") == 1


def test_without_sight_of_other_users_nothing_is_judged(lab: Lab) -> None:
    site(lab)
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 1)
    fill(lab, "map_lab", "error", 1, message="Deadlock")
    lab.server.sql(
        "CREATE USER blind@'%' IDENTIFIED BY 'x'",
        "GRANT ALL ON `map\\_%`.* TO blind@'%'",
        "GRANT ALL ON mapadmin.* TO blind@'%'",
    )
    other = Lab(lab.folder, lab.server, "blind", "x", roles=SITE)
    ran = other.run("cleanup", "jobs")
    assert ran.code == 1
    assert "may not see other users' sessions, so every worker would look dead" in ran.err
    assert "GRANT PROCESS ON *.* TO 'blind'@'%'" in ran.err
    # What needs no sight is done.
    assert (jobs_left(lab, "map_lab"), jobs_left(lab, "map_lab", "error")) == (1, 0)


@ON_MARIADB
def test_a_job_table_with_other_columns_is_told_and_left(lab: Lab) -> None:
    site(lab)
    for number, change in enumerate(("DROP COLUMN pid", "ADD COLUMN lease_until DATETIME", "")):
        job_table(lab, f"map_l{number}")
        reserve(lab, f"map_l{number}", 1)
        if change:
            lab.server.sql(f"ALTER TABLE map_l{number}.`~jobs` {change}")
    ran = lab.run("cleanup")
    assert ran.code == 1
    assert "map_l0.~jobs is not read: it lacks the column pid." in ran.err
    assert "map_l1.~jobs is never changed: no DataJoint that mapadmin knows makes" in ran.err
    assert [jobs_left(lab, f"map_l{n}") for n in range(3)] == [1, 1, 0]


@ON_MARIADB
def test_schemas_of_others_are_not_touched(lab: Lab) -> None:
    site(lab)
    for schema in ("map_lab", "mapXlab", "alice_lab"):
        job_table(lab, schema)
        reserve(lab, schema, 1)
    assert "jobs 1 item." in lab.ok("cleanup").err
    assert [jobs_left(lab, one) for one in ("map_lab", "mapXlab", "alice_lab")] == [0, 1, 1]


def test_a_copy_says_all_that_the_row_said(lab: Lab, pipeline: MakePipeline) -> None:
    site(lab)
    pipeline().make((5, 0, "Deadlock of session 5"), populate=True)
    sql = "SELECT HEX(`key`), error_message, HEX(error_stack), user, host, pid, connection_id"
    before = lab.server.sql(f"{sql}, key_hash FROM map_lab.`~jobs`")
    lab.ok("cleanup")
    after = lab.server.sql(f"{sql.replace('`key`', 'job_key')}, key_hash FROM mapadmin.cleared_job")
    assert before == after
    ((by, table),) = lab.server.sql("SELECT cleared_by, table_name FROM mapadmin.cleared_job")
    assert (table, str(by).endswith(": mapadmin cleanup")) == ("__spikes", True)


def test_killed_at_every_step_it_finishes_the_next_time(lab: Lab, tmp_path: Path) -> None:
    """SIGKILL behind each line of the journal: nothing is cleared twice or without a copy."""
    del tmp_path
    site(lab)
    job_table(lab, "map_lab")
    reserve(lab, "map_lab", 12)
    fill(lab, "map_lab", "error", 40, message="Deadlock", first=100)
    journal = lab.folder / "state" / "journal.jsonl"
    kills = 0
    while jobs_left(lab, "map_lab") or jobs_left(lab, "map_lab", "error"):
        lines = _lines(journal)
        running = lab.start("cleanup", "jobs")
        while running.poll() is None:
            if _lines(journal) > lines + 1 + kills % 5:
                running.kill()
                kills += 1
                break
        running.communicate()
        cleared = copies(lab, "dead reservation") if _has_copies(lab) else []
        assert len(cleared) == len(set(cleared)) == 12 - jobs_left(lab, "map_lab")
    lab.ok("cleanup")
    assert len(set(copies(lab, "generic error"))) == len(copies(lab, "generic error")) == 40
    print(f"\n{lab.server.flavour}: killed {kills} times; 12 reservations, 40 errors, 0 lost")
    assert kills > 3


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _has_copies(lab: Lab) -> bool:
    return bool(lab.server.sql("SHOW TABLES FROM mapadmin LIKE 'cleared_job'"))


def test_2_x_goes_back_to_pending(mysql_lab: Lab, mysql_pipeline: MakePipeline) -> None:
    site(mysql_lab)
    one = mysql_pipeline(2)
    one.make((1, 0, "Deadlock found"), (2, 60, ""), (3, 0, ""), populate=False)
    worker = one.work(host="node-a")
    deadline = time.monotonic() + 60
    states = "SELECT session, status + 0, user, pid FROM map_lab.`~~spikes` ORDER BY session"
    while not mysql_lab.server.sql("SHOW TABLES FROM map_lab LIKE '~~spikes'") or [
        row[1] for row in mysql_lab.server.sql(states)
    ] != [4.0, 2.0, 1.0]:
        assert time.monotonic() < deadline, mysql_lab.server.sql(states)
        time.sleep(0.1)
    worker.kill()
    worker.wait()
    time.sleep(2.1)
    done = mysql_lab.ok("cleanup", "--json").json["parts"][0]
    assert (done["details"]["retried"], done["details"]["dead"]) == (1, 1)
    assert [row[1:] for row in mysql_lab.server.sql(states)] == [(1.0, "", 0)] * 3
    keys = mysql_lab.server.sql("SELECT job_key FROM mapadmin.cleared_job ORDER BY id")
    assert [row[0] for row in keys] == [b'{"session": 1}', b'{"session": 2}']
    # And DataJoint takes it up again.
    mysql_lab.server.sql("UPDATE map_lab.session SET trouble = '', seconds = 0")
    one.make(populate=True)
    ((number,),) = mysql_lab.server.sql("SELECT COUNT(*) FROM map_lab.__spikes")
    assert number == 3


def test_ids_of_nobody_are_nobodys(lab: Lab) -> None:
    """Else the rows of these tests would belong to somebody."""
    rows = lab.server.sql(f"SELECT 1 FROM information_schema.processlist WHERE id >= {NOBODY}")
    assert rows == ()
