"""`cleanup schedule`: what makes cron or systemd run the cleanup every night."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mapadmin.admin import Admin
from mapadmin.cleanup.commands import app
from mapadmin.core.errors import UsageError
from mapadmin.core.report import Report
from mapadmin.core.templates import render

if TYPE_CHECKING:
    from mapadmin.site import Site


class Scheduler(StrEnum):
    """Who runs it."""

    CRON = "cron"
    SYSTEMD = "systemd"


@app.command("schedule")
def schedule(
    ctx: typer.Context,
    scheduler: Annotated[Scheduler, typer.Argument(help="cron or systemd.")] = Scheduler.CRON,
    at: Annotated[str, typer.Option(help="When, by this machine's clock.")] = "03:17",
) -> None:
    """Print a crontab or systemd units that run `mapadmin cleanup` every night.

    For this site, with this installation, as the user who asks. Nothing is installed: the first
    line of each file says where it belongs.
    """
    admin = ctx.ensure_object(Admin)
    when = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if when is None:
        raise UsageError(f"--at {at!r} is no time of day.", remedy="For example: --at 03:17")
    values = {
        "site": admin.site.name,
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "hour": when[1].zfill(2),
        "minute": when[2],
        "variables": _variables(admin.site),
    }
    report = Report()
    if scheduler is Scheduler.CRON:
        # To cron, a % ends the command.
        command = _command(admin.site).replace("%", "\\%")
        report.text(render("cron/crontab.j2", command=command, **values).rstrip("\n"))
        return
    command = _command(admin.site).replace("%", "%%")
    for name in ("service", "timer"):
        text = render(f"cron/mapadmin-cleanup.{name}.j2", command=command, **values)
        report.text(text if name == "service" else text.rstrip("\n"))


def _command(site: Site) -> str:
    program = Path(sys.argv[0])
    found = str(program.resolve()) if program.is_file() else "mapadmin"
    return shlex.join(
        [found, "--site", str(site.folder), "cleanup", "--quiet", "--skip-locked", "--yes"]
    )


def _variables(site: Site) -> dict[str, str]:
    """Environment variables that the site's secrets come from: a cron job has none of them."""
    named = {"database.password": site.database.password}
    for name, store in site.settings.stores.items():
        named |= {f"stores.{name}.access_key": store.access_key}
        named |= {f"stores.{name}.secret_key": store.secret_key}
    found: dict[str, list[str]] = {}
    for setting, reference in named.items():
        if reference.startswith("env:"):
            found.setdefault(reference.removeprefix("env:"), []).append(setting)
    return {
        variable: f"{', '.join(settings)}; better a file: reference"
        for variable, settings in found.items()
    }
