"""A new mapadmin.toml: every setting there is, with its explanation. Pure.

The explanations are the docstrings of the settings themselves, so a setting that is added there is
in the next new site file as well.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from datetime import date
from enum import Enum
from functools import cache
from itertools import pairwise

import msgspec

from mapadmin.core.templates import render
from mapadmin.site import (
    ArchiveSettings,
    AwsSettings,
    AwsThresholds,
    CollectionSettings,
    DatabaseSettings,
    GlobusSettings,
    SiteFile,
    SiteSettings,
    StoreProtocol,
    StoreSettings,
)

_WIDTH = 96  # columns of a comment, without its `# `
_NO_ID = "00000000-0000-0000-0000-000000000000"

# Sections that not every site has: what must be given has a value here, the rest its default.
_OTHERS: dict[str, msgspec.Struct] = {
    "globus": GlobusSettings(client_id=_NO_ID),
    "globus.collections.archive": CollectionSettings(id=_NO_ID, owner_until=date(2030, 12, 31)),
    "globus.archive": ArchiveSettings(),
    "aws": AwsSettings(account="123456789012"),
    "aws.thresholds": AwsThresholds(),
    "stores.raw": StoreSettings(protocol=StoreProtocol.FILE, location="/data/stores/raw"),
}


class Setting(msgspec.Struct, frozen=True):
    """One line of a section; `said` if it is not simply the default."""

    name: str
    value: object
    said: bool
    comment: tuple[str, ...]


def site_text(file: SiteFile) -> str:
    """The text of a mapadmin.toml that says what `file` says of the site, its database and roles.

    Other sections are in it as comments; without their `# ` they are valid.
    """
    database = file.database
    text = render(
        "site/mapadmin.toml",
        name=file.site.name,
        site=list(_settings(SiteSettings, file.site)),
        database=list(_settings(DatabaseSettings, database)) if database else [],
        roles=file.roles,
        others={name: list(_without_sections(name, one)) for name, one in _OTHERS.items()},
    )
    return text.rstrip() + "\n"


def people_text(file: SiteFile) -> str:
    """The text of a people.toml that names nobody yet."""
    role = next(iter(file.roles), "reader")
    return render("site/people.toml", name=file.site.name, role=role)


def starter_roles(prefix: str) -> dict[str, dict[str, list[str]]]:
    """The roles that a site begins with, on the schemas of its project."""
    reader = ["SELECT", "REFERENCES"]  # REFERENCES: own tables may depend on the project's
    return {
        "reader": {f"{prefix}_*": reader},
        "experimenter": {f"{prefix}_*": [*reader, "INSERT", "UPDATE", "DELETE"]},
        "worker": {f"{prefix}_*": ["ALL"]},
    }


def _without_sections(section: str, given: msgspec.Struct) -> Iterator[Setting]:
    """The settings of a section, but for those that are sections of their own."""
    for one in _settings(type(given), given):
        if not any(f"{name}.".startswith(f"{section}.{one.name}.") for name in _OTHERS):
            yield one


def _settings(cls: type[msgspec.Struct], given: msgspec.Struct) -> Iterator[Setting]:
    for field in msgspec.structs.fields(cls):
        value = getattr(given, field.name)
        if isinstance(value, Enum):
            value = value.value
        explained = _docstrings(cls).get(field.name) or _of_type(field.type)
        yield Setting(
            name=field.encode_name,
            value=value,
            said=field.required or value != _default(field),
            comment=tuple(textwrap.wrap(explained, _WIDTH)),
        )


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


@cache
def _docstrings(cls: type[msgspec.Struct]) -> dict[str, str]:
    """The text below each field of a class, which Python itself does not keep."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    except OSError:  # installed without its source: the settings go unexplained
        return {}
    (body,) = (
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    )
    found = {}
    for field, below in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[field.target.id] = inspect.cleandoc(str(below.value.value))
    return found


def _of_type(kind: object) -> str:
    """What the type of a setting says about it, if it is one of ours."""
    ours = isinstance(kind, type) and issubclass(kind, Enum)
    return inspect.getdoc(kind) or "" if ours else ""
