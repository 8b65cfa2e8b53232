"""`remove-user --archive`: nothing is dropped that is not in an archive that can be loaded."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.db.leaving import (
    PLAIN,
    RICH,
    accounts_of,
    everything,
    fill,
    leftovers,
    load,
    manifest,
    plain,
    prepare,
    schemas_of,
)
from tests.lab import Lab
from tests.servers import RunningServer
from tests.zygote import MAPADMIN


def test_an_archive_gives_everything_back(lab: Lab, tmp_path: Path) -> None:
    password = prepare(lab)
    fill(lab, password)
    plain(lab, password)
    before = {schema: everything(lab.server, schema) for schema in (RICH, PLAIN)}
    folder = tmp_path / "archives"
    ran = lab.ok("db", "remove-user", "alice", "--archive", str(folder), "--yes")
    print(ran.out, ran.err)
    assert schemas_of(lab.server) == []
    assert accounts_of(lab.server) == []
    assert leftovers(lab.server) == []
    assert folder.stat().st_mode & 0o777 == 0o700
    about = manifest(folder)
    assert set(about) == {RICH, PLAIN}
    lab.server.sql("CREATE USER alice@'%'", "GRANT ALL ON *.* TO alice@'%'")  # the definer
    for schema, archived in about.items():
        assert (folder / archived["file"]).stat().st_mode & 0o777 == 0o600
        load(lab, folder / archived["file"])
        after = everything(lab.server, schema)
        assert list(after) == list(before[schema])
        for name, value in before[schema].items():
            assert after[name] == value, name


def archive(lab: Lab) -> Path:
    return lab.folder / "archives"


def stopped(lab: Lab, **environment: str) -> str:
    """Why a removal with an archive stopped; nothing is dropped, and nothing half done is left."""
    before = {schema: everything(lab.server, schema) for schema in schemas_of(lab.server)}
    command = ["db", "remove-user", "alice", "--archive", str(archive(lab)), "--yes"]
    ran = lab.run(*command, **environment)
    assert ran.code not in (0, 2), (ran.out, ran.err)
    assert {schema: everything(lab.server, schema) for schema in before} == before
    assert accounts_of(lab.server) == ["%"]
    assert leftovers(lab.server) == []
    assert not archive(lab).exists() or not list(archive(lab).glob(".*"))
    return ran.err


def finished(lab: Lab, *schemas: str) -> None:
    """The same command finishes the work, and the archives can be loaded."""
    before = {schema: everything(lab.server, schema) for schema in schemas}
    lab.ok("db", "remove-user", "alice", "--archive", str(archive(lab)), "--yes")
    assert schemas_of(lab.server) == accounts_of(lab.server) == leftovers(lab.server) == []
    lab.server.sql("CREATE USER alice@'%'", "GRANT ALL ON *.* TO alice@'%'")
    for schema in schemas:
        load(lab, archive(lab) / manifest(archive(lab))[schema]["file"])
        assert everything(lab.server, schema) == before[schema]


def test_what_is_in_a_library_counts(lab: Lab) -> None:
    """JavaScript that routines share, from MySQL 9.2 on."""
    plain(lab, prepare(lab))
    if lab.server.flavour == "mysql":
        text = "export function one() { return 1; }"
        lab.server.sql(f"CREATE LIBRARY {PLAIN}.lib LANGUAGE JAVASCRIPT AS $$ {text} $$")
        program(lab, "dump_program", '"$REAL" "$@" | sed "s/return 1/return 2/"')
        assert "does not give the same schema back: library lib" in stopped(lab)
        lab.write_site(dump_program=str(lab.server.programs.dump))
    lab.ok("db", "remove-user", "alice", "--archive", str(archive(lab)), "--yes")
    counts = manifest(archive(lab))[PLAIN]["counts"]
    assert counts.get("libraries") == (1 if lab.server.flavour == "mysql" else None)


def program(lab: Lab, setting: str, script: str) -> None:
    """Put a shell script in the place of a program; `$REAL` is the program itself."""
    real = lab.server.programs.dump if setting == "dump_program" else lab.server.programs.client
    path = lab.folder / setting
    version = 'case "$*" in *--version) exec "$REAL" "$@";; esac'
    path.write_text(f"#!/bin/bash\nREAL={shlex.quote(str(real))}\n{version}\n{script}\n")
    path.chmod(0o755)
    lab.write_site(**{setting: str(path)})


# --- programs ----------------------------------------------------------------------------------


_RUN = '"$REAL" "$@"'
# What is put in the place of which program, and what is complained of then.
FAULTS = (
    ("dump_program", 'echo "disk on fire" >&2; exit 3', "exit code 3): disk on fire"),
    ("dump_program", f"{_RUN} | head -c 900; exit 5", "exit code 5): "),
    ("dump_program", f"{_RUN} | head -c 900", "not"),
    ("dump_program", f'{_RUN} | sed "s/first/worse/"', "table named (other content)"),
    ("dump_program", _RUN + """ | sed -z "s/,\\n*(2,'second')//" """, "(2 rows, then 1)"),
    ("dump_program", f'{_RUN} | sed "s/varchar(20)/varchar(21)/"', "other definition"),
    ("dump_program", f"{_RUN} | sed 's/DEFINER=.alice.@/DEFINER=`x`@/'", "definers"),
    ("dump_program", f'{_RUN} | sed "s/SET NEW.note/SET NEW.Note/"', "trigger stamp"),
    ("dump_program", "kill -KILL $$", "exit code -9"),
    ("client_program", 'cat > /dev/null; echo "no" >&2; exit 7', "exit code 7): no"),
    ("client_program", "exit 0", "(gone)"),
    ("client_program", f"head -c 500 | {_RUN}", "The dump of alice_plain"),
    ("client_program", "exec false", "exit code 1): it gave no reason"),
)


def test_a_program_that_fails_or_lies(lab: Lab) -> None:
    password = prepare(lab)
    plain(lab, password)
    with lab.login("alice", password, PLAIN) as alice, alice.cursor() as cursor:
        cursor.execute("CREATE TABLE named (id INT PRIMARY KEY, note VARCHAR(20)) ENGINE=InnoDB")
        cursor.execute("INSERT INTO named VALUES (1, 'first'), (2, 'second')")
        cursor.execute(
            "CREATE TRIGGER stamp BEFORE UPDATE ON named FOR EACH ROW SET NEW.note = 'new'"
        )
        alice.commit()
    real = {
        "dump_program": str(lab.server.programs.dump),
        "client_program": str(lab.server.programs.client),
    }
    for setting, script, complaint in FAULTS:
        program(lab, setting, script)
        assert complaint in stopped(lab), script
        lab.write_site(**real)
    finished(lab, PLAIN)


def test_many_rows(lab: Lab) -> None:
    """More than one INSERT statement holds, of a table with and of one without FLOAT."""
    password = prepare(lab)
    plain(lab, password)
    with lab.login("alice", password, PLAIN) as alice, alice.cursor() as cursor:
        cursor.execute("CREATE TABLE f (id INT PRIMARY KEY, f FLOAT, t TEXT)")
        cursor.execute("CREATE TABLE d (id INT PRIMARY KEY, d DOUBLE, t TEXT)")
        rows = [(n, n / 7, f"row {n} ' %" * 12) for n in range(12_000)]
        cursor.executemany("INSERT INTO f VALUES (%s, %s, %s)", rows)
        cursor.executemany("INSERT INTO d VALUES (%s, %s, %s)", rows)
        alice.commit()
    finished(lab, PLAIN)


def test_programs_of_the_other_flavour(
    lab: Lab, mariadb: RunningServer, mysql: RunningServer, tmp_path: Path
) -> None:
    """Debian's `mysqldump` is MariaDB's: a name says nothing, and PATH may hold both."""
    plain(lab, prepare(lab))
    other = mysql if lab.server.flavour == "mariadb" else mariadb
    title = {"mysql": "MySQL", "mariadb": "MariaDB"}
    command = ("db", "remove-user", "alice", "--archive", str(archive(lab)), "--yes")

    def link(folder: Path, server: RunningServer) -> Path:
        folder.mkdir()
        for name, path in (("mysqldump", server.programs.dump), ("mysql", server.programs.client)):
            (folder / name).symlink_to(path)
        for tool in ("sh", "dirname", "readlink"):
            if found := shutil.which(tool):
                (folder / tool).symlink_to(found)
        return folder

    def complaint(**environment: str) -> str:
        ran = lab.run(*command, **environment)
        assert ran.code == 3
        assert accounts_of(lab.server) == ["%"]
        return ran.err

    lab.write_site(dump_program=str(other.programs.dump))
    assert f"is {title[other.flavour]}'s" in complaint()
    lab.write_site(dump_program="", client_program="")
    wrong, right = link(tmp_path / "wrong", other), link(tmp_path / "right", lab.server)
    found = complaint(PATH=str(wrong))
    assert f"{title[lab.server.flavour]}'s dump program is not found (PATH)" in found
    assert f"{wrong}/mysqldump is {title[other.flavour]}'s" in found
    assert "is not found (PATH)." in complaint(PATH=str(tmp_path))
    ran = lab.run(*command, PATH=f"{wrong}:{right}")
    assert ran.code == 0, ran.err
    assert schemas_of(lab.server) == []


def test_no_password_where_others_can_see_it(lab: Lab, tmp_path: Path) -> None:
    plain(lab, prepare(lab))
    for setting in ("dump_program", "client_program"):
        seen = tmp_path / setting
        program(
            lab, setting,
            f'echo "$@" >> {seen}; env >> {seen}; ls -lL /dev/fd/ >> {seen}; exec "$REAL" "$@"',
        )  # fmt: skip
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    command = ("db", "remove-user", "alice", "--archive", str(archive(lab)), "--yes")
    ran = lab.run(*command, TMPDIR=str(scratch))
    assert ran.code == 0, ran.err
    text = (tmp_path / "dump_program").read_text() + (tmp_path / "client_program").read_text()
    assert "--defaults-file=/dev/fd/" in text
    journal = (lab.folder / "state" / "journal.jsonl").read_text()
    for place in (text, journal, ran.out, ran.err, *map(str, archive(lab).iterdir())):
        assert lab.password not in place
    assert list(scratch.iterdir()) == []
    assert schemas_of(lab.server) == []


# --- what the server or the disk does --------------------------------------------------------


def test_somebody_who_still_writes(lab: Lab) -> None:
    password = prepare(lab)
    plain(lab, password)
    plain(lab, password, "alice_quiet")
    stop = threading.Event()

    def write() -> None:
        with lab.server.root() as root, root.cursor() as cursor:
            number = 10
            while not stop.is_set():
                cursor.execute(f"INSERT INTO {PLAIN}.t VALUES ({number}, 'x')")
                number += 1
                time.sleep(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        ran = lab.run("db", "remove-user", "alice", "--archive", str(archive(lab)), "--yes")
    finally:
        stop.set()
        thread.join()
    assert ran.code == 1
    assert f"Somebody still writes to {PLAIN}: table t" in ran.err
    assert schemas_of(lab.server) == [PLAIN, "alice_quiet"]
    finished(lab, PLAIN, "alice_quiet")


def test_a_full_disk(lab: Lab) -> None:
    password = prepare(lab)
    plain(lab, password)
    with lab.login("alice", password, PLAIN) as alice, alice.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (100, %s)", [os.urandom(400_000)])
        alice.commit()
    command = shlex.join([MAPADMIN, "db", "remove-user", "alice", "--yes", "--archive"])
    done = subprocess.run(  # no file may have more than 200 kB
        ["bash", "-c", f"ulimit -f 200; exec {command} {shlex.quote(str(archive(lab)))}"],
        env=lab.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert schemas_of(lab.server) == [PLAIN]
    assert leftovers(lab.server) == []
    assert list(archive(lab).iterdir()) == []
    finished(lab, PLAIN)


def test_a_blob_that_is_too_large_as_text(lab: Lab) -> None:
    password = prepare(lab)
    plain(lab, password)
    ((usual,),) = lab.server.sql("SELECT @@GLOBAL.max_allowed_packet")
    with lab.login("alice", password, PLAIN) as alice, alice.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (100, %s)", [os.urandom(700_000)])
        alice.commit()
    lab.server.sql("SET GLOBAL max_allowed_packet = 1048576")
    try:
        assert "Raise max_allowed_packet" in stopped(lab)
    finally:
        lab.server.sql(f"SET GLOBAL max_allowed_packet = {usual}")
    finished(lab, PLAIN)


@pytest.mark.parametrize("server", ["mysql"], indirect=True)  # MariaDB here has no binary log
def test_a_server_that_distrusts_functions(lab: Lab) -> None:
    password = prepare(lab)
    plain(lab, password)
    with lab.login("alice", password, PLAIN) as alice, alice.cursor() as cursor:
        cursor.execute("CREATE TRIGGER s BEFORE UPDATE ON t FOR EACH ROW SET NEW.b = 'new'")
    lab.server.sql("SET GLOBAL log_bin_trust_function_creators = 0")
    assert "log_bin_trust_function_creators = 1" in stopped(lab)
    lab.server.sql("SET GLOBAL log_bin_trust_function_creators = 1")
    finished(lab, PLAIN)


def test_a_broken_view_is_named(lab: Lab) -> None:
    password = prepare(lab)
    plain(lab, password)
    with lab.login("alice", password, PLAIN) as alice, alice.cursor() as cursor:
        cursor.execute("CREATE TABLE gone (id INT)")
        cursor.execute("CREATE VIEW broken AS SELECT id FROM gone")
        cursor.execute("DROP TABLE gone")
    assert "broken" in stopped(lab)
    lab.server.sql(f"DROP VIEW {PLAIN}.broken")
    finished(lab, PLAIN)


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)  # MySQL has no such tables
def test_a_table_with_history(lab: Lab) -> None:
    plain(lab, prepare(lab))
    lab.server.sql(f"CREATE TABLE {PLAIN}.past (id INT PRIMARY KEY) WITH SYSTEM VERSIONING")
    assert "past is a system-versioned table" in stopped(lab)
    lab.server.sql(f"DROP TABLE {PLAIN}.past", f"CREATE SEQUENCE {PLAIN}.numbers START WITH 7")
    lab.server.sql(f"SELECT NEXTVAL({PLAIN}.numbers)")
    finished(lab, PLAIN)


def test_a_routine_that_breaks_out_of_its_statement(lab: Lab) -> None:
    """The client takes `"` for a string, the server for a name: the comment ends too early."""
    password = prepare(lab)
    plain(lab, password)
    with lab.login("alice", password, PLAIN) as alice, alice.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = 'ANSI_QUOTES'")
        cursor.execute(
            'CREATE PROCEDURE trap() SELECT 1 AS "a\\" -- " ;; CREATE DATABASE map_pwned ;; \n, 2'
        )
    if lab.server.flavour == "mariadb":  # its client knows better
        finished(lab, PLAIN)
        assert "map_pwned" not in schemas_of(lab.server, "map")
        return
    assert "cannot be loaded" in stopped(lab)
    assert "map_pwned" not in schemas_of(lab.server, "map")
    # What the client would have done in root's name, so that this test tests something:
    done = subprocess.run(
        [
            lab.server.programs.client, "--no-defaults", "--host=127.0.0.1", "--protocol=tcp",
            f"--port={lab.server.port}", "--user=root", f"--password={lab.server.root_password}",
            f"--ssl-ca={lab.server.ca}", "--binary-mode", PLAIN,
        ],
        input="DELIMITER ;;\nSET sql_mode='ANSI_QUOTES' ;;\nCREATE PROCEDURE trap2() SELECT 1 AS"
        ' "a\\" -- " ;; CREATE DATABASE map_pwned ;; \n, 2 ;;\n',
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "map_pwned" in schemas_of(lab.server, "map")


# --- archives that are there -------------------------------------------------------------------


def test_a_folder_that_will_not_do(lab: Lab) -> None:
    plain(lab, prepare(lab))
    command = ("db", "remove-user", "alice", "--yes", "--archive", str(archive(lab)))

    def complaint() -> str:
        ran = lab.run(*command)
        assert ran.code in (1, 2)
        assert "alice" in lab.people()
        assert lab.server.sql("SELECT COUNT(*) FROM mysql.db WHERE user = 'alice'") != ((0,),)
        return ran.err

    archive(lab).write_text("")
    assert "is not a folder" in complaint()
    archive(lab).unlink()
    archive(lab).mkdir()
    archive(lab).chmod(0o777)
    assert "chmod go-w" in complaint()
    archive(lab).chmod(0o755)
    stray = archive(lab) / f"{PLAIN}.sql.gz"
    stray.write_text("my notes")
    assert "no manifest beside it knows it" in complaint()
    assert stray.read_text() == "my notes"
    stray.unlink()
    (archive(lab) / "manifest.json").write_text("{}{")
    assert "is not the manifest of an archive" in complaint()
    (archive(lab) / "manifest.json").unlink()
    finished(lab, PLAIN)
    assert archive(lab).stat().st_mode & 0o777 == 0o755  # somebody's own folder, left as it is


def test_a_verified_archive_is_kept_and_another_one_is_not_touched(lab: Lab) -> None:
    password = prepare(lab)
    plain(lab, password)
    plain(lab, password, "alice_second")
    program(lab, "dump_program", 'case "$*" in *alice_second*) exit 9;; esac; exec "$REAL" "$@"')
    assert "exit code 9" in stopped(lab)
    (file,) = archive(lab).glob("*.gz")
    made, content = file.stat().st_mtime_ns, file.read_bytes()
    assert "exit code 9" in stopped(lab)
    assert file.stat().st_mtime_ns == made
    file.write_bytes(content[:-20] + bytes(20))
    assert "is not the file that was verified" in stopped(lab)
    file.write_bytes(content)
    lab.server.sql(f"INSERT INTO {PLAIN}.t VALUES (1000, 'late')")
    assert "with other content" in stopped(lab)
    assert file.read_bytes() == content
    lab.server.sql(f"DELETE FROM {PLAIN}.t WHERE id = 1000")
    lab.write_site(dump_program=str(lab.server.programs.dump))
    finished(lab, PLAIN, "alice_second")
    assert file.stat().st_size == len(content)


def test_two_people_in_one_folder(lab: Lab) -> None:
    plain(lab, prepare(lab))
    bob = lab.password_of(lab.ok("db", "add-user", "bob", "--role", "reader"))
    with lab.login("bob", bob) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE `bob_a/b..%41`")
        cursor.execute("CREATE TABLE `bob_a/b..%41`.t (id INT PRIMARY KEY)")
    lab.ok("db", "remove-user", "bob", "--archive", str(archive(lab)), "--yes")
    lab.ok("db", "remove-user", "alice", "--archive", str(archive(lab)), "--yes")
    files = {path.name for path in archive(lab).iterdir()}
    assert files == {f"{PLAIN}.sql.gz", "bob_a%2Fb..%2541.sql.gz", "manifest.json"}
    facts = manifest(archive(lab))[PLAIN]
    assert facts["tables"]["t"]["rows"] == 2
    assert facts["counts"]["tables"] == 1
    assert facts["version"]
    assert facts["who"]


def test_schemas_that_change_between_archive_and_drop_stay(lab: Lab) -> None:
    """The archive is verified; then somebody writes, before it is dropped."""
    password = prepare(lab)
    plain(lab, password)
    plain(lab, password, "alice_second")
    # The second schema is dumped after the first has been verified.
    root = shlex.join([
        str(lab.server.programs.client), "--no-defaults", "--host=127.0.0.1", "--protocol=tcp",
        f"--port={lab.server.port}", "--user=root", f"--password={lab.server.root_password}",
        f"--ssl-ca={lab.server.ca}", "-e", f"INSERT INTO {PLAIN}.t VALUES (1000, 'late')",
    ])  # fmt: skip
    late = f'case "$*" in *alice_second*) {root} >&2;; esac; exec "$REAL" "$@"'
    program(lab, "dump_program", late)
    ran = lab.run("db", "remove-user", "alice", "--archive", str(archive(lab)), "--yes")
    assert ran.code == 1
    assert f"{PLAIN} has changed since it was archived" in ran.err
    assert PLAIN in schemas_of(lab.server)
    lab.write_site(dump_program=str(lab.server.programs.dump))
    (archive(lab) / f"{PLAIN}.sql.gz").rename(lab.folder / "before.gz")
    finished(lab, *schemas_of(lab.server))
