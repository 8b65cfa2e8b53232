"""What changes something: snapshots, server, uploads, lifecycle; links, costs, the policy."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime
from typing import Any

import pytest

from mapadmin.aws.calls import ALL, On
from mapadmin.aws.lifecycle import abort_uploads, difference, merged, old_versions
from mapadmin.aws.policy import Names, names_of, policy
from mapadmin.core.errors import UsageError
from mapadmin.sandbox.aws.seed import ACCOUNT, DATABASE, INSTANCE
from mapadmin.site import (
    AwsSettings,
    DatabaseSettings,
    SiteFile,
    SiteSettings,
    StoreProtocol,
    StoreSettings,
)
from tests.aws.cloud import AwsLab

ARCHIVE = "map-ephys-archive"


def journal(lab: AwsLab) -> list[str]:
    path = lab.folder / "state" / "journal.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [f"{e['event']} {e['action']} {e['target']}" for e in entries if e.get("action")]


# --- snapshots ---------------------------------------------------------------------------------


def test_snapshots_come_and_go(lab: AwsLab) -> None:
    dry = lab.ok("aws", "snapshot", "of-the-test", "--dry-run")
    assert "make snapshot" in dry.out
    made = lab.ok("aws", "snapshot", "of-the-test", "--wait")
    assert made.out == "of-the-test\n"
    rows = {row["id"]: row for row in lab.ok("aws", "snapshots", "--json").json}
    assert (rows["of-the-test"]["kind"], rows["of-the-test"]["size"]) == ("manual", 200)
    tags = lab.cloud.clients.rds.describe_db_snapshots(DBSnapshotIdentifier="of-the-test")
    tags = {tag["Key"]: tag["Value"] for tag in tags["DBSnapshots"][0]["TagList"]}
    assert tags["made-by"].startswith("mapadmin: ")
    refused = lab.run("aws", "delete-snapshot", "of-the-test")
    assert (refused.code, "Add --yes" in refused.err) == (2, True)
    lab.ok("aws", "delete-snapshot", "of-the-test", "--yes")
    gone = lab.run("aws", "delete-snapshot", "of-the-test", "--yes")
    assert (gone.code, "there is no snapshot 'of-the-test'\nNothing" in gone.err) == (0, True)
    assert journal(lab) == [
        "step make snapshot of-the-test", "done make snapshot of-the-test",
        "step delete snapshot of-the-test", "done delete snapshot of-the-test",
    ]  # fmt: skip


def test_only_manual_snapshots_are_deleted(lab: AwsLab) -> None:
    rows = lab.ok("aws", "snapshots", "--json").json
    automatic = next(row["id"] for row in rows if row["kind"] == "automated")
    ran = lab.run("aws", "delete-snapshot", automatic, "--yes")
    assert ran.code == 2
    assert "RDS deletes it by itself" in ran.err
    assert automatic in {row["id"] for row in lab.ok("aws", "snapshots", "--json").json}


def test_a_change_that_is_denied_or_fails_says_so(lab: AwsLab) -> None:
    with lab.cloud.faults({"operation": "CreateDBSnapshot", "status": 403, "code": "AccessDenied"}):
        ran = lab.run("aws", "snapshot", "denied")
    assert ran.code == 3
    assert "rds:CreateDBSnapshot is not allowed to this identity" in ran.err
    assert "mapadmin aws policy" in ran.err
    assert journal(lab) == ["step make snapshot denied", "failed make snapshot denied"]


# --- the server --------------------------------------------------------------------------------


def test_stop_start_reboot(lab: AwsLab) -> None:
    def state() -> str:
        found = lab.cloud.clients.ec2.describe_instances(InstanceIds=[INSTANCE])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    assert lab.run("aws", "instance", "stop").code == 2  # nobody to ask
    assert state() == "running"
    stopped = lab.ok("aws", "instance", "stop", "--yes")
    assert "meanwhile nobody reaches the Web GUI" in stopped.err
    assert state() == "stopped"
    try:
        assert "Nothing to do" in lab.ok("aws", "instance", "stop", "--yes").err
        found = lab.checks(1)
        assert found["server"][0] == "fail"
        assert "stopped" in found["server"][1]
        assert found["server health"] == ("unknown", "it is stopped")
        refused = lab.run("aws", "instance", "reboot", "--yes")
        assert (refused.code, "is stopped: EC2 cannot reboot it" in refused.err) == (1, True)
    finally:
        lab.ok("aws", "instance", "start")
    assert state() == "running"
    lab.ok("aws", "instance", "reboot", "--yes")


_RESPONSE = '<{0}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{1}</{0}Response>'
_ITEM = "<item><instanceId>" + INSTANCE + "</instanceId><instanceState><code>0</code><name>"
UNWELL = {
    "operation": "DescribeInstanceStatus",
    "body": _RESPONSE.format(
        "DescribeInstanceStatus",
        f"<instanceStatusSet>{_ITEM}running</name></instanceState><systemStatus><status>ok</status>"
        "</systemStatus><instanceStatus><status>initializing</status></instanceStatus></item>"
        "</instanceStatusSet>",
    ),
}


def in_state(name: str) -> dict[str, Any]:
    """The server is in a state in which the emulator's own never is."""
    server = f"<instancesSet>{_ITEM}{name}</name></instanceState></item></instancesSet>"
    body = f"<reservationSet><item>{server}</item></reservationSet>"
    body = _RESPONSE.format("DescribeInstances", body)
    return {"operation": "DescribeInstances", "body": body, "times": 1}


