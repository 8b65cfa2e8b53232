"""A parameter group of RDS as a keeper of the server's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mapadmin.aws import calls
from mapadmin.aws.execute import AwsStep, kind
from mapadmin.aws.session import Aws
from mapadmin.core.errors import MapadminError
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.db.parameters import Change, Kept

_AT_ONCE = 20  # parameters that ModifyDBParameterGroup takes in a call


class ParameterGroup:
    """The group of one RDS instance."""

    def __init__(self, aws: Aws, instance: Mapping[str, Any]) -> None:
        self._aws = aws
        self.group = str(instance["DBParameterGroups"][0]["DBParameterGroupName"])
        major = ".".join(str(instance["EngineVersion"]).split(".")[:2])
        self._family = f"{instance['Engine']}{major}"
        self.name = f"parameter group {self.group}"

    def kept(self) -> Mapping[str, Kept]:
        """What the engine allows, and what the group's owner has set."""
        aws = self._aws
        allowed = aws.pages(
            calls.DB_DEFAULTS, "EngineDefaults.Parameters", DBParameterGroupFamily=self._family
        )
        own = aws.pages(
            calls.DB_PARAMETERS, "Parameters", DBParameterGroupName=self.group, Source="user"
        )
        values = {p["ParameterName"]: p.get("ParameterValue") for p in own}
        known = {p["ParameterName"]: p for p in allowed}
        return {
            name: Kept(
                values.get(name), bool(known.get(name, {}).get("IsModifiable", name in values)),
                known[name].get("ApplyType") == "static" if name in known else None,
            )
            for name in known.keys() | values.keys()
        }  # fmt: skip

    def plan(self, changes: Sequence[Change]) -> Plan:
        """Twenty a call; never a reboot, which is said instead."""
        if not changes:
            return Plan()
        if self.group.startswith("default."):
            raise MapadminError(
                f"{self.group} is a group of RDS's own, which nobody can change.",
                remedy=f"Make one (aws rds create-db-parameter-group --db-parameter-group-family "
                f"{self._family} …), give it to the instance, and reboot that.",
            )
        waiting = [change.name for change in changes if change.restart]
        notes = (f"in force after a reboot of the instance: {', '.join(waiting)}",)
        steps = tuple(
            self._step(changes[first : first + _AT_ONCE])
            for first in range(0, len(changes), _AT_ONCE)
        )
        return Plan(steps, notes if waiting else ())

    def _step(self, some: Sequence[Change]) -> AwsStep:
        return AwsStep(
            action="set parameters", target=self.group,
            detail="; ".join(f"{c.name} {c.shown}" for c in some),
            call=calls.DB_MODIFY_PARAMETERS,
            parameters={
                "DBParameterGroupName": self.group,
                "Parameters": [
                    {
                        "ParameterName": c.name, "ParameterValue": c.value,
                        "ApplyMethod": "pending-reboot" if c.restart else "immediate",
                    }
                    for c in some
                ],
            },
        )  # fmt: skip

    def kinds(self) -> Mapping[type[Step], Kind]:
        return {AwsStep: kind(self._aws)}
