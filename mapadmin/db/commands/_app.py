"""The group that all `mapadmin db` commands belong to, and where each of them is."""

import typer

from mapadmin.lazy import Commands, lazy_group

_HERE = "mapadmin.db.commands"

COMMANDS: Commands = {
    "add-user": (f"{_HERE}.accounts", "Add a person or a service."),
    "remove-user": (f"{_HERE}.offboard", "Remove a person or a service; keep, archive or drop."),
    "set-role": (f"{_HERE}.accounts", "Give a person or service another role."),
    "set-expiry": (f"{_HERE}.accounts", "Set the last day of a person's account."),
    "set-password": (f"{_HERE}.passwords", "Set a new password."),
    "lock": (f"{_HERE}.accounts", "Keep a person or service from logging in."),
    "unlock": (f"{_HERE}.accounts", "Let a locked person or service log in again."),
    "users": (f"{_HERE}.look", "All accounts."),
    "show-user": (f"{_HERE}.look", "One user: what they reach, and why."),
    "roles": (f"{_HERE}.look", "The site's roles and the server's own."),
    "grants": (f"{_HERE}.look", "All grants, or who can reach a schema."),
    "schemas": (f"{_HERE}.look", "All schemas: owner, size, growth."),
    "apply": (f"{_HERE}.converge", "Make the server as people.toml and the roles say."),
    "audit": (f"{_HERE}.audit", "What `apply` would do, and what else is not as it should be."),
    "import": (f"{_HERE}.importing", "Take over accounts that exist already."),
    "dump": (f"{_HERE}.dump", "Accounts and grants as SQL."),
    "processes": (f"{_HERE}.sessions", "Who is doing what on the server."),
    "kill": (f"{_HERE}.sessions", "End sessions, or what they run."),
    "params": ("mapadmin.rds.params", "The server parameters that DataJoint needs."),
    "check": (f"{_HERE}.check", "Is the server fit to be administered from here."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Database accounts and grants.",
)


@app.callback()
def group() -> None:
    """What makes this a group, also before any of its commands has been imported."""
