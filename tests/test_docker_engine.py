"""The docker command with a real engine, and with none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mapadmin.core.docker import Docker, DockerError, parse_version
from mapadmin.core.errors import ExitCode, SettingsError, UnreachableError
from tests.engine import BASE, Engine, running_engine


def test_versions_of_both_sides_and_of_compose(engine: Engine) -> None:
    docker = engine.docker
    assert parse_version(docker.versions.engine) >= (20, 10)
    assert parse_version(docker.versions.client) >= (20, 10)
    assert parse_version(docker.compose) >= (2, 0)
    docker.require(engine=(20, 10), compose=(2, 0))


def test_too_old(engine: Engine) -> None:
    with pytest.raises(SettingsError, match=r"The Docker engine is .*, and must be 99\.1 or newer"):
        engine.docker.require(engine=(99, 1))
    with pytest.raises(SettingsError, match=r"Docker Compose is .*, and must be 99 or newer"):
        engine.docker.require(compose=(99,))


def test_an_engine_that_speaks_an_older_protocol_only(engine: Engine) -> None:
    docker = Docker(environment={**engine.environment, "DOCKER_API_VERSION": "1.99"})
    with pytest.raises(SettingsError, match="The Docker engine is too old for this `docker`"):
        docker.run("ps")


def test_nothing_answers(tmp_path: Path) -> None:
    docker = Docker(environment={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/d.sock"})
    with pytest.raises(UnreachableError, match=r"No Docker engine answers at unix://.*/d\.sock\. "):
        docker.run("ps")
    with pytest.raises(UnreachableError) as caught:
        _ = docker.versions
    assert caught.value.exit_code == ExitCode.UNREACHABLE


def test_no_such_context(engine: Engine) -> None:
    environment = {k: v for k, v in engine.environment.items() if k != "DOCKER_HOST"}
    with pytest.raises(SettingsError, match="There is no Docker context 'nowhere'"):
        Docker(context="nowhere", environment=environment).run("ps")


def test_no_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for go in (lambda: Docker().run("ps"), lambda: list(Docker().lines("ps"))):
        with pytest.raises(SettingsError, match="There is no `docker` command on this machine"):
            go()


def test_no_compose(engine: Engine, tmp_path: Path) -> None:
    docker = Docker(environment={**engine.environment, "DOCKER_CONFIG": str(tmp_path)})
    # An engine's machine may have Compose for everybody.
    everybody = [Path("/usr/libexec/docker/cli-plugins"), Path("/usr/local/lib/docker/cli-plugins")]
    if any((folder / "docker-compose").exists() for folder in everybody):
        assert parse_version(docker.compose) >= (2, 0)
        return
    with pytest.raises(SettingsError, match="docker has no `compose` here"):
        docker.require(compose=(2, 0))


def test_an_engine_that_does_not_answer_in_time(engine: Engine) -> None:
    with pytest.raises(UnreachableError, match=r"`docker events` has not ended within 0\.5 s"):
        engine.docker.run("events", seconds=0.5)


def test_what_the_engine_refuses(engine: Engine) -> None:
    with pytest.raises(DockerError, match=r"`docker inspect nothing` failed: .*[Nn]o such object"):
        engine.docker.run("inspect", "nothing")


def test_a_container_talks(base_engine: Engine) -> None:
    echoed: list[str] = []
    docker = Docker(environment=base_engine.environment, echo=echoed.append)
    run = ("run", "--rm", "-i", "--network", "none", BASE)
    assert docker.run(*run, "python3", "-c", "print(input())", stdin="ü $HOME\n") == "ü $HOME\n"
    assert echoed == [f"docker run --rm -i --network none {BASE} python3 -c 'print(input())'"]
    text = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    assert sorted(docker.lines(*run, "python3", "-c", text)) == ["err", "out"]
    with pytest.raises(DockerError, match="failed: it is broken"):
        list(docker.lines(*run, "python3", "-c", "import sys; sys.exit('it is broken')"))


def test_whoever_stops_listening_ends_the_command(base_engine: Engine) -> None:
    lines = base_engine.docker.lines("events", "--format", "{{.Action}}", "--since", "0")
    assert next(lines)  # such as "import"; and behind the last one it waits for more
    lines.close()  # type: ignore[attr-defined]


def test_what_compose_prints_of_a_project(base_engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(
        f"services:\n  one:\n    image: {BASE}\n    command: [sleep, '600']\n"
        "    network_mode: none\n    init: true\n"
    )
    docker = base_engine.docker
    project = ("compose", "--project-directory", str(tmp_path), "-p", "mapadmin-test")
    docker.run(*project, "up", "--detach", "--scale", "one=2")
    rows = docker.records(*project, "ps", "--format", "json")
    assert [(row["Service"], row["State"]) for row in rows] == [("one", "running")] * 2
    docker.run(*project, "down", "--timeout", "0")
    assert docker.records(*project, "ps", "--all", "--format", "json") == []


def test_an_engine_leaves_nothing_behind(base_engine: Engine) -> None:
    """Nor does one whose containers still run."""
    with running_engine() as engine:
        folder, pid = engine.folder, engine.process.pid
        engine.docker.run("volume", "create", "data")
        engine.import_base()
        number = engine.docker.run("run", "--detach", "--network", "none", BASE, "sleep", "4711")
        assert engine.docker.run("ps", "--quiet", "--no-trunc") == number
        assert number.strip() not in base_engine.docker.run("ps", "--quiet", "--no-trunc")
        assert stat.S_ISSOCK((folder / "d.sock").stat().st_mode)
        assert str(folder) not in Path("/proc/self/mounts").read_text()
        assert cgroups(folder)
    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()
    assert not cgroups(folder)
    assert not [one for one in Path("/proc").glob("[0-9]*/cmdline") if b"4711" in arguments(one)]


def cgroups(folder: Path) -> list[Path]:
    root = Path("/sys/fs/cgroup")
    return [*root.glob(folder.name), *root.glob(f"*/{folder.name}")]


def arguments(cmdline: Path) -> list[bytes]:
    """Of a process that may have ended."""
    try:
        return cmdline.read_bytes().split(b"\0")
    except OSError:
        return []
