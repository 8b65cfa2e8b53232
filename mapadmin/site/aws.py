"""[aws]: which account, which instances and buckets, and from when on something is to be said."""

from __future__ import annotations

import re

import msgspec

from mapadmin.site.base import RefusedError, Settings


class AwsThresholds(Settings, frozen=True, kw_only=True):
    """[aws.thresholds]: shares are of 1, so 0.2 is 20%."""

    cpu_warn: float = 0.85
    """Mean load of the last ten minutes."""
    disk_warn: float = 0.20
    """Free share of the disk."""
    disk_fail: float = 0.10
    full_warn_days: float = 30.0
    """Warn when the disk's or a bucket's growth fills it within these days."""
    memory_warn: float = 0.20
    """Free share of the memory, where the instance class tells how much there is."""
    swap_warn: int = 256 * 1024**2
    """Bytes swapped out."""
    credits_warn: float = 0.20
    """Share of a burstable instance's CPU credits that is left, of what it can hold."""
    connections_warn: float = 0.85
    """Share of max_connections, where the parameter group sets a number."""
    certificate_warn_days: int = 90
    certificate_fail_days: int = 30
    backup_days: int = 7
    """Automatic backups are kept at least so long."""
    restorable_minutes: int = 30
    """The latest restorable time may lie so far back; RDS ships its logs every five minutes."""
    end_of_life_days: int = 180
    stopped_days: int = 30
    """A server that has been stopped for longer is probably forgotten."""
    upload_days: int = 7
    """Multipart uploads older than this are left over."""
    budget_warn: float = 1.0
    """Share of a budget that its forecast may reach."""

    def __post_init__(self) -> None:
        for name in ("cpu_warn", "disk_warn", "disk_fail", "memory_warn", "credits_warn",
                     "connections_warn"):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise RefusedError(name, "must be a share between 0 and 1")
        for low, high in (("disk_fail", "disk_warn"),
                          ("certificate_fail_days", "certificate_warn_days")):  # fmt: skip
            if getattr(self, low) > getattr(self, high):
                raise RefusedError(low, f"must not be above {high}")
        for name in self.__struct_fields__:
            if getattr(self, name) < 0:
                raise RefusedError(name, "must not be negative")


class AwsSettings(Settings, frozen=True, kw_only=True):
    """[aws]"""

    account: str
    """The site's account, 12 digits; any other is refused."""
    region: str = ""
    """Default: AWS_DEFAULT_REGION, else the profile's, else us-east-1."""
    profile: str = ""
    """A profile of the AWS configuration; default: AWS_PROFILE, else the usual search."""
    credentials: str = ""
    """Another credentials file than ~/.aws/credentials, from the site's folder."""
    database: str = ""
    """Identifier of the RDS instance."""
    instance: str = ""
    """Id of the EC2 server."""
    serves: list[str] = msgspec.field(default_factory=list)
    """What runs on the EC2 server, and cannot be reached while it is down: ["Web GUI", …]."""
    reboot_seconds: int = 120
    """EC2 looks at the server's health once a minute: so long after a reboot, a server that is
    well may not have gone down yet."""
    buckets: dict[str, str] = msgspec.field(default_factory=dict)
    """What the site calls a bucket -> the bucket's name."""
    limits: dict[str, int] = msgspec.field(default_factory=dict)
    """What the site calls a bucket -> bytes that it may hold, for "full in"."""
    reports: str = "reports"
    """What the site calls the bucket that `aws reports link` hands out files of."""
    endpoint: str = ""
    """Where all calls go instead of to AWS: an emulator."""
    thresholds: AwsThresholds = msgspec.field(default_factory=AwsThresholds)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d{12}", self.account):
            raise RefusedError("account", f"{self.account!r} must be 12 digits in quotes")
        if self.reboot_seconds < 0:
            raise RefusedError("reboot_seconds", "must not be negative")
        if self.instance and not re.fullmatch(r"i-[0-9a-f]{8,17}", self.instance):
            raise RefusedError(
                "instance", f'{self.instance!r} must look like "i-0123456789abcdef0"'
            )
        if self.region and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d+", self.region):
            raise RefusedError("region", f'{self.region!r} must look like "us-east-1"')
        for key, bucket in self.buckets.items():
            if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
                raise RefusedError("buckets", f"{key} = {bucket!r} is no name of a bucket")
        for key, limit in self.limits.items():
            if key not in self.buckets:
                raise RefusedError("limits", f"names {key!r}, which is not one of the buckets")
            if limit <= 0:
                raise RefusedError("limits", f"{key} must be a number of bytes above 0")
