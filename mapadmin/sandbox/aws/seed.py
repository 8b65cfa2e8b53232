"""What is in the sandbox's AWS account: the site's instances, buckets, and 90 days of figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

ACCOUNT = "123456789012"
REGION = "us-east-1"
DATABASE = "map-db"
INSTANCE = "i-0123456789abcdef0"
GROUP = "map-mysql84"
BUCKETS = {"reports": "map-reports", "archive": "map-ephys-archive"}
LOST = "sub-440958/lost.bin"  # an upload that nobody has finished
SEEDER = "mapadmin-seeder"  # part of the user agent: its requests do not wait for it to end
_DAYS = 90
_ALLOCATED = 200  # GiB of the database's disk

# bucket -> storage class -> (key, bytes)
OBJECTS: dict[str, dict[str, list[tuple[str, int]]]] = {
    "map-reports": {
        "STANDARD": [
            (f"session/{day:%Y-%m-%d}/sub-{440956 + n}/session_overview.png", 3000 + 17 * n)
            for n, day in enumerate(
                datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=3 * n) for n in range(24)
            )
        ]
        + [("weekly/index.html", 5120), ("weekly/Größe & rate+1.html", 777)],
    },
    "map-ephys-archive": {
        "STANDARD": [
            (f"sub-{440956 + n // 4}/ses-{n % 4}/imec{probe}.ap.meta", 2048)
            for n in range(12) for probe in (0, 1)
        ],
        "GLACIER": [
            (f"sub-{440956 + n // 4}/ses-{n % 4}/imec{probe}.ap.cbin", 65_536 + n)
            for n in range(12) for probe in (0, 1)
        ],
    },
}  # fmt: skip
_STORAGE = {"STANDARD": "StandardStorage", "GLACIER": "GlacierStorage"}


class Clients:
    """botocore's clients of the emulator."""

    def __init__(self, endpoint: str, agent: str = SEEDER) -> None:
        import botocore.session
        from botocore.config import Config

        session: Any = botocore.session.Session()
        self._make: Callable[[str], Any] = lambda service: session.create_client(
            service, region_name=REGION, endpoint_url=endpoint, aws_access_key_id="sandbox",
            aws_secret_access_key="sandbox",  # noqa: S106
            config=Config(read_timeout=60, user_agent_extra=agent),
        )  # fmt: skip

    def __getattr__(self, service: str) -> Any:
        return self._make(service)


def seed(endpoint: str) -> None:
    """Put everything there."""
    clients = Clients(endpoint)
    _database(clients)
    _instance(clients)
    _buckets(clients)
    _figures(clients)


def _database(clients: Clients) -> None:
    rds = clients.rds
    rds.create_db_parameter_group(
        DBParameterGroupName=GROUP, DBParameterGroupFamily="mysql8.4", Description="of the sandbox"
    )
    rds.modify_db_parameter_group(
        DBParameterGroupName=GROUP,
        Parameters=[
            {"ParameterName": "max_allowed_packet", "ParameterValue": "67108864",
             "ApplyMethod": "immediate"},
        ],
    )  # fmt: skip
    rds.create_db_instance(
        DBInstanceIdentifier=DATABASE, DBInstanceClass="db.t3.large", Engine="mysql",
        EngineVersion="8.4.5", AllocatedStorage=_ALLOCATED, MaxAllocatedStorage=500,
        StorageType="gp3", MasterUsername="admin", MasterUserPassword="sandbox-only",
        BackupRetentionPeriod=7, MultiAZ=False, DeletionProtection=True, StorageEncrypted=True,
        PubliclyAccessible=False, DBParameterGroupName=GROUP,
    )  # fmt: skip
    rds.create_db_snapshot(
        DBInstanceIdentifier=DATABASE, DBSnapshotIdentifier=f"{DATABASE}-before-upgrade",
        Tags=[{"Key": "made-by", "Value": "an administrator"}],
    )  # fmt: skip


def _instance(clients: Clients) -> None:
    ec2 = clients.ec2
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(
        GroupName="map-server", Description="the site's server", VpcId=vpc
    )["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": port, "ToPort": port,
             "IpRanges": [{"CidrIp": cidr}]}
            for port, cidr in ((443, "0.0.0.0/0"), (22, "10.0.0.0/8"))
        ],
    )  # fmt: skip
    ec2.run_instances(
        ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="t3.xlarge",
        SecurityGroupIds=[group],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "map-server"}]}
        ],
        BlockDeviceMappings=[
            {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 200, "Encrypted": True}}
        ],
    )  # fmt: skip