def test_a_reboot_is_waited_for_until_it_shows(lab: AwsLab) -> None:
    with lab.cloud.faults({**UNWELL, "times": 1}):
        lab.ok("aws", "instance", "reboot", "--yes")
        # not well, which is the sign, and well
        assert lab.cloud.calls().count("DescribeInstanceStatus") == 2
    with lab.cloud.faults():
        lab.ok("aws", "instance", "reboot", "--yes")
        # two more looks for a sign that never comes, and well
        assert lab.cloud.calls().count("DescribeInstanceStatus") == 3


def test_start_and_stop_go_on_where_they_were_cut_short(lab: AwsLab) -> None:
    with lab.cloud.faults({**UNWELL, "times": 2}):
        ran = lab.ok("aws", "instance", "start", "--json").json
        assert "StartInstances" not in lab.cloud.calls()
    assert [(s["action"], s["detail"], s["state"]) for s in ran["steps"]] == [
        ("wait", "it is running, and not healthy yet", "done")
    ]
    with lab.cloud.faults(in_state("pending")):
        assert "Done: 1 step." in lab.ok("aws", "instance", "start").err
        assert "StartInstances" not in lab.cloud.calls()
    lab.ok("aws", "instance", "stop", "--yes")
    try:
        with lab.cloud.faults(in_state("stopping")):
            assert "Done: 1 step." in lab.ok("aws", "instance", "stop").err
            assert "StopInstances" not in lab.cloud.calls()
    finally:
        lab.ok("aws", "instance", "start")


def test_ec2_is_asked_whether_it_would_first(lab: AwsLab) -> None:
    """The rehearsal is denied: nothing is begun, not even the journal."""
    with lab.cloud.faults(
        {"operation": "StopInstances", "status": 403, "code": "UnauthorizedOperation"}
    ):
        ran = lab.run("aws", "instance", "stop", "--yes")
        assert lab.cloud.calls().count("StopInstances") == 1
    assert (ran.code, "ec2:StopInstances is not allowed" in ran.err) == (3, True)
    assert not (lab.folder / "state" / "journal.jsonl").exists()


# --- buckets -----------------------------------------------------------------------------------


