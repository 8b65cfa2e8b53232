"""What all settings have in common: immutable, strict about keys, checked as they are made."""

from __future__ import annotations

import msgspec


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
