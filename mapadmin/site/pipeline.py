"""[pipeline]: the schemas that DataJoint fills, and how its code is run."""

from __future__ import annotations

import msgspec

from mapadmin.site.base import RefusedError, Settings


class PipelineSettings(Settings, frozen=True, kw_only=True):
    """[pipeline]"""

    schemas: list[str] = msgspec.field(default_factory=list)
    """Patterns of the pipeline's schemas; default: the project's, `<project_prefix>_*`."""
    command: list[str] = msgspec.field(default_factory=list)
    """A Python with the pipeline's DataJoint and its configuration, as an argument list: a python,
    or `["docker", "exec", "-i", "worker", "python"]`. It is given a program on its standard input;
    it needs Python 3.6 and DataJoint 0.12 or newer, and nothing of mapadmin's."""
    modules: list[str] = msgspec.field(default_factory=list)
    """The pipeline's Python modules, for what only its code knows (`key_source`). Without them
    progress is counted by the tables' foreign keys."""
    timeout: float = 3600.0
    """Seconds that one run of `command` may take."""

    def __post_init__(self) -> None:
        if not all(self.schemas):
            raise RefusedError("schemas", "must not hold an empty pattern")
        if self.command and not self.command[0]:
            raise RefusedError("command", "must begin with a program")
        if not all(name.replace(".", "").replace("_", "").isalnum() for name in self.modules):
            raise RefusedError("modules", "must be names of Python modules")
        if not 0 < self.timeout <= 7 * 86400:
            raise RefusedError("timeout", "must be between 1 second and a week")
