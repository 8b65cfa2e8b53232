"""The image that new workers are made from: one that is there, or one that a commit is built to."""

from __future__ import annotations

from collections.abc import Callable

from mapadmin.core.docker import Docker, DockerError
from mapadmin.core.errors import UsageError
from mapadmin.images.build import build_image
from mapadmin.images.image import Image, find_image
from mapadmin.images.repository import resolve
from mapadmin.site import Site
from mapadmin.workers.plans import BuildStep


class Source:
    """What `--image`, `--ref` or the site file name, looked up.

    Raises what `find_image` and `resolve` raise. `image` is None until it has been built.
    """

    def __init__(self, docker: Docker, site: Site, *, image: str = "", ref: str = "") -> None:
        self.docker = docker
        self.site = site
        self.build = None if image else site.workers.build
        self.image: Image | None
        if self.build is None:
            if ref:
                raise UsageError(
                    "The site file does not say how an image is built from a commit.",
                    remedy="Write [workers.build], or name an image: --image.",
                )
            self.name = image or site.workers.image
            self.image = find_image(docker, self.name)
            return
        self.commit = resolve(site.folder / self.build.repository, ref or self.build.ref)
        self.name = f"{site.name}-workers:{self.commit.short}"
        self.image = self._built()

    def _built(self) -> Image | None:
        try:
            image = find_image(self.docker, self.name)
        except DockerError:
            return None
        return image if image.commit == self.commit.sha else None

    @property
    def words(self) -> str:
        """How it is called in plans."""
        commit = self.image.commit if self.image else ""
        return (
            self.name if not commit or commit[:12] in self.name else f"{self.name} ({commit[:12]})"
        )

    def steps(self) -> tuple[BuildStep, ...]:
        """Building it, unless it is there."""
        if self.image is not None or self.build is None:
            return ()
        detail = f"{self.commit.repository}, commit {self.commit.short}"
        return (BuildStep(action="build image", target=self.name, detail=detail),)

    def make(self, said: Callable[[str], None]) -> None:
        """Build it; each line of the build goes to `said`."""
        from mapadmin.core.templates import render

        if self.build is None:
            return
        network = "host" if self.site.workers.network == "host" else ""
        self.image = build_image(
            self.docker, self.commit, self.name, dockerfile=self.build.dockerfile, network=network,
            text=render("workers/Dockerfile.j2", base=self.build.base), said=said,
            logs=self.site.state_folder / "workers" / "builds",
        )  # fmt: skip
