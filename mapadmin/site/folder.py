"""The site folder: found, read, checked."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mapadmin.core.errors import SettingsError, UsageError
from mapadmin.site.aws import AwsSettings
from mapadmin.site.database import DatabaseSettings
from mapadmin.site.explain import explain, suggest
from mapadmin.site.globus import GlobusSettings
from mapadmin.site.jupyterhub import HubSettings
from mapadmin.site.people import People, Person
from mapadmin.site.settings import SiteFile
from mapadmin.site.workers import WorkersSettings

if TYPE_CHECKING:
    from mapadmin.core.secret import Secret

SITE_FILE = "mapadmin.toml"
PEOPLE_FILE = "people.toml"
SITE_VARIABLE = "MAPADMIN_SITE"

_T = TypeVar("_T", bound=msgspec.Struct)


class Site:
    """A site folder that has been read and found valid."""

    def __init__(self, folder: Path, settings: SiteFile, people: People | None) -> None:
        self.folder = folder
        self.settings = settings
        self.people = people if people is not None else People()
        self._everyone = {**self.people.people, **self.people.services}
        self.has_people_file = people is not None

    @property
    def name(self) -> str:
        return self.settings.site.name

    @property
    def people_path(self) -> Path:
        return self.folder / PEOPLE_FILE

    @property
    def state_folder(self) -> Path:
        """Where the journal is. It need not exist yet."""
        if self.settings.site.state:
            return self.folder / expand(self.settings.site.state, "site.state")
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return Path(base).expanduser() / "mapadmin" / self.name

    @property
    def database(self) -> DatabaseSettings:
        """[database]; SettingsError when the site has none."""
        return self._required("database", self.settings.database)

    @property
    def globus(self) -> GlobusSettings:
        """[globus]; SettingsError when the site has none."""
        return self._required("globus", self.settings.globus)

    @property
    def jupyterhub(self) -> HubSettings:
        """[jupyterhub]; SettingsError when the site has none."""
        return self._required("jupyterhub", self.settings.jupyterhub)

    @property
    def aws(self) -> AwsSettings:
        """[aws]; SettingsError when the site has none."""
        return self._required("aws", self.settings.aws)

    @property
    def workers(self) -> WorkersSettings:
        """[workers]; SettingsError when the site has none."""
        return self._required("workers", self.settings.workers)

    def _required(self, section: str, settings: _T | None) -> _T:
        if settings is None:
            raise SettingsError(
                f"The site {self.name} has no [{section}] section in {self.folder / SITE_FILE}."
            )
        return settings

    def secret(self, reference: str, setting: str) -> Secret:
        """Resolve a reference of this site; `setting` names it in errors."""
        from mapadmin.core.secret import resolve

        return resolve(reference, setting=f"{SITE_FILE}: {setting}", base=self.folder)

    def everyone(self) -> Mapping[str, Person]:
        """People and services by user name."""
        return self._everyone

    def owns_schemas(self, name: str) -> bool:
        """Whether this person owns the schemas that start with their name."""
        own = self.everyone()[name].own_schemas
        return name in self.people.people if own is None else own


def expand(name: str, setting: str) -> Path:
    """A path with `~` written out. Raises SettingsError for the home of nobody."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise SettingsError(f"{setting}: {name}: {error}") from None


def find_site(given: str | None) -> Path:
    """The site folder: --site, else MAPADMIN_SITE, else this folder or the nearest above it."""
    named = given or os.environ.get(SITE_VARIABLE)
    if named:
        path = expand(named, "--site" if given else SITE_VARIABLE)
        folder = path.parent if path.name == SITE_FILE else path
        if not _has_site_file(folder):
            raise SettingsError(
                f"There is no {SITE_FILE} in {folder}.",
                remedy=f"`mapadmin init {folder}` makes a site folder.",
            )
        return folder.resolve()
    try:
        here = Path.cwd()
    except OSError as error:
        raise SettingsError(f"The working directory is gone: {error.strerror}.") from None
    for folder in (here, *here.parents):
        if _has_site_file(folder):
            return folder
    raise SettingsError(
        f"No site is named and there is no {SITE_FILE} here.",
        remedy=f"Use --site FOLDER or set {SITE_VARIABLE}; `mapadmin init FOLDER` makes a site, "
        "`mapadmin sandbox up` one to try things on.",
    )


