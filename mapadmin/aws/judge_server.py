"""What is to be said of the EC2 server and the security groups: pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mapadmin.aws.metrics import Series
from mapadmin.core.checks import Finding, fail, ok, unknown, warn
from mapadmin.site import AwsThresholds

Answer = dict[str, Any]
_EVERYBODY = ("0.0.0.0/0", "::/0")
_NOT_PUBLIC = {3306: "MySQL", 22: "SSH", 33060: "MySQL X", 2375: "Docker"}


def state(found: Answer, limits: AwsThresholds, now: datetime) -> Finding:
    """Does it run; if not, since when?"""
    name = found["State"]["Name"]
    what = f"{found['InstanceId']} {name}, {found['InstanceType']}"
    if name == "running":
        return ok(f"{what}, since {found['LaunchTime']:%Y-%m-%d}")
    since = stopped_since(str(found.get("StateTransitionReason", "")))
    if name == "stopped":
        days = (now - since).days if since else None
        detail = f"{what}, since {since:%Y-%m-%d}" if since else what
        if days is not None and days > limits.stopped_days:
            detail += ": forgotten? Its volumes are paid for"
        return fail(detail, "mapadmin aws instance start")
    if name in ("terminated", "shutting-down"):
        return fail(what, "It is gone: put another one into aws.instance.")
    return warn(what)


def stopped_since(reason: str) -> datetime | None:
    """`User initiated (2026-03-01 10:00:00 UTC)`: the only place where EC2 says when."""
    found = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:UTC|GMT)\)", reason)
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None


def health(found: Answer) -> Finding:
    """EC2's own two checks: of the host, and of the system on it; and planned events."""
    if found["InstanceState"]["Name"] != "running":
        return unknown(f"it is {found['InstanceState']['Name']}")
    events = [
        event["Code"] for event in found.get("Events", [])
        if not str(event.get("Description", "")).startswith("[Completed]")
    ]  # fmt: skip
    states = {
        "host": found["SystemStatus"]["Status"],
        "system": found["InstanceStatus"]["Status"],
    }
    detail = ", ".join(f"{name} {value}" for name, value in states.items())
    if "impaired" in states.values():
        return fail(detail, "mapadmin aws instance reboot (or stop, then start, for another host)")
    if events:
        return warn(f"{detail}; AWS plans: {', '.join(events)}", "Stop and start it before then.")
    return ok(detail) if set(states.values()) == {"ok"} else warn(detail)


def disks(used: Series, limits: AwsThresholds) -> Finding:
    """How full each disk is: known only where CloudWatch's agent runs, and never guessed."""
    shares = {
        dict(metric.dimensions).get("path", "?"): points[-1].value / 100
        for metric, points in used.items()
        if points
    }
    if not shares:
        return unknown(
            "no CloudWatch agent on it tells how full its disks are",
            "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Install-CloudWatch-Agent.html",
        )
    detail = ", ".join(f"{path} {share:.0%} used" for path, share in sorted(shares.items()))
    free = 1 - max(shares.values())
    if free < limits.disk_fail:
        return fail(detail)
    return warn(detail) if free < limits.disk_warn else ok(detail)


def volumes(found: Sequence[Answer]) -> Finding:
    """Sizes, encryption."""
    if not found:
        return unknown("no volume is attached")
    detail = ", ".join(f"{v['VolumeId']} {v['Size']} GiB" for v in found)
    bad = [v["VolumeId"] for v in found if not v.get("Encrypted")]
    if bad:
        return warn(
            f"{detail}; not encrypted",
            "A volume is encrypted by copying its snapshot with encryption.",
        )
    return ok(f"{detail}, encrypted")


def open_to_the_world(groups: Sequence[Answer]) -> Finding:
    """Ports that nobody but the site should reach, open to everybody.

    A rule may be a range, all protocols (-1, without ports), IPv6, or a prefix list, of which
    only its owner knows what is in it.
    """
    bad: list[str] = []
    lists: list[str] = []
    for group in groups:
        for rule in group.get("IpPermissions", []):
            hit = [name for port, name in _NOT_PUBLIC.items() if covers(rule, port)]
            if not hit:
                continue
            ranges = [r.get("CidrIp") for r in rule.get("IpRanges", [])]
            ranges += [r.get("CidrIpv6") for r in rule.get("Ipv6Ranges", [])]
            if any(each in _EVERYBODY for each in ranges):
                bad.append(f"{group['GroupId']} opens {', '.join(hit)} to everybody")
            lists += [r["PrefixListId"] for r in rule.get("PrefixListIds", [])]
    if bad:
        return fail("; ".join(bad), "aws ec2 revoke-security-group-ingress, or narrow the rule.")
    detail = f"{len(groups)} looked at, none opens {', '.join(_NOT_PUBLIC.values())} to everybody"
    if lists:
        detail += f" (not looked into: {', '.join(sorted(set(lists)))})"
    return ok(detail)


def covers(rule: Answer, port: int) -> bool:
    """Does a rule of a security group let TCP to this port in?"""
    if rule["IpProtocol"] == "-1":
        return True
    if rule["IpProtocol"] not in ("tcp", "6"):
        return False
    return int(rule.get("FromPort", 0)) <= port <= int(rule.get("ToPort", 65535))
