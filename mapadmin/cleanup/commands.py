"""`mapadmin cleanup`: all that the site file lists, or one part of it."""

from __future__ import annotations

import typer

from mapadmin.admin import Admin
from mapadmin.cleanup.options import Given, clean_up, takes_given
from mapadmin.cleanup.runner import load_part
from mapadmin.core.errors import UsageError
from mapadmin.lazy import Commands, lazy_group

COMMANDS: Commands = {
    "jobs": ("mapadmin.cleanup.one_part", "Failed jobs worth another try, dead reservations."),
    "figures": ("mapadmin.cleanup.store_commands", "Files of the stores that no row refers to."),
    "outdated": ("mapadmin.cleanup.one_part", "Results that are outdated; stage directories."),
    "trash": ("mapadmin.cleanup.store_commands", "Empty the trash of what figures put there."),
    "schedule": ("mapadmin.cleanup.schedule", "Print a crontab or systemd units for all of this."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    add_completion=False,
    invoke_without_command=True,
)


@app.callback()
@takes_given()
def cleanup(ctx: typer.Context, given: Given) -> None:
    """Clear away what the pipeline leaves behind: all that the site file lists, or one part.

    Made for cron: one at a time, one summary line, exit code 1 when a part failed. What a part
    would have to ask is not done without --yes. Refuses to run beside MAP's own worker for this,
    automate-sync-and-cleanup.
    """
    if ctx.invoked_subcommand is not None:
        if given != Given():
            raise UsageError(  # else --dry-run would be given, and not heard
                "Options go behind the part.",
                remedy=f"mapadmin cleanup {ctx.invoked_subcommand} ...",
            )
        return
    admin = ctx.ensure_object(Admin)
    parts = admin.site.settings.cleanup.parts
    clean_up(admin, lambda: [load_part(name) for name in parts], given)
