"""What is to be said of the RDS instance: pure functions from AWS's answers to findings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from mapadmin.aws.metrics import Point, days_until, since_enlarged, slope
from mapadmin.core.checks import Finding, State, fail, ok, unknown, warn
from mapadmin.core.text import count, human_bytes, human_seconds
from mapadmin.site import AwsThresholds

Answer = dict[str, Any]
GIB = 1024**3
_OLD = timedelta(minutes=20)  # a newest point older than this says nothing about now

_ENLARGE = "aws rds modify-db-instance --allocated-storage GIB"
_ENLARGE_MOST = "aws rds modify-db-instance --max-allocated-storage GIB"

# GiB by size of an instance class; the families r and x have 2 and 4 times the memory of m.
_SIZES = {"micro": 1, "small": 2, "medium": 4, "large": 8, "xlarge": 16}
# Credits that a burstable class holds at most ("CPU credits" in the EC2 User Guide).
CREDITS = {
    "t2.micro": 144, "t2.small": 288, "t2.medium": 576, "t2.large": 864, "t2.xlarge": 1296,
    "t2.2xlarge": 1958.4, "t3.nano": 144, "t3.micro": 288, "t3.small": 576, "t3.medium": 576,
    "t3.large": 864, "t3.xlarge": 2304, "t3.2xlarge": 4608, "t4g.nano": 144, "t4g.micro": 288,
    "t4g.small": 576, "t4g.medium": 576, "t4g.large": 864, "t4g.xlarge": 2304, "t4g.2xlarge": 4608,
    "t3a.micro": 288, "t3a.small": 576, "t3a.medium": 576, "t3a.large": 864, "t3a.xlarge": 2304,
    "t3a.2xlarge": 4608,
}  # fmt: skip


def state(found: Answer, region: str) -> Finding:
    """Does it run, or what is being done to it?"""
    name, status = found["DBInstanceIdentifier"], found["DBInstanceStatus"]
    what = f"{name} {status}, {found['DBInstanceClass']}, {found['Engine']} " + str(
        found["EngineVersion"]
    )
    link = f"https://{region}.console.aws.amazon.com/rds/home?region={region}#database:id={name}"
    pending = found.get("PendingModifiedValues") or {}
    if status in ("stopped", "stopping"):
        return fail(
            f"{name} is {status}: nobody can work",
            f"aws rds start-db-instance --db-instance-identifier {name}; RDS starts it by itself "
            "seven days after it was stopped.",
        )
    if status in ("available", "storage-optimization"):
        if pending:
            return warn(f"{what}; waits for its window or a reboot: {', '.join(pending)}", link)
        return ok(what)
    if status in ("backing-up", "configuring-enhanced-monitoring", "configuring-log-exports"):
        return ok(what)
    if status in ("failed", "storage-full", "incompatible-parameters", "incompatible-restore",
                  "incompatible-network", "inaccessible-encryption-credentials"):  # fmt: skip
        return fail(what, link)
    return warn(f"{what}: it is being changed, and may not answer", link)


def backups(found: Answer, limits: AwsThresholds, now: datetime) -> Finding:
    """Kept long enough, and up to date?"""
    days = int(found.get("BackupRetentionPeriod") or 0)
    name = found["DBInstanceIdentifier"]
    remedy = (
        f"aws rds modify-db-instance --db-instance-identifier {name} "
        f"--backup-retention-period {limits.backup_days}"
    )
    if days == 0:
        return fail("automatic backups are off", remedy)
    latest = found.get("LatestRestorableTime")
    detail = f"kept {count(days, 'day')}"
    if latest is None:
        return unknown(f"{detail}; no restorable time is known yet")
    age = now - latest
    detail += f", can be restored to {human_seconds(max(0.0, age.total_seconds()))} ago"
    if age > timedelta(minutes=limits.restorable_minutes):
        return fail(detail, "RDS ships its logs every five minutes: look at its events.")
    return warn(detail, remedy) if days < limits.backup_days else ok(detail)


def safety(found: Answer) -> Finding:
    """Deletion protection, encryption, public address."""
    bad = []
    if found.get("PubliclyAccessible"):
        bad.append("has a public address")
    if not found.get("DeletionProtection"):
        bad.append("can be deleted")
    if not found.get("StorageEncrypted"):
        bad.append("is not encrypted")
    zones = "in several zones" if found.get("MultiAZ") else "in one zone"
    if bad:
        return warn(
            f"{', '.join(bad)}; {zones}",
            "aws rds modify-db-instance --deletion-protection --no-publicly-accessible",
        )
    return ok(f"deletion protection, encrypted, private, {zones}")


def certificate(found: Answer, limits: AwsThresholds, now: datetime) -> Finding:
    """The server certificate's end: clients that verify are locked out after it."""
    end = (found.get("CertificateDetails") or {}).get("ValidTill")
    if end is None:
        return unknown("AWS does not say when the server's certificate ends")
    left = (end - now).days
    detail = f"valid until {end:%Y-%m-%d}, {left} days"
    remedy = (
        "aws rds modify-db-instance --ca-certificate-identifier rds-ca-rsa2048-g1, after giving "
        "the clients the new bundle."
    )
    if left < limits.certificate_fail_days:
        return fail(detail, remedy)
    return warn(detail, remedy) if left < limits.certificate_warn_days else ok(detail)


