"""Edits people.toml the way a person would: comments, order and everything else stay.

The text is cut at its headers, and only the block that an entry stands in is touched. (tomlkit,
given the whole file, counts the comment above a header to the entry before it, and removes or
parts the two with that.) Before anything is written, the new text is read back and compared with
what was wanted.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from mapadmin.core.errors import MapadminError
from mapadmin.core.files import write_atomic
from mapadmin.site import Person

if TYPE_CHECKING:
    from pathlib import Path

Value = str | bool | list[str] | datetime.date | dict[str, list[str]] | None

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEADER = re.compile(r"[ \t]*\[")
_BLANK = re.compile(r"[ \t]*\n?")
_BLANK_OR_COMMENT = re.compile(r"[ \t]*(?:#.*)?\n?")


class Entry(msgspec.Struct, frozen=True):
    """Keys of [people.<name>] or [services.<name>], or of [roles.<name>] in mapadmin.toml."""

    section: str
    name: str
    values: Mapping[str, Value]


def entry_values(person: Person) -> Mapping[str, Value]:
    """The keys of a person's entry that say something: those that differ from the default."""
    default = Person()
    return {
        key: value
        for key in Person.__struct_fields__
        if (value := getattr(person, key)) != getattr(default, key)
    }


def set_entry(path: Path, section: str, name: str, values: Mapping[str, Value]) -> None:
    """Set the given keys of [people.<name>] or [services.<name>]; None removes a key.

    The entry is made when it is not there. The file is replaced in one step. Raises MapadminError
    when that cannot be done; the file is then as it was.
    """
    set_entries(path, [Entry(section, name, values)])


def set_entries(path: Path, entries: Sequence[Entry]) -> None:
    """`set_entry` for many, in one step."""
    text, crlf = _read(path)
    new = _edited(path, text, entries)
    if new != text:
        _write(path, new, crlf=crlf)


def preview(path: Path, entries: Sequence[Entry], text: str | None = None) -> str:
    """The text that `set_entries` would write, or would if the file's text were this one."""
    return _edited(path, _read(path)[0] if text is None else text, entries)


def _edited(path: Path, text: str, entries: Sequence[Entry]) -> str:
    wanted = _parse(path, text)
    blocks = _split(text)
    changed = None
    for one in entries:
        known = wanted.setdefault(one.section, {})
        old = known.get(one.name, {})
        changes = {key: value for key, value in one.values.items() if old.get(key) != value}
        if one.name in known and not changes:
            continue
        change = _set if one.name in known else _add
        known[one.name] = {k: v for k, v in {**old, **changes}.items() if v is not None}
        changed = one
        with _explained(path, one.section, one.name):
            change(blocks, one.section, one.name, changes)
    if changed is None:
        return text
    with _explained(path, changed.section, changed.name):
        return _checked(_join(blocks), wanted)


def remove_entry(path: Path, section: str, name: str) -> None:
    """Remove an entry; nothing happens when it is not there. Raises as `set_entry` does."""
    text, crlf = _read(path)
    wanted = _parse(path, text)
    if name not in wanted.get(section, {}):
        return
    del wanted[section][name]
    blocks = _split(text)
    with _explained(path, section, name):
        for block in blocks:
            if block.path[:2] == (section, name):
                block.body = ""
            elif block.entry(section, name) is not None:
                with block.document() as document:
                    del document[section][name]
        new = _checked(_join(blocks), wanted)
    _write(path, new, crlf=crlf)


# --- the text, cut at its headers --------------------------------------------------------------


class _Block(msgspec.Struct):
    """A header with the lines that belong to it; `gap` is what stands before the next one."""

    path: tuple[str, ...]
    body: str
    gap: str = ""

    def entry(self, section: str, name: str) -> dict[str, Any] | None:
        """What this block says of an entry; None when nothing."""
        if self.path[:2] != (section, name)[: len(self.path)]:
            return None
        found: dict[str, Any] | None = tomllib.loads(self.body).get(section, {}).get(name)
        return found

    @contextmanager
    def document(self) -> Iterator[Any]:
        """The body for tomlkit, which keeps its layout; changes are taken over."""
        import tomlkit

        ending = "" if self.body.endswith("\n") else "\n"
        document = tomlkit.parse(self.body + ending)
        yield document
        self.body = tomlkit.dumps(document)


def _split(text: str) -> list[_Block]:
    """The blocks of a file; the first one is what stands above all headers."""
    blocks = []
    lines: list[str] = []
    for line in _LINE.findall(text):
        # Inside a text or a list of several lines, what looks like a header is none.
        if _HEADER.match(line) and _is_whole(lines):
            blocks.append(_block(lines))
            lines = []
        lines.append(line)
    blocks.append(_block(lines))
    return blocks


