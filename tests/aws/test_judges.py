"""What is said of AWS's answers: tables of cases, no AWS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mapadmin.aws import judge_bucket as bucket
from mapadmin.aws import judge_database as database
from mapadmin.aws import judge_server as server
from mapadmin.aws.metrics import Metric, Point
from mapadmin.core.checks import Finding
from mapadmin.site import AwsThresholds

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LIMITS = AwsThresholds()
GIB = 1024**3


def instance(**more: Any) -> dict[str, Any]:
    return {
        "DBInstanceIdentifier": "db", "DBInstanceStatus": "available", "Engine": "mysql",
        "DBInstanceClass": "db.r6g.large", "EngineVersion": "8.4.5", "AllocatedStorage": 100,
        "BackupRetentionPeriod": 7, "LatestRestorableTime": NOW - timedelta(minutes=5),
        "DeletionProtection": True, "StorageEncrypted": True, "PubliclyAccessible": False,
        "DBParameterGroups": [{"DBParameterGroupName": "g", "ParameterApplyStatus": "in-sync"}],
        **more,
    }  # fmt: skip


def points(*values: float, every: timedelta = timedelta(minutes=5)) -> list[Point]:
    return [Point(NOW - every * (len(values) - 1 - n), v) for n, v in enumerate(values)]


def days(first: float, last: float) -> list[Point]:
    return [Point(NOW - timedelta(days=13 - n), first + (last - first) * n / 13) for n in range(14)]


def disk(found: dict[str, Any], free: list[Point], daily: list[Point]) -> Finding:
    return database.disk(found, free, daily, LIMITS, NOW)


def group(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"GroupId": "sg-1", "IpPermissions": list(rules)}


def rule(protocol: str, first: int | None, last: int | None, *cidrs: str) -> dict[str, Any]:
    ports = {} if first is None else {"FromPort": first, "ToPort": last}
    return {
        "IpProtocol": protocol, **ports,
        "IpRanges": [{"CidrIp": c} for c in cidrs if ":" not in c],
        "Ipv6Ranges": [{"CidrIpv6": c} for c in cidrs if ":" in c],
    }  # fmt: skip


FULL = days(80 * GIB, 50 * GIB)  # 30 GiB in 13 days
# 2 GiB a day, before and after a disk of 100 GiB was made one of 200 GiB
ENLARGED = [
    Point(NOW - timedelta(days=20 - n), (50 - 2 * n if n < 10 else 140 - 2 * (n - 10)) * GIB)
    for n in range(20)
]
CASES: list[tuple[Finding, str, str]] = [
    (database.state(instance(), "r"), "ok", "db available"),
    (database.state(instance(DBInstanceStatus="stopped"), "r"), "fail", "nobody can work"),
    (database.state(instance(DBInstanceStatus="modifying"), "r"), "warn", "being changed"),
    (database.state(instance(DBInstanceStatus="rebooting"), "r"), "warn", "being changed"),
    (database.state(instance(DBInstanceStatus="storage-full"), "r"), "fail", "storage-full"),
    (database.state(instance(DBInstanceStatus="backing-up"), "r"), "ok", "backing-up"),
    (database.state(instance(PendingModifiedValues={"MultiAZ": True}), "r"), "warn", "MultiAZ"),
    (database.backups(instance(), LIMITS, NOW), "ok", "kept 7 days"),
    (database.backups(instance(BackupRetentionPeriod=0), LIMITS, NOW), "fail", "off"),
    (database.backups(instance(BackupRetentionPeriod=3), LIMITS, NOW), "warn", "kept 3 days"),
    (database.backups(instance(LatestRestorableTime=NOW - timedelta(hours=3)), LIMITS, NOW),
     "fail", "3 h 0 min ago"),
    (database.backups(instance(LatestRestorableTime=None), LIMITS, NOW), "unknown", "no rest"),
    (database.safety(instance()), "ok", "private"),
    (database.safety(instance(PubliclyAccessible=True)), "warn", "public address"),
    (database.safety(instance(DeletionProtection=False)), "warn", "can be deleted"),
    (database.certificate(instance(), LIMITS, NOW), "unknown", "does not say"),
    *(
        (database.certificate(
            instance(CertificateDetails={"ValidTill": NOW + timedelta(days=left)}), LIMITS, NOW
        ), state, f"{left} days")
        for left, state in ((400, "ok"), (89, "warn"), (29, "fail"), (-3, "fail"))
    ),
    (database.parameters(instance(), []), "ok", "in-sync"),
    (database.parameters(
        instance(DBParameterGroups=[
            {"DBParameterGroupName": "g", "ParameterApplyStatus": "pending-reboot"}
        ]), []), "warn", "pending-reboot"),
    (database.maintenance([]), "ok", "nothing"),
    (database.maintenance([{"Action": "os-upgrade", "AutoAppliedAfterDate": NOW}]), "warn",
     "os-upgrade from 2026-06-01 on"),
    (database.end_of_life("mysql 8.0", {"open-source-rds-standard-support": "2026-07-31T00:00:00Z"},
                          NOW, LIMITS, NOW), "warn", "until 2026-07-31 (as of 2026-06-01)"),
    (database.end_of_life("mysql 5.7", {"open-source-rds-standard-support": "2024-02-29T00:00:00Z"},
                          NOW, LIMITS, NOW), "fail", "ended 2024-02-29"),
    (database.end_of_life("mysql 9", {}, NOW, LIMITS, NOW), "unknown", "no end of support"),
    (disk(instance(), points(50 * GIB), []), "ok", "(50%)"),
    (disk(instance(), points(15 * GIB), []), "warn", "(15%)"),
    (disk(instance(), points(5 * GIB), []), "fail", "(5%)"),
    (disk(instance(), points(50 * GIB), FULL), "warn", "full in 22 days"),
    (disk(instance(), points(50 * GIB), days(50 * GIB, 80 * GIB)), "ok", "(50%)"),
    (disk(instance(MaxAllocatedStorage=500), points(15 * GIB), []), "ok", "by itself up to 500"),
    (disk(instance(MaxAllocatedStorage=500), points(5 * GIB), []), "fail", "(5%); grows by"),
    (disk(instance(MaxAllocatedStorage=101), points(0), []), "fail", "(0%)"),
    (disk(instance(MaxAllocatedStorage=101), points(15 * GIB), []), "warn", "up to 101"),
    (disk(instance(MaxAllocatedStorage=110), points(50 * GIB), FULL), "warn", "full in 26 days"),
    (disk(instance(AllocatedStorage=200), points(50 * GIB), ENLARGED), "warn", "full in 25 days"),
    (disk(instance(), [], []), "unknown", "no figure"),
    (disk(instance(), [Point(NOW - timedelta(hours=1), 50 * GIB)], []), "unknown", "no figure"),
    (database.cpu(points(10, 90, 91), LIMITS, NOW), "warn", "90%"),
    (database.cpu(points(99, 99, 10, 10), LIMITS, NOW), "ok", "10%"),
    (database.cpu([], LIMITS, NOW), "unknown", "no figure"),
    (database.memory("db.r6g.large", points(8 * GIB), LIMITS, NOW), "ok", "16.0 GiB free (50%)"),
    (database.memory("db.t3.medium", points(0.5 * GIB), LIMITS, NOW), "warn", "4.0 GiB free (12%)"),
    (database.memory("db.z9.large", points(GIB), LIMITS, NOW), "ok", "not known"),
    (database.swap(points(GIB), LIMITS, NOW), "warn", "1.0 GiB"),
    (database.connections(points(90), [
        {"ParameterName": "max_connections", "ParameterValue": "100"}], LIMITS, NOW),
     "warn", "90 of 100"),
    (database.connections(points(90), [
        {"ParameterName": "max_connections", "ParameterValue": "{DBInstanceClassMemory/1}"}],
        LIMITS, NOW), "ok", "90 open"),
    (database.snapshots([], NOW), "warn", "no snapshot"),
    (server.state({"InstanceId": "i-1", "InstanceType": "t3", "State": {"Name": "stopped"},
                   "StateTransitionReason": "User initiated (2026-03-01 10:00:00 UTC)"},
                  LIMITS, NOW), "fail", "since 2026-03-01: forgotten?"),
    (server.state({"InstanceId": "i-1", "InstanceType": "t3", "State": {"Name": "terminated"}},
                  LIMITS, NOW), "fail", "terminated"),
    (server.health({"InstanceState": {"Name": "running"}, "SystemStatus": {"Status": "impaired"},
                    "InstanceStatus": {"Status": "ok"}}), "fail", "host impaired"),
    (server.health({"InstanceState": {"Name": "running"}, "SystemStatus": {"Status": "ok"},
                    "InstanceStatus": {"Status": "ok"},
                    "Events": [{"Code": "instance-retirement", "Description": "x"}]}),
     "warn", "instance-retirement"),
    (server.disks({}, LIMITS), "unknown", "no CloudWatch agent"),
    (server.disks({Metric("CWAgent", "d", (("path", "/"),)): points(93.0)}, LIMITS), "fail",
     "/ 93% used"),
    (server.disks({Metric("CWAgent", "d", (("path", "/"),)): points(85.0)}, LIMITS), "warn",
     "/ 85% used"),
    (server.open_to_the_world([group(rule("tcp", 443, 443, "0.0.0.0/0"))]), "ok", "1 looked at"),
    (server.open_to_the_world([group(rule("tcp", 3306, 3306, "0.0.0.0/0"))]), "fail", "MySQL"),
    (server.open_to_the_world([group(rule("tcp", 3000, 4000, "::/0"))]), "fail", "MySQL"),
    (server.open_to_the_world([group(rule("-1", None, None, "0.0.0.0/0"))]), "fail", "SSH"),
    (server.open_to_the_world([group(rule("udp", 3306, 3306, "0.0.0.0/0"))]), "ok", "none opens"),
    (server.open_to_the_world([group(rule("tcp", 22, 22, "10.0.0.0/8"))]), "ok", "none opens"),
    (server.open_to_the_world([group({
        **rule("tcp", 22, 22), "PrefixListIds": [{"PrefixListId": "pl-7"}]})]), "ok",
     "not looked into: pl-7"),
    (bucket.versioning({}), "warn", "off"),
    (bucket.versioning({"Status": "Suspended"}), "warn", "suspended"),
    (bucket.public_block({"PublicAccessBlockConfiguration": {"BlockPublicAcls": True}}), "warn",
     "IgnorePublicAcls"),
    (bucket.policy_status({"PolicyStatus": {"IsPublic": True}}), "fail", "public"),
    (bucket.lifecycle([{"Status": "Disabled", "AbortIncompleteMultipartUpload": {}}]), "warn",
     "0 rules on, 1 off"),
    (bucket.lifecycle([{"Status": "Enabled", "AbortIncompleteMultipartUpload": {}}]), "ok",
     "1 rule on"),
    (bucket.alarms([{"AlarmName": "b"}, {"AlarmName": "a"}]), "fail", "2 alarms: a, b"),
    (bucket.budgets([], LIMITS), "warn", "no budget"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].detail[:40])
def test_findings(case: tuple[Finding, str, str]) -> None:
    finding, state, says = case
    assert (finding.state.value, says in finding.detail) == (state, True), finding


def budget(spent: float, ahead: float | None) -> dict[str, Any]:
    forecast = {} if ahead is None else {"ForecastedSpend": {"Amount": str(ahead), "Unit": "USD"}}
    return {
        "BudgetName": "b", "BudgetLimit": {"Amount": "100", "Unit": "USD"},
        "CalculatedSpend": {"ActualSpend": {"Amount": str(spent), "Unit": "USD"}, **forecast},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spent", "ahead", "state"),
    [(50, 90, "ok"), (50, 101, "warn"), (101, 150, "fail"), (50, None, "ok"), (0, 0, "ok")],
)
def test_budgets(spent: float, ahead: float | None, state: str) -> None:
    assert bucket.budgets([budget(spent, ahead)], LIMITS).state.value == state


@pytest.mark.parametrize(
    ("kind", "gib"),
    [("db.t3.micro", 1), ("db.t3.large", 8), ("db.m5.xlarge", 16), ("db.m5.4xlarge", 64),
     ("db.r6g.large", 16), ("db.r6g.2xlarge", 64), ("db.x2g.large", None), ("db.serverless", None)],
)  # fmt: skip
def test_memory_of_a_class(kind: str, gib: float | None) -> None:
    assert database.memory_of(kind) == (None if gib is None else gib * GIB)