def _buckets(clients: Clients) -> None:
    s3 = clients.s3
    for bucket, classes in OBJECTS.items():
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3.put_public_access_block(
            Bucket=bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )  # fmt: skip
        s3.put_bucket_encryption(
            Bucket=bucket,
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
        )
        for name, objects in classes.items():
            for key, size in objects:
                s3.put_object(Bucket=bucket, Key=key, Body=bytes(size), StorageClass=name)
    s3.put_bucket_lifecycle_configuration(
        Bucket="map-ephys-archive",
        LifecycleConfiguration={
            "Rules": [
                {"ID": "to-glacier", "Status": "Enabled", "Filter": {"Prefix": "sub-"},
                 "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]}
            ]
        },
    )  # fmt: skip
    upload = s3.create_multipart_upload(Bucket="map-ephys-archive", Key=LOST)
    s3.upload_part(
        Bucket="map-ephys-archive", Key=LOST, UploadId=upload["UploadId"],
        PartNumber=1, Body=bytes(300_000),
    )  # fmt: skip


def _figures(clients: Clients) -> None:
    cloudwatch = clients.cloudwatch
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    today = now.replace(hour=0, minute=0)
    data: dict[str, list[dict[str, Any]]] = {"AWS/S3": [], "AWS/RDS": [], "AWS/EC2": []}
    for back in range(_DAYS):
        day = today - timedelta(days=back + 1)
        share = 1 - 0.6 * back / _DAYS
        for bucket, classes in OBJECTS.items():
            for name, objects in classes.items():
                size = int(sum(size for _, size in objects) * share)
                data["AWS/S3"].append(
                    _datum("BucketSizeBytes", size, day, BucketName=bucket,
                           StorageType=_STORAGE[name])
                )  # fmt: skip
            number = int(sum(map(len, classes.values())) * share)
            data["AWS/S3"].append(
                _datum("NumberOfObjects", number, day, BucketName=bucket,
                       StorageType="AllStorageTypes")
            )  # fmt: skip
        free = (90 + 60 * back / _DAYS) * 1024**3
        data["AWS/RDS"].append(_datum("FreeStorageSpace", free, day, DBInstanceIdentifier=DATABASE))
    # The figures of the next hours as well: nobody makes them while the sandbox is up.
    for moment in (now + timedelta(minutes=5 * n) for n in range(-12, 12 * 12)):
        data["AWS/RDS"] += [
            _datum(name, value, moment, DBInstanceIdentifier=DATABASE)
            for name, value in _DATABASE_NOW.items()
        ]
        data["AWS/EC2"] += [
            _datum(name, value, moment, InstanceId=INSTANCE)
            for name, value in _INSTANCE_NOW.items()
        ]
    for namespace, all_of_it in data.items():
        for some in _chunks(all_of_it, 500):
            cloudwatch.put_metric_data(Namespace=namespace, MetricData=some)
    cloudwatch.put_metric_alarm(
        AlarmName="map-db-cpu", Namespace="AWS/RDS", MetricName="CPUUtilization",
        Dimensions=[{"Name": "DBInstanceIdentifier", "Value": DATABASE}], Period=300,
        EvaluationPeriods=2, Threshold=85, ComparisonOperator="GreaterThanThreshold",
        Statistic="Average",
    )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName="map-db-cpu", StateValue="OK", StateReason="quiet")


_DATABASE_NOW = {
    "CPUUtilization": 23.5, "FreeStorageSpace": 90.0 * 1024**3,
    "FreeableMemory": 3.1 * 1024**3, "DatabaseConnections": 14.0, "SwapUsage": 1.0 * 1024**2,
    "CPUCreditBalance": 700.0,
}  # fmt: skip
_INSTANCE_NOW = {"CPUUtilization": 41.0, "CPUCreditBalance": 1800.0, "StatusCheckFailed": 0.0}


def _datum(name: str, value: float, when: datetime, **dimensions: str) -> dict[str, Any]:
    return {
        "MetricName": name, "Value": float(value), "Timestamp": when,
        "Dimensions": [{"Name": k, "Value": v} for k, v in dimensions.items()],
    }  # fmt: skip


def _chunks(data: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]
