"""The sandbox's site folder: written once from templates, then the user's own, except for what the
parts must keep true in it (a port, a program)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapadmin.core import templates
from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder, write_atomic
from mapadmin.core.secret import Secret, generate_password
from mapadmin.site import PEOPLE_FILE, SITE_FILE

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

SECRETS = "secrets"


class SiteFolder:
    """mapadmin.toml, people.toml and secrets/ (0700) of a sandbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def exists(self) -> bool:
        """Is there a site file?"""
        return (self.folder / SITE_FILE).is_file()

    def write(self) -> bool:
        """Write the files that are missing; False when none was."""
        make_private_folder(self.folder)
        make_private_folder(self.folder / SECRETS)
        missing = [name for name in (PEOPLE_FILE, SITE_FILE) if not (self.folder / name).is_file()]
        for name in missing:
            write_atomic(
                self.folder / name,
                (templates.folder() / "sandbox" / name).read_text(encoding="utf-8"),
            )
        return bool(missing)

    def secret(self, name: str) -> Secret:
        """The secret that a site file calls `file:secrets/<name>`; generated when it is missing."""
        path = self.secret_path(name)
        if not path.is_file():
            write_atomic(path, generate_password().reveal() + "\n", mode=0o600)
        try:
            return Secret(path.read_text(encoding="utf-8").partition("\n")[0])
        except (OSError, UnicodeDecodeError) as error:
            raise MapadminError(f"Cannot read {path}: {error}.") from None

    def secret_path(self, name: str) -> Path:
        """Where a secret of that name lies."""
        return self.folder / SECRETS / name

    def contribute(self, section: str, values: Mapping[str, str | int]) -> bool:
        """Set keys of a section of mapadmin.toml, comments kept; False when they are so already.

        A dotted name is a section within a section.
        """
        path = self.folder / SITE_FILE
        document = _load(path)
        table: Any = document
        for name in section.split("."):
            table = table.setdefault(name, {})
        changed = {key: value for key, value in values.items() if table.get(key) != value}
        if not changed:
            return False
        table.update(changed)
        write_atomic(path, document.as_string())
        return True


def _load(path: Path) -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise MapadminError(f"Cannot read {os.fspath(path)}: {error}.") from None
    except TOMLKitError as error:
        raise MapadminError(
            f"{path} is not valid TOML: {error}.",
            remedy="Mend it, or remove it: `mapadmin sandbox up` writes a new one.",
        ) from None
