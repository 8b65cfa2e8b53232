"""An image as the engine knows it."""

from __future__ import annotations

from typing import Any

import msgspec

from mapadmin.core.docker import Docker, DockerError

REVISION = "org.opencontainers.image.revision"


class Image(msgspec.Struct, frozen=True):
    """An image that is there: `id` is what never changes, `name` what people call it.

    `commit` is what it was built from, as far as its label tells; `directory` where it works.
    """

    name: str
    id: str
    commit: str = ""
    directory: str = "/"


def find_image(docker: Docker, name: str) -> Image:
    """Raises DockerError when the engine does not have it: nothing is pulled by itself."""
    try:
        (found,) = docker.records("image", "inspect", "--format", "{{json .}}", "--", name)
    except DockerError as error:
        if "no such image" not in error.said.lower():
            raise
        raise DockerError(
            f"There is no image {name} on this engine.",
            said=error.said,
            remedy=f"Fetch it (docker pull {name}), or have it built: [workers.build].",
        ) from None
    config: dict[str, Any] = found.get("Config") or {}
    labels = config.get("Labels") or {}
    return Image(name, found["Id"], labels.get(REVISION, ""), config.get("WorkingDir") or "/")
