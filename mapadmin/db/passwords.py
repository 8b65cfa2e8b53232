"""Passwords on their way in and out: read without echo or argument, handed over exactly once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from mapadmin.core.errors import UsageError
from mapadmin.core.files import write_new
from mapadmin.core.report import Report
from mapadmin.core.secret import Secret
from mapadmin.core.text import count
from mapadmin.db.grants import Account
from mapadmin.site import DatabaseSettings, Tls


class DataJoint(StrEnum):
    """Which generation of DataJoint a configuration is for."""

    V0 = "0.14"
    V2 = "2"


class Handover(msgspec.Struct, frozen=True):
    """Where passwords go: a file of mode 0600, else the terminal; and a DataJoint configuration."""

    password_file: Path | None = None
    dj_config: Path | None = None
    dj_version: DataJoint = DataJoint.V0
    given: bool = False  # whoever ran the command knows the password already

    def check(self, *, as_json: bool) -> None:
        """Refuse, before anything is changed, what could not be handed over afterwards."""
        for path in (self.password_file, self.dj_config):
            if path is not None and path.exists():
                raise UsageError(f"{path} exists already; name another file.")
            if path is not None and not path.parent.is_dir():
                raise UsageError(f"There is no folder {path.parent}.")
        if self.password_file is not None and self.password_file == self.dj_config:
            raise UsageError("--password-file and --dj-config name the same file.")
        if as_json and not (self.password_file or self.dj_config or self.given):
            raise UsageError(
                "With --json a password is never printed.", remedy="Add --password-file FILE."
            )

    def deliver(self, passwords: Mapping[Account, Secret], settings: DatabaseSettings) -> None:
        """Hand over the passwords of accounts that exist now. Raises MapadminError."""
        if self.dj_config is not None:
            ((account, secret),) = passwords.items()
            write_dj_config(self.dj_config, self.dj_version, settings, account.user, secret)
            Report().say(
                f"DataJoint configuration (with the password, mode 0600): {self.dj_config}"
            )
        if self.password_file is not None:
            lines = [f"{account}\t{secret.reveal()}\n" for account, secret in passwords.items()]
            write_new(self.password_file, "".join(lines))
            Report().say(f"{count(len(lines), 'password')} (mode 0600): {self.password_file}")
        elif self.dj_config is None and not self.given:
            for account, secret in passwords.items():
                Report().once(f"Password of {account} (shown once): {secret.reveal()}")


def read_password(*, from_stdin: bool, prompt: bool) -> Secret | None:
    """A password from stdin's first line or from a prompt; None when one is to be generated."""
    if from_stdin and prompt:
        raise UsageError("Choose one of --password-stdin and --prompt.")
    if from_stdin:
        return checked_password(sys.stdin.readline().rstrip("\r\n"))
    if not prompt:
        return None
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask on.", remedy="Use --password-stdin.")
    import getpass

    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise UsageError("The two passwords differ.")
    return checked_password(password)


def checked_password(text: str) -> Secret:
    """Refuse what no client could send. Raises UsageError without quoting the password."""
    if not text:
        raise UsageError("The password is empty.")
    if not (text.isascii() and text.isprintable()):
        # PyMySQL, and so DataJoint, sends é as one byte (Latin-1), the mysql client as two (UTF-8).
        raise UsageError(
            "The password has characters that are not printable ASCII.",
            remedy="Clients disagree on how to send them, so some could not log in.",
        )
    return Secret(text)


def write_dj_config(
    path: Path, version: DataJoint, settings: DatabaseSettings, user: str, password: Secret
) -> None:
    """A ready configuration: the `dj_local_conf.json` of 0.14, the `datajoint.json` of 2.x.

    DataJoint itself can encrypt, but cannot verify a certificate by this file.
    """
    tls = settings.tls is not Tls.OFF
    fields: dict[str, object] = {
        "host": settings.host,
        "port": settings.port,
        "user": user,
        "password": password.reveal(),
        "use_tls": tls,
    }
    if version is DataJoint.V0:
        content: dict[str, object] = {f"database.{key}": value for key, value in fields.items()}
        content["database.reconnect"] = True
        content["loglevel"] = "INFO"
    else:
        content = {"database": fields}
    import json

    write_new(path, json.dumps(content, indent=2) + "\n")
