"""A generation: all that one roll-out makes the workers from, and the folder where that is.

`<state>/workers/g<N>/` holds what is mounted into the containers: the runner, DataJoint's
configuration for 0.x and for 2.x, the secret file, `beats/` for the heartbeats, and the compose
file. Everything but the password makes up `config`, a hash that the containers carry as a label.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from mapadmin.core.errors import MapadminError, SettingsError
from mapadmin.core.files import make_private_folder, write_atomic
from mapadmin.core.secret import Secret
from mapadmin.images.image import Image
from mapadmin.site import Site, WorkersSettings
from mapadmin.workers.configuration import (
    CA,
    INSIDE,
    datajoint_files,
    read_text,
    secret_text,
    store_keys,
)
from mapadmin.workers.engine import LABEL, Place

RUNNER, SECRET, BEATS = "runner.py", "secret.json", "beats"
DEFINITION = "definition.json"


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers are, as the site file, its image and its files say at this moment."""

    site: str
    home: str
    """The site's state folder."""
    settings: WorkersSettings
    image: Image
    runner: str
    configs: Mapping[str, str]
    """DataJoint's configuration files by name."""
    ca: str = ""
    """Certificate authorities of the database; empty: the image's own."""
    secret: str
    """The text of the secret file."""

    def __repr__(self) -> str:
        return f"Definition(site={self.site!r}, config={self.config!r})"

    @property
    def config(self) -> str:
        """Stands for everything but counts and the password (which its hash would give away)."""
        import hashlib

        one_each = [Place(kind, 1) for kind in sorted(self.settings.kinds)]
        generation = Generation(0, self)
        texts = [
            json.dumps([generation.service(place) for place in one_each]),
            *(generation.files[name] for name in sorted(generation.files)),
        ]
        whole = "\0".join(texts).replace(str(generation.folder), "")
        return hashlib.sha256(whole.encode()).hexdigest()[:12]


class Generation:
    """One of a definition's generations. Its folder need not be there yet."""

    def __init__(self, number: int, definition: Definition) -> None:
        self.number = number
        self.definition = definition
        self.folder = folder_of(Path(definition.home), number)
        self.project = project_of(definition.site, number)

    @property
    def image(self) -> Image:
        return self.definition.image

    @property
    def settings(self) -> WorkersSettings:
        return self.definition.settings

    @cached_property
    def labels(self) -> dict[str, str]:
        """What all containers of this generation carry."""
        image = self.image
        return {
            f"{LABEL}site": self.definition.site, f"{LABEL}home": self.definition.home,
            f"{LABEL}part": "workers", f"{LABEL}generation": str(self.number),
            f"{LABEL}config": self.definition.config, f"{LABEL}image": image.name,
            f"{LABEL}commit": image.commit,
        }  # fmt: skip

    def host(self, place: Place) -> str:
        """The host name of a worker, which its jobs and sessions tell: `map-g3-compute-2`."""
        return f"{self.definition.site.replace('_', '-')}-g{self.number}-{place}"

    def command(self, place: Place) -> list[str]:
        """The runner, as process 1, with what it runs."""
        settings = self.settings
        return [
            settings.python, f"{INSIDE}/{RUNNER}", "--secret", f"{INSIDE}/{SECRET}",
            "--heartbeat", f"{INSIDE}/{BEATS}/{place}.json", *settings.kinds[place.kind].command,
        ]  # fmt: skip

    def mounts(self, kind: str) -> list[dict[str, Any]]:
        """What is mounted: of this generation's folder, then the site's volumes."""
        inside = self.settings.directory or self.image.directory
        own = [
            (RUNNER, f"{INSIDE}/{RUNNER}", True), (SECRET, f"{INSIDE}/{SECRET}", True),
            (BEATS, f"{INSIDE}/{BEATS}", False),
            *((name, f"{inside.rstrip('/')}/{name}", True) for name in self.definition.configs),
            *([(CA, f"{INSIDE}/{CA}", True)] if self.definition.ca else []),
        ]  # fmt: skip
        mounts = [_mount("bind", str(self.folder / name), to, ro) for name, to, ro in own]
        for volume in (*self.settings.volumes, *self.settings.kinds[kind].volumes):
            source, target, *mode = volume.split(":")
            kind_of = "bind" if source.startswith("/") else "volume"
            mounts.append(_mount(kind_of, source, target, mode == ["ro"]))
        return mounts

    def environment(self, kind: str) -> dict[str, str]:
        return {**self.settings.environment, **self.settings.kinds[kind].environment}

    def service(self, place: Place) -> dict[str, Any]:
        """What an engine needs to know of a place beyond its name."""
        settings = self.settings
        kind = settings.kinds[place.kind]
        return {
            "image": self.image.id, "user": settings.user, "directory": settings.directory,
            "network": settings.network, "stop_grace": round(settings.stop_grace),
            "memory": kind.memory, "cpus": kind.cpus, "command": self.command(place),
            "environment": self.environment(place.kind), "mounts": self.mounts(place.kind),
        }  # fmt: skip

    @cached_property
    def files(self) -> dict[str, str]:
        """The files that hold no secret, by name."""
        found = {RUNNER: self.definition.runner, **self.definition.configs}
        if self.definition.ca:
            found[CA] = self.definition.ca
        return found

    def compose_file(self, places: Iterable[Place]) -> str:
        """The compose file with a service for each of these places."""
        from mapadmin.core.templates import render

        settings = self.settings
        kinds: list[dict[str, Any]] = [
            {
                "name": name, "memory": kind.memory, "cpus": kind.cpus,
                "environment": self.environment(name), "mounts": self.mounts(name),
            }
            for name, kind in settings.kinds.items()
        ]  # fmt: skip
        volumes = [
            one["source"] for kind in kinds for one in kind["mounts"] if one["type"] == "volume"
        ]
        return render(
            "workers/compose.yaml.j2",
            site=self.definition.site, number=self.number, kinds=kinds, user=settings.user,
            directory=settings.directory, network=settings.network,
            stop_grace=round(settings.stop_grace), volumes=sorted(set(volumes)),
            places=[
                {
                    "name": str(place), "kind": place.kind, "host": self.host(place),
                    "command": self.command(place),
                    "labels": {
                        **self.labels, f"{LABEL}kind": place.kind,
                        f"{LABEL}number": str(place.number),
                    },
                }
                for place in sorted(places)
            ],
        )  # fmt: skip

    def render(self, places: Iterable[Place]) -> None:
        """Write the folder, or bring it up to date. The secret file is the workers' user's only."""
        make_private_folder(self.folder.parent)
        make_private_folder(self.folder)
        beats = make_private_folder(self.folder / BEATS)
        for name, text in self.files.items():
            write_atomic(self.folder / name, text)
        write_atomic(self.folder / SECRET, self.definition.secret, mode=0o600)
        for path in (beats, self.folder / SECRET):
            give_to(path, self.settings.user)
        environment = f"COMPOSE_PROJECT_NAME={self.project}\nWORKER_IMAGE={self.image.id}\n"
        write_atomic(self.folder / ".env", environment)
        write_atomic(self.folder / "compose.yaml", self.compose_file(places))
        whole = msgspec.json.encode(msgspec.structs.replace(self.definition, secret=""))
        write_atomic(self.folder / DEFINITION, whole.decode() + "\n")


