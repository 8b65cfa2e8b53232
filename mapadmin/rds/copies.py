"""The temporary instance of a check: who has made it, and deleting that one and no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mapadmin.aws import calls, snapshots
from mapadmin.aws.execute import keep_looking
from mapadmin.aws.faults import AwsError
from mapadmin.aws.session import Aws
from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Kind, Step

Tag = dict[str, str]


class DropCopy(Step, frozen=True, kw_only=True):
    """Delete the instance `target` if it has these tags, and wait until it is gone."""

    tags: tuple[Tag, ...]


class DropOwn(DropCopy, frozen=True, kw_only=True):
    """Delete what this run has made, whatever has become of its other steps: it is paid for."""

    always = True


def find_copy(aws: Aws, name: str) -> dict[str, Any] | None:
    """An instance of this name, if there is one."""
    try:
        return dict(aws.call(calls.DB_INSTANCES, DBInstanceIdentifier=name)["DBInstances"][0])
    except AwsError as error:
        if not error.means("DBInstanceNotFound"):
            raise
        return None


def has_tags(found: dict[str, Any], tags: Sequence[Tag]) -> bool:
    """Does an instance have all of these tags?"""
    return all(tag in found.get("TagList", ()) for tag in tags)


def left_over(aws: Aws, copy: str) -> DropCopy | None:
    """The step that deletes what an earlier check has left.

    It is for this very instance: not for one that another check makes meanwhile. Raises
    MapadminError when it is none of a check's.
    """
    found = find_copy(aws, copy)
    if found is None:
        return None
    if not has_tags(found, [snapshots.TAG]):
        raise MapadminError(
            f"There is an instance {copy} that no check has made (it lacks the tag "
            f"{snapshots.TAG['Key']}={snapshots.TAG['Value']}).",
            remedy="Rename it, or delete it yourself.",
        )
    made, of = found.get("InstanceCreateTime"), snapshots.tag_of(found, snapshots.OF)
    words = [
        f"{found['DBInstanceStatus']}",
        *([f"restored from {of}"] if of else []),
        *([f"made {made:%Y-%m-%d %H:%M} UTC"] if made else []),
        snapshots.tag_of(found, "made-by").replace("mapadmin", "by mapadmin", 1),
    ]
    return DropCopy(
        action="delete instance", target=copy, detail=", ".join(filter(None, words)),
        destroys=True, tags=tuple(t for t in found["TagList"] if t["Key"].startswith("mapadmin")),
    )  # fmt: skip


def kind(aws: Aws) -> Kind:
    """How an instance is deleted: asked for until it is gone, or is another."""

    def execute(steps: Sequence[DropCopy]) -> Iterator[None]:
        for step in steps:
            _delete(aws, step.target, step.tags)
            yield

    return Kind(execute)


def _delete(aws: Aws, name: str, tags: Sequence[Tag]) -> None:
    def look() -> tuple[bool, str]:
        found = find_copy(aws, name)
        if found is None or not has_tags(found, tags):
            return True, ""
        if found["DBInstanceStatus"] != "deleting":
            try:
                aws.call(
                    calls.DB_DELETE, DBInstanceIdentifier=name, SkipFinalSnapshot=True,
                    DeleteAutomatedBackups=True,
                )  # fmt: skip
            except AwsError as error:  # it may have to be made before it can be deleted
                if not error.means("DBInstanceNotFound", "InvalidDBInstanceState"):
                    raise
            found = find_copy(aws, name)
        return found is None, str((found or {}).get("DBInstanceStatus", ""))

    keep_looking(f"Deleting {name}", name, look)
