"""The site folder: mapadmin.toml and people.toml, typed.

The structs below are the documentation of the settings: an unknown or missing key is an error
that names the key, the file and the fix. No value in them is ever a secret, only a reference.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mapadmin.core.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from mapadmin.core.secret import Secret

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
        if self.settings.database is None:
            raise SettingsError(
                f"The site {self.name} has no [database] section in {self.folder / SITE_FILE}."
            )
        return self.settings.database

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


def load_site(folder: Path) -> Site:
    """Read and check a site folder. Raises SettingsError for anything that is wrong with it."""
    settings = _read(folder / SITE_FILE, SiteFile)
    people_path = folder / PEOPLE_FILE
    people = _read(people_path, People) if people_path.exists() else None
    site = Site(folder, settings, people)
    check_site(site)
    _check_people(site)
    return site


def check_site(site: Site) -> None:
    """Refuse values of mapadmin.toml that cannot be. Raises SettingsError."""
    where = site.folder / SITE_FILE
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", site.name):
        raise SettingsError(
            f"{where}: site.name {site.name!r} must be 1 to 32 lower-case letters, digits, - or _."
        )
    database = site.settings.database
    if database is None:
        return
    prefix = database.project_prefix
    if not re.fullmatch(r"[A-Za-z0-9_]{0,59}[A-Za-z0-9]", prefix):
        # With "map_" the project's schemas would be map__*, and map_lab would be nobody's.
        raise SettingsError(
            f"{where}: database.project_prefix {prefix!r} must be letters, digits and underscores, "
            "and end in a letter or digit.",
            remedy='Write it without its last underscore or wildcard, for example "map".',
        )
    for name, good, rule in (
        ("host", database.host.strip() != "", "must not be empty"),
        ("user", database.user != "", "must not be empty"),
        (
            "schema",
            re.fullmatch(r"[A-Za-z0-9_]{1,64}", database.schema) is not None,
            "must be 1 to 64 letters, digits and underscores",
        ),
        ("port", 0 < database.port < 65536, "must be between 1 and 65535"),
        ("prune_limit", 0 <= database.prune_limit <= 1, "must be a share between 0 and 1"),
        ("connect_timeout", 0 < database.connect_timeout <= 3600, "must be 1 to 3600 seconds"),
        ("read_timeout", 0 < database.read_timeout <= 86400, "must be 1 to 86400 seconds"),
    ):
        if not good:
            raise SettingsError(f"{where}: database.{name} {rule}.")


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
                remedy=_suggest(person.role, site.settings.roles)
                or f"Roles: {', '.join(site.settings.roles) or 'none'}.",
            )
        if not all(person.hosts) or not person.hosts:
            raise SettingsError(
                f"{where}: {name} has no hosts, or an empty one.", remedy='Use hosts = ["%"].'
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
    try:
        return msgspec.convert(data, cls)
    except msgspec.ValidationError as error:
        raise _explain(path, cls, str(error), data) from None


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


def _explain(
    path: Path, cls: type[msgspec.Struct], message: str, data: dict[str, Any]
) -> SettingsError:
    """msgspec's error in the words of the file: section, key, and the fix."""
    what, _, place = message.partition(" - at ")
    keys = place.strip("`").removeprefix("$").strip(".")
    named = _named(keys, cls, message, data)
    section = f"[{named}]" if named else "the file"
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        known = _keys_at(cls, keys)
        return SettingsError(
            f"{path}: {section} has no setting {unknown[1]!r}.",
            remedy=_suggest(unknown[1], known) or f"Settings there: {', '.join(sorted(known))}.",
        )
    if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
        remedy = f"Add {missing[1]} = … to {section}." if named else f"Add [{missing[1]}]."
        return SettingsError(f"{path}: {section} lacks the setting {missing[1]!r}.", remedy=remedy)
    return SettingsError(f"{path}: {named} {_complaint(what, _type_at(cls, keys))}.")


_WORDS = {
    "str": "text in quotes", "int": "a whole number", "float": "a number", "bool": "true or false",
    "array": "a list in brackets", "object": "a section", "null": "nothing",
}  # fmt: skip


def _complaint(what: str, info: Any) -> str:
    """What is wrong with a value, in TOML's words instead of Python's."""
    if wrong := re.fullmatch(r"Expected `(.*?)(?: \| null)?`, got `(.*)`", what):
        wanted, got = (_WORDS.get(name, f"a {name}") for name in wrong.groups())
        return f"must be {wanted}, not {got}"
    if value := re.fullmatch(r"Invalid enum value (.*)", what, re.DOTALL):
        return f"is {value[1]}, and must be one of: {', '.join(info.cls)}"
    if what == "Invalid RFC3339 encoded date":
        return "must be a date such as 2027-06-30"
    return f"is wrong: {what[:1].lower()}{what[1:]}"


def _named(keys: str, cls: type[msgspec.Struct], message: str, data: dict[str, Any]) -> str:
    """The place of an error with the names that msgspec leaves out (`people[...]`).

    The entry meant is the one that, alone, is refused in the same words.
    """
    import json  # for what is wrong only

    out = ""
    node: Any = data
    for part in _TOKENS.findall(keys):
        key = part
        if part == "[...]":
            key = _culprit(node, cls, message, data)
        elif part.startswith("["):
            key = int(part[1:-1])
            out += part
        if isinstance(key, str):
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", key)
            out += f"{'.' if out else ''}{key if bare else json.dumps(key, ensure_ascii=False)}"
        node = node[key]
    return out


def _culprit(
    entries: dict[str, Any], cls: type[msgspec.Struct], message: str, data: dict[str, Any]
) -> str:
    everything = dict(entries)
    for name, entry in everything.items():
        entries.clear()
        entries[name] = entry
        try:
            msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return name
    raise AssertionError("unreachable")


_TOKENS = re.compile(r"\[[^\]]*\]|[^.\[]+")


def _type_at(cls: type[msgspec.Struct], keys: str) -> Any:
    """msgspec's description of a dotted place of the file (`[…]` stands for any name)."""
    info: Any = msgspec.inspect.type_info(cls)
    for key in _TOKENS.findall(keys):
        info = _inside(info, key)
    return _unwrap(info)


def _keys_at(cls: type[msgspec.Struct], keys: str) -> list[str]:
    """The settings that exist there."""
    return [field.encode_name for field in _type_at(cls, keys).fields]


def _inside(info: Any, key: str) -> Any:
    info = _unwrap(info)
    if isinstance(info, msgspec.inspect.DictType):
        return info.value_type
    if isinstance(info, msgspec.inspect.ListType):
        return info.item_type
    return next(f.type for f in info.fields if f.encode_name == key)


def _unwrap(info: Any) -> Any:
    """X of `X | None`."""
    if isinstance(info, msgspec.inspect.UnionType):
        return next(t for t in info.types if not isinstance(t, msgspec.inspect.NoneType))
    return info


def _suggest(word: str, known: Any) -> str:
    import difflib

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
