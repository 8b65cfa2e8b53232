"""`mkdir`, `rename`, `rm`: small changes of what lies on a collection."""

from __future__ import annotations

import posixpath
from typing import Annotated

import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import MapadminError, UsageError
from mapadmin.core.plan import Plan
from mapadmin.core.report import Report
from mapadmin.core.text import count, human_bytes
from mapadmin.globus.changes import FolderStep, TaskStep
from mapadmin.globus.commands._app import app
from mapadmin.globus.commands.listing import Tree, Where
from mapadmin.globus.model import Entry, Place, normal
from mapadmin.globus.refusals import MissingError
from mapadmin.globus.session import Globus, open_globus
from mapadmin.options import DryRun, Json, Yes


@app.command("mkdir")
def mkdir(
    ctx: typer.Context,
    where: Where,
    parents: Annotated[bool, typer.Option("--parents", "-p", help="Those above it, too.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a folder; one that is there already is as it should be."""
    globus = open_globus(ctx.ensure_object(Admin))
    place = globus.place(where)
    missing: list[str] = []
    path = place.path
    while (entry := _entry(globus, place.at(path))) is None:
        if path == "/":
            raise MapadminError(f"{place.at(path)} is not there: the collection has no root.")
        missing.insert(0, path)
        path = posixpath.dirname(path)
    if not entry.is_folder:
        raise UsageError(f"{place.at(path)} is a file.")
    if len(missing) > 1 and not parents:
        raise UsageError(
            f"{place.at(posixpath.dirname(place.path))} is not there.", remedy="Add --parents."
        )
    steps = tuple(
        FolderStep(action="make folder", target=str(place.at(new)), collection=place.collection,
                   path=new) for new in missing
    )  # fmt: skip
    globus.perform(Plan(steps), Mode(dry_run=dry_run, as_json=as_json))


@app.command("rename")
def rename(
    ctx: typer.Context,
    where: Where,
    new: Annotated[str, typer.Argument(help="A name, or a path on the same collection.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give a file or folder another name; nothing is ever replaced.

    What `rm` never deletes is never renamed, either. When only the new
    name is there, it was done before, and nothing is to be done.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    old = globus.place(where)
    _refuse_roots(globus, old)
    folder = posixpath.dirname(old.path)
    goal = old.at(normal(new if "/" in new else posixpath.join(folder, new)))
    there, taken = _entry(globus, old), _entry(globus, goal)
    if there is None and taken is None:
        raise MapadminError(f"{old} is not there.")
    if there is not None and taken is not None and old.path != goal.path:
        raise MapadminError(f"{goal} is there already.", remedy="Name another, or move it away.")
    step = FolderStep(
        action="rename", target=str(old), detail=f"to {goal.path}", collection=old.collection,
        path=old.path, new=goal.path,
    )  # fmt: skip
    wanted = there is not None and old.path != goal.path
    globus.perform(Plan((step,) if wanted else ()), Mode(dry_run=dry_run, as_json=as_json))


@app.command("rm")
def rm(
    ctx: typer.Context,
    where: Annotated[list[str], typer.Argument(metavar="NAME:PATH...", help="What to delete.")],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Folders, with all in them.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete files, and folders with -r, and wait until they are gone.

    The plan says what is in each folder, which is listed for that. Globus keeps no copy. A
    collection's root, the path that the site file gives it, and the places of storage locations
    that it names ([globus.archive] moved), with all above them, are never deleted.
    """
    globus = open_globus(ctx.ensure_object(Admin))
    report = Report(as_json=as_json)
    steps, notes = [], []
    for place in dict.fromkeys(globus.place(text) for text in where):
        _refuse_roots(globus, place)
        entry = _entry(globus, place)
        if entry is None:
            notes.append(f"{place} is not there (any more)")
            continue
        folder = entry.is_folder and entry.link is None
        if folder and not recursive:
            raise UsageError(f"{place} is a folder.", remedy="Add -r to delete all in it.")
        steps.append(
            TaskStep(
                action="delete folder" if folder else "delete file", target=str(place),
                detail=_contents(globus, place, report) if folder else human_bytes(entry.size),
                destroys=True, kind="delete", wait=True, started=lambda _: None,
                document={
                    "DATA_TYPE": "delete", "endpoint": place.collection, "recursive": folder,
                    "ignore_missing": True, "interpret_globs": False, "label": "mapadmin rm",
                    "notify_on_succeeded": False,
                    "DATA": [{"DATA_TYPE": "delete_item", "path": place.path}],
                },
            )
        )  # fmt: skip
    globus.perform(
        Plan(tuple(steps), tuple(notes)), Mode(dry_run=dry_run, yes=yes, as_json=as_json),
        question="Delete these for ever?",
    )  # fmt: skip


def _refuse_roots(globus: Globus, place: Place) -> None:
    """Raises UsageError for what the site file builds on, and for what is above it."""
    known = globus.settings.collections.values()
    kept = [
        (place.collection, "/"), *((one.id, normal(one.path)) for one in known),
        *((moved.collection, moved.path) for moved in globus.moved().values()),
    ]  # fmt: skip
    above = place.path.rstrip("/") + "/"
    for collection, path in kept:
        if collection.lower() == place.collection.lower() and f"{path}/".startswith(above):
            raise UsageError(
                f"{place} holds all that the site keeps there: it is never deleted or renamed."
            )


def _contents(globus: Globus, place: Place, report: Report) -> str:
    files = size = folders = 0
    tree = Tree(globus, place, None)
    with report.progress("Looking at what is in it", unit="entries") as progress:
        for listing in tree.listings():
            progress.advance(len(listing.entries))
            folders += 1
            plain = [e for e in listing.entries if not e.is_folder]
            files += len(plain)
            size += sum(e.size or 0 for e in plain)
    tree.finish(report)
    return f"{count(files, 'file')} in {count(folders, 'folder')}, {human_bytes(size)}"


def _entry(globus: Globus, place: Place) -> Entry | None:
    try:
        return globus.service.stat(place.collection, place.path)
    except MissingError:
        return None
