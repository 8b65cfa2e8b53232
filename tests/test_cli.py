"""The command tree as a whole: help, exit codes, tracebacks, signals, pipes, completion."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from mapadmin import __version__
from mapadmin.cli import GROUPS
from mapadmin.core.journal import Journal
from mapadmin.core.plan import Step, StepState
from mapadmin.lazy import LazyGroup, load
from tests.core.processes import ROOT, environment, run_python, session

SDKS = {
    "boto3", "botocore", "cryptography", "datajoint", "globus_sdk", "jinja2", "pymysql",
    "requests", "rich", "tomlkit",
}  # fmt: skip
PROGRAM = [sys.executable, "-W", "error", "-m", "mapadmin"]


# --- the tree ----------------------------------------------------------------------------------


@cache
def tree() -> dict[str, Any]:
    """Every group and command by its words: `db add-user`."""
    found: dict[str, Any] = {}

    def walk(words: str, command: Any) -> None:
        found[words] = command
        if isinstance(command, LazyGroup):
            for name, (module, _) in command.lazy.items():
                walk(f"{words} {name}", load(module, name))
        else:
            for name, child in getattr(command, "commands", {}).items():
                walk(f"{words} {name}", child)

    for name, (module, _) in GROUPS.items():
        walk(name, load(module, name))
    return found


def sentences() -> Iterator[tuple[str, str]]:
    """What the lists of commands say of each."""
    for name, (_, sentence) in GROUPS.items():
        yield name, sentence
    for words, command in tree().items():
        if isinstance(command, LazyGroup):
            for name, (_, sentence) in command.lazy.items():
                yield f"{words} {name}", sentence


def test_every_command_says_what_it_does() -> None:
    assert len(tree()) > 15
    silent = [words for words, command in tree().items() if not (command.help or "").strip()]
    assert silent == []
    open_ended = [
        words for words, command in tree().items() if not command.help.strip().endswith((".", ".)"))
    ]
    assert open_ended == []


def test_every_option_says_what_it_is_for() -> None:
    silent = [
        f"{words}: {parameter.name}"
        for words, command in tree().items()
        for parameter in command.params
        if not (getattr(parameter, "help", None) or "").strip()
    ]
    assert silent == []


def test_names_are_of_one_kind() -> None:
    for words, command in tree().items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*( [a-z]+(-[a-z]+)*){0,2}", words)
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert all(re.fullmatch(r"-[a-z]|--[a-z]+(-[a-z]+)*", o) for o in parameter.opts)


def test_lists_of_commands_are_short_sentences() -> None:
    long = [
        words
        for words, sentence in sentences()
        if not sentence.endswith(".") or len(sentence) > 62 or not sentence[0].isupper()
    ]
    assert long == []


def test_no_command_is_forgotten_in_its_list() -> None:
    """One that is written, but that no list names, could not be called."""

    def whose(function: Any) -> str:
        return f"{function.__module__}.{function.__qualname__}"

    reached = {whose(command.callback) for command in tree().values() if command.callback}
    written = set()
    for path in (ROOT / "mapadmin").rglob("*.py"):
        if ".command(" in path.read_text(encoding="utf-8"):
            dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for found in vars(importlib.import_module(dotted)).values():
                if isinstance(found, typer.Typer):
                    written |= {whose(info.callback) for info in found.registered_commands}
    assert len(written) > 60
    assert written - reached == set()


JSON_ANSWERS = {
    "journal", "db users", "db show-user", "db apply", "db audit", "db check",
    "workers jobs", "workers errors", "workers progress",
    "workers status", "workers logs", "cleanup", "cleanup jobs",
    "db params",
    "aws status", "aws usage", "aws cost", "aws snapshots", "aws uploads", "aws lifecycle",
    "aws reports link",
}  # fmt: skip


def test_what_shows_something_has_json() -> None:
    options = {
        words: {o for p in command.params for o in p.opts} for words, command in tree().items()
    }
    assert all("--json" in options[words] for words in JSON_ANSWERS)
    changing = {words for words, has in options.items() if "--dry-run" in has}
    assert changing
    assert all("--json" in options[words] for words in changing)


# --- many command lines in one fresh interpreter -----------------------------------------------


def test_help_of_every_command_imports_no_sdk() -> None:
    paths = ["", *tree()]
    for path, ran in zip(paths, session(*([*p.split(), "--help"] for p in paths)), strict=True):
        assert (ran.code, ran.errors) == (0, ""), path
        assert ran.out.startswith(f"Usage: mapadmin {path}".rstrip()), path
        assert "Traceback" not in ran.out
        assert max(map(len, ran.out.splitlines())) <= 80, path
        assert not ran.modules & SDKS, path


def test_lists_of_commands_import_nothing_of_theirs() -> None:
    top, db = session(["--help"], ["db", "--help"])
    assert not top.modules & SDKS
    assert not db.modules & SDKS
    for name, (_, sentence) in GROUPS.items():
        assert re.search(rf"^  {name} +{re.escape(sentence)}$", top.out, re.MULTILINE), name
    for name, (_, sentence) in tree()["db"].lazy.items():
        assert re.search(rf"^  {name} +{re.escape(sentence)}$", db.out, re.MULTILINE), name


NOWHERE = ["--site", "/nonexistent"]
USAGE: list[tuple[list[str], str]] = [
    (["nothing"], "No such command 'nothing'."),
    (["db", "nothing"], "No such command 'nothing'."),
    (["db", "aply"], "No such command 'aply'. Did you mean 'apply'?"),
    (["db", "show-users"], "Did you mean 'show-user'"),
    (["--nothing"], "No such option: --nothing"),
    (["journal", "--limt", "5"], "No such option: --limt (Possible options: --limit)"),
    (["journal", "--limit", "x"], "Invalid value for '--limit': 'x' is not a valid int"),
    (["journal", "--limit", "0"], "Invalid value for '--limit': 0 is not in the range"),
    (["journal", "surplus"], "surplus"),
    (["db", "add-user"], "Missing argument 'name'"),
    (["db", "add-user", "ann"], "Missing option '--role'"),
    (["db", "add-user", "ann", "--role"], "Option '--role' requires an argument"),
    (["db", "add-user", "a", "--role", "r", "--expires", "soon"], "'soon' does not match the form"),
    (["--site"], "Option '--site' requires an argument"),
]


def test_usage_errors() -> None:
    lines = [line for line, _ in USAGE]
    for (line, said), ran in zip(USAGE, session(*lines), strict=True):
        assert (ran.code, ran.out) == (2, ""), line
        assert said in " ".join(ran.errors.split()), line
        assert ran.errors.startswith(("Usage: mapadmin", "Error: Option")), line
        assert not ran.modules & SDKS


def test_nothing_asked_for_is_help() -> None:
    for ran in session([], ["db"], ["sandbox"]):
        assert (ran.code, "Usage: mapadmin" in ran.out + ran.errors) == (2, True)


STOPPED = [
    ["journal"], ["db", "add-user", "ann", "--role", "r"], ["db", "apply"], ["db", "users"],
    ["db", "audit"], ["db", "check"], ["db", "lock", "ann"], ["db", "processes"],
]  # fmt: skip


def test_no_site_is_a_settings_error_before_any_sdk() -> None:
    for line, ran in zip(STOPPED, session(*([*NOWHERE, *c] for c in STOPPED)), strict=True):
        assert (ran.code, ran.out) == (3, ""), line
        assert ran.errors == (
            "Error: There is no mapadmin.toml in /nonexistent.\n"
            "  `mapadmin init /nonexistent` makes a site folder.\n"
        ), line
        assert not ran.modules & SDKS, line
    (ran,) = session(["db", "users"], MAPADMIN_SITE="/nonexistent")
    assert ran.code == 3
    (ran,) = session(["db", "users"])
    assert (ran.code, ran.errors.partition(".")[0]) == (
        3,
        "Error: No site is named and there is no mapadmin",
    )


def test_version() -> None:
    first, second = session(["--version"], ["--version", "db", "nothing"])
    assert (first.code, first.out, first.errors) == (0, f"mapadmin {__version__}\n", "")
    assert second.out == first.out
    assert not first.modules & SDKS


# --- a site ------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with a journal and nothing else."""
    tmp_path.chmod(0o755)
    (tmp_path / "mapadmin.toml").write_text('[site]\nname = "x"\nstate = "state"\n')
    (tmp_path / "mapadmin.toml").chmod(0o644)
    (tmp_path / "state").mkdir()
    return tmp_path


