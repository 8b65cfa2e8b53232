"""What all settings have in common: immutable, strict about keys, checked as they are made."""

from __future__ import annotations

import msgspec

from mapadmin.core.errors import SettingsError
from mapadmin.core.secret import check_reference


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all settings; the docstring under each one is its documentation.

    A subclass refuses a value that cannot be in `__post_init__`, by raising RefusedError.
    """


class RefusedError(ValueError):
    """A setting whose value cannot be: `rule` says what must be, as in "must not be empty".

    Whoever reads the file puts the file and the section before it; see `explain`.
    """

    def __init__(self, setting: str, rule: str, remedy: str = "") -> None:
        super().__init__(f"{setting} {rule}")
        self.remedy = remedy


def require_reference(setting: str, value: str) -> None:
    """Raises RefusedError for a setting that holds a secret in place of a reference to one."""
    try:
        check_reference(value, setting=setting)
    except SettingsError as error:
        raise RefusedError(
            setting, "must be a reference to a secret, not the secret itself", error.remedy
        ) from None
