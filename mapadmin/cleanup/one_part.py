"""`cleanup jobs` and `cleanup outdated`."""

from __future__ import annotations

import typer

from mapadmin.admin import Admin
from mapadmin.cleanup.commands import app
from mapadmin.cleanup.options import Force, Metrics, Quiet, SkipLocked, TimeLimit, clean_up
from mapadmin.cleanup.runner import How, load_part
from mapadmin.options import DryRun, Json, Yes


@app.command("jobs")
def jobs(
    ctx: typer.Context,
    quiet: Quiet = False,
    skip_locked: SkipLocked = False,
    time_limit: TimeLimit = None,
    metrics: Metrics = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Put back failed jobs that are worth another try, and clear reservations of dead workers.

    `[cleanup.jobs]` says which errors are generic and how often a key is tried again; from then on
    it is reported as poisonous, and left. A reservation is cleared when it is older than `grace`
    and, at two looks, nothing speaks for its worker: no connection, no name, no process. All
    that is cleared is copied into mapadmin's own schema first.
    """
    clean_up(
        ctx.ensure_object(Admin), lambda: [load_part("jobs")],
        How(dry_run=dry_run, time_limit=time_limit),
        as_json=as_json, quiet=quiet, skip_locked=skip_locked, metrics=metrics,
    )  # fmt: skip


@app.command("outdated")
def outdated(
    ctx: typer.Context,
    quiet: Quiet = False,
    skip_locked: SkipLocked = False,
    time_limit: TimeLimit = None,
    metrics: Metrics = None,
    force: Force = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete results that the site's rules call outdated, and old copies in stage directories.

    A rule's rows are deleted by the site's own DataJoint, with all that hangs on them; a dry run
    tells how many rows of which tables. Where a person's own table hangs on them, the rule is not
    carried out. Without --yes, rows are only counted.
    """
    clean_up(
        ctx.ensure_object(Admin), lambda: [load_part("outdated")],
        How(dry_run=dry_run, yes=yes, force=force, time_limit=time_limit),
        as_json=as_json, quiet=quiet, skip_locked=skip_locked, metrics=metrics,
    )  # fmt: skip
