"""What the tests install once, into the cache folder: environments of other programs."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mapadmin.sandbox.programs import cache_folder


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, made by `make` when it is not there whole.

    Several test processes may want it at once, and one may be killed while it makes it.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / name
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / "complete").touch()
    return folder


def python_with(*requirements: str) -> Callable[[Path], None]:
    """Makes a virtual environment with these packages, for `cached`."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        python = str(folder / "bin" / "python")
        install = [python, "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(install, check=True, capture_output=True)

    return make
