"""Builds an image from a commit: once, from exactly its files, with all that was said kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from mapadmin.core.docker import Docker, DockerError
from mapadmin.core.errors import MapadminError
from mapadmin.core.files import make_private_folder
from mapadmin.images.image import REVISION, Image, find_image
from mapadmin.images.repository import Commit, export

SHOWN = 5  # last lines of a build that failed


def build_image(
    docker: Docker, commit: Commit, tag: str, *, dockerfile: str, text: str, logs: Path,
    network: str = "", said: Callable[[str], None] = lambda _: None,
) -> Image:  # fmt: skip
    """The image of a commit under this tag, built unless it is there.

    `dockerfile` is its path in the repository; without one, `text` is the Dockerfile. What the
    build says goes to `logs`/<commit>.log, and each line to `said`. Raises MapadminError, with the
    end of that, when it fails.
    """
    try:
        image = find_image(docker, tag)
        if image.commit == commit.sha:
            return image
    except DockerError:
        pass
    log = make_private_folder(logs) / f"{commit.short}.log"
    with tempfile.TemporaryDirectory(prefix="mapadmin-build-") as name:
        context = Path(name) / "context"
        export(commit, context)
        file = context / dockerfile if dockerfile else Path(name) / "Dockerfile"
        if not dockerfile:
            file.write_text(text, encoding="utf-8")
        elif not file.is_file():
            raise MapadminError(f"The commit {commit.short} has no {dockerfile}.")
        arguments = [
            "build", "--tag", tag, "--label", f"{REVISION}={commit.sha}", "--file", str(file),
            *(["--network", network] if network else []), str(context),
        ]  # fmt: skip
        _run(docker, arguments, log, said)
    return find_image(docker, tag)


def _run(docker: Docker, arguments: list[str], log: Path, said: Callable[[str], None]) -> None:
    last: list[str] = []
    with log.open("w", encoding="utf-8") as file:
        try:
            for line in docker.lines(*arguments):
                file.write(line + "\n")
                said(line)
                last = [*last, line][-SHOWN:] if line.strip() else last
        except DockerError:
            end = "\n".join(f"  {line}" for line in last)
            raise MapadminError(
                f"The image could not be built:\n{end}", remedy=f"All of it is in {log}."
            ) from None
