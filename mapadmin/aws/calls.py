"""Every call that mapadmin makes to AWS, with the permission that it needs.

`Aws.call` takes a Call and nothing else, so the policy that `mapadmin aws policy` prints, which is
made from this table, cannot lag behind. Source of actions and their resources: the Service
Authorization Reference.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class On(StrEnum):
    """What a permission is for; the policy puts the site's names in."""

    ANYTHING = "*"  # the action knows no resources, or asks for lists
    NOTHING = "-"  # needs no permission
    DATABASE = "database"
    SNAPSHOTS = "snapshots"  # those that mapadmin names
    COPY = "copy"  # the temporary instance of a check
    GROUPS = "groups"  # parameter groups of RDS
    SUBNETS = "subnets"  # subnet groups of RDS
    INSTANCE = "instance"
    BUCKETS = "buckets"
    OBJECTS = "objects"
    LINKED = "objects of the buckets that links are for"
    BUDGETS = "budgets"
    SECRETS = "secrets"  # that the site file refers to
    STORES = "stores"  # buckets of DataJoint's stores, reached as this identity
    STORED = "stored"  # their objects


class Call(msgspec.Struct, frozen=True):
    """An operation of a service; `action` where IAM calls it otherwise."""

    service: str
    operation: str
    on: tuple[On, ...] = (On.ANYTHING,)
    changes: bool = False
    action: str = ""
    also: tuple[str, ...] = ()  # further actions that the operation checks
    costs: bool = False  # each request is paid for

    @property
    def actions(self) -> tuple[str, ...]:
        """As IAM names them: `rds:DescribeDBInstances`."""
        own = self.action or f"{self.service}:{self.operation}"
        return (own, *self.also)


IDENTITY = Call("sts", "GetCallerIdentity", (On.NOTHING,))

DB_INSTANCES = Call("rds", "DescribeDBInstances", (On.DATABASE, On.COPY))
DB_MAINTENANCE = Call("rds", "DescribePendingMaintenanceActions")
DB_SNAPSHOTS = Call("rds", "DescribeDBSnapshots")
DB_PARAMETERS = Call("rds", "DescribeDBParameters", (On.GROUPS,))
DB_DEFAULTS = Call("rds", "DescribeEngineDefaultParameters")
DB_MAJOR_VERSIONS = Call("rds", "DescribeDBMajorEngineVersions")
DB_CREATE_SNAPSHOT = Call(
    "rds", "CreateDBSnapshot", (On.DATABASE, On.SNAPSHOTS), changes=True,
    also=("rds:AddTagsToResource",),
)  # fmt: skip
DB_DELETE_SNAPSHOT = Call("rds", "DeleteDBSnapshot", (On.SNAPSHOTS,), changes=True)
DB_RESTORE = Call(
    "rds", "RestoreDBInstanceFromDBSnapshot", (On.SNAPSHOTS, On.COPY, On.GROUPS, On.SUBNETS),
    changes=True, also=("rds:AddTagsToResource",),
)  # fmt: skip
DB_DELETE = Call("rds", "DeleteDBInstance", (On.COPY,), changes=True)
DB_MODIFY_PARAMETERS = Call("rds", "ModifyDBParameterGroup", (On.GROUPS,), changes=True)

INSTANCES = Call("ec2", "DescribeInstances")
INSTANCE_STATUS = Call("ec2", "DescribeInstanceStatus")
VOLUMES = Call("ec2", "DescribeVolumes")
SECURITY_GROUPS = Call("ec2", "DescribeSecurityGroups")
START = Call("ec2", "StartInstances", (On.INSTANCE,), changes=True)
STOP = Call("ec2", "StopInstances", (On.INSTANCE,), changes=True)
REBOOT = Call("ec2", "RebootInstances", (On.INSTANCE,), changes=True)

METRIC_DATA = Call("cloudwatch", "GetMetricData")
METRICS = Call("cloudwatch", "ListMetrics")
ALARMS = Call("cloudwatch", "DescribeAlarms")

BUDGETS = Call("budgets", "DescribeBudgets", (On.BUDGETS,), action="budgets:ViewBudget")
COST = Call("ce", "GetCostAndUsage", costs=True)

_BUCKET = (On.BUCKETS,)
BUCKET_HEAD = Call("s3", "HeadBucket", _BUCKET, action="s3:ListBucket")
OBJECTS = Call("s3", "ListObjectsV2", _BUCKET, action="s3:ListBucket")
VERSIONING = Call("s3", "GetBucketVersioning", _BUCKET)
ENCRYPTION = Call("s3", "GetBucketEncryption", _BUCKET, action="s3:GetEncryptionConfiguration")
PUBLIC_BLOCK = Call("s3", "GetPublicAccessBlock", _BUCKET, action="s3:GetBucketPublicAccessBlock")
POLICY_STATUS = Call("s3", "GetBucketPolicyStatus", _BUCKET)
LIFECYCLE = Call(
    "s3", "GetBucketLifecycleConfiguration", _BUCKET, action="s3:GetLifecycleConfiguration"
)
PUT_LIFECYCLE = Call(
    "s3", "PutBucketLifecycleConfiguration", _BUCKET, changes=True,
    action="s3:PutLifecycleConfiguration",
)  # fmt: skip
DELETE_LIFECYCLE = Call(
    "s3", "DeleteBucketLifecycle", _BUCKET, changes=True, action="s3:PutLifecycleConfiguration"
)
UPLOADS = Call("s3", "ListMultipartUploads", _BUCKET, action="s3:ListBucketMultipartUploads")
PARTS = Call("s3", "ListParts", (On.OBJECTS,), action="s3:ListMultipartUploadParts")
ABORT_UPLOAD = Call(
    "s3", "AbortMultipartUpload", (On.OBJECTS,), changes=True, action="s3:AbortMultipartUpload"
)
HEAD_OBJECT = Call("s3", "HeadObject", (On.LINKED,), action="s3:GetObject")
GET_OBJECT = Call("s3", "GetObject", (On.LINKED,))

# Made elsewhere: `core.secret` and `cleanup figures` talk to AWS on their own.
SECRET = Call("secretsmanager", "GetSecretValue", (On.SECRETS,))
STORE_LIST = Call("s3", "ListObjectsV2", (On.STORES,), action="s3:ListBucket")
STORE_HEAD = Call("s3", "HeadObject", (On.STORED,), action="s3:GetObject")
STORE_READ = Call("s3", "GetObject", (On.STORED,), also=("s3:GetObjectTagging",))
STORE_WRITE = Call("s3", "PutObject", (On.STORED,), changes=True)
STORE_COPY = Call(  # of more than 5 GiB in parts; tags are copied as well
    "s3", "CopyObject", (On.STORED,), changes=True, action="s3:PutObject",
    also=("s3:PutObjectTagging", "s3:AbortMultipartUpload"),
)  # fmt: skip
STORE_DELETE = Call(
    "s3", "DeleteObjects", (On.STORED,), changes=True, action="s3:DeleteObject"
)  # fmt: skip

ALL: tuple[Call, ...] = tuple(value for value in list(globals().values()) if type(value) is Call)
