"""The docker command: what it prints, and what is made of its errors."""

from __future__ import annotations

import pytest

from mapadmin.core.docker import DockerError, explain, parse_records, parse_version
from mapadmin.core.errors import MapadminError, SettingsError, UnreachableError

ARGV = ["docker", "ps", "--format", "{{json .}}"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("v2.40.3-3", (2, 40, 3)),
        ("28.2.2\n", (28, 2, 2)),
        ("2", (2,)),
        ("", ()),
        ("dev", ()),
    ],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def test_distributions_add_to_a_version_and_do_not_make_it_older() -> None:
    assert parse_version("20.10.24+dfsg1") >= (20, 10)
    assert parse_version("20.10") < (20, 10, 1)


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),  # Compose 2.21 and newer
        ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),  # Compose before
        ('{"a": 1}', [{"a": 1}]),
        ('{\n  "a": 1\n}\n', [{"a": 1}]),
        ('WARN[0000] obsolete\n{"a": 1}\n\n"text"\n3\n', [{"a": 1}]),
        ('[1, {"a": 1}]', [{"a": 1}]),
        ("null", []),
        ("[]", []),
        ("", []),
    ],
)
def test_records(text: str, records: list[dict[str, int]]) -> None:
    assert parse_records(text) == records


# What docker 20.10 and 28.2 said, word for word.
SAID = [
    (
        "Cannot connect to the Docker daemon at unix:///run/d.sock. Is the docker daemon running?",
        UnreachableError,
        "No Docker engine answers at unix:///run/d.sock.",
    ),
    (
        "failed to connect to the docker API at unix:///run/d.sock; check if the path is correct",
        UnreachableError,
        "No Docker engine answers at unix:///run/d.sock.",
    ),
    (
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///run/"
            'd.sock: Get "http://%2Frun%2Fd.sock/v1.50/containers/json": dial unix /run/d.sock: '
            "connect: permission denied"
        ),
        SettingsError,
        "This user may not use the Docker engine.",
    ),
    (
        (
            "Error response from daemon: client version 1.99 is too new. Maximum supported API"
            " version is 1.41"
        ),
        SettingsError,
        "The Docker engine is too old for this `docker`: it speaks API 1.41 at most, not 1.99.",
    ),
    (
        (
            "Error response from daemon: client version 1.5 is too old. Minimum supported API"
            " version is 1.12, please upgrade your client to a newer version"
        ),
        SettingsError,
        "This `docker` is too old for the engine: it speaks API 1.5, and 1.12 is the least.",
    ),
    (
        (
            'Failed to initialize: unable to resolve docker endpoint: context "nope": context not'
            " found: open /root/.docker/contexts/meta/ca37/meta.json: no such file or directory"
        ),
        SettingsError,
        "There is no Docker context 'nope'.",
    ),
    (
        (
            'error during connect: Get "http://foo:2375/v1.50/containers/json": dial tcp: lookup'
            " foo on 10.0.0.53:53: no such host"
        ),
        UnreachableError,
        "The Docker engine cannot be reached: dial tcp: lookup foo on 10.0.0.53:53: no such host",
    ),
    (
        "WARNING: something\nError: No such container: nothing\n",
        DockerError,
        "`docker ps --format '{{json .}}'` failed: Error: No such container: nothing",
    ),
    ("", DockerError, "`docker ps --format '{{json .}}'` failed: it said nothing"),
]


@pytest.mark.parametrize(("said", "cls", "message"), SAID)
def test_errors(said: str, cls: type[MapadminError], message: str) -> None:
    error = explain(ARGV, said)
    assert type(error) is cls
    assert error.message == message
    assert error.remedy or cls is DockerError
