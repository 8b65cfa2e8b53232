"""msgspec's complaints in the words of the file: section, key, and the fix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from mapadmin.core.errors import SettingsError
from mapadmin.site.base import RefusedError


def explain(
    path: Path, cls: type[msgspec.Struct], error: msgspec.ValidationError, data: dict[str, Any]
) -> SettingsError:
    """msgspec's error about `data` in the words of the file: section, key, and the fix."""
    message = str(error)
    what, _, place = message.rpartition(" - at ") if " - at " in message else (message, "", "")
    keys = place.strip("`").removeprefix("$").strip(".")
    named = _named(keys, cls, message, data)
    if isinstance(error.__cause__, RefusedError):
        return SettingsError(f"{path}: {named}.{what}.", remedy=error.__cause__.remedy)
    section = f"[{named}]" if named else "the file"
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        known = _keys_at(cls, keys)
        return SettingsError(
            f"{path}: {section} has no setting {unknown[1]!r}.",
            remedy=suggest(unknown[1], known) or f"Settings there: {', '.join(sorted(known))}.",
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


def suggest(word: str, known: Any) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {near[0]!r}?" if near else ""
