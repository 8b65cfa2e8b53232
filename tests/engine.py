"""A private Docker engine for the tests: as root, in a temporary folder, gone with the test run.

It has no bridge and touches no firewall: containers have the machine's own network, or none. (In
one of its own, see tests/netbed.py, it has both.) It lives in namespaces of its own, so that its
containers and mounts end with it, however that ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mapadmin.core.docker import Docker
from mapadmin.core.errors import MapadminError
from mapadmin.sandbox.programs import cache_folder

BASE = "debian-python:test"
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_SECONDS = 90


@dataclass
class Engine:
    """An engine that answers at `socket`; `environment` is what `docker` needs to find it."""

    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> str:
        return f"unix://{self.folder / 'd.sock'}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.folder / "config")
        }  # fmt: skip

    @property
    def docker(self) -> Docker:
        return Docker(environment=self.environment)

    def import_base(self) -> None:
        """Debian with Python, as BASE: made by tools/provision, as nothing is pulled."""
        tar = cache_folder() / "docker" / "debian-python.tar"
        if not tar.is_file():
            raise MapadminError(f"There is no {tar}.", remedy="Run: tools/provision docker")
        self.docker.run("import", str(tar), BASE, seconds=300)


@contextmanager
def running_engine(
    host: str = "", plug: Callable[[int], None] = lambda _: None
) -> Iterator[Engine]:
    """Raises MapadminError when it cannot be had.

    With a `host` name it has a network namespace, too, and waits until `plug` has connected that:
    it is called with the number of a process in it.
    """
    if os.geteuid() != 0:
        raise MapadminError("A Docker engine wants root.", remedy="Run the tests as root.")
    path = f"{os.environ['PATH']}:{_SBIN}"
    plugin = cache_folder() / "docker" / "cli-plugins" / "docker-compose"
    if shutil.which("dockerd", path=path) is None or not plugin.is_file():
        raise MapadminError("There is no Docker engine.", remedy="Run: tools/provision docker")
    # Not pytest's folder: the path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="mapadmin-engine-") as name:
        folder = Path(name)
        (folder / "config" / "cli-plugins").mkdir(parents=True)
        (folder / "config" / "cli-plugins" / "docker-compose").symlink_to(plugin)
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                _command(folder, host), stdin=subprocess.PIPE, stdout=out, stderr=out,
                env={**os.environ, "PATH": path}, start_new_session=True,
            )  # fmt: skip
        engine = Engine(folder, log, process)
        try:
            with _ended_with_us(process):
                plug(_first(engine))
                assert process.stdin is not None
                process.stdin.close()  # which it waits for
                _wait(engine)
                yield engine
        finally:
            _stop(process)
            _remove_cgroups(folder.name)


@contextmanager
def stopped_and_started(engine: Engine, seconds: float = 120) -> Iterator[None]:
    """Stop an engine as a service manager does, and start it again: it ends with the block.

    An engine that is stopped stops its containers as `docker stop` would, and waits for them.
    """
    os.kill(_first(engine), signal.SIGTERM)
    engine.process.wait(seconds)
    shutil.rmtree(engine.folder / "exec")  # numbers of processes that mean nothing any more
    (engine.folder / "pid").unlink(missing_ok=True)
    with engine.log.open("ab") as out:
        engine.process = subprocess.Popen(
            _command(engine.folder, ""), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:{_SBIN}"}, start_new_session=True,
        )  # fmt: skip
    try:
        with _ended_with_us(engine.process):
            _wait(engine)
            yield
    finally:
        _stop(engine.process)


def _command(folder: Path, host: str) -> list[str]:
    """The engine as process 1 of a namespace."""
    dockerd = [
        "dockerd", "--host", f"unix://{folder / 'd.sock'}", "--pidfile", str(folder / "pid"),
        "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
        "--cgroup-parent", f"/{folder.name}",
    ]  # fmt: skip
    spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if host:
        # Nothing can be pulled; it is to be told so at once, not after seconds without an answer.
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        prepare = (
            f"hostname {host}; ip link set lo up; mount --bind {folder}/resolv.conf "
            '$(readlink -f /etc/resolv.conf); cat; exec "$@"'
        )
        own = ["--net", "--uts", "sh", "-c", prepare]
        return [*spaces, *own, "sh", *dockerd]
    return [
        *spaces, "sh", "-c", 'cat; exec "$@"', "sh", *dockerd, "--bridge", "none",
        "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
        "--userland-proxy=false",
    ]  # fmt: skip


def _first(engine: Engine) -> int:
    """Process 1 of the engine's namespaces, by its number outside of them."""
    children = Path(f"/proc/{engine.process.pid}/task/{engine.process.pid}/children")
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and engine.process.poll() is None:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.01)
    raise MapadminError(f"No namespaces: {engine.log.read_text(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill process 1 of the namespace: `unshare` waits for it, and it for all the others."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with suppress(FileNotFoundError):
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
    process.wait(30)


def _remove_cgroups(name: str) -> None:
    """What containers that were running leave: empty folders."""
    for top in [*Path("/sys/fs/cgroup").glob(name), *Path("/sys/fs/cgroup").glob(f"*/{name}")]:
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()


def _wait(engine: Engine) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and engine.process.poll() is None:
        try:
            engine.docker.run("version", "--format", "{{.Server.Version}}")
        except MapadminError:
            time.sleep(0.1)
        else:
            return
    raise MapadminError(
        f"The Docker engine does not start:\n{engine.log.read_text(errors='replace')[-2000:]}"
    )


@contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Also after a test run that is killed; see tests/servers.py."""
    with subprocess.Popen(
        ["sh", "-c", 'cat && kill -KILL "$1"', "sh", str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as helper:
        try:
            yield
        finally:
            helper.kill()