def parameters(found: Answer, own: Sequence[Answer]) -> Finding:
    """The parameter group: its own settings, and whether they are in force."""
    (group, *_) = found["DBParameterGroups"]
    status = group.get("ParameterApplyStatus", "")
    detail = f"{group['DBParameterGroupName']}: {len(own)} set, {status}"
    if status not in ("in-sync", ""):
        return warn(detail, "Some wait for a reboot: `mapadmin db params` says which.")
    return ok(detail)


def maintenance(actions: Sequence[Answer]) -> Finding:
    """What AWS is going to do to the instance."""
    if not actions:
        return ok("nothing pending")
    words = []
    for action in actions:
        when = action.get("AutoAppliedAfterDate") or action.get("CurrentApplyDate")
        words.append(f"{action['Action']}" + (f" from {when:%Y-%m-%d} on" if when else ""))
    return warn("; ".join(words), "Announce it: the database restarts in its maintenance window.")


def end_of_life(
    version: str, ends: dict[str, str], asked: datetime, limits: AwsThresholds, now: datetime
) -> Finding:
    """Until when RDS supports the major version; extended support costs extra.

    `asked` is when AWS said so: it moves such dates now and then.
    """
    standard = [end for name, end in ends.items() if "standard" in name]
    if not standard:
        return unknown(f"AWS tells no end of support of {version}")
    end = datetime.fromisoformat(min(standard))
    left = (end - now).days
    if left < 0:
        return fail(
            f"{version}: standard support ended {end:%Y-%m-%d}; extended support is paid for"
            f" (as of {asked:%Y-%m-%d})",
            "Plan the upgrade to the next major version.",
        )
    detail = f"{version}: standard support until {end:%Y-%m-%d} (as of {asked:%Y-%m-%d})"
    if left < limits.end_of_life_days:
        return warn(detail, "Plan the upgrade to the next major version.")
    return ok(detail)


def disk(
    found: Answer, free: Sequence[Point], daily: Sequence[Point], limits: AwsThresholds,
    now: datetime,
) -> Finding:  # fmt: skip
    """Free space, and when it will be gone at the growth of the last days.

    RDS may enlarge the disk by itself, up to MaxAllocatedStorage: that counts as free for the
    warnings. It begins below 10% and not within six hours of the last time, so that a disk that is
    all but full is a failure all the same.
    """
    left = newest(free, now)
    if left is None:
        return unknown("CloudWatch has no figure of the last 20 minutes")
    size = float(found["AllocatedStorage"]) * GIB
    most = max(size, float(found.get("MaxAllocatedStorage") or 0) * GIB)
    room = left + most - size
    detail = f"{human_bytes(left)} of {human_bytes(size)} free ({left / size:.0%})"
    growth = slope(since_enlarged(daily, size))
    days = days_until(room, 0.0, None if growth is None else -growth)
    if most > size:
        detail += f"; grows by itself up to {human_bytes(most)}"
    if days is not None:
        detail += f", full in {days:.0f} days"
    if left / size < limits.disk_fail:
        return fail(detail, _ENLARGE)
    if room / most < limits.disk_warn or (days is not None and days < limits.full_warn_days):
        return warn(detail, _ENLARGE_MOST if most > size else _ENLARGE)
    return ok(detail)