def test_uploads(lab: AwsLab) -> None:
    s3 = lab.cloud.clients.s3
    key = "odd & <key>+ä"
    upload = s3.create_multipart_upload(Bucket=ARCHIVE, Key=key)["UploadId"]
    for number, size in ((1, 5 * 1024**2), (2, 77)):
        s3.upload_part(
            Bucket=ARCHIVE, Key=key, UploadId=upload, PartNumber=number, Body=bytes(size)
        )
    rows = {row["key"]: row for row in lab.ok("aws", "uploads", "archive", "--json").json}
    assert (rows[key]["parts"], rows[key]["bytes"]) == (2, 5 * 1024**2 + 77)
    assert (rows["sub-440958/lost.bin"]["parts"], rows["sub-440958/lost.bin"]["bytes"]) == (
        1, 300_000
    )  # fmt: skip
    plan = lab.ok("aws", "uploads", "--abort-older-than", "7", "--dry-run", "--json").json
    # moto says of all that they began in 2010; parts of this one have come just now.
    assert plan["notes"] == ["1 upload, 293.0 KiB"]
    assert [step["target"] for step in plan["steps"]] == [f"{ARCHIVE}/sub-440958/lost.bin"]
    assert all(step["destroys"] for step in plan["steps"])
    assert lab.run("aws", "uploads", "--abort-older-than", "7").code == 2
    s3.abort_multipart_upload(Bucket=ARCHIVE, Key=key, UploadId=upload)
    assert len(lab.ok("aws", "uploads", "--json").json) == 1


def test_an_upload_that_is_gone_meanwhile_stops_nothing(lab: AwsLab) -> None:
    gone = {"operation": "AbortMultipartUpload", "status": 404, "code": "NoSuchUpload"}
    with lab.cloud.faults(gone):
        ran = lab.ok("aws", "uploads", "archive", "--abort-older-than", "7", "--yes")
    assert "Done: 1 step." in ran.err


def test_lifecycle_keeps_what_others_have_put(lab: AwsLab) -> None:
    s3 = lab.cloud.clients.s3
    before = s3.get_bucket_lifecycle_configuration(Bucket=ARCHIVE)["Rules"]
    try:
        asks = lab.run("aws", "lifecycle", "archive", "--abort-uploads", "7")
        assert (asks.code, "Add --yes" in asks.err) == (2, True)  # it ends what is being sent
        lab.ok("aws", "lifecycle", "archive", "--abort-uploads", "7", "--yes")
        rules = s3.get_bucket_lifecycle_configuration(Bucket=ARCHIVE)["Rules"]
        assert rules[0] == before[0]
        assert rules[1]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
        again = lab.ok("aws", "lifecycle", "archive", "--abort-uploads", "7")
        assert "Nothing to do" in again.err
        changed = lab.ok("aws", "lifecycle", "archive", "--abort-uploads", "9", "--dry-run")
        assert "end uploads after 7 d -> end uploads after 9 d" in changed.out
        asks = lab.run("aws", "lifecycle", "archive", "--old-versions", "90")
        assert (asks.code, "Add --yes" in asks.err) == (2, True)
        lab.ok("aws", "lifecycle", "archive", "--remove", "mapadmin-abort-uploads")
        assert s3.get_bucket_lifecycle_configuration(Bucket=ARCHIVE)["Rules"] == before
        unknown = lab.run("aws", "lifecycle", "archive", "--remove", "nothing")
        assert (unknown.code, "Rules: to-glacier" in unknown.err) == (2, True)
    finally:
        s3.put_bucket_lifecycle_configuration(
            Bucket=ARCHIVE, LifecycleConfiguration={"Rules": before}
        )


def test_the_last_rule_can_go(lab: AwsLab) -> None:
    lab.ok("aws", "lifecycle", "reports", "--abort-uploads", "3", "--yes")
    lab.ok("aws", "lifecycle", "reports", "--remove", "mapadmin-abort-uploads")
    assert "has no lifecycle rules" in lab.ok("aws", "lifecycle", "reports").err


