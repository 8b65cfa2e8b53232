"""Small Python programs in processes of their own, for what only a real process can show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _argv(code: str, args: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, args)]


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment without what would change mapadmin's answers; None removes."""
    out = {
        key: value
        for key, value in os.environ.items()
        if key not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "SUDO_USER"}
        and not key.startswith(("MAPADMIN", "AWS_"))
    }
    out["PYTHONPATH"] = str(ROOT)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out


def run_python(
    code: str,
    *args: object,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    given: str = "",
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; nothing is raised for its exit code."""
    return subprocess.run(
        _argv(code, args), env=env or environment(), cwd=cwd, input=given, text=True,
        capture_output=True, timeout=timeout, check=False,
    )  # fmt: skip


def start_python(
    code: str, *args: object, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a program; its stdout and stderr are pipes."""
    return subprocess.Popen(
        _argv(code, args), env=env or environment(), cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints: how it says that it has come so far."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process, reap it and close its pipes."""
    process.kill()
    process.communicate()


# Runs several command lines, given as JSON, and tells what each one did.
SESSION = """
    import contextlib, io, json, sys
    from mapadmin.cli import main
    for line in json.load(sys.stdin):
        out, errors = io.StringIO(), io.StringIO()
        sys.argv = ["mapadmin", *line]
        code = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                main()
            except SystemExit as error:
                code = error.code
            except BaseException as error:
                code = repr(error)
        modules = sorted({name.partition(".")[0] for name in sys.modules})
        print(json.dumps([int(code or 0) if not isinstance(code, str) else code,
                          out.getvalue(), errors.getvalue(), modules]))
"""


@dataclass(frozen=True)
class Ran:
    """What one command line did. `modules` are all that were imported until its end."""

    code: int | str
    out: str
    errors: str
    modules: frozenset[str]


def session(*lines: list[str], **changes: str) -> list[Ran]:
    """Run command lines one after the other in one new interpreter."""
    env = environment(**{"HOME": "/nonexistent", **changes})
    done = run_python(SESSION, env=env, given=json.dumps(lines), cwd=Path("/"))
    assert done.stderr == ""
    ran = [json.loads(line) for line in done.stdout.splitlines()]
    return [Ran(code, out, errors, frozenset(modules)) for code, out, errors, modules in ran]
