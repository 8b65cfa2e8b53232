"""The options of commands that hand over a password."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mapadmin.db.passwords import DataJoint

PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin's first line.")
]
Prompt = Annotated[bool, typer.Option("--prompt", help="Ask for the password on the terminal.")]
PasswordFile = Annotated[
    Path | None, typer.Option(help="Write the password to a new file (0600), not the terminal.")
]
DjConfig = Annotated[
    Path | None, typer.Option(help="Write a DataJoint configuration with the password (0600).")
]
DjVersion = Annotated[DataJoint, typer.Option(help="DataJoint's generation, for --dj-config.")]
