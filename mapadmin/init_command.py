"""`mapadmin init`: a site folder, for a new site or one that runs already."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from mapadmin.admin import Admin, Mode
from mapadmin.core.errors import MapadminError, SettingsError, UsageError
from mapadmin.core.files import make_private_folder, write_atomic
from mapadmin.core.plan import Kind, Plan, Step
from mapadmin.core.report import Report
from mapadmin.core.secret import check_reference
from mapadmin.options import DryRun, Json
from mapadmin.site import (
    PEOPLE_FILE,
    SITE_FILE,
    Site,
    SiteFile,
    Tls,
    convert,
    refuse_writable,
)
from mapadmin.site_text import people_text, site_text, starter_roles

_KEPT = "env:MAPADMIN_DB_PASSWORD"
SECRETS = "secrets"
_IGNORED = f"# What is secret, and what only this machine needs.\n{SECRETS}/\nstate/\n"

app = typer.Typer(rich_markup_mode=None)


class Make(Step, frozen=True, kw_only=True):
    """A file with a text, or (None) a folder; a `private` one only its owner can enter."""

    path: Path
    text: str | None
    private: bool = False


@app.command("init")
def init(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Need not exist yet.")],
    name: Annotated[str, typer.Option(help="What the site is called; default: the folder.")] = "",
    host: Annotated[str, typer.Option(help="The database server.")] = "localhost",
    port: Annotated[int, typer.Option(help="Its port.")] = 3306,
    user: Annotated[str, typer.Option(help="mapadmin's own account there.")] = "mapadmin",
    password_ref: Annotated[
        str, typer.Option(metavar="REF", help="Where its password is kept; never the password.")
    ] = _KEPT,
    tls: Annotated[Tls, typer.Option(help="Check the server's certificate?")] = Tls.VERIFY,
    ca: Annotated[
        Path | None, typer.Option(help="File with the certificate authorities to trust.")
    ] = None,
    project_prefix: Annotated[
        str, typer.Option(help="The project's schemas are PREFIX_*; default: the site's name.")
    ] = "",
    from_server: Annotated[
        bool,
        typer.Option(
            "--from-server",
            help="Also read the accounts on the server, and write people.toml and the roles.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a site folder, for a new site or one that runs already.

    Writes mapadmin.toml with every setting explained, people.toml, .gitignore and a folder for
    secrets. Nothing on the server is changed, with --from-server neither: it reads the accounts
    that are there, and `mapadmin db import` takes them over later.
    """
    admin = ctx.ensure_object(Admin)
    folder = folder.expanduser().absolute()
    _refuse_existing(folder, from_server=from_server)
    name = name or _name_of(folder)
    site = _site(
        folder,
        {
            "site": {"name": name},
            "database": {
                "host": host, "port": port, "user": user, "password": password_ref,
                "tls": tls.value, "ca": _ca_setting(ca, folder),
                "project_prefix": project_prefix or name.replace("-", "_"),
                "ignore_accounts": ["root"],
            },
        },
    )  # fmt: skip
    admin.site = site
    plan = _from_server(admin) if from_server else _empty(site)
    admin.perform(plan, {Make: Kind(_execute)}, Mode(dry_run=dry_run, as_json=as_json))
    if not dry_run:
        _next_steps(Report(as_json=as_json), site, from_server=from_server)


# --- what is asked for -------------------------------------------------------------------------


def _refuse_existing(folder: Path, *, from_server: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.")
    if (folder / SITE_FILE).exists():
        raise UsageError(
            f"{folder / SITE_FILE} exists already.", remedy="Edit it, or name another folder."
        )
    if from_server and (folder / PEOPLE_FILE).exists():
        raise UsageError(
            f"{folder / PEOPLE_FILE} exists already.",
            remedy="Leave out --from-server and use `mapadmin db import` afterwards.",
        )
    if folder.exists():
        refuse_writable(folder)


def _name_of(folder: Path) -> str:
    """A site's name from its folder's; the check that follows refuses what is left empty."""
    return re.sub(r"[^a-z0-9_-]+", "-", folder.name.lower()).strip("-_")[:32]


def _ca_setting(ca: Path | None, folder: Path) -> str:
    """The path for the site file, where relative ones start from the site's folder."""
    if ca is None:
        return ""
    path = ca.expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"--ca: there is no file {path}.")
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _site(folder: Path, data: dict[str, Any]) -> Site:
    """A site that is not written yet. Raises UsageError: its settings are options here."""
    path = folder / SITE_FILE
    try:
        check_reference(data["database"]["password"], setting="--password-ref")
        return Site(folder, convert(path, SiteFile, data), None)
    except SettingsError as error:
        message = error.message.removeprefix(f"{path}: ")
        raise UsageError(message, remedy=error.remedy) from None


# --- what is written ---------------------------------------------------------------------------


def _empty(site: Site) -> Plan:
    """A site with the usual roles and nobody in it yet."""
    roles = starter_roles(site.database.project_prefix)
    file = msgspec.structs.replace(site.settings, roles=roles)
    return _plan(site.folder, site_text(file), people_text(file))


def _from_server(admin: Admin) -> Plan:
    """A site that says what is on the server already."""
    from mapadmin.db.adoption.adopting import describe_server

    site_toml, people_toml, notes = describe_server(admin)
    return Plan(notes=notes) + _plan(admin.site.folder, site_toml, people_toml)


def _plan(folder: Path, site_toml: str, people_toml: str) -> Plan:
    """What is missing, and mapadmin.toml last: with it, the site is there."""
    steps = []
    notes = []
    for path, private in ((folder, False), (folder / SECRETS, True)):
        if not path.is_dir():
            detail = "for its owner only" if private else ""
            steps.append(
                Make(
                    action="make folder", target=str(path), detail=detail, path=path, text=None,
                    private=private,
                )
            )  # fmt: skip
    for name, text in ((".gitignore", _IGNORED), (PEOPLE_FILE, people_toml)):
        if (folder / name).exists():
            notes.append(f"{folder / name} is there already, and stays as it is")
        else:
            steps.append(_write(folder / name, text))
    steps.append(_write(folder / SITE_FILE, site_toml))
    return Plan(tuple(steps), tuple(notes))


def _write(path: Path, text: str) -> Make:
    lines = f"{len(text.splitlines())} lines"
    return Make(action="write file", target=str(path), detail=lines, path=path, text=text)


def _execute(steps: Sequence[Make]) -> Iterator[None]:
    for step in steps:
        if step.text is not None:
            write_atomic(step.path, step.text)
        elif step.private:
            make_private_folder(step.path)
        else:
            _make_folder(step.path)
        yield


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.chmod(path.stat().st_mode & ~0o022)  # whoever can write it can act as its reader
    except OSError as error:
        raise MapadminError(f"Cannot create {path}: {error.strerror}.") from None


def _next_steps(report: Report, site: Site, *, from_server: bool) -> None:
    command = f"mapadmin --site {site.folder}"
    report.say("\nNext:")
    report.say(f"  {site.folder / SITE_FILE}: look through the settings and roles")
    if not from_server:
        report.say(f"  {site.database.password}: put the password of {site.database.user} there")
    report.say(f"  {command} db check    is the server fit to be administered")
    report.say(f"  {command} db audit    what is not as it should be")
    if from_server:
        report.say(f"  {command} db import   takes the accounts over, as they are")
    else:
        report.say(f"  {command} db import   takes over accounts that exist already")
    report.say(f"  git -C {site.folder} init    the folder is made to be kept under git")
