"""Every command of `mapadmin jupyterhub`, as a person would type it, on a real hub."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.jupyterhub.hub import TOKEN, HubLab, RunningHub, free_port, wait_until


def by_name(rows: list[dict[str, object]], key: str) -> dict[str, dict[str, object]]:
    return {str(row[key]): row for row in rows}


def test_users_of_all_pages_joined_with_people(lab: HubLab, hub: RunningHub) -> None:
    lab.write('[people.al]\nrole = "reader"\ngithub = "Alice"\n[people.dora]\nrole = "reader"\n')
    rows = by_name(lab.ok("users", "--json").json, "name")
    assert set(rows) == set(hub.users)  # more than one page of them
    assert (rows["alice"]["person"], rows["alice"]["role"]) == ("al", "reader")
    assert (rows["bob"]["person"], rows["bob"]["role"]) == ("", "")
    everybody = by_name(lab.ok("users", "--all", "--json").json, "name")
    assert everybody["dora"]["user"] is None
    assert set(everybody) - set(rows) == {"dora"}
    lines = lab.ok("users").out.splitlines()
    assert lines[0].split() == ["user", "person", "role", "admin", "last", "active", "servers"]
    assert next(line for line in lines if line.startswith("boss")).split()[3] == "yes"


def test_a_server_is_started_seen_and_stopped(lab: HubLab, hub: RunningHub) -> None:
    assert "No server runs." in lab.ok("servers").err
    lab.ok("start-server", "alice")
    assert hub.ready("alice")
    assert "Nothing to do." in lab.ok("start-server", "alice").err
    lab.ok("start-server", "alice", "--name", "second-one")
    rows = by_name(lab.ok("servers", "--json").json, "name")
    assert set(rows) == {"", "second-one"}
    assert rows[""]["kernels"] == {"total": 0, "busy": 0, "terminals": 0}
    assert "alice/second-one" in lab.ok("servers").out

    assert "no kernels" in lab.ok("stop-server", "alice", "--dry-run").out
    assert hub.ready("alice")
    lab.ok("stop-server", "alice")  # has no kernels: nobody is asked
    assert hub.servers("alice") == {"second-one"}
    lab.ok("stop-server", "alice", "--name", "second-one")
    assert hub.servers("alice") == set()
    assert "Nothing to do." in lab.ok("stop-server", "alice").err
    written = (lab.folder / "state" / "journal.jsonl").read_text()
    for action in ("start server", "stop server"):  # both of them, before and after
        assert written.count(f'"action": "{action}"') == 4


def test_kernels_are_not_ended_without_a_yes_and_busy_ones_are_spared(
    lab: HubLab, hub: RunningHub
) -> None:
    for user in ("alice", "bob", "boss"):
        hub.start(user)
    hub.kernel("alice", busy=True)
    hub.kernel("bob", busy=False)
    rows = by_name(lab.ok("servers", "--json").json, "user")
    assert rows["alice"]["kernels"] == {"total": 1, "busy": 1, "terminals": 0}
    assert rows["bob"]["kernels"] == {"total": 1, "busy": 0, "terminals": 0}

    asked = lab.run("stop-server", "alice")
    assert asked.code == 2
    assert "ends 1 kernel (1 busy)" in asked.out
    assert "Nothing to do." in lab.ok("stop-idle", "--longer-than", "1h").err
    asked = lab.run("stop-idle", "--longer-than", "0s")
    assert asked.code == 2
    assert "End what runs on 1 server?" in asked.err
    assert all(hub.ready(user) for user in ("alice", "bob", "boss"))

    ran = lab.ok("stop-idle", "--longer-than", "0s", "--yes")
    assert "alice is left alone: 1 busy kernel" in ran.err
    assert [hub.servers(user) for user in ("alice", "bob", "boss")] == [{""}, set(), set()]
    lab.ok("stop-server", "alice", "--yes")
    assert hub.servers("alice") == set()


def test_a_server_that_does_not_start(lab: HubLab, hub: RunningHub) -> None:
    ran = lab.run("start-server", "unlucky")
    assert ran.code == 1
    assert "The server of unlucky does not start" in ran.err
    assert hub.servers("unlucky") == set()


def test_nobody(lab: HubLab) -> None:
    for command in ("start-server", "stop-server"):
        ran = lab.run(command, "no/body ?")
        assert ran.code == 2
        assert "The hub knows no such user." in ran.err


def test_status(lab: HubLab) -> None:
    ran = lab.run("status", "--json")
    assert ran.code == 1  # anybody may log in to the tests' hub
    states = {row["name"]: row["state"] for row in ran.json}
    assert states == {"hub": "ok", "token": "ok", "login": "fail", "servers": "ok"}


def test_a_token_that_may_do_less(lab: HubLab, hub: RunningHub) -> None:
    lab.token = f"lesser-{TOKEN}"
    ran = lab.run("status")
    assert ran.code == 1
    assert "may not see when users were active, stop servers, start servers, ask servers" in ran.out
    assert "delete:servers, start:servers, tokens, read:hub" in ran.err
    ran = lab.run("start-server", "bob")
    assert ran.code == 3
    assert "lacks a scope: one of start:servers" in ran.err
    hub.start("bob")
    assert lab.ok("servers", "--json").json[0]["kernels"] is None
    ran = lab.run("stop-idle", "--longer-than", "0s")
    assert "does not say whether its kernels are busy" in ran.err
    assert hub.ready("bob")


def test_a_token_that_the_hub_does_not_know(lab: HubLab) -> None:
    lab.token = "a-token-of-somebody-elses"
    for command in (["status"], ["users"], ["servers"], ["stop-idle", "--longer-than", "1h"]):
        ran = lab.run(*command)
        assert ran.code == 3
        assert "The hub does not accept jupyterhub.token." in ran.err


def test_a_hub_that_is_not_there(lab: HubLab, hub: RunningHub) -> None:
    lab.write(url=f"http://127.0.0.1:{free_port()}")
    ran = lab.run("users")
    assert ran.code == 4
    why = "Failed to establish a new connection: Connection refused."
    assert ran.err.splitlines()[0].endswith(f"does not answer: {why}")
    lab.write(url=hub.url.removesuffix("/lab"))
    for command in ("users", "status"):
        ran = lab.run(command)
        assert ran.code == 3
        assert "is no JupyterHub" in ran.err


def test_the_notice_stands_on_the_hubs_pages(lab: HubLab, hub: RunningHub) -> None:
    assert "There is no notice." in lab.ok("notice").err
    assert "announcement" not in hub.page("alice")
    lab.ok("notice", 'Reboot at <b>18:00</b> & "soon"')
    assert "Reboot at &lt;b&gt;18:00&lt;/b&gt; &amp; &quot;soon&quot;" in hub.page("alice")
    assert lab.ok("notice").out == 'Reboot at <b>18:00</b> & "soon"\n'
    assert lab.ok("notice", "--json").json == {"text": 'Reboot at <b>18:00</b> & "soon"'}
    assert "Nothing to do." in lab.ok("notice", 'Reboot at <b>18:00</b> & "soon"').err
    lab.ok("notice", "--clear")
    assert "announcement" not in hub.page("alice")
    (hub.shared / "notice.json").write_text("broken {")
    assert "announcement" not in hub.page("alice")  # the hub's pages go on
    ran = lab.run("notice", "new")
    assert ran.code == 1
    assert "is not a notice of mapadmin's" in ran.err


def test_a_notice_that_cannot_be(lab: HubLab) -> None:
    assert lab.run("notice", "a", "--clear").code == 2
    assert lab.run("notice", "a" * 501).code == 2
    lab.write(folder="/nowhere/at/all")
    ran = lab.run("notice", "a")
    assert ran.code == 3
    assert "runs on the hub's host" in ran.err
    lab.write(folder="")
    assert "names no folder that is shared with the hub" in lab.run("notice", "a").err


@pytest.mark.parametrize("text", ["2", "2 weeks", "-1h", "", "h", "1e9d"])
def test_a_time_that_is_none(lab: HubLab, text: str) -> None:
    ran = lab.run("stop-idle", "--longer-than", text)
    assert ran.code == 2
    assert "Write it as 90m, 2h or 1d." in ran.err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "http://hub.example.org"}, "must begin with https://"),
        ({"token": "very-secret"}, "must be a reference to a secret"),
        ({"timeout": 0}, "timeout must be 1 to 600 seconds"),
        ({"tokn": "env:X"}, "tokn"),
    ],
)
def test_a_wrong_setting(lab: HubLab, settings: dict[str, Any], said: str) -> None:
    lab.write(**settings)
    ran = lab.run("users")
    assert ran.code == 3
    assert said in ran.err
    assert "very-secret" not in ran.err


def test_what_mapadmin_says_the_hub_says_too(lab: HubLab, hub: RunningHub) -> None:
    """Another client than mapadmin sees the same."""
    lab.ok("start-server", "bob")
    with urlopen(f"{hub.url}/hub/health", timeout=10) as answer:
        assert answer.status == 200
    wait_until(lambda: hub.ready("bob"), "bob's server is ready")
    (row,) = json.loads(lab.ok("servers", "--json").out)
    (seen,) = hub.api("GET", "/hub/api/users/bob")["servers"].values()
    assert (row["path"], row["name"]) == (seen["url"], seen["name"])


def test_a_users_server_is_not_shown_our_token(lab: HubLab, hub: RunningHub) -> None:
    """A server is a process of its user's, who may read all that it is sent."""
    lab.ok("start-server", "spy")
    assert lab.ok("servers", "--json").json[0]["kernels"] == {"total": 0, "busy": 0, "terminals": 0}
    shown = (hub.folder / "shown").read_text()
    assert shown.count("token ") >= 2  # it was asked for kernels and terminals
    assert TOKEN not in shown
    left = hub.api("GET", "/hub/api/users/spy/tokens")["api_tokens"]
    assert "mapadmin" not in {one["note"] for one in left}
    (key,) = {line.split()[1] for line in shown.splitlines()}
    with pytest.raises(HTTPError):
        request = Request(f"{hub.url}/hub/api/user", headers={"Authorization": f"token {key}"})
        urlopen(request, timeout=20)
