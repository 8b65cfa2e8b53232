"""A secret shows itself nowhere, and a reference is resolved or explained."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapadmin.core import secret as secret_module
from mapadmin.core.errors import ExitCode, SettingsError
from mapadmin.core.secret import STARS, Secret, generate_password, resolve
from mapadmin.core.tables import Column, make_table, plain_table
from mapadmin.core.text import to_plain
from tests.core.processes import environment, run_python

VALUE = "correct-horse-7"


@dataclass
class Login:
    user: str
    password: Secret


class StructLogin(msgspec.Struct):
    user: str
    password: Secret


# --- what prints -------------------------------------------------------------------------------

PRINTS: dict[str, Callable[[Secret], str]] = {
    "repr": repr,
    "str": str,
    "format": format,
    "format with width": lambda s: f"{s:>20}",
    "f-string": lambda s: f"{s} {s!r} {s!s} {s!a}",
    "percent": lambda s: "%s %r" % (s, s),  # noqa: UP031
    "str.format": lambda s: "{} {0!r}".replace("{}", "{0}").format(s),
    "inside a list": lambda s: str([s, (s,), {"x": s}]),
    "dataclass": lambda s: repr(Login("a", s)),
    "struct": lambda s: repr(StructLogin("a", s)),
    "plain data": lambda s: json.dumps(to_plain({"a": [s], "b": Login("a", s)})),
    "plain struct": lambda s: json.dumps(to_plain(StructLogin("a", s))),
    "logging": lambda s: logging.LogRecord("x", 10, "", 0, "%s %r", (s, s), None).getMessage(),
    "exception": lambda s: "".join(traceback.format_exception(ValueError(s))),
}


@pytest.mark.parametrize("name", PRINTS)
def test_prints_as_stars(name: str) -> None:
    text = PRINTS[name](Secret(VALUE))
    assert STARS in text
    assert VALUE not in text


@given(st.text(min_size=1).filter(lambda text: text not in STARS))
def test_no_value_shows(value: str) -> None:
    assert repr(Secret(value)) == str(Secret(value)) == f"{Secret(value)}" == STARS
    assert Secret(value).reveal() == value


REFUSALS: dict[str, Callable[[Secret], object]] = {
    "json": json.dumps,
    "msgspec json": msgspec.json.encode,
    "pickle": pickle.dumps,
    "oldest pickle": lambda s: pickle.dumps(s, protocol=0),
    "pickle in a dataclass": lambda s: pickle.dumps(Login("a", s)),
    "deep copy": copy.deepcopy,
    "hash": hash,
    "key": lambda s: {s: 1},
    "join": lambda s: "".join([s]),  # type: ignore[list-item]
    "add": lambda s: "a" + s,  # type: ignore[operator]
    "vars": vars,
    "iterate": iter,  # type: ignore[dict-item]
    "length": len,  # type: ignore[dict-item]
    "integer": lambda s: f"{s:d}",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refuses_what_would_carry_it_off(name: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        REFUSALS[name](Secret(VALUE))
    assert VALUE not in str(caught.value)


def test_table_shows_stars() -> None:
    columns = [Column("password", lambda s: s)]
    table = make_table([Secret(VALUE)], columns, "")
    assert [str(cell) for cell in table.columns[0].cells] == [STARS]
    assert plain_table([Secret(VALUE)], columns, "") == f"password\n{STARS}\n"


def test_traceback_with_locals_shows_stars() -> None:
    code = """
        import sys, traceback
        from mapadmin.core.secret import Secret
        def f(password):
            kept = {"p": password}
            raise ValueError("no")
        try:
            f(Secret(sys.argv[1]))
        except ValueError as error:
            text = "".join(traceback.TracebackException.from_exception(
                error, capture_locals=True).format())
        print(text)
    """
    done = run_python(code, VALUE)
    assert "kept = " in done.stdout
    assert STARS in done.stdout
    assert VALUE not in done.stdout.replace("sys.argv", "")


def test_compares_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("\udcff") != Secret("é")
    assert Secret("a") != "a"


def test_generated_passwords() -> None:
    made = [generate_password().reveal() for _ in range(300)]
    assert len(set(made)) == 300
    for text in made:
        assert len(text) == 24
        assert any(c.isupper() for c in text)
        assert any(c.islower() for c in text)
        assert any(c.isdigit() for c in text)
        assert "-" in text
        assert not set(text) & set("0O1lI'\"\\`%$ ")


# --- references --------------------------------------------------------------------------------


def look_up(reference: str, base: Path) -> str:
    return resolve(reference, setting="mapadmin.toml: database.password", base=base).reveal()


def refusal(reference: str, base: Path) -> str:
    """The whole sentence by which a reference is refused."""
    with pytest.raises(SettingsError) as caught:
        look_up(reference, base)
    assert caught.value.exit_code is ExitCode.SETTINGS
    assert str(caught.value).startswith("mapadmin.toml: database.password")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "hunter2", "env:", "ENV:X", "vault:x", "file", ":x", "command:"]
)
def test_secrets_themselves_are_refused_without_being_quoted(text: str, tmp_path: Path) -> None:
    said = refusal(text, tmp_path)
    assert "must be a reference to a secret, not the secret itself" in said
    assert "env:NAME, file:PATH, command:PROGRAM or aws-secret:ID" in said
    assert "hunter2" not in said


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "va lue:#é")
    assert look_up("env:A_SECRET", tmp_path) == "va lue:#é"
    monkeypatch.setenv("A_SECRET", "")
    assert "env:A_SECRET is empty" in refusal("env:A_SECRET", tmp_path)
    monkeypatch.setenv("A_SECRET", "x\udcff")
    assert "env:A_SECRET is not UTF-8 text" in refusal("env:A_SECRET", tmp_path)
    monkeypatch.delenv("A_SECRET")
    said = refusal("env:A_SECRET", tmp_path)
    assert "the environment variable A_SECRET is not set" in said
    assert "read -rs A_SECRET && export A_SECRET" in said


FILES: list[tuple[bytes, str]] = [
    (b"value", "value"),
    (b"value\n", "value"),
    (b"value\r\nsecond\n", "value"),
    (b" two words \n", " two words "),
    ("gr\u00fc\u00df\u00e9 \U0001f511\n".encode(), "gr\u00fc\u00df\u00e9 \U0001f511"),
]


@pytest.mark.parametrize(("content", "value"), FILES)
def test_file(content: bytes, value: str, tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "a b"
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    assert look_up("file:secrets/a b", tmp_path) == value
    assert look_up(f"file:{path}", Path("/")) == value


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700, 0o640, 0o604, 0o620, 0o610, 0o601, 0o644])
def test_file_modes(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("value\n")
    path.chmod(mode)
    if mode & 0o077:
        said = refusal("file:token", tmp_path)
        assert f"can be read by others (mode {mode:04o})" in said
        assert f"chmod 600 {path}" in said
        assert "value" not in said
    else:
        assert look_up("file:token", tmp_path) == "value"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert f"cannot read {tmp_path}/gone: No such file" in refusal("file:gone", tmp_path)
    assert "Is a directory" in refusal("file:.", tmp_path)
    assert "no-such-user-here" in refusal("file:~no-such-user-here/x", tmp_path)
    assert "cannot read file:a\0b: " in refusal("file:a\0b", tmp_path)
    path = tmp_path / "token"
    path.write_bytes(b"\xff\xfe\n")
    path.chmod(0o600)
    assert "it is not UTF-8 text" in refusal("file:token", tmp_path)
    path.write_bytes(b"\n")
    assert "file:token is empty" in refusal("file:token", tmp_path)


COMMANDS: list[tuple[str, str]] = [
    ("echo value", "value"),
    ("printf 'one\\ntwo\\n'", "one"),
    ("echo 'a b'  c", "a b c"),
    ("echo $HOME `id` $(id) * ; id | cat > x && y", "$HOME `id` $(id) * ; id | cat > x && y"),
    ("echo ~ #x", "~ #x"),
    ("pwd", "{base}"),
    ("cat", ""),  # stdin is empty: a program that asks does not hang
]


@pytest.mark.parametrize(("line", "value"), COMMANDS)
def test_command_is_an_argument_list(line: str, value: str, tmp_path: Path) -> None:
    if not value:
        assert f"command:{line} is empty" in refusal(f"command:{line}", tmp_path)
        return
    assert look_up(f"command:{line}", tmp_path) == value.format(base=tmp_path)
    assert list(tmp_path.iterdir()) == []


FAILING_COMMANDS: list[tuple[str, str]] = [
    ("no-such-program x", "cannot run no-such-program: No such file"),
    ("/etc/passwd", "cannot run /etc/passwd: Permission denied"),
    (" ", "names no program"),
    ("echo 'unclosed", "No closing quotation"),
    ("false", "false failed with exit code 1"),
    ("sh -c 'echo value; echo locked >&2; echo more >&2; exit 7'", "exit code 7: locked"),
    ("sh -c 'kill -9 $$'", "failed with exit code -9"),
    (r"printf '\xff'", "is not UTF-8 text"),
    ("echo a\0b", "embedded null byte"),
]


@pytest.mark.parametrize(("line", "reason"), FAILING_COMMANDS)
def test_command_that_fails(line: str, reason: str, tmp_path: Path) -> None:
    said = refusal(f"command:{line}", tmp_path)
    assert reason in said
    assert "more" not in said


def test_command_that_fails_does_not_show_its_output(tmp_path: Path) -> None:
    script = tmp_path / "ask"
    script.write_text("#!/bin/sh\necho the-value\nexit 3\n")
    script.chmod(0o700)
    assert "the-value" not in refusal(f"command:{script}", tmp_path)


def test_command_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_module, "COMMAND_TIMEOUT", 0.3)
    begun = time.monotonic()
    # The grandchild keeps the pipe open.
    said = refusal("command:sh -c 'sleep 5 & sleep 5'", tmp_path)
    assert "sh did not answer within 0.3 s" in said
    assert time.monotonic() - begun < 3


AWS = """
    import sys
    from pathlib import Path
    from mapadmin.core.errors import SettingsError
    from mapadmin.core.secret import resolve
    try:
        resolve(sys.argv[1], setting="x", base=Path("/"))
    except SettingsError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "You must specify a region"),
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "Unable to locate credentials"),
        ({"AWS_PROFILE": "nobody-s"}, "The config profile (nobody-s) could not be found"),
    ],
)
def test_aws_without_credentials(changes: dict[str, str], reason: str, tmp_path: Path) -> None:
    env = environment(HOME=str(tmp_path), AWS_EC2_METADATA_DISABLED="true", **changes)
    done = run_python(AWS, "aws-secret:map/db#password", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("x: AWS Secrets Manager: ")
    assert reason in done.stdout