def cpu(points: Sequence[Point], limits: AwsThresholds, now: datetime) -> Finding:
    """The mean of the last ten minutes."""
    recent = [p.value for p in points if now - p.time <= timedelta(minutes=15)]
    if not recent:
        return unknown("CloudWatch has no figure of the last 15 minutes")
    mean = sum(recent[-2:]) / len(recent[-2:])
    detail = f"{mean:.0f}% over the last ten minutes"
    return warn(detail, "") if mean > limits.cpu_warn * 100 else ok(detail)


def memory(kind: str, points: Sequence[Point], limits: AwsThresholds, now: datetime) -> Finding:
    """Freeable memory, as a share where the class tells how much there is."""
    free = newest(points, now)
    if free is None:
        return unknown("CloudWatch has no figure of the last 20 minutes")
    whole = memory_of(kind)
    if whole is None:
        return ok(f"{human_bytes(free)} free (how much {kind} has is not known)")
    detail = f"{human_bytes(free)} of {human_bytes(whole)} free ({free / whole:.0%})"
    return warn(detail) if free / whole < limits.memory_warn else ok(detail)


def memory_of(kind: str) -> float | None:
    """Bytes of memory of an instance class such as db.r6g.2xlarge; None if not known."""
    family, _, size = kind.removeprefix("db.").partition(".")
    factor = {"t": 1.0, "m": 1.0, "r": 2.0, "c": 0.5}.get(family[:1])
    if factor is None:
        return None
    if family[:1] in "tm":
        factor = 1.0
    times = size.removesuffix("xlarge")
    if size.endswith("xlarge") and times.isdigit():
        return float(times) * 16 * factor * GIB
    return _SIZES[size] * factor * GIB if size in _SIZES else None


def swap(points: Sequence[Point], limits: AwsThresholds, now: datetime) -> Finding:
    """Bytes swapped out."""
    used = newest(points, now)
    if used is None:
        return unknown("CloudWatch has no figure of the last 20 minutes")
    detail = f"{human_bytes(used)} swapped out"
    return warn(detail, "It is short of memory.") if used > limits.swap_warn else ok(detail)


def credits_left(
    kind: str, points: Sequence[Point], limits: AwsThresholds, now: datetime
) -> Finding | None:
    """Of a burstable class; None for any other."""
    most = CREDITS.get(kind.removeprefix("db."))
    if most is None:
        return None
    left = newest(points, now)
    if left is None:
        return unknown("CloudWatch has no figure of the last 20 minutes")
    detail = f"{left:.0f} of {most:.0f} ({left / most:.0%})"
    if left / most < limits.credits_warn:
        return warn(detail, "Without credits it is slowed down, or they are paid for.")
    return ok(detail)


def connections(
    points: Sequence[Point], own: Sequence[Answer], limits: AwsThresholds, now: datetime
) -> Finding:
    """Open connections against max_connections, where the group sets a number."""
    used = newest(points, now)
    if used is None:
        return unknown("CloudWatch has no figure of the last 20 minutes")
    most = next(
        (p.get("ParameterValue", "") for p in own if p["ParameterName"] == "max_connections"), ""
    )
    if not most.isdigit() or not int(most):
        return ok(f"{used:.0f} open")
    detail = f"{used:.0f} of {most} open"
    return warn(detail) if used / int(most) > limits.connections_warn else ok(detail)


def snapshots(found: Sequence[Answer], now: datetime) -> Finding:
    """How many, and how old the newest is."""
    done = [s for s in found if s.get("SnapshotCreateTime") and s["Status"] == "available"]
    if not done:
        return Finding(State.WARN, "there is no snapshot", "mapadmin aws snapshot")
    newest_of_all = max(done, key=lambda s: s["SnapshotCreateTime"])
    age = (now - newest_of_all["SnapshotCreateTime"]).total_seconds()
    manual = sum(s["SnapshotType"] == "manual" for s in done)
    return ok(f"{len(done)}, {manual} of them manual; newest {human_seconds(max(0.0, age))} old")


def newest(points: Sequence[Point], now: datetime) -> float | None:
    """The newest value, unless it is too old to speak of now."""
    return points[-1].value if points and now - points[-1].time <= _OLD else None
