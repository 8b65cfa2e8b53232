"""The least IAM policy for a site's use of mapadmin, from the table of calls. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from mapadmin.aws.calls import ALL, Call, On
from mapadmin.aws.snapshots import copy_name
from mapadmin.site import AwsSettings, SiteFile, StoreProtocol

_SECRET = "aws-secret:"  # noqa: S105  how a reference begins


class Names(msgspec.Struct, frozen=True):
    """What the policy is for: `stores` are buckets, `secrets` names or ARNs in Secrets Manager.

    `links` are the buckets whose objects `aws reports link` may hand out: it needs to read them.
    """

    settings: AwsSettings
    region: str
    stores: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


def names_of(file: SiteFile, settings: AwsSettings, region: str) -> Names:
    """What a site uses as mapadmin's own identity: a store with keys of its own is none of it."""
    stores = [
        store.bucket for store in file.stores.values()
        if store.protocol is StoreProtocol.S3 and not (store.endpoint or store.access_key)
    ]  # fmt: skip
    return Names(settings, region, tuple(dict.fromkeys(stores)), tuple(_secrets(file)))


def _secrets(file: SiteFile) -> list[str]:
    found: dict[str, None] = {}

    def look(value: object) -> None:
        if isinstance(value, str) and value.startswith(_SECRET):
            found[value.removeprefix(_SECRET).partition("#")[0]] = None
        for each in value.values() if isinstance(value, dict) else ():
            look(each)

    look(msgspec.to_builtins(file))
    return list(found)


def policy(names: Names, *, changes: bool, costs: bool) -> dict[str, Any]:
    """A policy document. `changes` adds what changes something, `costs` what is paid for."""
    by_resource: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for call in ALL:
        if (call.changes and not changes) or (call.costs and not costs):
            continue
        resources = resources_of(call, names)
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


def resources_of(call: Call, names: Names) -> tuple[str, ...]:
    """The ARNs that a call needs its permission on; none where the site has no such thing."""
    found = [arn for on in call.on for arn in _arns(on, names)]
    return ("*",) if "*" in found else tuple(dict.fromkeys(found))


def _arns(on: On, names: Names) -> Sequence[str]:
    settings, region = names.settings, names.region
    kept = f"arn:aws:secretsmanager:{region}:{settings.account}:secret"
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
        On.LINKED: [f"arn:aws:s3:::{bucket}/*" for bucket in names.links],
        On.BUDGETS: [f"arn:aws:budgets::{settings.account}:budget/*"],
        # Secrets Manager puts a hyphen and six characters of its own behind a name.
        On.SECRETS: [s if s.startswith("arn:") else f"{kept}:{s}-??????" for s in names.secrets],
        On.STORES: [f"arn:aws:s3:::{bucket}" for bucket in names.stores],
        On.STORED: [f"arn:aws:s3:::{bucket}/*" for bucket in names.stores],
    }  # fmt: skip
    return arns[on]