def write_journal(site: Path, count: int) -> None:
    journal = Journal(site / "state" / "journal.jsonl", command="mapadmin db apply")
    steps = [Step(action="create account", target=f"p{i}@%") for i in range(count)]
    journal.begin(count)
    journal.started(steps)
    journal.ended(steps, [StepState.DONE] * count, "")
    journal.end("done")


def run(
    *arguments: object, env: dict[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)], env=env or environment(), cwd=cwd, check=False,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_journal(site: Path) -> None:
    write_journal(site, 5)
    base = ["--site", str(site), "journal"]
    table, newest, everything, rows = session(
        base, [*base, "--limit", "2"], [*base, "--all", "--local"], [*base, "--json"]
    )
    lines = [re.split(r" {2,}", line.strip()) for line in table.out.splitlines()]
    assert lines[0] == ["time (UTC)", "who", "what", "on", "detail", "result"]
    assert [line[2:] for line in lines[1:]] == [
        ["create account", f"p{i}@%", "-", "done"] for i in range(5)
    ]
    assert [line.split()[5] for line in newest.out.splitlines()[1:]] == ["p3@%", "p4@%"]
    assert len(everything.out.splitlines()) == 13
    entries = json.loads(rows.out)
    assert len(entries) == 5
    assert set(entries[0]) == {
        "time", "run", "seq", "event", "who", "host", "command", "action", "target", "detail",
        "error",
    }  # fmt: skip
    assert {entry["command"] for entry in entries} == {"mapadmin db apply"}


