"""The sandbox's AWS: it comes up, it is left out where moto is not, it goes down."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.aws.cloud import assert_in_policy, recording
from tests.sandbox.box import assert_nothing_runs, box

_WITHOUT = """
import sys
sys.modules["moto"] = None
from mapadmin.cli import main
sys.argv[1:] = sys.argv[1:]
main()
"""


def _aws(status: dict[str, object]) -> dict[str, object]:
    parts = status["parts"]
    assert isinstance(parts, list)
    found: dict[str, object] = next(part for part in parts if part["name"] == "aws")
    return found


def test_up_and_down(tmp_path: Path) -> None:
    with box(tmp_path / "box", "mariadb") as sandbox:
        sandbox.up()
        first = _aws(sandbox.status())
        assert first["state"] == "running"
        with urllib.request.urlopen(f"http://127.0.0.1:{first['port']}/", timeout=60):
            pass  # whoever comes first waits until the account is filled
        calls = tmp_path / "calls"
        sandbox.environment.update(recording(calls))
        ran = sandbox.run("--site", str(sandbox.site), "aws", "usage", "--exact")
        assert ran.code == 0, ran.err
        assert "map-ephys-archive" in ran.out
        params = sandbox.run("--site", str(sandbox.site), "db", "params")
        assert params.code == 5
        assert "Kept in: parameter group map-mysql84" in params.err
        sandbox.environment.clear()  # the emulator, which is to come up again, asks for more
        assert_in_policy(calls)
        sandbox.down()
        assert_nothing_runs(sandbox)
        assert _aws(sandbox.status())["state"] == "stopped"
        sandbox.up()
        assert _aws(sandbox.status())["port"] == first["port"]
    assert_nothing_runs(sandbox)


def test_without_moto_the_rest_comes_up(tmp_path: Path) -> None:
    with box(tmp_path / "box", "mariadb") as sandbox:
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT, "sandbox", "up", str(sandbox.folder),
             "--flavour", "mariadb"],
            capture_output=True, text=True, check=False, timeout=200, env=dict(os.environ),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "There is no AWS in this sandbox: pip install 'moto[server]'" in done.stderr
        assert "left out" in done.stdout
        ran = sandbox.run("--site", str(sandbox.site), "aws", "status")
        assert (ran.code, ran.out) == (4, "")
