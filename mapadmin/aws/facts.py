"""What `aws status` asks AWS: each answer once, whichever check needs it first.

Every check runs in its own thread and asks for what it needs, so calls that need nothing go out
together (the first wave), and those that need a name from another's answer wait for that one only
(the second).
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from mapadmin.aws import calls
from mapadmin.aws.metrics import (
    STORAGE_TYPES,
    Metric,
    Series,
    bucket_bytes,
    bucket_objects,
    fetch,
    of_database,
    of_instance,
)
from mapadmin.aws.session import Aws, Once
from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder, write_atomic

DATABASE_METRICS = (
    "CPUUtilization", "FreeStorageSpace", "FreeableMemory", "DatabaseConnections", "SwapUsage",
    "CPUCreditBalance",
)  # fmt: skip
INSTANCE_METRICS = ("CPUUtilization", "CPUCreditBalance", "StatusCheckFailed")
_WEEK = 7 * 86400.0
Answer = dict[str, Any]


class Facts:
    """The answers, each behind a function without arguments. `cache` keeps what rarely changes."""

    def __init__(self, aws: Aws, cache: Path) -> None:
        self.aws = aws
        self._cache = cache / "aws-engine-versions.json"
        settings = aws.settings
        self._database, self._instance = settings.database, settings.instance
        # First wave: nothing but the site file is needed.
        self.database = Once(self._ask_database)
        self.maintenance = Once(self._ask_maintenance)
        self.snapshots = Once(
            lambda: aws.pages(
                calls.DB_SNAPSHOTS, "DBSnapshots", DBInstanceIdentifier=self._database
            )
        )
        self.instance = Once(self._ask_instance)
        self.instance_status = Once(self._ask_instance_status)
        self.volumes = Once(
            lambda: aws.pages(
                calls.VOLUMES, "Volumes",
                Filters=[{"Name": "attachment.instance-id", "Values": [self._instance]}],
            )
        )  # fmt: skip
        self.hour: Once[Series] = Once(
            lambda: fetch(aws, self._now(), period=300, back=timedelta(hours=1))
        )
        self.days: Once[Series] = Once(
            lambda: fetch(aws, self._daily(), period=86400, back=timedelta(days=14))
        )
        self.alarms = Once(lambda: aws.pages(calls.ALARMS, "MetricAlarms", StateValue="ALARM"))
        self.budgets = Once(lambda: aws.pages(calls.BUDGETS, "Budgets", AccountId=settings.account))
        self.agent_metrics = Once(
            lambda: aws.pages(
                calls.METRICS, "Metrics", Namespace="CWAgent", MetricName="disk_used_percent",
                Dimensions=[{"Name": "InstanceId", "Value": self._instance}],
            )
        )  # fmt: skip
        # Second wave: needs names from the first.
        self.parameters = Once(self._ask_parameters)
        self.groups = Once(self._ask_groups)
        self.major_version = Once(self._ask_major_version)
        self.disk_used: Once[Series] = Once(self._ask_disk_used)

    def _now(self) -> list[Metric]:
        return [
            *(of_database(self._database, n) for n in DATABASE_METRICS if self._database),
            *(of_instance(self._instance, n) for n in INSTANCE_METRICS if self._instance),
        ]

    def _daily(self) -> list[Metric]:
        buckets = self.aws.settings.buckets.values()
        free = [of_database(self._database, "FreeStorageSpace", "Minimum")]
        return [
            *(bucket_bytes(bucket, storage) for bucket in buckets for storage in STORAGE_TYPES),
            *(bucket_objects(bucket) for bucket in buckets),
            *(free if self._database else []),
        ]

    def _ask_database(self) -> Answer:
        found = self.aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=self._database)
        return dict(found["DBInstances"][0])

    def _ask_maintenance(self) -> list[Answer]:
        resources = self.aws.pages(
            calls.DB_MAINTENANCE, "PendingMaintenanceActions",
            Filters=[{"Name": "db-instance-id", "Values": [self._database]}],
        )  # fmt: skip
        return [each for r in resources for each in r["PendingMaintenanceActionDetails"]]

    def _ask_instance(self) -> Answer:
        found = self.aws.call(calls.INSTANCES, InstanceIds=[self._instance])
        return dict(found["Reservations"][0]["Instances"][0])

    def _ask_instance_status(self) -> Answer:
        found = self.aws.call(  # stopped ones are left out by default
            calls.INSTANCE_STATUS, InstanceIds=[self._instance], IncludeAllInstances=True
        )
        return dict(found["InstanceStatuses"][0])

    def _ask_parameters(self) -> list[Answer]:
        (group, *_) = self.database()["DBParameterGroups"]
        return self.aws.pages(
            calls.DB_PARAMETERS, "Parameters", DBParameterGroupName=group["DBParameterGroupName"],
            Source="user",
        )  # fmt: skip

    def _ask_groups(self) -> list[Answer]:
        ids = set()
        if self._instance:
            ids |= {group["GroupId"] for group in self.instance().get("SecurityGroups", [])}
        if self._database:
            ids |= {g["VpcSecurityGroupId"] for g in self.database().get("VpcSecurityGroups", [])}
        if not ids:
            return []
        return self.aws.pages(calls.SECURITY_GROUPS, "SecurityGroups", GroupIds=sorted(ids))

    def _ask_major_version(self) -> Answer:
        engine, version = self.database()["Engine"], self.database()["EngineVersion"]
        major = ".".join(version.split(".")[:2])
        kept = self._kept(f"{engine} {major}")
        if kept is not None:
            return kept
        found = self.aws.pages(
            calls.DB_MAJOR_VERSIONS, "DBMajorEngineVersions", Engine=engine,
            MajorEngineVersion=major,
        )  # fmt: skip
        ends = {
            each["LifecycleSupportName"]: each["LifecycleSupportEndDate"].isoformat()
            for row in found
            for each in row.get("SupportedEngineLifecycles", [])
        }
        answer = {
            "version": f"{engine} {major}", "ends": ends, "asked": time.time(),
            "recorded": self.aws.recorded(calls.DB_MAJOR_VERSIONS),
        }  # fmt: skip
        try:
            make_private_folder(self._cache.parent)
            write_atomic(self._cache, json.dumps(answer), mode=0o600)
        except MapadminError:
            pass  # the next look asks again
        return answer

    def _kept(self, version: str) -> Answer | None:
        """Last week's answer: engine versions' end-of-life dates hardly ever change."""
        try:
            kept: Answer = json.loads(self._cache.read_bytes())
            fresh = kept["version"] == version and 0 <= time.time() - kept["asked"] < _WEEK
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return kept if fresh else None

    def _ask_disk_used(self) -> Series:
        """`disk_used_percent` of the CloudWatch agent, where one runs, for each disk."""
        found = self.agent_metrics()
        wanted = [
            Metric(
                "CWAgent", "disk_used_percent",
                tuple((d["Name"], d["Value"]) for d in metric["Dimensions"]),
            )
            for metric in found
        ]  # fmt: skip
        if not wanted:
            return {}
        return fetch(self.aws, wanted, period=300, back=timedelta(hours=1))
