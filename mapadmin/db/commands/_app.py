"""The group that all `mapadmin db` commands belong to."""

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Database accounts and grants.")
