"""Images from commits: on a real engine, from a real repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mapadmin.core.errors import MapadminError, SettingsError, UsageError
from mapadmin.images.build import build_image
from mapadmin.images.image import find_image
from mapadmin.images.repository import resolve
from tests.engine import BASE, Engine


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; `main` and the tag v1 are the second and the first."""
    folder = tmp_path / "pipeline"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for version in ("1", "2"):
        (folder / "version").write_text(version)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", version)
        git(folder, "tag", f"v{version}")
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org"]
    return subprocess.run(
        ["git", *who, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_commit_by_any_of_its_names(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert {resolve(repository, ref).sha for ref in ("main", "HEAD", "v2", head[:9])} == {head}
    assert resolve(repository, "v1").sha == git(repository, "rev-parse", "HEAD~1")
    for ref in ("v3", "--upload-pack=x", "HEAD:version"):
        with pytest.raises(UsageError, match="has no commit"):
            resolve(repository, ref)


def test_what_is_not_committed_is_not_built(repository: Path, tmp_path: Path) -> None:
    (repository / "new").touch()
    with pytest.raises(MapadminError, match=r"1 change that no commit has: \?\? new"):
        resolve(repository, "main")
    (repository / "new").unlink()
    (repository / "version").write_text("3")
    with pytest.raises(MapadminError, match="M version"):
        resolve(repository, "main")
    with pytest.raises(SettingsError, match="is no git work tree"):
        resolve(tmp_path, "main")
    with pytest.raises(SettingsError, match="There is no repository"):
        resolve(tmp_path / "nothing", "main")


def test_an_image_is_its_commit(base_engine: Engine, repository: Path, tmp_path: Path) -> None:
    docker, logs = base_engine.docker, tmp_path / "logs"
    text = f"FROM {BASE}\nWORKDIR /main\nCOPY . .\n"
    lines: list[str] = []

    def build(ref: str, dockerfile: str = "") -> str:
        commit = resolve(repository, ref)
        image = build_image(
            docker, commit, f"pipeline:{commit.short}", dockerfile=dockerfile, text=text,
            logs=logs, said=lines.append,
        )  # fmt: skip
        assert (image.commit, image.directory) == (commit.sha, "/main")
        return image.id

    one, two = build("v1"), build("main")
    assert one != two
    assert any("COPY" in line for line in lines)
    said = len(lines)
    assert build("v1") == one
    assert len(lines) == said, "it was built once more"
    for image, version in ((one, "1"), (two, "2")):
        shown = docker.run(
            "run", "--rm", "--network", "none", image, "sh", "-c", "cat version; ls -A"
        )
        assert shown == f"{version}version\n", "the history stays outside"
    with pytest.raises(MapadminError, match="has no docker/Dockerfile"):
        (repository / "version").write_text("4")
        git(repository, "commit", "--quiet", "--all", "--message", "4")
        build("main", "docker/Dockerfile")


def test_a_build_that_fails_says_how(base_engine: Engine, repository: Path, tmp_path: Path) -> None:
    commit = resolve(repository, "main")
    text = f"FROM {BASE}\nCOPY nothing .\n"
    with pytest.raises(MapadminError, match="could not be built") as caught:
        build_image(
            base_engine.docker, commit, "broken:1", dockerfile="", text=text, logs=tmp_path / "logs"
        )
    assert "nothing" in caught.value.message
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in caught.value.remedy
    assert "COPY nothing" in log.read_text()
    with pytest.raises(MapadminError, match="There is no image broken:1"):
        find_image(base_engine.docker, "broken:1")
