"""How the commands get at AWS."""

from __future__ import annotations

from typing import Any

import typer

from mapadmin.admin import Admin
from mapadmin.aws import calls
from mapadmin.aws.faults import AwsError
from mapadmin.aws.session import Aws, Options, open_aws
from mapadmin.core.errors import SettingsError, UsageError
from mapadmin.core.report import Report


def aws_of(ctx: typer.Context, *, changes: bool = False, quiet: bool = False) -> Aws:
    """AWS for this command line; `changes` makes sure of the account first.

    An endpoint that is not AWS's own is told on stderr, unless `quiet`.
    """
    aws = open_aws(ctx.ensure_object(Admin), Options(**ctx.meta.get("mapadmin.aws", {})))
    if aws.elsewhere and not quiet:
        Report().say(f"Note: not AWS itself, but {', '.join(aws.elsewhere)}")
    if changes:
        aws.require_account()
    return aws


def database_of(aws: Aws) -> dict[str, Any]:
    """The site's RDS instance. Raises SettingsError without aws.database, and when it is gone."""
    name = aws.settings.database
    if not name:
        raise SettingsError("The site file has no aws.database.", remedy='database = "IDENTIFIER"')
    try:
        return dict(aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=name)["DBInstances"][0])
    except AwsError as error:
        if not error.code.startswith("DBInstanceNotFound"):
            raise
        raise SettingsError(
            f"There is no RDS instance {name} in this account and region.",
            remedy="Check aws.database, aws.region and --region.",
        ) from None


def find_snapshot(aws: Aws, identifier: str) -> dict[str, Any] | None:
    """One snapshot, if there is one of this name."""
    try:
        return dict(aws.call(calls.DB_SNAPSHOTS, DBSnapshotIdentifier=identifier)["DBSnapshots"][0])
    except AwsError as error:
        if not error.means("DBSnapshotNotFound"):
            raise
        return None


def snapshot_by_id(aws: Aws, identifier: str) -> dict[str, Any]:
    """One snapshot. Raises UsageError when there is none."""
    found = find_snapshot(aws, identifier)
    if found is None:
        raise UsageError(
            f"There is no snapshot {identifier!r}.", remedy="`mapadmin aws snapshots` lists them."
        )
    return found


def bucket_of(aws: Aws, name: str) -> str:
    """The bucket that the site calls so. Raises UsageError for a name that it does not use."""
    if name not in aws.settings.buckets:
        raise UsageError(
            f"The site has no bucket {name!r}.",
            remedy=f"Its buckets: {', '.join(aws.settings.buckets) or 'none'}.",
        )
    return aws.settings.buckets[name]