def test_merging_rules() -> None:
    theirs = {"ID": "theirs", "Status": "Disabled", "Filter": {"Prefix": "x/"},
              "Expiration": {"Days": 3}}  # fmt: skip
    nameless = {"Status": "Enabled", "Prefix": "", "Expiration": {"Days": 9}}
    rules = [theirs, abort_uploads(7), nameless]
    assert merged(rules, [abort_uploads(7)], []) == rules
    assert merged(rules, [abort_uploads(8)], []) == [theirs, abort_uploads(8), nameless]
    assert merged(rules, [old_versions(5)], ["theirs"]) == [
        abort_uploads(7), nameless, old_versions(5)
    ]  # fmt: skip
    with pytest.raises(UsageError):
        merged(rules, [], ["other"])
    assert difference(rules, merged(rules, [old_versions(5)], ["theirs"])) == [
        ("remove rule", "theirs", "(off) delete after 3 d under x/"),
        ("add rule", "mapadmin-old-versions", "delete old versions after 5 d"),
    ]


def test_a_link_opens_one_report(lab: AwsLab) -> None:
    made = lab.ok("aws", "reports", "link", "weekly/Größe & rate+1.html", "--json").json
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in made["url"]
    assert "X-Amz-Expires=604800" in made["url"]
    with urllib.request.urlopen(made["url"], timeout=30) as answer:
        assert len(answer.read()) == made["bytes"] == 777
    left = datetime.fromisoformat(made["expires"]) - datetime.now(UTC)
    assert 6.9 * 86400 < left.total_seconds() <= 7 * 86400
    assert lab.run("aws", "reports", "link", "nothing.html").code == 2
    assert lab.run("aws", "reports", "link", "weekly/index.html", "--days", "8").code == 2


def test_a_link_is_of_the_bucket_s_own_region(lab: AwsLab) -> None:
    s3, name = lab.cloud.clients.s3, "map-frankfurt"
    where = {"LocationConstraint": "eu-central-1"}
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=where)
    s3.put_object(Bucket=name, Key="a.html", Body=b"12345")
    site = lab.folder / "mapadmin.toml"
    site.write_text(site.read_text().replace('"map-reports"', f'"{name}"'))
    made = lab.ok("aws", "reports", "link", "a.html", "--json").json
    assert "%2Feu-central-1%2Fs3%2F" in made["url"]
    assert (made["bytes"], made["temporary"]) == (5, False)
    keys = lab.folder / "keys"
    keys.write_text(keys.read_text() + "aws_session_token = t\n")
    passing = lab.ok("aws", "reports", "link", "a.html", "--json")
    assert (passing.json["temporary"], "the link ends with them" in passing.err) == (True, True)


# --- costs and the policy ----------------------------------------------------------------------


def test_costs(lab: AwsLab) -> None:
    budget = lab.ok("aws", "cost")
    assert "402.31" in budget.out
    assert "a recorded answer" in budget.err
    asked = lab.run("aws", "cost", "--explorer")
    assert (asked.code, "It costs 0.01 USD" in asked.err) == (2, True)
    with lab.cloud.faults():
        first = lab.ok("aws", "cost", "--explorer", "--yes", "--json").json
        assert lab.cloud.calls().count("GetCostAndUsage") == 1
        kept = lab.ok("aws", "cost", "--explorer", "--json")
        assert lab.cloud.calls().count("GetCostAndUsage") == 1
    assert kept.json == first
    assert len({row["month"] for row in first}) == 4


def test_costs_of_all_pages_and_what_was_given_back(lab: AwsLab) -> None:
    amount = {"UnblendedCost": {"Amount": "-12.5", "Unit": "USD"}}
    page = {
        "NextPageToken": "2",
        "ResultsByTime": [{
            "TimePeriod": {"Start": "2026-01-01", "End": "2026-02-01"}, "Estimated": False,
            "Groups": [{"Keys": ["Refund"], "Metrics": amount}],
        }],
    }  # fmt: skip
    with lab.cloud.faults({"operation": "GetCostAndUsage", "body": json.dumps(page), "times": 1}):
        rows = lab.ok("aws", "cost", "--explorer", "--yes", "--json").json
        assert lab.cloud.calls().count("GetCostAndUsage") == 2
    assert ("Refund", -12.5) in {(row["service"], row["amount"]) for row in rows}
    assert len({row["service"] for row in rows}) > 2


