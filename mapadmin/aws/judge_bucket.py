"""What is to be said of buckets, alarms and budgets: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from mapadmin.aws.metrics import Series, bucket_bytes, bucket_objects
from mapadmin.core.checks import Finding, fail, ok, unknown, warn
from mapadmin.core.text import count, human_bytes
from mapadmin.site import AwsThresholds

Answer = dict[str, Any]
_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def versioning(found: Answer) -> Finding:
    """Without it, what is overwritten or deleted is gone."""
    status = found.get("Status")
    if status == "Enabled":
        return ok("on")
    return warn(
        "suspended" if status else "off",
        "aws s3api put-bucket-versioning --versioning-configuration Status=Enabled --bucket …",
    )


def encryption(found: Answer) -> Finding:
    """The default encryption of new objects."""
    rules = found["ServerSideEncryptionConfiguration"]["Rules"]
    names = [r["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for r in rules]
    return ok(", ".join(names)) if names else warn("no default encryption")


def public_block(found: Answer) -> Finding:
    """All four switches that keep a bucket from becoming public by accident."""
    switches = found["PublicAccessBlockConfiguration"]
    off = [name for name in _BLOCKS if not switches.get(name)]
    return warn(f"off: {', '.join(off)}", _BLOCK) if off else ok("all four blocks on")


_BLOCK = "aws s3api put-public-access-block --bucket … with all four set to true"
NO_BLOCK = warn("public access is not blocked", _BLOCK)


def policy_status(found: Answer) -> Finding:
    """Does the bucket's policy make it public?"""
    if found["PolicyStatus"].get("IsPublic"):
        return fail("the bucket's policy makes it public", "Look at its policy in the console.")
    return ok("has a policy, not public")


def lifecycle(rules: Sequence[Answer]) -> Finding:
    """The rules in force; at least one should end multipart uploads that were never finished."""
    active = [rule for rule in rules if rule["Status"] == "Enabled"]
    detail = f"{count(len(active), 'rule')} on" + (
        f", {len(rules) - len(active)} off" if len(active) < len(rules) else ""
    )
    if any("AbortIncompleteMultipartUpload" in rule for rule in active):
        return ok(f"{detail}, uploads are ended")
    return warn(
        f"{detail}; none ends uploads left over", "mapadmin aws lifecycle BUCKET --abort-uploads 7"
    )


def uploads(found: Sequence[Answer], limits: AwsThresholds, now: datetime) -> Finding:
    """Multipart uploads that were begun long ago, and are paid for."""
    old = [u for u in found if now - u["Initiated"] > timedelta(days=limits.upload_days)]
    if old:
        oldest = min(u["Initiated"] for u in old)
        return warn(
            f"{len(old)} left over, since {oldest:%Y-%m-%d}",
            f"mapadmin aws uploads --abort-older-than {limits.upload_days}",
        )
    return ok(f"{len(found)} under way" if found else "none")


def size(series: Series, bucket: str, storage: Iterable[str]) -> Finding:
    """CloudWatch's figure of the last day that is complete."""
    points = [p for name in storage if (p := series[bucket_bytes(bucket, name)])]
    if not points:
        return unknown("CloudWatch has no figure of the last 14 days")
    day = max(each[-1].time for each in points)
    total = sum(each[-1].value for each in points if each[-1].time == day)
    numbers = [p.value for p in series[bucket_objects(bucket)] if p.time == day]
    objects = f", {numbers[0]:,.0f} objects" if numbers else ""
    return ok(f"{human_bytes(total)}{objects} on {day:%Y-%m-%d}")


def alarms(found: Sequence[Answer]) -> Finding:
    """CloudWatch alarms that ring."""
    if not found:
        return ok("none rings")
    names = ", ".join(sorted(str(alarm["AlarmName"]) for alarm in found))
    return fail(f"{count(len(found), 'alarm')}: {names}", "aws cloudwatch describe-alarms")


def budgets(found: Sequence[Answer], limits: AwsThresholds) -> Finding:
    """What has been spent of the budgets, and what will have been."""
    if not found:
        return warn("no budget is set", "aws budgets create-budget")
    words, bad, worse = [], False, False
    for budget in found:
        limit = float(budget.get("BudgetLimit", {}).get("Amount", 0))
        spent = float(budget["CalculatedSpend"]["ActualSpend"]["Amount"])
        ahead = budget["CalculatedSpend"].get("ForecastedSpend")
        forecast = float(ahead["Amount"]) if ahead else None
        words.append(
            f"{budget['BudgetName']}: {spent:.0f} of {limit:.0f} "
            f"{budget['CalculatedSpend']['ActualSpend']['Unit']}"
            + (f", {forecast:.0f} expected" if forecast is not None else "")
        )
        worse = worse or spent > limit
        bad = bad or (forecast or spent) > limit * limits.budget_warn
    detail = "; ".join(words)
    if worse:
        return fail(detail, "mapadmin aws cost --explorer")
    return warn(detail, "mapadmin aws cost --explorer") if bad else ok(detail)
