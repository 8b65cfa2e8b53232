"""Groups of commands that are imported one by one, when they are used.

Help and completion of a group need its commands' names and a sentence on each; everything behind a
command is imported when that very command runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_command_from_info

Commands = Mapping[str, tuple[str, str]]  # name -> module, sentence


class LazyGroup(TyperGroup):
    """A group whose commands are listed in `lazy`; see `lazy_group`."""

    lazy: ClassVar[Commands] = {}

    def __init__(self, **attributes: Any) -> None:
        """What help and suggestions need of each command: a name and a sentence."""
        super().__init__(**attributes)
        stubs = {
            name: TyperCommand(name, help=sentence, short_help=sentence)
            for name, (_, sentence) in self.lazy.items()
        }
        self.commands = {**stubs, **self.commands}

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of `lazy`."""
        del ctx
        return list(self.lazy)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """What running or completing needs: the command itself."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name in self.lazy:
            command = load(self.lazy[name][0], name)
        return name, command, rest


def lazy_group(commands: Commands) -> type[LazyGroup]:
    """A class for `typer.Typer(cls=…)`: a group of these commands."""
    return type("LazyGroup", (LazyGroup,), {"lazy": commands})


def load(module: str, name: str) -> Any:
    """A command from the `app` of its module: one of several in it, or all of it."""
    app = importlib.import_module(module).app
    for info in app.registered_commands:
        if info.name == name:  # alone: its neighbours in the module need not be made as well
            return get_command_from_info(
                info, pretty_exceptions_short=False, rich_markup_mode=app.rich_markup_mode
            )
    command = get_command(app)
    command.name = name
    return command