def test_empty_journal(site: Path) -> None:
    text, rows = session(
        ["--site", str(site), "journal"], ["--site", str(site), "journal", "--json"]
    )
    assert (text.code, text.out) == (0, "")
    assert text.errors == "The journal is empty: nothing has been changed yet.\n"
    assert (rows.code, rows.out, rows.errors) == (0, "[]\n", "")


def test_site_is_found_from_a_folder_in_it(site: Path) -> None:
    done = run("journal", cwd=site / "state", env=environment(HOME="/nonexistent"))
    assert (done.returncode, done.stdout) == (0, "")


def test_site_that_cannot_be_read_is_one_sentence(site: Path) -> None:
    (site / "mapadmin.toml").write_text("x = = 1\n")
    (ran,) = session(["--site", str(site), "journal"])
    assert (ran.code, ran.out) == (3, "")
    assert ran.errors == (
        f"Error: {site}/mapadmin.toml is not valid TOML: Invalid value (at line 1, column 5).\n"
    )


def test_hostile_arguments_do_not_drive_the_terminal() -> None:
    for ran in session(["db", "lock", "\x1b[2Jann", "--site"], ["--site", "/\x1b[2J", "journal"]):
        assert ran.code in (2, 3)
    (ran,) = session(["--site", "/\x1b[2J", "journal"])
    assert "\x1b" not in ran.errors
    assert "/\\x1b[2J" in ran.errors


def test_arguments_that_are_not_utf8(site: Path) -> None:
    done = subprocess.run(
        [*map(os.fsencode, PROGRAM), b"--site", b"/\xff\xfe", b"journal"], env=environment(),
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert b"There is no mapadmin.toml in /\\udcff\\udcfe." in done.stderr


# --- tracebacks --------------------------------------------------------------------------------


def test_traceback_only_with_debug() -> None:
    quiet = run(*NOWHERE, "journal")
    assert "Traceback" not in quiet.stderr
    loud = run("--debug", *NOWHERE, "journal")
    assert loud.stderr.startswith("Traceback")
    assert "SettingsError: There is no mapadmin.toml in /nonexistent." in loud.stderr
    assert (quiet.returncode, loud.returncode) == (3, 3)


def test_what_is_unexpected_is_one_sentence_too(site: Path) -> None:
    """A full disk under stdout, for example; no traceback, and a word on how to get one."""
    write_journal(site, 1)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "--site", site, "journal"], env=environment(), check=False, text=True,
            stdout=full, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_stdout_that_is_closed(site: Path) -> None:
    write_journal(site, 1)
    line = '"$@" >&-'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *PROGRAM, "--site", site, "journal"], env=environment(),
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_locale_without_the_character(site: Path) -> None:
    write_journal(site, 1)
    path = site / "state" / "journal.jsonl"
    path.write_text(path.read_text().replace('"who": "', '"who": "é'), encoding="utf-8")
    done = run("--site", site, "journal", env=environment(PYTHONIOENCODING="ascii"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xe9" in done.stdout


# --- pipes and signals -------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["journal", "--limit", "5000"], ["journal", "--json"]])
def test_reader_that_has_seen_enough(arguments: list[str], site: Path) -> None:
    """`mapadmin … | head -1`: no word about it, no traceback, and it ends."""
    write_journal(site, 2500)
    process = subprocess.Popen(
        [*PROGRAM, "--site", site, *arguments, "--limit", "5000"], env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() != ""
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(30) == 0
    assert errors == ""
    process.stderr.close()


SLOW_SITE = """\
[site]
name = "x"
state = "state"
[database]
host = "127.0.0.1"
port = 1
tls = "off"
password = "command:sh -c 'touch begun; exec sleep 30'"
project_prefix = "map"
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: signal.Signals, site: Path) -> None:
    (site / "mapadmin.toml").write_text(SLOW_SITE)
    process = subprocess.Popen(
        [*PROGRAM, "--site", site, "db", "users"], env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 20
    while not (site / "begun").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(number)
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (130, "", "Interrupted.\n")


def test_server_that_does_not_answer(site: Path) -> None:
    (site / "mapadmin.toml").write_text(SLOW_SITE.replace("touch begun; exec sleep 30", "echo x"))
    done = run("--site", site, "db", "users")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("Error: 127.0.0.1:1 cannot be reached: ")
    assert "Traceback" not in done.stderr


# --- completion --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mapadmin ", {*GROUPS}),
        ("mapadmin j", {"journal", "jupyterhub"}),
        ("mapadmin db set-", {"set-role", "set-expiry", "set-password"}),
        ("mapadmin db apply --dr", {"--dry-run"}),
    ],
)
def test_completion(words: str, expected: set[str]) -> None:
    count = len(words.split(" ")) - 1
    env = environment(
        _MAPADMIN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(count)
    )  # fmt: skip
    code = "import sys; sys.argv[0] = 'mapadmin'; from mapadmin.cli import main; main()"
    done = run_python(code, env=env)
    assert done.stderr == ""
    assert set(done.stdout.split()) == expected
