"""A git work tree, and the commit in it that an image is built from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

from mapadmin.core.errors import MapadminError, SettingsError, UsageError
from mapadmin.core.text import count

SECONDS = 60.0


class Commit(msgspec.Struct, frozen=True):
    """One commit of a repository; `sha` is whole, `short` what images are named by."""

    repository: Path
    sha: str

    @property
    def short(self) -> str:
        return self.sha[:12]


def resolve(repository: Path, ref: str) -> Commit:
    """The commit that a branch, tag or (short) hash stands for at this moment.

    Raises SettingsError for what is no repository, UsageError for an unknown ref, and MapadminError
    while something in the work tree is not committed: whoever looks at it would see another
    pipeline than the one that runs.
    """
    if not repository.is_dir():
        raise SettingsError(f"There is no repository {repository}.")
    inside = _git(repository, "rev-parse", "--is-inside-work-tree")
    if inside.returncode or inside.stdout.strip() != "true":
        raise SettingsError(f"{repository} is no git work tree: {_said(inside)}")
    changed = _git(repository, "status", "--porcelain", "--untracked-files=normal")
    if changed.returncode:
        raise MapadminError(f"git cannot look at {repository}: {_said(changed)}")
    if lines := changed.stdout.splitlines():
        raise MapadminError(
            f"{repository} has {count(len(lines), 'change')} that no commit has: {lines[0]}.",
            remedy="Commit them, or put them away (git stash --include-untracked).",
        )
    found = _git(repository, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    if found.returncode:
        raise UsageError(
            f"{repository} has no commit {ref!r}.", remedy="Fetch it first (git fetch)."
        )
    return Commit(repository, found.stdout.strip())


def export(commit: Commit, folder: Path) -> None:
    """The commit's files, without its history. Raises MapadminError."""
    tar = folder.with_name(f"{folder.name}.tar")
    made = _git(commit.repository, "archive", "--format=tar", f"--output={tar}", commit.sha)
    if made.returncode:
        raise MapadminError(f"git cannot export {commit.short}: {_said(made)}")
    import tarfile

    folder.mkdir()
    with tarfile.open(tar) as archive:
        archive.extractall(folder, filter="tar")  # git's own: links may point anywhere in it
    tar.unlink()


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", "-C", str(repository), *arguments], stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", errors="replace", timeout=SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise SettingsError("There is no `git` on this machine.") from None
    except subprocess.TimeoutExpired:
        raise MapadminError(f"git did not answer within {SECONDS:g} s in {repository}.") from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split()) or "it said nothing"