def settings(**more: Any) -> AwsSettings:
    return AwsSettings(account=ACCOUNT, **more)


def test_the_policy_is_what_the_table_says(lab: AwsLab) -> None:
    whole = settings(database=DATABASE, instance=INSTANCE, buckets={"archive": ARCHIVE})
    names = Names(whole, "us-east-1", stores=("figures",), secrets=("db",), links=(ARCHIVE,))
    reading = policy(names, changes=False, costs=False)
    changing = policy(names, changes=True, costs=True)

    def actions(document: dict[str, Any]) -> set[str]:
        return {a for s in document["Statement"] for a in s["Action"]}

    every = {a for call in ALL for a in call.actions if call.on != (On.NOTHING,)}
    assert actions(changing) == every
    assert actions(reading) == {
        a for call in ALL if not call.changes and not call.costs and call.on != (On.NOTHING,)
        for a in call.actions
    }  # fmt: skip
    words = ("Delete", "Put", "Create", "Modify", "Stop", "Start", "Reboot", "Abort", "Restore")
    assert not [a for a in actions(reading) if a.partition(":")[2].startswith(words)]
    deleting = [s for s in changing["Statement"] if "rds:DeleteDBInstance" in s["Action"]]
    assert [s["Resource"] for s in deleting] == [
        ["arn:aws:rds:us-east-1:123456789012:db:map-db-check"]
    ]
    alone = policy(
        Names(settings(buckets={"archive": ARCHIVE}), "us-east-1"), changes=True, costs=False
    )
    assert not actions(alone) & {"rds:DeleteDBInstance", "secretsmanager:GetSecretValue"}
    printed = json.loads(lab.ok("aws", "policy").out)
    here = policy(Names(whole, "us-east-1"), changes=False, costs=False)
    assert actions(printed) == actions(here) < actions(reading)


def test_the_policy_reads_objects_for_links_only(lab: AwsLab) -> None:
    def reading(*words: str) -> list[list[str]]:
        statements = json.loads(lab.ok("aws", "policy", *words).out)["Statement"]
        return [s["Resource"] for s in statements if "s3:GetObject" in s["Action"]]

    assert reading() == []
    assert reading("--links", "reports") == [["arn:aws:s3:::map-reports/*"]]
    ran = lab.run("aws", "policy", "--links", "nosuch")
    assert ran.code != 0
    assert "nosuch" in ran.err


def test_the_policy_knows_secrets_and_stores() -> None:
    file = SiteFile(
        site=SiteSettings(name="x"), aws=settings(),
        database=DatabaseSettings(
            host="h", password="aws-secret:prod/db#password", project_prefix="map"
        ),
        stores={
            "own": StoreSettings(protocol=StoreProtocol.S3, bucket="figures"),
            "same": StoreSettings(protocol=StoreProtocol.S3, bucket="figures", location="x"),
            "keys": StoreSettings(
                protocol=StoreProtocol.S3, bucket="elsewhere", access_key="env:A",
                secret_key="aws-secret:other",
            ),
            "minio": StoreSettings(protocol=StoreProtocol.S3, bucket="b", endpoint="minio:9000"),
            "file": StoreSettings(protocol=StoreProtocol.FILE, location="/data"),
        },
    )  # fmt: skip
    names = names_of(file, settings(), "us-east-1")
    assert (names.stores, names.secrets) == (("figures",), ("prod/db", "other"))
    statements = policy(names, changes=True, costs=False)["Statement"]
    resources = {action: s["Resource"] for s in statements for action in s["Action"]}
    kept = "arn:aws:secretsmanager:us-east-1:123456789012:secret"
    assert resources["secretsmanager:GetSecretValue"] == [
        f"{kept}:prod/db-??????", f"{kept}:other-??????"
    ]  # fmt: skip
    assert resources["s3:DeleteObject"] == ["arn:aws:s3:::figures/*"]
    assert resources["s3:ListBucket"] == ["arn:aws:s3:::figures"]
