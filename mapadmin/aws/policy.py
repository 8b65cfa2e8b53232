"""The least IAM policy for a site's use of mapadmin, from the table of calls. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mapadmin.aws.calls import ALL, Call, On
from mapadmin.aws.snapshots import copy_name
from mapadmin.site import AwsSettings


def policy(settings: AwsSettings, region: str, *, changes: bool, costs: bool) -> dict[str, Any]:
    """A policy document. `changes` adds what changes something, `costs` what is paid for."""
    by_resource: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for call in ALL:
        if (call.changes and not changes) or (call.costs and not costs):
            continue
        resources = resources_of(call, settings, region)
        if resources:
            by_resource[resources] |= set(call.actions)
    statements = [
        {
            "Sid": f"Mapadmin{number}", "Effect": "Allow", "Action": sorted(actions),
            "Resource": "*" if resources == ("*",) else list(resources),
        }
        for number, (resources, actions) in enumerate(sorted(by_resource.items()), 1)
    ]  # fmt: skip
    return {"Version": "2012-10-17", "Statement": statements}


def resources_of(call: Call, settings: AwsSettings, region: str) -> tuple[str, ...]:
    """The ARNs that a call needs its permission on; none where the site has no such thing."""
    found = [arn for on in call.on for arn in _arns(on, settings, region)]
    return ("*",) if "*" in found else tuple(dict.fromkeys(found))


def _arns(on: On, settings: AwsSettings, region: str) -> Sequence[str]:
    rds = f"arn:aws:rds:{region}:{settings.account}"
    name, buckets = settings.database, settings.buckets.values()
    arns: dict[On, Sequence[str]] = {
        On.ANYTHING: ["*"],
        On.NOTHING: [],
        On.DATABASE: [f"{rds}:db:{name}"] if name else [],
        On.COPY: [f"{rds}:db:{copy_name(name)}"] if name else [],
        # Automatic snapshots (rds:…) are restored from, manual ones also have names of their own.
        On.SNAPSHOTS: [f"{rds}:snapshot:*"] if name else [],
        On.GROUPS: [f"{rds}:pg:*", f"{rds}:og:*"] if name else [],
        On.SUBNETS: [f"{rds}:subgrp:*"] if name else [],
        On.INSTANCE: [f"arn:aws:ec2:{region}:{settings.account}:instance/{settings.instance}"]
        if settings.instance else [],
        On.BUCKETS: [f"arn:aws:s3:::{bucket}" for bucket in buckets],
        On.OBJECTS: [f"arn:aws:s3:::{bucket}/*" for bucket in buckets],
        On.BUDGETS: [f"arn:aws:budgets::{settings.account}:budget/*"],
    }  # fmt: skip
    return arns[on]
