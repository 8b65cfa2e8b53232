"""What is decided without a hub."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mapadmin.core.checks import State
from mapadmin.core.text import parse_seconds
from mapadmin.jupyterhub.changes import plan_stop_idle
from mapadmin.jupyterhub.health import judge_login, judge_scopes, judge_servers, judge_version
from mapadmin.jupyterhub.model import Kernels, Server, parse_kernels, parse_time, parse_user

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def server(user: str, hours: float | None = 3, **more: object) -> Server:
    moment = NOW - timedelta(hours=hours) if hours is not None else None
    values: dict[str, object] = {
        "user": user, "name": "", "started": moment, "last_activity": moment, "pending": "",
        "path": f"/user/{user}/", "kernels": Kernels(0, 0), **more,
    }  # fmt: skip
    return Server(**values)  # type: ignore[arg-type]


def test_who_is_stopped_for_being_idle() -> None:
    plan = plan_stop_idle(
        [
            server("old"), server("kernels", kernels=Kernels(2, 0)), server("recent", 1.9),
            server("terminal", kernels=Kernels(0, 0, 1)),
            server("busy", kernels=Kernels(2, 1)), server("silent", kernels=None),
            server("leaving", pending="stop"), server("never", None),
            server("restarted", started=NOW - timedelta(hours=1)),
        ],
        NOW, 2 * 3600,
    )  # fmt: skip
    assert [(step.target, step.destroys) for step in plan.steps] == [
        ("old", False),
        ("kernels", True),
        ("terminal", True),
    ]
    assert [note.split()[0] for note in plan.notes] == ["busy", "silent", "leaving"]


@pytest.mark.parametrize(
    ("states", "kernels"),
    [
        ([], (0, 0)),
        (["idle", "dead"], (2, 0)),
        (["busy", "idle"], (2, 1)),
        (["starting", "restarting", "never seen before"], (3, 3)),
    ],
)
def test_kernels(states: list[str], kernels: tuple[int, int]) -> None:
    found = parse_kernels([{"execution_state": state} for state in states], None)
    assert (found.total, found.busy) == kernels


def test_an_answer_of_something_else_is_no_list_of_kernels() -> None:
    with pytest.raises(TypeError):
        parse_kernels({"message": "gone"}, [])


def test_a_server_that_neither_runs_nor_is_about_to() -> None:
    user = parse_user({"name": "a", "servers": {"": {"name": "", "ready": False, "pending": None}}})
    assert [one.state for one in user.servers] == ["failed"]


def test_times() -> None:
    assert parse_time("2026-11-24T12:00:00.000000Z") == NOW
    assert parse_time("2026-11-24T12:00:00") == NOW
    assert parse_time(None) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5d", 129_600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


def test_what_the_checks_say() -> None:
    assert judge_version("1.5.0", "https://hub").state is State.FAIL
    assert judge_version("6.1.1", "https://hub").state is State.OK
    least = ["list:users", "read:users:activity", "read:servers", "servers", "tokens"]
    assert judge_scopes([*least, "read:hub"]).state is State.OK  # before JupyterHub 6
    assert "set-up" in judge_scopes(least).detail
    for much in ("admin:users", "access:servers"):
        assert judge_scopes([*least, "read:hub", much]).state is State.WARN
    assert judge_login("jupyterhub.auth.DummyAuthenticator", "x.Y").state is State.FAIL
    assert judge_login("oauthenticator.github.GitHubOAuthenticator", "x.Y").state is State.OK
    assert judge_servers([server("a", 0.01, pending="spawn")], NOW).state is State.OK
    assert "a" in judge_servers([server("a", 1, pending="spawn")], NOW).detail
    assert judge_servers([server("b", 1, pending="failed")], NOW).state is State.WARN
