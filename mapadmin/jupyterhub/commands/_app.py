"""The group that all `mapadmin jupyterhub` commands belong to, and where each of them is."""

import typer

from mapadmin.lazy import Commands, lazy_group

_HERE = "mapadmin.jupyterhub.commands"

COMMANDS: Commands = {
    "status": (f"{_HERE}.look", "Hub, token, login, servers at a glance."),
    "users": (f"{_HERE}.look", "Who may use the hub, and when they last did."),
    "servers": (f"{_HERE}.look", "Whose server runs, since when, and what its kernels do."),
    "start-server": (f"{_HERE}.servers", "Start a user's server."),
    "stop-server": (f"{_HERE}.servers", "Stop a user's server."),
    "stop-idle": (f"{_HERE}.servers", "Stop servers that nobody uses."),
    "apply": (f"{_HERE}.apply", "Let the people of people.toml use the hub."),
    "notice": (f"{_HERE}.notice", "Tell users something on the hub's pages."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Users of JupyterHub, their servers, and what they are told.",
)


@app.callback()
def group() -> None:
    """What makes this a group, also before any of its commands has been imported."""
