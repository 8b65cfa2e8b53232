"""The checks of the site's AWS account, for `mapadmin aws status` and every wider look."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from mapadmin.aws import calls
from mapadmin.aws import judge_bucket as bucket_judge
from mapadmin.aws import judge_database as database_judge
from mapadmin.aws import judge_server as server_judge
from mapadmin.aws.calls import Call
from mapadmin.aws.facts import Facts
from mapadmin.aws.faults import AwsError
from mapadmin.aws.metrics import STORAGE_TYPES, Point, of_database, of_instance
from mapadmin.core.checks import Check, Finding, fail, ok, warn

Judge = Callable[[], Finding]


def aws_checks(facts: Facts) -> list[Check]:
    """The checks of everything that the site file names, the identity first.

    Their results come from `core.checks.run_checks`, which runs them side by side.
    """
    settings = facts.aws.settings
    judges: dict[str, Judge] = {"identity": partial(_identity, facts)}
    if settings.database:
        judges |= _database(facts)
    if settings.instance:
        judges |= _server(facts)
    if settings.instance or settings.database:
        judges["security groups"] = lambda: server_judge.open_to_the_world(facts.groups())
    for name, bucket in settings.buckets.items():
        judges |= _bucket(facts, name, bucket)
    judges["alarms"] = lambda: bucket_judge.alarms(facts.alarms())
    judges["budgets"] = _marked(
        facts, calls.BUDGETS, lambda: bucket_judge.budgets(facts.budgets(), settings.thresholds)
    )
    return [Check(name, judge) for name, judge in judges.items()]


def _identity(facts: Facts) -> Finding:
    identity = facts.aws.require_account()
    return ok(f"{identity.arn}, {facts.aws.region}")


def _now() -> datetime:
    return datetime.now(UTC)


def _database(facts: Facts) -> dict[str, Judge]:
    limits, name = facts.aws.settings.thresholds, facts.aws.settings.database

    def figure(metric: str) -> list[Point]:
        facts.database()  # a figure says nothing of an instance that is not there
        return facts.hour()[of_database(name, metric)]

    judges: dict[str, Judge] = {
        "database": lambda: database_judge.state(facts.database(), facts.aws.region),
        "database cpu": lambda: database_judge.cpu(figure("CPUUtilization"), limits, _now()),
        "database memory": lambda: database_judge.memory(
            facts.database()["DBInstanceClass"], figure("FreeableMemory"), limits, _now()
        ),
        "database swap": lambda: database_judge.swap(figure("SwapUsage"), limits, _now()),
        "database credits": lambda: _credits(
            facts.database()["DBInstanceClass"], figure("CPUCreditBalance"), facts
        ),
        "database disk": lambda: database_judge.disk(
            facts.database(), figure("FreeStorageSpace"),
            facts.days()[of_database(name, "FreeStorageSpace", "Minimum")], limits, _now(),
        ),
        "connections": lambda: database_judge.connections(
            figure("DatabaseConnections"), facts.parameters(), limits, _now()
        ),
        "backups": lambda: database_judge.backups(facts.database(), limits, _now()),
        "snapshots": lambda: database_judge.snapshots(facts.snapshots(), _now()),
        "protection": lambda: database_judge.safety(facts.database()),
        "parameters": lambda: database_judge.parameters(facts.database(), facts.parameters()),
        "certificate": _marked(
            facts, calls.DB_INSTANCES,
            lambda: database_judge.certificate(facts.database(), limits, _now()),
        ),
        "maintenance": _marked(
            facts, calls.DB_MAINTENANCE, lambda: database_judge.maintenance(facts.maintenance())
        ),
        "end of support": lambda: _end_of_support(facts),
    }  # fmt: skip
    return {check: _missing(judge, name) for check, judge in judges.items()}


def _missing(judge: Judge, name: str) -> Judge:
    """An instance that does not exist is said to be missing, not a code."""

    def run() -> Finding:
        try:
            return judge()
        except AwsError as error:
            if error.code not in ("DBInstanceNotFound", "DBInstanceNotFoundFault"):
                raise
            return fail(
                f"there is no RDS instance {name} in this account and region",
                "Check aws.database, aws.region and --region.",
            )

    return run


def _end_of_support(facts: Facts) -> Finding:
    answer = facts.major_version()
    asked = datetime.fromtimestamp(answer["asked"], UTC)
    finding = database_judge.end_of_life(
        answer["version"], answer["ends"], asked, facts.aws.settings.thresholds, _now()
    )
    return _mark(finding) if answer["recorded"] else finding


def _credits(kind: str, points: list[Point], facts: Facts) -> Finding:
    finding = database_judge.credits_left(kind, points, facts.aws.settings.thresholds, _now())
    return finding or ok(f"{kind} is not burstable")


def _server(facts: Facts) -> dict[str, Judge]:
    limits, instance = facts.aws.settings.thresholds, facts.aws.settings.instance

    def figure(metric: str) -> list[Point]:
        facts.instance()
        return facts.hour()[of_instance(instance, metric)]

    judges: dict[str, Judge] = {
        "server": lambda: server_judge.state(facts.instance(), limits, _now()),
        "server health": lambda: server_judge.health(facts.instance_status()),
        "server cpu": lambda: database_judge.cpu(figure("CPUUtilization"), limits, _now()),
        "server credits": lambda: _credits(
            facts.instance()["InstanceType"], figure("CPUCreditBalance"), facts
        ),
        "server disks": lambda: server_judge.disks(facts.disk_used(), limits),
        "server volumes": lambda: server_judge.volumes(facts.volumes()),
    }
    return {check: _gone(judge, instance) for check, judge in judges.items()}


def _gone(judge: Judge, instance: str) -> Judge:
    def run() -> Finding:
        try:
            return judge()
        except AwsError as error:
            if not error.code.startswith("InvalidInstanceID"):
                raise
            return fail(
                f"there is no EC2 instance {instance} in this account and region",
                "Check aws.instance, aws.region and --region.",
            )

    return run


# What S3 answers where nothing was ever set: that is an answer, not an error.
_NOT_SET: dict[str, Finding] = {
    "NoSuchPublicAccessBlockConfiguration": bucket_judge.NO_BLOCK,
    "NoSuchBucketPolicy": ok("no policy"),
    "ServerSideEncryptionConfigurationNotFoundError": warn("no default encryption"),
    "NoSuchLifecycleConfiguration": bucket_judge.lifecycle([]),
    "NoSuchBucket": fail("there is no such bucket", "Check aws.buckets."),
}


def _bucket(facts: Facts, name: str, bucket: str) -> dict[str, Judge]:
    limits = facts.aws.settings.thresholds

    def ask(call: Call, judge: Callable[[dict[str, object]], Finding]) -> Judge:
        def run() -> Finding:
            try:
                return judge(facts.aws.call(call, Bucket=bucket))
            except AwsError as error:
                if error.code not in _NOT_SET:
                    raise
                return _NOT_SET[error.code]

        return run

    def uploads() -> Finding:
        found = facts.aws.pages(calls.UPLOADS, "Uploads", Bucket=bucket)
        return bucket_judge.uploads(found, limits, _now())

    of: dict[str, Judge] = {
        "size": lambda: bucket_judge.size(facts.days(), bucket, STORAGE_TYPES),
        "versioning": ask(calls.VERSIONING, bucket_judge.versioning),
        "encryption": ask(calls.ENCRYPTION, bucket_judge.encryption),
        "public access": ask(calls.PUBLIC_BLOCK, bucket_judge.public_block),
        "policy": ask(calls.POLICY_STATUS, bucket_judge.policy_status),
        "lifecycle": ask(
            calls.LIFECYCLE,
            lambda a: bucket_judge.lifecycle(a["Rules"]),  # type: ignore[arg-type]
        ),
        "uploads": _bucket_exists(uploads),
    }
    return {f"{name} {fact}": judge for fact, judge in of.items()}


def _bucket_exists(judge: Judge) -> Judge:
    def run() -> Finding:
        try:
            return judge()
        except AwsError as error:
            if error.code not in _NOT_SET:
                raise
            return _NOT_SET[error.code]

    return run


def _marked(facts: Facts, call: Call, judge: Judge) -> Judge:
    """Say so where the sandbox gave a recorded answer."""

    def run() -> Finding:
        finding = judge()
        return _mark(finding) if facts.aws.recorded(call) else finding

    return run


def _mark(finding: Finding) -> Finding:
    return Finding(finding.state, f"{finding.detail} [recorded]", finding.remedy)