def _mount(kind: str, source: str, target: str, read_only: bool) -> dict[str, Any]:
    return {"type": kind, "source": source, "target": target, "read_only": read_only}


def define(site: Site, image: Image) -> Definition:
    """What the site file says. Raises SettingsError for what cannot be read or may not be."""
    settings = site.workers
    check_user(settings.user)
    ca = read_text(site.folder / site.database.ca, "database.ca") if site.database.ca else ""
    password = site.secret(settings.password, "workers.password")
    runner = Path(__file__).with_name("runner.py")
    return Definition(
        site=site.name, home=str(site.state_folder.resolve()), settings=settings, image=image,
        runner=read_text(runner, "the runner"), configs=datajoint_files(site), ca=ca,
        secret=secret_text(settings.account, password, store_keys(site)),
    )  # fmt: skip


def load(home: Path, number: int) -> Definition:
    """What a generation was made from, so that more of the same can be made later."""
    folder = folder_of(home, number)
    try:
        found = msgspec.json.decode((folder / DEFINITION).read_bytes(), type=Definition)
        secret = (folder / SECRET).read_text(encoding="utf-8")
    except (OSError, msgspec.MsgspecError) as error:
        raise MapadminError(
            f"The files of the workers' generation g{number} cannot be read: {error}.",
            remedy="`mapadmin workers restart` makes a new one.",
        ) from None
    return msgspec.structs.replace(found, secret=secret)


def check_user(user: str) -> None:
    """Only root can give the secret file to somebody else."""
    if os.geteuid() != 0 and int(user.partition(":")[0]) != os.geteuid():
        raise SettingsError(
            f"Only root can run workers as the user {user}.",
            remedy=f'Run this as root, or set [workers] user = "{os.geteuid()}:{os.getegid()}".',
        )


def give_to(path: Path, user: str) -> None:
    """Make `uid:gid` the owner of a file. Raises MapadminError."""
    uid, _, gid = user.partition(":")
    try:
        if os.geteuid() == 0:
            os.chown(path, int(uid), int(gid))
    except OSError as error:
        raise MapadminError(f"Cannot give {path} to user {user}: {error.strerror}.") from None


def folder_of(home: Path, number: int) -> Path:
    return home / "workers" / f"g{number}"


def project_of(site: str, number: int) -> str:
    return f"{site}-workers-g{number}"


def is_project_of(site: str, project: str) -> bool:
    """Whether a compose project has the name of one of this site's generations."""
    return re.fullmatch(re.escape(f"{site}-workers-g") + r"\d+", project) is not None


def same_secret(home: Path, number: int, definition: Definition) -> bool:
    """Whether a generation's workers were given the password that the site has now."""
    try:
        text = (folder_of(home, number) / SECRET).read_text(encoding="utf-8")
    except OSError:
        return False
    return Secret(text) == Secret(definition.secret)


def discard(home: Path, number: int) -> None:
    """The folder of a generation, with its secret."""
    import shutil

    try:
        shutil.rmtree(folder_of(home, number))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise MapadminError(f"Cannot remove {folder_of(home, number)}: {error.strerror}.") from None


def discard_beat(home: Path, number: int, place: Place) -> None:
    """The heartbeat that an earlier worker of this place has left."""
    (folder_of(home, number) / BEATS / f"{place}.json").unlink(missing_ok=True)


def places_of(counts: Mapping[str, int]) -> list[Place]:
    """So many places of each kind."""
    return [Place(kind, n + 1) for kind, count in counts.items() for n in range(count)]


def counts_of(places: Sequence[Place]) -> dict[str, int]:
    return dict(Counter(place.kind for place in places))
