"""`notice`: what users read on the hub's pages."""

from __future__ import annotations

from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.report import Report
from mapadmin.jupyterhub.commands._app import app
from mapadmin.jupyterhub.notice import NoticeStep, kind, plan_notice, read_notice
from mapadmin.jupyterhub.session import shared_folder
from mapadmin.options import DryRun, Json

MOST = 500  # characters: it stands at the top of every page


@app.command("notice")
def notice(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="What users shall read; default: show it.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Tell them nothing any more.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Show or change what stands at the top of the hub's pages, from the next page on.

    Plain text, in which nothing is taken for HTML. Runs on the hub's host.
    """
    if clear and text:
        raise UsageError("A text and --clear are two different wishes.", remedy="Give one of them.")
    if len(text) > MOST:
        raise UsageError(f"The notice has {len(text)} characters; {MOST} are the most.")
    admin = ctx.ensure_object(Admin)
    folder = shared_folder(admin)
    before = read_notice(folder)
    if text.strip() or clear:
        mode = Mode(dry_run=dry_run, as_json=as_json)
        admin.perform(plan_notice(before, text.strip()), {NoticeStep: kind(folder)}, mode)
        return
    report = Report(as_json=as_json)
    if as_json:
        report.document({"text": before})
    elif before:
        report.text(before)
    else:
        report.say("There is no notice.")
