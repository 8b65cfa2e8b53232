"""Lifecycle rules: S3 replaces all of them at once, so they are read, merged and compared. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mapadmin.core.errors import UsageError

Rule = dict[str, Any]
ABORT, OLD_VERSIONS = "mapadmin-abort-uploads", "mapadmin-old-versions"


def abort_uploads(days: int) -> Rule:
    """End multipart uploads that were not finished within these days."""
    return {
        "ID": ABORT, "Status": "Enabled", "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
    }  # fmt: skip


def old_versions(days: int) -> Rule:
    """Delete versions that were overwritten or deleted so many days ago."""
    return {
        "ID": OLD_VERSIONS, "Status": "Enabled", "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
    }  # fmt: skip


def merged(rules: Sequence[Rule], put: Sequence[Rule], remove: Sequence[str]) -> list[Rule]:
    """The rules with some put in, by their ID, and some taken out; all others as they are.

    Raises UsageError for an ID to remove that is not there.
    """
    ids = [rule.get("ID", "") for rule in rules]
    if missing := sorted(set(remove) - set(ids)):
        known = ", ".join(filter(None, ids)) or "none"
        raise UsageError(f"There is no rule {missing[0]!r}.", remedy=f"Rules: {known}.")
    new = {rule["ID"]: rule for rule in put}
    kept = [new.pop(i, rule) for i, rule in zip(ids, rules, strict=True) if i not in remove]
    return [*kept, *(rule for i, rule in new.items() if i not in remove)]


def difference(old: Sequence[Rule], new: Sequence[Rule]) -> list[tuple[str, str, str]]:
    """What changes: (word, ID, rule in words), in the order of the rules."""
    before = {rule.get("ID", ""): rule for rule in old}
    after = {rule.get("ID", ""): rule for rule in new}
    gone = [("remove rule", i, describe(rule)) for i, rule in before.items() if i not in after]
    put = [
        ("change rule" if i in before else "add rule", i,
         f"{describe(before[i])} -> {describe(rule)}" if i in before else describe(rule))
        for i, rule in after.items()
        if before.get(i) != rule
    ]  # fmt: skip
    return [*gone, *put]


def deletes(rule: Rule) -> bool:
    """Does a rule delete objects, versions of them, or what has arrived of uploads?"""
    return bool(
        {"Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"}
        & rule.keys()
    )


def describe(rule: Rule) -> str:
    """A rule in words, without its name."""
    words = []
    if upload := rule.get("AbortIncompleteMultipartUpload"):
        words.append(f"end uploads after {upload['DaysAfterInitiation']} d")
    for step in rule.get("Transitions", []):
        words.append(f"to {step['StorageClass']} {_when(step)}")
    for step in rule.get("NoncurrentVersionTransitions", []):
        words.append(f"old versions to {step['StorageClass']} after {step['NoncurrentDays']} d")
    if expiration := rule.get("Expiration"):
        marker = expiration.get("ExpiredObjectDeleteMarker")
        words.append("delete lone markers" if marker else f"delete {_when(expiration)}")
    if versions := rule.get("NoncurrentVersionExpiration"):
        words.append(f"delete old versions after {versions['NoncurrentDays']} d")
    where = rule.get("Filter") or {}
    prefix = where.get("Prefix") or where.get("And", {}).get("Prefix") or rule.get("Prefix") or ""
    text = ", ".join(words) + (f" under {prefix}" if prefix else "")
    return text if rule["Status"] == "Enabled" else f"(off) {text}"


def _when(step: dict[str, Any]) -> str:
    return f"after {step['Days']} d" if "Days" in step else f"on {step.get('Date')}"
