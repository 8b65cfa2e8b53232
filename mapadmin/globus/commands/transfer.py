"""`transfer`: copies between collections."""

from __future__ import annotations

import posixpath
import sys
from pathlib import Path
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import UsageError
from mapadmin.core.plan import Plan
from mapadmin.core.report import Report
from mapadmin.core.text import count
from mapadmin.globus.batch import Item, Sync, document, read_batch
from mapadmin.globus.changes import TaskStep, under_way
from mapadmin.globus.commands._app import app
from mapadmin.globus.model import Place
from mapadmin.globus.session import Globus, open_globus
from mapadmin.options import DryRun, Json, Yes


@app.command("transfer")
def transfer(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="NAME:PATH to copy.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="NAME:PATH it is to be.")],
    batch: Annotated[
        str, typer.Option(metavar="FILE", help="Pairs of paths below SRC and DST; -: stdin.")
    ] = "",
    sync: Annotated[
        Sync, typer.Option(help="What is copied again; `always`: everything.")
    ] = Sync.MTIME,
    label: Annotated[str, typer.Option(help="What the task is called.")] = "",
    skip_errors: Annotated[
        bool, typer.Option("--skip-errors", help="Go on when a source file cannot be read.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has succeeded.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Copy a file, or a folder with all below it, from one collection to another.

    While a task of yours is under way that was submitted here for the same, that one is taken up.

    A batch file has a line `[-r] SOURCE DESTINATION` for each file (or folder, with -r), quoted as
    in a shell, and becomes one task. Checksums are verified and times kept. What is there, and not
    older, is not copied again, so that running the same command twice does no harm. `--sync always`
    replaces whatever is there, and asks first.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    there, goal = globus.place(source), globus.place(destination)
    items = _read(batch, there, goal) if batch else [_single(globus, there, goal, destination)]
    numbers: list[str] = []

    def started(number: str) -> None:
        numbers.append(number)
        Report().say(f"Task {number} {'does this already' if running else 'was submitted'}.")

    label = label or f"mapadmin to {goal.name}"
    wanted = document(there, goal, items, sync=sync, label=label, skip=skip_errors)
    running = under_way(globus.service, globus.submitted, wanted) if items else ""
    step = TaskStep(
        action="take up transfer" if running else "transfer",
        target=f"{there} to {goal}", detail=_detail(items, sync),
        kind="transfer", wait=wait, started=started, document=wanted,
        destroys=sync is Sync.ALWAYS and not running, running=running,
    )  # fmt: skip
    mode = Mode(dry_run=dry_run, yes=yes, as_json=as_json)
    question = "Replace whatever is there, newer files included?"
    globus.perform(Plan((step,) if items else ()), mode, question=question)
    if numbers and not as_json:
        Report().text(numbers[0])


def _single(globus: Globus, source: Place, destination: Place, typed: str) -> Item:
    """SRC as one item: a folder is copied whole; into DST when that ends in a slash."""
    entry = globus.service.stat(source.collection, source.path)
    goal = destination.path
    if typed.endswith("/"):
        goal = posixpath.join(goal, posixpath.basename(source.path))
    if goal == "/" and not entry.is_folder:
        raise UsageError("A file cannot become the root of a collection.")
    return Item(source.path, goal, recursive=entry.is_folder)


def _read(batch: str, source: Place, destination: Place) -> list[Item]:
    try:
        data = sys.stdin.buffer.read() if batch == "-" else Path(batch).read_bytes()
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {batch}: {error}.") from None
    return list(dict.fromkeys(read_batch(text.split("\n"), source, destination)))


def _detail(items: list[Item], sync: Sync) -> str:
    folders = sum(item.recursive for item in items)
    files = len(items) - folders
    parts = [count(number, noun) for number, noun in ((files, "file"), (folders, "folder"))
             if number]  # fmt: skip
    return f"{' and '.join(parts)}, {sync.value}"
