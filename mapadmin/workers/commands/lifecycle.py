"""`workers up`, `scale`, `restart`, `stop` and `down`."""

from __future__ import annotations

from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.core.plan import Plan
from mapadmin.options import DryRun, Json, Yes
from mapadmin.workers.checks import require_ready
from mapadmin.workers.commands._app import app
from mapadmin.workers.commands._manage import LOSES, Now, Timeout, seconds_of
from mapadmin.workers.manager import Manager
from mapadmin.workers.plans import plan_stop, scaled
from mapadmin.workers.rollout import Policy
from mapadmin.workers.sessions import Sessions


@app.command("up")
def up(
    ctx: typer.Context, timeout: Timeout = None, dry_run: DryRun = False, as_json: Json = False
) -> None:
    """Start the workers: as many of each kind as the site file says.

    Where there are none, what `check` looks at must be well first. Those that are too many leave
    after their jobs. Workers that run already are not replaced when
    the image or the settings have changed: `restart` does that, and this says so.
    """
    manager = Manager(ctx.ensure_object(Admin))
    mode, limit = Mode(dry_run=dry_run, as_json=as_json), seconds_of(timeout)
    with manager.changing(mode) as crew:
        manager.choose()
        counts = {name: kind.count for name, kind in manager.settings.kinds.items()}
        notes = []
        if not (crew.stopped or crew.unfinished or manager.is_current(crew, crew.newest)):
            known = manager.kinds_of(crew.newest)
            added = [kind for kind in counts if kind not in known]
            counts = {kind: number for kind, number in counts.items() if kind in known}
            notes = [_OUTDATED, *(f"{kind} is a new kind, which it starts, too" for kind in added)]
        plan = manager.plan(crew, counts, afresh=False) + Plan(notes=tuple(notes))
        if not crew.workers and not dry_run:
            Sessions(manager.admin).require()  # says best why there is no database
            require_ready(manager.admin, manager)
        manager.perform(plan, mode, timeout=limit)


_OUTDATED = (
    "the workers run with another image or other settings than the site file has now; "
    "`mapadmin workers restart` replaces them"
)


@app.command("scale")
def scale(
    ctx: typer.Context,
    number: Annotated[int, typer.Argument(help="How many there are to be.")],
    kind: Annotated[str | None, typer.Argument(help="Of which kind, if there are several.")] = None,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Have more or fewer workers of a kind, until the next `up`.

    Fewer: idle ones leave first, then those whose jobs began last, each after its job. More: of the
    image and the settings that the others have.
    """
    manager = Manager(ctx.ensure_object(Admin))
    mode, limit = Mode(dry_run=dry_run, as_json=as_json), seconds_of(timeout)
    with manager.changing(mode) as crew:
        kinds = list(manager.kinds_of(crew.newest) or manager.settings.kinds)
        counts = scaled(crew, kinds, number, kind)
        manager.perform(manager.plan(crew, counts, afresh=False), mode, timeout=limit)


@app.command("restart")
def restart(
    ctx: typer.Context,
    image: Annotated[str | None, typer.Option(help="Another image than the site file's.")] = None,
    ref: Annotated[
        str | None,
        typer.Option(help="Build the image from this branch, tag or commit, unless it is there."),
    ] = None,
    surge: Annotated[
        int, typer.Option(min=0, help="Start so many new ones before old ones leave.")
    ] = 0,
    drain_first: Annotated[
        bool,
        typer.Option("--drain-first", help="Nobody new begins before all old ones have left."),
    ] = False,
    now: Now = False,
    timeout: Timeout = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Replace all workers, each when its job is done, and lose none.

    A new worker of each kind starts first, and must come up, before any old one is told to leave;
    then, as an old one ends its job, a new one takes its place. When one does not come up, the
    roll-out is given up and the old ones go on. --drain-first is for changes of the schema.
    """
    if image and ref:
        raise UsageError("--image and --ref exclude each other.")
    if drain_first and (now or surge):
        raise UsageError("--drain-first excludes --now and --surge.")
    manager = Manager(ctx.ensure_object(Admin))
    mode, limit = Mode(dry_run=dry_run, yes=yes, as_json=as_json), seconds_of(timeout)
    with manager.changing(mode) as crew:
        if not crew.workers:
            raise MapadminError(
                "There are no workers.", remedy="`mapadmin workers up` starts them."
            )
        manager.choose(image=image or "", ref=ref or "")
        counts = crew.counts()
        gone = [kind for kind in counts if kind not in manager.settings.kinds]
        kept = {kind: number for kind, number in counts.items() if kind not in gone}
        for name, kind in manager.settings.kinds.items():
            if name not in manager.kinds_of(crew.newest):
                kept[name] = kind.count
        plan = manager.plan(crew, kept, afresh=True, now=now)
        if gone:
            note = f"the site file has no kind {', '.join(gone)} any more: those workers leave"
            plan += Plan(notes=(note,))
        policy = Policy(surge=surge, drain_first=drain_first, now=now)
        manager.perform(plan, mode, policy=policy, timeout=limit, question=LOSES)


@app.command("stop")
def stop(
    ctx: typer.Context,
    now: Now = False,
    timeout: Timeout = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Have all workers leave, each after its job; `up` starts them again."""
    _stop(ctx, now, timeout, Mode(dry_run=dry_run, yes=yes, as_json=as_json), remove=False)


@app.command("down")
def down(
    ctx: typer.Context,
    now: Now = False,
    timeout: Timeout = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Have all workers leave, each after its job, and remove their containers and files."""
    _stop(ctx, now, timeout, Mode(dry_run=dry_run, yes=yes, as_json=as_json), remove=True)


def _stop(ctx: typer.Context, now: bool, timeout: str | None, mode: Mode, *, remove: bool) -> None:
    manager = Manager(ctx.ensure_object(Admin))
    limit = seconds_of(timeout)
    with manager.changing(mode) as crew:
        plan = plan_stop(crew, remove=remove, now=now)
        manager.perform(plan, mode, policy=Policy(now=now), timeout=limit, question=LOSES)
