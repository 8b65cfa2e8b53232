"""Snapshots of the RDS instance: what there are, and plans to make, check and delete them. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from mapadmin.aws import calls
from mapadmin.aws.execute import AwsStep, Until
from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.core.identity import whoami
from mapadmin.core.plan import Plan

Answer = dict[str, Any]
TAG = {"Key": "mapadmin", "Value": "snapshot-check"}
OF = "mapadmin-snapshot"  # a tag: what a temporary instance was restored from


class Snapshot(msgspec.Struct, frozen=True):
    """One snapshot. `size` is the allocated disk in GiB; `made` is None while it is being made."""

    id: str
    kind: str
    status: str
    made: datetime | None
    size: int
    engine: str
    encrypted: bool


def snapshot_of(found: Answer) -> Snapshot:
    """From RDS's answer."""
    return Snapshot(
        str(found["DBSnapshotIdentifier"]), str(found["SnapshotType"]), str(found["Status"]),
        found.get("SnapshotCreateTime"), int(found["AllocatedStorage"]),
        f"{found['Engine']} {found['EngineVersion']}", bool(found.get("Encrypted")),
    )  # fmt: skip


def create(database: Answer, name: str, now: datetime, run: dict[str, str], *, wait: bool) -> Plan:
    """A manual snapshot with a name that says when. RDS takes none of an instance that is busy."""
    identifier, status = database["DBInstanceIdentifier"], database["DBInstanceStatus"]
    if status != "available":
        raise MapadminError(
            f"{identifier} is {status}: RDS makes a snapshot only of an available instance.",
            remedy="Wait until `mapadmin aws status` says that it is available.",
        )
    new = name or f"{identifier}-{now:%Y%m%d-%H%M%S}"
    notes = () if database.get("MultiAZ") else ("writes stand still for a moment: one zone only",)
    step = AwsStep(
        action="make snapshot", target=new, detail=f"of {identifier}",
        call=calls.DB_CREATE_SNAPSHOT,
        parameters={
            "DBInstanceIdentifier": identifier, "DBSnapshotIdentifier": new,
            "Tags": [{"Key": "made-by", "Value": _made_by()}, run],
        },
        until=Until.SNAPSHOT if wait else Until.NOTHING, waits_on=new,
    )  # fmt: skip
    return Plan((step,), notes)


def delete(found: Answer, database: str) -> Plan:
    """Delete a manual snapshot of this database; automatic ones belong to RDS."""
    snapshot = snapshot_of(found)
    if snapshot.kind != "manual":
        raise UsageError(
            f"{snapshot.id} is {snapshot.kind}: RDS deletes it by itself when its time is over.",
            remedy="Only manual snapshots are deleted by hand.",
        )
    require_own(found, database)
    if snapshot.status == "deleting":
        return Plan((), (f"{snapshot.id} is being deleted already",))
    made = f"made {snapshot.made:%Y-%m-%d %H:%M} UTC" if snapshot.made else snapshot.status
    step = AwsStep(
        action="delete snapshot", target=snapshot.id, detail=made, destroys=True,
        call=calls.DB_DELETE_SNAPSHOT, parameters={"DBSnapshotIdentifier": snapshot.id},
        gone=("DBSnapshotNotFound",),
    )  # fmt: skip
    return Plan((step,))


def require_own(found: Answer, database: str) -> None:
    """Raise UsageError for a snapshot of another database than the site's."""
    if found["DBInstanceIdentifier"] != database:
        raise UsageError(
            f"{found['DBSnapshotIdentifier']} is a snapshot of {found['DBInstanceIdentifier']}, "
            f"not of {database}."
        )


def copy_name(database: str) -> str:
    """The temporary instance of a check: always the same, so that there is never more than one."""
    return f"{database[:57]}-check"


def restore(found: Answer, database: Answer, kind: str, run: dict[str, str]) -> AwsStep:
    """Restore a snapshot to a private instance beside the site's own; its tags tell whose it is."""
    copy = copy_name(database["DBInstanceIdentifier"])
    parameters: dict[str, Any] = {
        "DBInstanceIdentifier": copy, "DBSnapshotIdentifier": found["DBSnapshotIdentifier"],
        "DBInstanceClass": kind or database["DBInstanceClass"], "PubliclyAccessible": False,
        "MultiAZ": False, "DeletionProtection": False, "AutoMinorVersionUpgrade": False,
        "CopyTagsToSnapshot": False,
        "Tags": [
            TAG, run, {"Key": OF, "Value": found["DBSnapshotIdentifier"]},
            {"Key": "made-by", "Value": _made_by()},
        ],
        "DBParameterGroupName": database["DBParameterGroups"][0]["DBParameterGroupName"],
    }  # fmt: skip
    if groups := [g["VpcSecurityGroupId"] for g in database.get("VpcSecurityGroups", [])]:
        parameters["VpcSecurityGroupIds"] = groups
    if subnets := (database.get("DBSubnetGroup") or {}).get("DBSubnetGroupName"):
        parameters["DBSubnetGroupName"] = subnets
    return AwsStep(
        action="restore", target=copy, detail=f"from {found['DBSnapshotIdentifier']}, private",
        call=calls.DB_RESTORE, parameters=parameters, until=Until.DATABASE, waits_on=copy,
    )  # fmt: skip


def tag_of(found: Answer, key: str) -> str:
    """The value of an instance's tag; empty without."""
    tags = {tag["Key"]: tag["Value"] for tag in found.get("TagList", ())}
    return str(tags.get(key, ""))


def _made_by() -> str:
    me = whoami()  # a tag takes letters, digits, spaces and _.:/=+-@
    return re.sub(r"[^\w .:/=+@-]", "", f"mapadmin, {me.who}@{me.host}".replace(",", ":"))[:256]
