"""Host patterns: servers keep them in lower case, whatever was typed."""

from __future__ import annotations

from tests.lab import Lab

TYPED, KEPT = "Rig.Example.org", "rig.example.org"


def hosts(lab: Lab, name: str) -> list[object]:
    return [
        host for (host,) in lab.server.sql(f"SELECT host FROM mysql.user WHERE user = '{name}'")
    ]


def test_an_account_at_a_host_with_capitals_can_be_administered(lab: Lab) -> None:
    lab.write_people("")
    lab.ok("db", "add-user", "ella", "--role", "reader", "--host", TYPED)
    assert hosts(lab, "ella") == [KEPT]
    assert (
        "Nothing to do."
        in lab.ok("db", "add-user", "ella", "--role", "reader", "--host", TYPED).err
    )
    assert "Nothing to do." in lab.ok("db", "apply").err
    assert lab.run("db", "audit", "--json").json["drift"] == []
    lab.ok("db", "set-password", "ella", "--host", TYPED)
    ran = lab.ok("db", "set-role", "ella", "experimenter", "--json")
    assert "grant" in {step["action"] for step in ran.json["steps"]}
    lab.ok("db", "lock", "ella")
    lab.ok("db", "remove-user", "ella", "--host", TYPED, "--yes")
    assert hosts(lab, "ella") == []


def test_hosts_with_capitals_in_people_toml(lab: Lab) -> None:
    lab.write_people(f'[people.ella]\nrole = "reader"\nhosts = ["{TYPED}"]\n')
    lab.ok("db", "apply")
    assert "Nothing to do." in lab.ok("db", "apply").err
    lab.ok("db", "set-role", "ella", "experimenter")
    assert lab.run("db", "audit", "--json").json["drift"] == []


def test_what_was_remembered_with_capitals_is_found(lab: Lab) -> None:
    lab.ok("db", "add-user", "ella", "--role", "reader", "--host", TYPED)
    lab.server.sql(f"UPDATE mapadmin.account SET host = '{TYPED}'")
    lab.ok("db", "lock", "ella")
    lab.ok("db", "remove-user", "ella", "--yes")
    assert lab.server.sql("SELECT COUNT(*) FROM mapadmin.account") == ((0,),)


def test_one_host_twice_is_refused(lab: Lab) -> None:
    lab.write_people(f'[people.ria]\nrole = "reader"\nhosts = ["{TYPED}", "{KEPT}"]\n')
    for command in (["apply"], ["set-role", "ria", "experimenter"]):
        ran = lab.run("db", *command)
        assert ran.code == 3
        assert "ria has the host 'rig.example.org' twice" in ran.err
    assert 'role = "reader"' in lab.people()


def test_a_change_of_nobody_on_the_server_says_so(lab: Lab) -> None:
    lab.write_people('[people.ria]\nrole = "reader"\n')
    ran = lab.ok("db", "set-role", "ria", "experimenter")
    assert "Note: ria@% is not on the server" in ran.err
