"""What `pip install` gives: built as it is published, installed where nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mapadmin

ROOT = Path(__file__).parents[1]


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "MAPADMIN", "VIRTUAL_ENV"))
    }
    return subprocess.run(
        [str(argument) for argument in arguments], cwd=cwd, env=environment, text=True,
        capture_output=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as pip would build it, so both are whole."""
    folder = tmp_path_factory.mktemp("dist")
    built = run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_every_template_is_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {
        f"mapadmin/templates/{path.relative_to(ROOT / 'templates').as_posix()}"
        for path in (ROOT / "templates").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert templates
    assert templates <= names
    assert not [name for name in names if name.startswith(("tests/", "tools/"))]


@pytest.mark.timeout(900)
def test_installed_alone_it_works(wheel: Path, tmp_path: Path) -> None:
    made = run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    program = tmp_path / "env" / "bin"
    installed = run(program / "python", "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    version = run(program / "mapadmin", "--version", cwd=tmp_path)
    assert version.stdout == f"mapadmin {mapadmin.__version__}\n"
    assert "add-user" in run(program / "mapadmin", "db", "--help", cwd=tmp_path).stdout
    # From templates, and then read again.
    site = tmp_path / "site"
    made = run(
        program / "mapadmin", "init", site, "--host", "127.0.0.1", "--port", "1", cwd=site.parent
    )
    assert made.returncode == 0, made.stderr
    unreachable = run(program / "mapadmin", "--site", site, "db", "users", cwd=tmp_path)
    assert unreachable.returncode == 3
    assert "MAPADMIN_DB_PASSWORD" in unreachable.stderr
    assert "Traceback" not in unreachable.stderr
