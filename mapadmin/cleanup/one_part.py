"""`cleanup jobs` and `cleanup outdated`."""

from __future__ import annotations

import typer

from mapadmin.admin import Admin
from mapadmin.cleanup.commands import app
from mapadmin.cleanup.options import Given, clean_up, takes_given
from mapadmin.cleanup.runner import load_part


@app.command("jobs")
@takes_given("force", "yes")
def jobs(ctx: typer.Context, given: Given) -> None:
    """Put back failed jobs that are worth another try, and clear reservations of dead workers.

    `[cleanup.jobs]` says which errors are generic and how often a key is tried again; from then on
    it is reported as poisonous, and left. A reservation is cleared when it is older than `grace`
    and, at two looks, nothing speaks for its worker: no connection, no name, no process. All
    that is cleared is copied into mapadmin's own schema first.
    """
    clean_up(ctx.ensure_object(Admin), lambda: [load_part("jobs")], given)


@app.command("outdated")
@takes_given()
def outdated(ctx: typer.Context, given: Given) -> None:
    """Delete results that the site's rules call outdated, and old copies in stage directories.

    A rule's rows are deleted by the site's own DataJoint, with all that hangs on them; a dry run
    tells how many rows of which tables. Where a person's own table hangs on them, the rule is not
    carried out. Without --yes, rows are only counted.
    """
    clean_up(ctx.ensure_object(Admin), lambda: [load_part("outdated")], given)
