"""`aws status` against an AWS over HTTP: all facts, and each kind of trouble."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.aws.cloud import AwsLab
from tests.zygote import MAPADMIN

WELL = {
    "identity", "database", "database cpu", "database memory", "database swap", "database credits",
    "database disk", "connections", "backups", "snapshots", "protection", "parameters",
    "certificate", "end of support", "server", "server health", "server cpu", "server credits",
    "server volumes", "security groups", "reports size", "reports versioning", "reports encryption",
    "reports public access", "reports policy", "reports uploads", "archive size",
    "archive versioning", "archive encryption", "archive public access", "archive policy", "alarms",
    "budgets",
}  # fmt: skip
NOT_WELL = {
    "maintenance": "warn", "server disks": "unknown", "reports lifecycle": "warn",
    "archive lifecycle": "warn", "archive uploads": "warn",
}  # fmt: skip


def test_everything_at_a_glance(lab: AwsLab) -> None:
    found = lab.checks()
    assert next(iter(found)) == "identity"
    assert {name: state for name, (state, _) in found.items()} == {
        **dict.fromkeys(WELL, "ok"), **NOT_WELL
    }  # fmt: skip
    details = {name: detail for name, (_, detail) in found.items()}
    assert details["database"].startswith("map-db available, db.t3.large, mysql 8.4")
    assert "90.0 GiB of 200.0 GiB free (45%)" in details["database disk"]
    assert re.search(
        r"; grows by itself up to 500\.0 GiB, full in \d+ days", details["database disk"]
    )
    assert details["archive size"].startswith("1.5 MiB, 48 objects on 20")
    assert details["certificate"].endswith("[recorded]")
    assert not details["database"].endswith("[recorded]")


def test_as_a_table(lab: AwsLab) -> None:
    ran = lab.ok("aws", "status")
    assert ran.out.startswith("check ")
    assert f"not AWS itself, but {lab.cloud.endpoint}" in ran.err
    assert "archive uploads: mapadmin aws uploads --abort-older-than 7" in ran.err


def test_what_is_not_in_the_site_is_not_asked_for(lab: AwsLab) -> None:
    lab.write_site(database=None, instance=None)
    with lab.cloud.faults():
        found = lab.checks()
        assert not any(call.startswith("DescribeDB") for call in lab.cloud.calls())
    assert set(found) == {n for n in (*WELL, *NOT_WELL) if n.startswith(("rep", "arc"))} | {
        "identity", "alarms", "budgets"
    }  # fmt: skip


DENIED = [
    ("DescribeDBSnapshots", "AccessDenied", {"snapshots"}),
    ("DescribeVolumes", "UnauthorizedOperation", {"server volumes"}),
    ("GetBucketVersioning", "AccessDenied", {"reports versioning", "archive versioning"}),
    ("DescribeBudgets", "AccessDeniedException", {"budgets"}),
    ("DescribeAlarms", "AccessDeniedException", {"alarms"}),
]


def test_denied_calls_hide_nothing_else(lab: AwsLab) -> None:
    """In each protocol that AWS speaks."""
    with lab.cloud.faults(
        *({"operation": operation, "status": 403, "code": code} for operation, code, _ in DENIED)
    ):
        found = lab.checks()
    unknown = {name for name, (state, _) in found.items() if state == "unknown"}
    assert unknown == {name for _, _, names in DENIED for name in names} | {"server disks"}
    for operation, _, names in DENIED:
        action = {"DescribeBudgets": "ViewBudget"}.get(operation, operation)
        for name in names:
            assert f":{action} is not allowed to this identity" in found[name][1]


def test_throttling_and_errors_of_the_moment_are_tried_again(lab: AwsLab) -> None:
    with lab.cloud.faults(
        {"operation": "DescribeDBInstances", "status": 400, "code": "Throttling", "times": 1},
        {"operation": "DescribeVolumes", "status": 503, "code": "Unavailable", "times": 2},
        {"operation": "GetBucketEncryption", "status": 503, "code": "SlowDown", "times": 1},
    ):
        found = lab.checks()
    assert {name: state for name, (state, _) in found.items() if name in WELL} == dict.fromkeys(
        WELL, "ok"
    )


def test_lasting_errors_are_said(lab: AwsLab) -> None:
    with lab.cloud.faults(
        {"operation": "DescribeAlarms", "status": 500, "code": "InternalFailure"},
        {"operation": "DescribeDBSnapshots", "status": 400, "code": "Throttling"},
    ):
        found = lab.checks()
    assert found["alarms"][0] == found["snapshots"][0] == "unknown"
    assert "AWS answered 500" in found["alarms"][1]
    assert "slow down (Throttling)" in found["snapshots"][1]
    assert found["database"][0] == "ok"


def test_a_slow_answer_holds_up_only_its_own_check(lab: AwsLab) -> None:
    begun = time.monotonic()
    with lab.cloud.faults({"operation": "DescribeVolumes", "delay": 25}):
        found = lab.checks()
    assert time.monotonic() - begun < 24  # the limit of a check is 10 s, and the call takes 25
    assert found["server volumes"] == ("unknown", "no answer within 10 s")
    assert {name for name, (state, _) in found.items() if state == "unknown"} == {
        "server volumes", "server disks"
    }  # fmt: skip


def test_thresholds_are_settings(lab: AwsLab) -> None:
    lab.write_site("cpu_warn = 0.2\nmemory_warn = 0.5\nbackup_days = 30\nbudget_warn = 0.5")
    found = lab.checks()
    warned = {name for name, (state, _) in found.items() if state == "warn"}
    assert warned - set(NOT_WELL) == {
        "database cpu", "database memory", "backups", "server cpu", "budgets"
    }  # fmt: skip


def test_watch(lab: AwsLab) -> None:
    with subprocess.Popen(
        [MAPADMIN, "aws", "status", "--watch", "1", "--json"], env=lab.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        looks = 0
        while looks < 2:
            looks += process.stdout.readline() == "]\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert lab.run("aws", "status", "5").code == 2
    assert "--watch" in lab.run("aws", "status", "5").err


# --- who we are --------------------------------------------------------------------------------


def test_another_account_is_refused(lab: AwsLab) -> None:
    lab.write_site(account="999999999999")
    for command in (["status"], ["usage"], ["instance", "start"]):
        ran = lab.run("aws", *command)
        assert (ran.code, ran.out) == (3, "")
        assert "are of the AWS account 123456789012" in ran.err
        assert "the site's is 999999999999" in ran.err


def test_no_credentials(lab: AwsLab) -> None:
    (lab.folder / "keys").unlink()
    ran = lab.run("aws", "status")
    assert (ran.code, ran.out) == (3, "")
    assert "Unable to locate credentials" in ran.err
    assert "aws sso login" in ran.err


def test_an_expired_sso_session(lab: AwsLab) -> None:
    config = lab.folder / "config"
    config.write_text(
        "[profile lab]\nsso_start_url = https://x.awsapps.com/start\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = admin\n"
    )
    ran = lab.run("aws", "--profile", "lab", "status", AWS_CONFIG_FILE=str(config))
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.endswith("  Run: aws sso login --profile lab\n")


def test_an_unknown_profile(lab: AwsLab) -> None:
    ran = lab.run("aws", "--profile", "nobody", "status")
    assert (ran.code, ran.out) == (3, "")
    assert "nobody" in ran.err


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ExpiredToken", "have expired"),
        ("InvalidClientTokenId", "are not accepted"),
        ("RequestTimeTooSkewed", "clock is wrong"),
    ],
)
def test_credentials_that_are_no_longer_good(lab: AwsLab, code: str, says: str) -> None:
    with lab.cloud.faults({"operation": "*", "status": 403, "code": code}):
        ran = lab.run("aws", "status")
    assert (ran.code, ran.out) == (3, "")
    assert says in ran.err


def test_nobody_answers(lab: AwsLab) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab.write_site(endpoint=f"http://127.0.0.1:{port}")
    for command in ("status", "usage"):
        ran = lab.run("aws", command)
        assert (ran.code, ran.out) == (4, "")
        assert "Could not connect to the endpoint URL" in ran.err


def test_the_wrong_region(lab: AwsLab) -> None:
    found = lab.checks(1, "--region", "eu-central-1")
    assert found["database"] == (
        "fail", "there is no RDS instance map-db in this account and region"
    )  # fmt: skip
    assert found["server"][0] == "fail"
    assert "there is no EC2 instance" in found["server"][1]


def test_settings_that_cannot_be(lab: AwsLab, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"account": "1234"}, "must be 12 digits"),
        ({"account": "123456789012", "instance": "server"}, "must look like"),
        ({"instance": None, "region": "Frankfurt"}, "must look like"),
        ({"region": None, "regio": "us-east-1"}, "Did you mean 'region'?"),
    ]
    for changes, says in cases:
        lab.settings.update(changes)
        lab.write_site()
        ran = lab.run("aws", "status")
        assert (ran.code, ran.out) == (3, "")
        assert says in ran.err
    lab.settings.clear()
    lab.write_site("disk_warn = 20")
    assert "share between 0 and 1" in lab.run("aws", "status").err
    (lab.folder / "mapadmin.toml").write_text('[site]\nname = "x"\n')
    ran = lab.run("aws", "status")
    assert (ran.code, "no [aws] section" in ran.err) == (3, True)
