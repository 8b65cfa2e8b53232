"""Values that print as stars everywhere, and the references by which a site names them.

A site file never holds a secret, only where to find it:

    env:NAME            an environment variable
    file:PATH           the first line of a file that only its owner can read
    command:PROGRAM …   the first line that a program prints (an argument list, never a shell)
    aws-secret:ID[#KEY] a secret of AWS Secrets Manager, or one key of a JSON secret
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import NoReturn

from mapadmin.core.errors import SettingsError

STARS = "********"
_KINDS = ("env", "file", "command", "aws-secret")
COMMAND_TIMEOUT = 30.0  # seconds; a password manager that waits for a person counts as broken

# No quotes, backslashes or characters that look alike: passwords are read out and typed in.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


class Secret:
    """A value that only `reveal()` gives away; every other way to print it gives stars."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself. Call it only where it is handed to a server or to its owner."""
        return self._value

    def __repr__(self) -> str:
        return STARS

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(STARS, spec)

    def __eq__(self, other: object) -> bool:
        import hmac

        return isinstance(other, Secret) and hmac.compare_digest(
            self._value.encode("utf-8", "surrogatepass"),
            other._value.encode("utf-8", "surrogatepass"),
        )

    __hash__ = None  # type: ignore[assignment]  # a hash would let a value be guessed at

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")


def generate_password(length: int = 24) -> Secret:
    """A random password of `length` characters: 24 carry about 139 bits.

    It always has an upper and a lower case letter, a digit and a `-`, which satisfies the
    default policy of MySQL's validate_password component.
    """
    import secrets  # slow to import, and most commands make no password

    while True:
        chars = [secrets.choice(_ALPHABET) for _ in range(length)]
        chars[length // 2] = "-"
        text = "".join(chars)
        if (
            any(map(str.isupper, text))
            and any(map(str.islower, text))
            and any(map(str.isdigit, text))
        ):
            return Secret(text)


def resolve(reference: str, *, setting: str, base: Path) -> Secret:
    """The secret that a reference names.

    `setting` is what the reference was written for (used in errors); `base` is the folder that
    relative paths start from. Raises SettingsError with the setting's name and the remedy.
    """
    check_reference(reference, setting=setting)
    kind, _, rest = reference.partition(":")
    resolvers = {
        "env": _from_environment,
        "file": _from_file,
        "command": _from_command,
        "aws-secret": _from_aws,
    }
    value = resolvers[kind](rest, setting, base)
    if not value:
        raise SettingsError(f"{setting}: {reference} is empty.")
    if any("\ud800" <= char <= "\udfff" for char in value):  # how Python keeps other bytes
        raise SettingsError(f"{setting}: {reference} is not UTF-8 text.")
    return Secret(value)


def check_reference(reference: str, *, setting: str) -> None:
    """Refuse what is no reference, without repeating it: it may be the secret. SettingsError."""
    kind, _, rest = reference.partition(":")
    if kind not in _KINDS or not rest:
        raise SettingsError(
            f"{setting} must be a reference to a secret, not the secret itself.",
            remedy="Write env:NAME, file:PATH, command:PROGRAM or aws-secret:ID.",
        )


def _from_environment(name: str, setting: str, base: Path) -> str:
    del base
    value = os.environ.get(name)
    if value is None:
        raise SettingsError(
            f"{setting}: the environment variable {name} is not set.",
            remedy=f"Set it, for example: read -rs {name} && export {name}",
        )
    return value


def _from_file(name: str, setting: str, base: Path) -> str:
    try:
        path = base / Path(name).expanduser()
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{setting}: cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{setting}: cannot read {path}: it is not UTF-8 text.") from None
    except (RuntimeError, ValueError) as error:  # ~nobody-of-that-name, a NUL in the name
        raise SettingsError(f"{setting}: cannot read file:{name}: {error}.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(
            f"{setting}: {path} can be read by others (mode {stat.S_IMODE(mode):04o}).",
            remedy=f"Run: chmod 600 {path}",
        )
    return text.partition("\n")[0].rstrip("\r")


def _from_command(line: str, setting: str, base: Path) -> str:
    import subprocess

    try:
        argv = shlex.split(line)
        if not argv:
            raise SettingsError(f"{setting}: command: names no program.")
        done = subprocess.run(
            argv,
            cwd=base,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=COMMAND_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except ValueError as error:
        raise SettingsError(f"{setting}: command:{line}: {error}.") from None
    except OSError as error:
        raise SettingsError(f"{setting}: cannot run {argv[0]}: {error.strerror}.") from None
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"{setting}: {argv[0]} did not answer within {COMMAND_TIMEOUT:g} s."
        ) from None
    if done.returncode != 0:
        # Its stderr may be shown; its stdout may hold the secret.
        complaint = done.stderr.strip().partition("\n")[0]
        raise SettingsError(
            f"{setting}: {argv[0]} failed with exit code {done.returncode}: {complaint}"
        )
    return done.stdout.partition("\n")[0]


def _from_aws(identifier: str, setting: str, base: Path) -> str:
    del base
    import json

    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    name, _, key = identifier.partition("#")
    try:
        answer = boto3.client("secretsmanager").get_secret_value(SecretId=name)
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(
            f"{setting}: AWS Secrets Manager: {error}",
            remedy="Check this machine's AWS credentials and region.",
        ) from None
    if "SecretString" not in answer:
        raise SettingsError(f"{setting}: the secret {name} is binary, not text.")
    text = str(answer["SecretString"])
    if not key:
        return text
    try:
        return str(json.loads(text)[key])
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"{setting}: the secret {name} has no key {key!r}.") from None
