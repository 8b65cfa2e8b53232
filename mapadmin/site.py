"""The site folder: mapadmin.toml and people.toml, typed.

The structs below are the documentation of the settings: an unknown or missing key is an error
that names the key, the file and the fix. No value in them is ever a secret, only a reference.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mapadmin.core.errors import SettingsError, UsageError
from mapadmin.core.secret import Secret, resolve

SITE_FILE = "mapadmin.toml"
PEOPLE_FILE = "people.toml"
SITE_VARIABLE = "MAPADMIN_SITE"


class Tls(StrEnum):
    """`verify` checks the server's certificate and name, `require` only encrypts."""

    VERIFY = "verify"
    REQUIRE = "require"
    OFF = "off"


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all settings: immutable, and strict about keys."""


class SiteSettings(_Settings, frozen=True, kw_only=True):
    """[site]"""

    name: str
    """What this site is called: in the journal, in locks, in messages."""
    state: str = ""
    """Folder of the journal and other state; default: $XDG_STATE_HOME/mapadmin/<name>."""


class DatabaseSettings(_Settings, frozen=True, kw_only=True):
    """[database]"""

    host: str
    """Name or address of the MySQL or MariaDB server."""
    port: int = 3306
    user: str = "mapadmin"
    """mapadmin's own account: may create users and grant what the roles need."""
    password: str
    """A reference: env:, file:, command: or aws-secret:."""
    tls: Tls = Tls.VERIFY
    ca: str = ""
    """File with the certificate authorities to trust; default: the system's."""
    project_prefix: str
    """Schemas of the project start with this and an underscore; no person may own them."""
    require_tls: bool = False
    """Accounts may log in over TLS only."""
    schema: str = "mapadmin"
    """mapadmin's own schema: what it manages, the shared journal."""
    ignore_accounts: list[str] = msgspec.field(default_factory=list)
    """Names of accounts that belong to others; the audit does not call them unknown."""
    prune_limit: float = 0.2
    """`apply --prune` refuses to remove more than this share of the accounts without --force."""
    connect_timeout: float = 10.0
    """Seconds."""
    read_timeout: float = 600.0
    """Seconds without an answer after which a connection counts as lost."""
    dump_program: str = ""
    """mysqldump or mariadb-dump of the server's flavour; default: found on PATH."""
    client_program: str = ""
    """mysql or mariadb, which loads dumps; default: found on PATH."""


class Person(_Settings, frozen=True, kw_only=True):
    """[people.<name>] or [services.<name>] in people.toml; the name is the user name."""

    role: str = ""
    """A role of mapadmin.toml; empty: none."""
    email: str = ""
    github: str = ""
    globus: str = ""
    expires: date | None = None
    """The account is locked from the day after on."""
    hosts: list[str] = msgspec.field(default_factory=lambda: ["%"])
    """From where they log in: host names, addresses, `%` patterns."""
    own_schemas: bool | None = None
    """Owns all schemas that start with `<name>_`; default: people do, services do not."""
    grants: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Privileges beyond the role's, by schema pattern, `schema.table` or `*.*`."""
    native_roles: list[str] = msgspec.field(default_factory=list)
    """Roles of the server's own that are left as they are."""
    locked: bool = False
    require_tls: bool | None = None
    """Overrides the site's `require_tls`."""


class People(_Settings, frozen=True, kw_only=True):
    """people.toml"""

    people: dict[str, Person] = msgspec.field(default_factory=dict)
    services: dict[str, Person] = msgspec.field(default_factory=dict)


class SiteFile(_Settings, frozen=True, kw_only=True):
    """mapadmin.toml"""

    site: SiteSettings
    database: DatabaseSettings | None = None
    roles: dict[str, dict[str, list[str]]] = msgspec.field(default_factory=dict)
    """Role -> schema pattern -> privileges (or ["ALL"])."""


_T = TypeVar("_T", bound=msgspec.Struct)


class Site:
    """A site folder that has been read and found valid."""

    def __init__(self, folder: Path, settings: SiteFile, people: People | None) -> None:
        self.folder = folder
        self.settings = settings
        self.people = people if people is not None else People()
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
            return self.folder / Path(self.settings.site.state).expanduser()
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return Path(base).expanduser() / "mapadmin" / self.name

    @property
    def database(self) -> DatabaseSettings:
        """[database]; SettingsError when the site has none."""
        if self.settings.database is None:
            raise SettingsError(
                f"The site {self.name} has no [database] section in {self.folder / SITE_FILE}."
            )
        return self.settings.database

    def secret(self, reference: str, setting: str) -> Secret:
        """Resolve a reference of this site; `setting` names it in errors."""
        return resolve(reference, setting=f"{SITE_FILE}: {setting}", base=self.folder)

    def everyone(self) -> Mapping[str, Person]:
        """People and services by user name."""
        return {**self.people.people, **self.people.services}

    def owns_schemas(self, name: str) -> bool:
        """Whether this person owns the schemas that start with their name."""
        own = self.everyone()[name].own_schemas
        return name in self.people.people if own is None else own


