"""Errors that a person is meant to read, and the exit codes that scripts rely on."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees. Documented in the README; scripts and cron depend on it."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SETTINGS = 3
    UNREACHABLE = 4
    DRIFT = 5
    INTERRUPTED = 130


class MapadminError(Exception):
    """One sentence that says what is wrong and where; `remedy` says what to do about it."""

    default_exit_code = ExitCode.FAILED

    def __init__(
        self, message: str, *, remedy: str = "", exit_code: ExitCode | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.exit_code = self.default_exit_code if exit_code is None else exit_code

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


class UsageError(MapadminError):
    """What was asked for on the command line makes no sense."""

    default_exit_code = ExitCode.USAGE


class SettingsError(MapadminError):
    """The site folder, a secret reference or a credential is wrong."""

    default_exit_code = ExitCode.SETTINGS


class UnreachableError(MapadminError):
    """A server does not answer, or stopped answering."""

    default_exit_code = ExitCode.UNREACHABLE


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt, which typer would answer in words of its own."""

    def __str__(self) -> str:
        return "interrupted"
