"""Passwords on their way in and out: read without echo or argument, handed over exactly once."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path

import msgspec

from mapadmin.core.errors import UsageError
from mapadmin.core.files import write_atomic, write_new
from mapadmin.core.report import Report
from mapadmin.core.secret import Secret
from mapadmin.core.text import count
from mapadmin.db.grants import Account
from mapadmin.site import DatabaseSettings, Tls

# In a configuration as it is written here, whatever the password.
_PASSWORD = re.compile(r'(?<=password": )"(?:[^"\\]|\\.)*"')


class DataJoint(StrEnum):
    """Which generation of DataJoint a configuration is for."""

    V0 = "0.14"
    V2 = "2"


class Handover(msgspec.Struct):
    """Where passwords go: a file of mode 0600, else the terminal; and a DataJoint configuration.

    `leftovers` are files of a run that was cut short, which are replaced.
    """

    password_file: Path | None = None
    dj_config: Path | None = None
    dj_version: DataJoint = DataJoint.V0
    given: bool = False  # whoever ran the command knows the password already
    leftovers: set[Path] = msgspec.field(default_factory=set)

    def check(self, *, as_json: bool) -> None:
        """Refuse, before the server is asked, what could not be handed over afterwards."""
        for path in (self.password_file, self.dj_config):
            if path is not None and not path.parent.is_dir():
                raise UsageError(f"There is no folder {path.parent}.")
        if self.password_file is not None and self.password_file == self.dj_config:
            raise UsageError("--password-file and --dj-config name the same file.")
        if as_json and not (self.password_file or self.dj_config or self.given):
            raise UsageError(
                "With --json a password is never printed.", remedy="Add --password-file FILE."
            )

    def check_files(self, unfinished: Collection[Account], settings: DatabaseSettings) -> None:
        """Refuse, before anything is changed, files that exist.

        But not those that a run wrote which was cut short before it was done: they hold passwords
        of `unfinished` accounts only, which are given new ones.
        """
        names = {str(account) for account in unfinished}
        users = {account.user for account in unfinished}
        ours = partial(_is_dj_config, version=self.dj_version, settings=settings, users=users)
        self._check_file(self.password_file, partial(_is_list, accounts=names))
        self._check_file(self.dj_config, ours)

    def _check_file(self, path: Path | None, is_ours: Callable[[str], bool]) -> None:
        if path is None or not os.path.lexists(path):
            return
        if not is_ours(_text(path)):
            raise UsageError(f"{path} exists already; name another file.")
        self.leftovers.add(path)

    def _write(self, path: Path, text: str) -> None:
        if path in self.leftovers:
            write_atomic(path, text, mode=0o600)
        else:
            write_new(path, text)

    def deliver(self, passwords: Mapping[Account, Secret], settings: DatabaseSettings) -> None:
        """Hand over the passwords of accounts that exist now. Raises MapadminError."""
        if self.dj_config is not None:
            ((account, secret),) = passwords.items()
            text = dj_config(self.dj_version, settings, account.user, secret)
            self._write(self.dj_config, text)
            Report().say(
                f"DataJoint configuration (with the password, mode 0600): {self.dj_config}"
            )
        if self.password_file is not None:
            lines = [f"{account}\t{secret.reveal()}\n" for account, secret in passwords.items()]
            self._write(self.password_file, "".join(lines))
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


def _is_list(text: str, accounts: Collection[str]) -> bool:
    """Whether a text is a list of passwords, of these accounts only."""
    lines = text.splitlines()
    return bool(lines) and all(
        account in accounts and tab and password
        for account, tab, password in (line.partition("\t") for line in lines)
    )


def _is_dj_config(
    text: str, version: DataJoint, settings: DatabaseSettings, users: Collection[str]
) -> bool:
    """Whether a text is a configuration as this command writes it, for one of these users."""
    blank = _PASSWORD.sub("", text)
    return any(
        blank == _PASSWORD.sub("", dj_config(version, settings, user, Secret(""))) for user in users
    )


def _text(path: Path) -> str:
    """What is in a file; nothing for what is none, or cannot be read."""
    try:
        return path.read_text() if path.is_file() and not path.is_symlink() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def dj_config(version: DataJoint, settings: DatabaseSettings, user: str, password: Secret) -> str:
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

    return json.dumps(content, indent=2) + "\n"