def _block(lines: list[str]) -> _Block:
    path = _path(lines[0]) if lines and _HEADER.match(lines[0]) else ()
    end = len(lines)
    while end and _BLANK_OR_COMMENT.fullmatch(lines[end - 1]):
        end -= 1
    while not _is_whole(lines[:end]):  # it was no comment, but the end of a text of several lines
        end += 1
    # Comments right below an entry are its own, unless they stand right above the next header.
    below = end
    while below < len(lines) and not _BLANK.fullmatch(lines[below]):
        below += 1
    if end and below < len(lines):
        end = below
    return _Block(path, "".join(lines[:end]), "".join(lines[end:]))


def _is_whole(lines: list[str]) -> bool:
    try:
        tomllib.loads("".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    return True


def _path(header: str) -> tuple[str, ...]:
    """`[people.alice]  # boss` as ("people", "alice")."""
    path = []
    table: Any = tomllib.loads(header)
    while isinstance(table, dict) and table:
        ((key, table),) = table.items()
        path.append(key)
    return tuple(path)


def _join(blocks: list[_Block]) -> str:
    """The text of all blocks; where one is gone, the blank lines around it become one."""
    out = ""
    for block in blocks:
        gap = block.gap
        if not block.body and (not out or out.endswith("\n\n")):
            gap = re.sub(r"\A(?:[ \t]*\n)+", "", gap)
        out += block.body + gap
    if not blocks[-1].body and not blocks[-1].gap.strip():
        out = re.sub(r"\n(?:[ \t]*\n)+\Z", "\n", out)
    return out


# --- edits -------------------------------------------------------------------------------------


def _add(blocks: list[_Block], section: str, name: str, values: Mapping[str, Value]) -> None:
    with _insert(blocks, section, name).document() as document:
        for key, value in values.items():
            _assign(document[section][name], key, value)


def _set(blocks: list[_Block], section: str, name: str, changes: Mapping[str, Value]) -> None:
    holders = [block for block in blocks if block.entry(section, name) is not None]
    main = next((block for block in holders if len(block.path) <= 2), None)
    if main is None:
        main = _insert(blocks, section, name)
    # Removals last: an entry in dotted keys is gone with its last key.
    for key, value in sorted(changes.items(), key=lambda item: item[1] is None):
        holder = next((b for b in holders if key in (b.entry(section, name) or ())), main)
        with holder.document() as document:
            _assign(document[section][name], key, value)


def _insert(blocks: list[_Block], section: str, name: str) -> _Block:
    """An empty entry behind the last one of its section, between blank lines."""
    import tomlkit

    new = _Block((section, name), f"[{tomlkit.key([section, name]).as_string()}]\n")
    places = range(len(blocks) - 1, -1, -1)
    kin = next((place for place in places if blocks[place].path[:1] == (section,)), None)
    before = blocks[-1 if kin is None else kin]
    if kin is not None:
        new.gap, before.gap = before.gap, ""
    if before.body or before.gap:
        text = before.body + before.gap
        before.gap += "\n" * (2 - (text.endswith("\n") + text.endswith("\n\n")))
    is_last = kin is None or kin == len(blocks) - 1
    if not new.gap.startswith("\n") and not (is_last and not new.gap):
        new.gap = "\n" + new.gap
    blocks.insert(len(blocks) if kin is None else kin + 1, new)
    return new


def _assign(table: Any, key: str, value: Value) -> None:
    import tomlkit

    old = table.get(key)
    if value is None:
        table.pop(key, None)
    elif isinstance(value, dict) and isinstance(old, dict):
        for gone in old.keys() - value.keys():
            del old[gone]
        for inner, item in value.items():
            if old.get(inner) != item:
                old[inner] = item
    elif isinstance(value, dict):
        inline = tomlkit.inline_table()
        inline.update(value)
        table[key] = inline
    else:
        table[key] = value


# --- the file ----------------------------------------------------------------------------------


def _read(path: Path) -> tuple[str, bool]:
    """The text with plain newlines, and whether the file's own are Windows'."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return "", False
    except OSError as error:
        raise MapadminError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise MapadminError(f"{path} is not UTF-8 text.") from None
    crlf = "\n" in text and text.count("\n") == text.count("\r\n")
    return text.replace("\r\n", "\n") if crlf else text, crlf


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MapadminError(f"{path} is not valid TOML: {error}.") from None


@contextmanager
def _explained(path: Path, section: str, name: str) -> Iterator[None]:
    from tomlkit.exceptions import TOMLKitError

    try:
        yield
    except (TOMLKitError, tomllib.TOMLDecodeError):
        raise MapadminError(
            f"[{section}.{name}] cannot be changed in {path} without disturbing the rest of it.",
            remedy="Write each entry under a header of its own, or make this change by hand.",
        ) from None


def _checked(text: str, wanted: dict[str, Any]) -> str:
    """The text, if it says what is wanted."""
    if _without_empty(tomllib.loads(text)) != _without_empty(wanted):
        raise tomllib.TOMLDecodeError("it says something else now")
    return text


def _write(path: Path, text: str, *, crlf: bool) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    write_atomic(path, text.replace("\n", "\r\n") if crlf else text, mode=mode)


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    return {section: entries for section, entries in data.items() if entries}
