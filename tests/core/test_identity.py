"""Who acts is the process's user, not what its environment says."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from textwrap import dedent

import pytest

from mapadmin.core.identity import Identity, whoami
from tests.core.processes import environment

ME = pwd.getpwuid(os.geteuid()).pw_name


def test_environment_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert whoami() == Identity(ME, os.uname().nodename)


@pytest.mark.parametrize(("caller", "who"), [("ann", f"ann (as {ME})"), (ME, ME), ("", ME)])
def test_behind_sudo(caller: str, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", caller)
    assert whoami().who == who


def test_user_without_a_name() -> None:
    """As in a container that was started with a number for its user."""
    code = """
        import os
        from mapadmin.core.identity import whoami
        print(os.geteuid(), whoami().who)
    """
    command = ["unshare", "--user", "--map-user=54321", sys.executable, "-c", dedent(code)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("54321 54321\n", "")
