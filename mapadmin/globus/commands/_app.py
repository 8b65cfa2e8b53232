"""The group that all `mapadmin globus` commands belong to, and where each of them is."""

import typer

from mapadmin.lazy import Commands, lazy_group

_HERE = "mapadmin.globus.commands"

COMMANDS: Commands = {
    "login": (f"{_HERE}.login", "Log in, for a person or for cron."),
    "logout": (f"{_HERE}.login", "Revoke and forget this machine's tokens."),
    "whoami": (f"{_HERE}.login", "Whose login this is."),
    "endpoints": (f"{_HERE}.endpoints", "The site's collections: state, owner, reachable."),
    "ls": (f"{_HERE}.listing", "What lies in a folder, or in a whole tree."),
    "du": (f"{_HERE}.listing", "Bytes and files a folder, biggest first."),
    "stat": (f"{_HERE}.listing", "One file or folder."),
    "mkdir": (f"{_HERE}.files", "Make a folder."),
    "rename": (f"{_HERE}.files", "Give a file or folder another name."),
    "rm": (f"{_HERE}.files", "Delete files, and folders with -r."),
    "transfer": (f"{_HERE}.transfer", "Copy between collections, one task a batch."),
    "tasks": (f"{_HERE}.tasks", "Transfers and deletions, what needs attention first."),
    "task": (f"{_HERE}.tasks", "One task: events, faults, what failed."),
    "wait": (f"{_HERE}.tasks", "Wait for a task; exit codes tell how it ended."),
    "cancel": (f"{_HERE}.tasks", "End a task."),
    "check": (f"{_HERE}.check", "Does the archive hold what the database says."),
    "permissions": (f"{_HERE}.access", "Who may read or write what, until when."),
    "grant": (f"{_HERE}.access", "Let somebody read or write a folder."),
    "revoke": (f"{_HERE}.access", "Take access to a folder away."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Listing, transfers, and whether the archive holds what the database says.",
)


@app.callback()
def group() -> None:
    """What makes this a group, also before any of its commands has been imported."""