def _has_site_file(folder: Path) -> bool:
    path = folder / SITE_FILE
    try:
        return path.is_file()
    except OSError as error:
        raise SettingsError(f"Cannot read {path}: {error.strerror}.") from None


def stamp(folder: Path) -> object:
    """What is another value after any change of the folder's two files."""
    out: list[object] = []
    for name in (SITE_FILE, PEOPLE_FILE):
        try:
            found = (folder / name).stat()
        except OSError:
            out.append(None)
        else:
            out.append((found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return tuple(out)


def load_site(folder: Path) -> Site:
    """Read and check a site folder. Raises SettingsError for anything that is wrong with it."""
    settings = _read(folder / SITE_FILE, SiteFile)
    people_path = folder / PEOPLE_FILE
    people = _read(people_path, People) if people_path.exists() else None
    site = Site(folder, settings, people)
    _check_people(site)
    return site


def _check_people(site: Site) -> None:
    where = site.people_path
    both = site.people.people.keys() & site.people.services.keys()
    if both:
        raise SettingsError(f"{where}: {min(both)} is both a person and a service.")
    for name, person in site.everyone().items():
        if not name:  # to the server, an account without a name is everybody's
            raise SettingsError(f"{where}: there is an entry without a name.", remedy="Remove it.")
        if person.role and person.role not in site.settings.roles:
            raise SettingsError(
                f"{where}: {name} has the role {person.role!r}, which {SITE_FILE} does not define.",
                remedy=suggest(person.role, site.settings.roles)
                or f"Roles: {', '.join(site.settings.roles) or 'none'}.",
            )
        if not all(person.hosts) or not person.hosts:
            raise SettingsError(
                f"{where}: {name} has no hosts, or an empty one.", remedy='Use hosts = ["%"].'
            )
        if len(set(person.hosts)) < len(person.hosts):
            twice = next(host for host in person.hosts if person.hosts.count(host) > 1)
            raise SettingsError(
                f"{where}: {name} has the host {twice!r} twice (to the server, case is the same)."
            )


def _read(path: Path, cls: type[_T]) -> _T:
    refuse_writable(path.parent)
    refuse_writable(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from None
    return convert(path, cls, data)


def convert(path: Path, cls: type[_T], data: dict[str, Any]) -> _T:
    """Typed settings from what a file at `path` says, or would say. Raises SettingsError."""
    try:
        return msgspec.convert(data, cls)
    except msgspec.ValidationError as error:
        raise explain(path, cls, error, data) from None


def refuse_writable(path: Path) -> None:
    """A site file can name programs to run: whoever can write it can act as its reader."""
    try:
        found = path.stat()
    except OSError as error:
        raise SettingsError(f"Cannot read {path}: {error.strerror}.") from None
    if found.st_uid not in (os.geteuid(), 0):
        raise SettingsError(
            f"{path} belongs to another user, who could change what is run in your name.",
            remedy="Use a copy of your own.",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(
            f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):04o}).",
            remedy=f"Run: chmod go-w {path}",
        )


def role_names(site: Site) -> str:
    """The site's roles, for error messages."""
    return ", ".join(site.settings.roles) or "none"


def require_role(site: Site, role: str) -> None:
    """Raises UsageError when the site does not define this role."""
    if role not in site.settings.roles:
        raise UsageError(
            f"There is no role {role!r} in {site.folder / SITE_FILE}.",
            remedy=suggest(role, site.settings.roles) or f"Roles: {role_names(site)}.",
        )
