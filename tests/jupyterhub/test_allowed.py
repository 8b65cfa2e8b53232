"""Who may use the hub, by people.toml; tried by logging in."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

from tests.jupyterhub.hub import HubLab, RunningHub, wait_until

HOME = "/hub/logout"  # stands on the home page, and not on the page for logging in


def may(hub: RunningHub, user: str) -> bool:
    return HOME in hub.page(user)


def person(name: str, *lines: str) -> str:
    return "\n".join([f"[people.{name}]", 'role = "reader"', *lines, ""])


def allowed(hub: RunningHub) -> list[str]:
    users: list[str] = json.loads((hub.shared / "allowed.json").read_text())["users"]
    return users


def test_people_come_and_go_without_a_restart(lab: HubLab, hub: RunningHub) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    (hub.shared / "allowed.json").unlink()
    assert not may(hub, "alice")  # without the list, nobody
    lab.write(
        person("alice") + person("carol", 'github = "Bob"')
        + person("late", f"expires = {yesterday}") + person("shut", "locked = true")
    )  # fmt: skip
    plan = lab.ok("apply", "--dry-run")
    assert "there was no list" in plan.err
    assert not (hub.shared / "allowed.json").exists()
    assert "Done: 2 steps." in lab.ok("apply").err
    assert allowed(hub) == ["alice", "bob"]
    assert [may(hub, user) for user in ("alice", "bob", "late", "shut", "boss")] == [
        True, True, False, False, False
    ]  # fmt: skip
    assert "Nothing to do." in lab.ok("apply").err

    browser = hub.log_in("alice")
    assert HOME in hub.page("alice", browser)
    hub.start("alice")
    lab.write(person("carol", 'github = "Bob"') + person("boss"))
    ran = lab.ok("apply", "--json")
    assert [(step["action"], step["target"]) for step in ran.json["steps"]] == [
        ("allow", "boss"), ("refuse", "alice")
    ]  # fmt: skip
    wait_until(lambda: HOME not in hub.page("alice", browser), "alice is thrown out")
    assert not may(hub, "alice")
    assert may(hub, "boss")
    assert hub.ready("alice")  # what computes goes on
    lab.ok("stop-server", "alice", "--yes")  # nobody may look into it any more
    ran = lab.run("start-server", "alice")
    assert ran.code == 1
    assert "the hub lets this user in no more" in ran.err


def test_a_list_that_is_broken_keeps_in_who_is_in(lab: HubLab, hub: RunningHub) -> None:
    browser = hub.log_in("alice")
    (hub.shared / "allowed.json").write_text("half a fi")
    time.sleep(1.5)  # the hub's auth_refresh_age is over
    assert HOME in hub.page("alice", browser)
    assert not may(hub, "bob")
    lab.write(person("alice"))
    ran = lab.run("apply")
    assert ran.code == 1
    assert "is not a list of mapadmin's" in ran.err


def test_an_empty_people_file_throws_nobody_out(lab: HubLab, hub: RunningHub) -> None:
    lab.write("")
    ran = lab.run("apply")
    assert ran.code == 2
    assert "everybody would be thrown out" in ran.err
    assert allowed(hub) == hub.users
    lab.ok("apply", "--force")
    assert allowed(hub) == []
    (lab.folder / "people.toml").unlink()
    ran = lab.run("apply")
    assert ran.code == 3
    assert "which says who may use the hub" in ran.err
