"""`workers rotate-password` while workers are at their jobs, on both servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from tests.engine import Engine
from tests.servers import RunningServer, master_account
from tests.workers.fleet import Fleet, Queue
from tests.workers.running import wait_for

ROLE = '[roles.worker]\n"map_*" = ["ALL"]\n'


class Rotating(Fleet):
    """Its password is in a file, and its account is mapadmin's."""

    def write_site(self, **changes: object) -> None:
        super().write_site(**changes)
        path = self.folder / "mapadmin.toml"
        path.write_text(path.read_text().replace("env:WORKER_PASSWORD", "file:password"))

    @property
    def secret(self) -> Path:
        return self.folder / "password"

    def may_log_in(self, password: str) -> bool:
        try:
            self.login("worker", password).close()
        except pymysql.err.OperationalError:
            return False
        return True


@pytest.fixture
def fleet(server: RunningServer, base_engine: Engine, tmp_path: Path) -> Iterator[Rotating]:
    server.wipe()
    user, password = master_account(server)
    one = Rotating(
        tmp_path / "site", server, user, password, engine=base_engine, kinds={"compute": 2},
        more=ROLE,
    )  # fmt: skip
    server.sql("DROP USER worker@'%'")
    first = one.folder / "first"
    one.ok("db", "add-user", "worker", "--role", "worker", "--service", "--password-file",
           str(first))  # fmt: skip
    one.secret.write_text(first.read_text().partition("\t")[2])
    one.secret.chmod(0o600)
    yield one
    one.remove()


def test_no_worker_notices(fleet: Rotating) -> None:
    before = fleet.secret.read_text().strip()
    fleet.ok("workers", "up")
    queue = Queue(fleet, 0.5, 2.0)
    queue.start()
    wait_for("jobs", lambda: fleet.happened()["begin"] >= 2)
    planned = fleet.ok("workers", "rotate-password", "--dry-run").out
    assert "change password" in planned
    assert fleet.secret.read_text().strip() == before
    ran = fleet.ok("workers", "rotate-password")
    after = fleet.secret.read_text().strip()
    assert after != before
    assert after not in ran.out + ran.err + (fleet.folder / "state" / "journal.jsonl").read_text()
    assert (fleet.may_log_in(before), fleet.may_log_in(after)) == (False, True)
    assert {one["generation"] for one in fleet.status()["workers"]} == {2}
    queue.finished(90)
    assert (fleet.lost(), fleet.twice(), fleet.jobs()) == (0, 0, Counter())
    dual = fleet.server.flavour == "mysql"
    assert ("MariaDB has no dual passwords" in planned + ran.err) is not dual
    assert not list(fleet.folder.glob("*.new"))


def test_a_run_that_was_cut_short_is_finished(fleet: Rotating) -> None:
    """The new workers do not come up: the old ones go on with the old password."""
    before = fleet.secret.read_text().strip()
    fleet.ok("workers", "up")
    fleet.commands["compute"] = ["/opt/nothing.py"]
    fleet.write_site()
    ran = fleet.run("workers", "rotate-password")
    assert ran.code == 1
    assert "The new worker g2/compute-1 ended with exit code" in ran.err
    between = fleet.secret.read_text().strip()
    dual = fleet.server.flavour == "mysql"
    assert (fleet.may_log_in(before), fleet.may_log_in(between)) == (dual, True)
    assert {one["generation"] for one in fleet.status()["workers"]} == {1}

    fleet.commands.clear()
    fleet.write_site()
    fleet.ok("workers", "rotate-password")
    assert (fleet.secret.read_text().strip() == between) is dual
    assert not fleet.may_log_in(before)
    assert fleet.may_log_in(fleet.secret.read_text().strip())
    assert fleet.status()["healthy"]


def test_a_password_that_the_server_has_and_the_file_not_yet(fleet: Rotating) -> None:
    """Killed between the two: it must not be set once more, as it would replace the old one."""
    before = fleet.secret.read_text().strip()
    pending = fleet.folder / "password.new"
    pending.write_text("half-way-there-0123456789\n")
    pending.chmod(0o600)
    keep = " RETAIN CURRENT PASSWORD" if fleet.server.flavour == "mysql" else ""
    fleet.server.sql(f"ALTER USER worker@'%' IDENTIFIED BY 'half-way-there-0123456789'{keep}")
    fleet.ok("workers", "rotate-password")
    assert fleet.secret.read_text() == "half-way-there-0123456789\n"
    assert not pending.exists()
    assert fleet.may_log_in("half-way-there-0123456789")
    assert not fleet.may_log_in(before)


def test_a_password_that_is_not_in_a_file(fleet: Rotating) -> None:
    path = fleet.folder / "mapadmin.toml"
    path.write_text(path.read_text().replace("file:password", "env:WORKER_PASSWORD"))
    ran = fleet.run("workers", "rotate-password")
    assert ran.code == 3
    assert "workers.password is no file:" in ran.err
