"""Edits people.toml the way a person would: comments, order and everything else stay."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from tomlkit import TOMLDocument

Value = str | bool | list[str] | datetime.date | dict[str, list[str]] | None


def set_entry(path: Path, section: str, name: str, values: Mapping[str, Value]) -> None:
    """Set the given keys of [people.<name>] or [services.<name>]; None removes a key.

    The entry is made when it is not there. The file is replaced in one step.
    """
    document = _load(path)
    table = document.setdefault(section, _table(parent=True))
    if name not in table:
        table[name] = _table()
    entry = table[name]
    for key, value in values.items():
        if value is None:
            entry.pop(key, None)
        elif entry.get(key) != value:
            entry[key] = value
    _save(path, document)


def remove_entry(path: Path, section: str, name: str) -> None:
    """Remove an entry; nothing happens when it is not there."""
    document = _load(path)
    table = document.get(section)
    if table is not None and name in table:
        del table[name]
        _save(path, document)


def _load(path: Path) -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except OSError as error:
        raise MapadminError(f"Cannot read {path}: {error.strerror}.") from None
    except ParseError as error:
        raise MapadminError(f"{path} is not valid TOML: {error}.") from None


def _table(*, parent: bool = False) -> Any:
    import tomlkit

    return tomlkit.table(is_super_table=parent)


def _save(path: Path, document: TOMLDocument) -> None:
    import tomlkit

    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    write_atomic(path, tomlkit.dumps(document), mode=mode)
