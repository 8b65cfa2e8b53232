"""`aws snapshot-check` when something goes wrong meanwhile: no copy stays, no stranger's goes."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mapadmin.sandbox.aws.seed import DATABASE
from tests.aws.cloud import AwsLab, Cloud
from tests.zygote import MAPADMIN

SNAPSHOT, COPY = f"{DATABASE}-before-upgrade", f"{DATABASE}-check"
SECTION = (
    '[database]\nhost = "127.0.0.1"\nport = 1\nuser = "u"\npassword = "env:LAB_PASSWORD"\n'
    'tls = "off"\nproject_prefix = "map"\n'
)


@pytest.fixture
def here(cloud: Cloud, tmp_path: Path) -> Iterator[AwsLab]:
    """A site whose database nobody can reach: a check ends with saying so, if not before."""
    yield AwsLab(tmp_path / "lab", cloud, SECTION)
    for name in names(cloud) - {DATABASE}:
        cloud.clients.rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)


def names(cloud: Cloud) -> set[str]:
    found = cloud.clients.rds.describe_db_instances()["DBInstances"]
    return {str(each["DBInstanceIdentifier"]) for each in found}


def restore(cloud: Cloud, *tags: dict[str, str], snapshot: str = SNAPSHOT) -> None:
    """Somebody else's copy."""
    cloud.clients.rds.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier=COPY, DBSnapshotIdentifier=snapshot, Tags=list(tags)
    )


@contextmanager
def checking(lab: AwsLab) -> Iterator[subprocess.Popen[str]]:
    """A check under way whose restoring has begun, and is answered in two seconds."""
    lab.cloud._ask("/_faults", [{"operation": "RestoreDBInstanceFromDBSnapshot", "delay": 2}])
    process = subprocess.Popen(
        [MAPADMIN, "aws", "snapshot-check", SNAPSHOT], stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lab.environment(LAB_PASSWORD="x"),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while "RestoreDBInstanceFromDBSnapshot" not in lab.cloud.calls():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        lab.cloud._ask("/_faults", [])
        if process.poll() is None:
            process.kill()
        process.communicate()


def check(lab: AwsLab, *args: str) -> Any:
    return lab.run("aws", "snapshot-check", *args, LAB_PASSWORD="x")


REFUSED = {"operation": "DescribeDBInstances", "status": 503, "code": "ServiceUnavailable"}


def test_an_answer_that_fails_meanwhile_is_asked_for_again(here: AwsLab) -> None:
    with checking(here) as process:
        here.cloud._ask("/_faults", [{**REFUSED, "times": 4}])
        _, said = process.communicate(timeout=120)
        assert (
            "connect to MySQL server" in said
        )  # it came as far as the server, which nobody reaches
    assert process.returncode == 1
    assert names(here.cloud) == {DATABASE}


def test_ctrl_c_leaves_no_copy(here: AwsLab) -> None:
    with checking(here) as process:
        here.cloud._ask("/_faults", [{**REFUSED, "times": 4}])
        while names_of_calls := here.cloud.calls():
            if "DescribeDBInstances" in names_of_calls:
                break
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert (process.returncode, "Interrupted" in said) == (130, True)
    assert names(here.cloud) == {DATABASE}


def test_a_copy_of_another_run_is_neither_read_nor_deleted(here: AwsLab) -> None:
    with checking(here) as process:
        here.cloud._ask("/_faults", [{"operation": "DescribeDBInstances", "delay": 4, "times": 1}])
        while "DescribeDBInstances" not in here.cloud.calls():
            time.sleep(0.05)
        rds = here.cloud.clients.rds
        rds.delete_db_instance(DBInstanceIdentifier=COPY, SkipFinalSnapshot=True)
        restore(here.cloud, {"Key": "mapadmin", "Value": "snapshot-check"})
        _, said = process.communicate(timeout=120)
        assert f"{COPY} is not the one that this check has made" in said
    assert process.returncode == 1
    assert names(here.cloud) == {DATABASE, COPY}


def test_one_check_at_a_time(here: AwsLab) -> None:
    with checking(here) as process:
        second = check(here, SNAPSHOT, "--yes")
        assert (second.code, "Another mapadmin is at work" in second.err) == (1, True)
        process.communicate(timeout=120)


def test_a_copy_that_is_left_over_is_asked_about(here: AwsLab) -> None:
    restore(here.cloud, {"Key": "mapadmin", "Value": "snapshot-check"})
    asked = check(here, SNAPSHOT)
    assert (asked.code, "Add --yes" in asked.err) == (2, True)
    assert names(here.cloud) == {DATABASE, COPY}
    assert "connect to MySQL server" in check(here, SNAPSHOT, "--yes").err
    assert names(here.cloud) == {DATABASE}


def test_a_snapshot_of_another_database_is_refused(here: AwsLab) -> None:
    rds = here.cloud.clients.rds
    rds.create_db_instance(
        DBInstanceIdentifier="theirs", DBInstanceClass="db.t3.micro", Engine="mysql",
        AllocatedStorage=20, MasterUsername="a", MasterUserPassword="sandbox-only",
    )  # fmt: skip
    rds.create_db_snapshot(DBInstanceIdentifier="theirs", DBSnapshotIdentifier="of-theirs")
    try:
        ran = check(here, "of-theirs", "--dry-run")
        assert ran.code == 2
        assert f"is a snapshot of theirs, not of {DATABASE}" in ran.err
    finally:
        rds.delete_db_snapshot(DBSnapshotIdentifier="of-theirs")


def test_an_answer_that_is_lost_is_no_failure(here: AwsLab) -> None:
    """botocore asks again after ten seconds, and is told that the snapshot exists."""
    with here.cloud.faults({"operation": "CreateDBSnapshot", "delay": 11, "times": 1}):
        ran = here.run("aws", "snapshot", "slow")
        assert here.cloud.calls().count("CreateDBSnapshot") == 2
        time.sleep(2)
    assert (ran.code, ran.out) == (0, "slow\n"), ran.err
    again = here.run("aws", "snapshot", "slow")
    assert (again.code, "AlreadyExists" in again.err) == (1, True)
    here.ok("aws", "delete-snapshot", "slow", "--yes")
