"""Text files that mapadmin writes, from templates that a person can read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def folder() -> Path:
    """The templates: inside the package when it is installed, beside it in the repository."""
    package = Path(__file__).parents[1]
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


def render(name: str, /, **values: object) -> str:
    """The text of a template; a value that it uses and nobody gave is an error.

    In templates of TOML files, the filter `toml` writes a value and `toml_key` a dotted key, both
    quoted as need be; `yaml` writes a value for a compose file.
    """
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(folder()),
        undefined=StrictUndefined,
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["toml"] = _toml
    environment.filters["toml_key"] = _toml_key
    environment.filters["yaml"] = _yaml
    return environment


def _toml(value: object) -> str:
    import tomlkit

    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update(value)
        return table.as_string()
    return tomlkit.item(value).as_string()


def _toml_key(parts: Sequence[str]) -> str:
    import tomlkit

    return tomlkit.key(list(parts)).as_string()


def _yaml(value: object) -> str:
    """As JSON, which YAML is a superset of; `$` doubled, or Compose would put a variable there."""
    import json

    return json.dumps(value).replace("$", "$$")