def find_site(given: str | None) -> Path:
    """The site folder: --site, else MAPADMIN_SITE, else this folder or the nearest above it."""
    named = given or os.environ.get(SITE_VARIABLE)
    if named:
        path = Path(named).expanduser()
        folder = path.parent if path.name == SITE_FILE else path
        if not (folder / SITE_FILE).is_file():
            raise SettingsError(
                f"There is no {SITE_FILE} in {folder}.",
                remedy=f"`mapadmin init {folder}` makes a site folder.",
            )
        return folder.resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / SITE_FILE).is_file():
            return folder
    raise SettingsError(
        f"No site is named and there is no {SITE_FILE} here.",
        remedy=f"Use --site FOLDER or set {SITE_VARIABLE}; `mapadmin init FOLDER` makes a site, "
        "`mapadmin sandbox up` one to try things on.",
    )


def load_site(folder: Path) -> Site:
    """Read and check a site folder. Raises SettingsError for anything that is wrong with it."""
    settings = _read(folder / SITE_FILE, SiteFile)
    people_path = folder / PEOPLE_FILE
    people = _read(people_path, People) if people_path.exists() else None
    site = Site(folder, settings, people)
    _check_site(site)
    _check_people(site)
    return site


def _check_site(site: Site) -> None:
    where = site.folder / SITE_FILE
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", site.name):
        raise SettingsError(
            f"{where}: site.name {site.name!r} must be 1 to 32 lower-case letters, digits, - or _."
        )
    database = site.settings.database
    if database is None:
        return
    if not re.fullmatch(r"[A-Za-z0-9_]+", database.project_prefix):
        raise SettingsError(
            f"{where}: database.project_prefix {database.project_prefix!r} must be letters, "
            "digits and underscores.",
            remedy='Write it without the trailing wildcard, for example "map".',
        )
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", database.schema):
        raise SettingsError(f"{where}: database.schema must be letters, digits and underscores.")
    if not 0 < database.port < 65536:
        raise SettingsError(f"{where}: database.port must be between 1 and 65535.")
    if not 0 <= database.prune_limit <= 1:
        raise SettingsError(f"{where}: database.prune_limit is a share between 0 and 1.")


def _check_people(site: Site) -> None:
    where = site.people_path
    both = site.people.people.keys() & site.people.services.keys()
    if both:
        raise SettingsError(f"{where}: {min(both)} is both a person and a service.")
    for name, person in site.everyone().items():
        if person.role and person.role not in site.settings.roles:
            raise SettingsError(
                f"{where}: {name} has the role {person.role!r}, which {SITE_FILE} does not define.",
                remedy=_suggest(person.role, site.settings.roles)
                or f"Roles: {', '.join(site.settings.roles) or 'none'}.",
            )
        if not person.hosts:
            raise SettingsError(f"{where}: {name} has no hosts.", remedy='Use hosts = ["%"].')


def _read(path: Path, cls: type[_T]) -> _T:
    _refuse_writable(path.parent)
    _refuse_writable(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from None
    try:
        return msgspec.convert(data, cls)
    except msgspec.ValidationError as error:
        raise _explain(path, cls, str(error)) from None


def _refuse_writable(path: Path) -> None:
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


def _explain(path: Path, cls: type[msgspec.Struct], message: str) -> SettingsError:
    """msgspec's error in the words of the file: section, key, and the nearest key there is."""
    what, _, place = message.partition(" - at ")
    keys = place.strip("`").removeprefix("$").strip(".")
    section = f"[{keys}] " if keys else ""
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    if unknown:
        known = _keys_at(cls, keys)
        return SettingsError(
            f"{path}: {section}has no setting {unknown[1]!r}.",
            remedy=_suggest(unknown[1], known) or f"Settings there: {', '.join(sorted(known))}.",
        )
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        return SettingsError(f"{path}: {section}lacks the setting {missing[1]!r}.")
    key = f"{keys}: " if keys else ""
    return SettingsError(f"{path}: {key}{what[:1].lower()}{what[1:]}.")


def _keys_at(cls: type[msgspec.Struct], keys: str) -> list[str]:
    """The settings that exist at a dotted place of the file (`[…]` stands for any name)."""
    info: Any = msgspec.inspect.type_info(cls)
    for key in re.findall(r"\[[^\]]*\]|[^.\[]+", keys):
        info = _inside(info, key)
        if info is None:
            return []
    info = _unwrap(info)
    return (
        [f.encode_name for f in info.fields] if isinstance(info, msgspec.inspect.StructType) else []
    )


def _inside(info: Any, key: str) -> Any:
    info = _unwrap(info)
    if isinstance(info, msgspec.inspect.DictType):
        return info.value_type
    if isinstance(info, msgspec.inspect.StructType):
        return next((f.type for f in info.fields if f.encode_name == key), None)
    return None


def _unwrap(info: Any) -> Any:
    """X of `X | None`."""
    if isinstance(info, msgspec.inspect.UnionType):
        return next(t for t in info.types if not isinstance(t, msgspec.inspect.NoneType))
    return info


def _suggest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def role_names(site: Site) -> str:
    """The site's roles, for error messages."""
    return ", ".join(site.settings.roles) or "none"


def require_role(site: Site, role: str) -> None:
    """Raises UsageError when the site does not define this role."""
    if role not in site.settings.roles:
        raise UsageError(
            f"There is no role {role!r} in {site.folder / SITE_FILE}.",
            remedy=_suggest(role, site.settings.roles) or f"Roles: {role_names(site)}.",
        )
