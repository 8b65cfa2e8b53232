"""The group that all `mapadmin workers` commands belong to, and where each of them is."""

import typer

from mapadmin.lazy import Commands, lazy_group

_HERE = "mapadmin.workers.commands"

COMMANDS: Commands = {
    "up": (f"{_HERE}.lifecycle", "Start the workers, as many as the site file says."),
    "scale": (f"{_HERE}.lifecycle", "Have more or fewer workers of a kind."),
    "restart": (f"{_HERE}.lifecycle", "Replace all workers, each when its job is done."),
    "stop": (f"{_HERE}.lifecycle", "Have all workers leave after their jobs."),
    "down": (f"{_HERE}.lifecycle", "The same, and remove their containers and files."),
    "status": (f"{_HERE}.status", "What each worker is doing; jobs that are nobody's."),
    "logs": (f"{_HERE}.status", "What the workers print."),
    "check": (f"{_HERE}.check", "Whether workers could do their work, seen from inside."),
    "rotate-password": (f"{_HERE}.rotate", "A new password for the workers' account."),
    "jobs": (f"{_HERE}.jobs", "Jobs of each table: reserved, failed, waiting."),
    "errors": (f"{_HERE}.errors", "Failed jobs, by what their messages mean."),
    "retry": (f"{_HERE}.retry", "Let failed jobs be tried again."),
    "progress": (f"{_HERE}.progress", "How much of each table has been computed."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The pipeline's workers and their jobs.",
)


@app.callback()
def group() -> None:
    """What makes this a group, also before any of its commands has been imported."""
