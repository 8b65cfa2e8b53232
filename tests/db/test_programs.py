"""The dump and client programs log in as mapadmin does: same TLS, same checks, any password."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from mapadmin.core.errors import MapadminError
from mapadmin.core.secret import Secret
from mapadmin.db.archives.programs import Login, running
from mapadmin.db.grants import Flavour
from mapadmin.site import DatabaseSettings, Tls
from tests.db.leaving import manifest, plain, prepare, schemas_of
from tests.lab import Lab
from tests.servers import RunningServer

PASSWORD = " \"#;=\\ \\n%'`[client]é😀 "


def login(server: RunningServer, master: tuple[str, str]) -> Login:
    settings = DatabaseSettings(
        host=server.host, port=server.port, user=master[0], password="env:X", project_prefix="map",
        ca=str(server.ca),
    )  # fmt: skip
    return Login(settings, Flavour(server.flavour), Path("/"), master[0], Secret(master[1]))


def dumped(server: RunningServer, as_whom: Login) -> bool:
    """Whether the dump program gets in."""
    options = ["--no-data", "--no-tablespaces", "--loose-set-gtid-purged=OFF", "mysql", "db"]
    with running(server.programs.dump, options, as_whom) as program:
        text = program.pipe.read()
        program.finish(lambda: None)
    return b"CREATE TABLE" in text


def loaded(server: RunningServer, as_whom: Login) -> bool:
    with running(server.programs.client, ["--batch"], as_whom, feed=True) as program:
        program.pipe.write(b"SELECT 1;\n")
        program.finish(lambda: None)
    return True


def change(one: Login, **settings: object) -> Login:
    return msgspec.structs.replace(one, settings=msgspec.structs.replace(one.settings, **settings))


@pytest.mark.parametrize("try_it", [dumped, loaded])
def test_the_server_is_verified(
    server: RunningServer, master: tuple[str, str], tmp_path: Path, try_it: object
) -> None:
    assert callable(try_it)
    right = login(server, master)
    assert try_it(server, right)
    other = tmp_path / "other.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other",
         "-keyout", str(tmp_path / "key.pem"), "-out", str(other)],
        check=True, capture_output=True,
    )  # fmt: skip
    for wrong in (
        change(right, ca=str(other)),
        change(right, ca=""),  # the system's authorities do not know this one
        change(right, host="127.0.0.2"),  # not a name of the certificate
        change(right, ca=str(tmp_path / "missing.pem")),
        msgspec.structs.replace(right, password=Secret("wrong")),
    ):
        with pytest.raises(MapadminError, match=r"failed \(exit code \d+\): "):
            try_it(server, wrong)
    for tls in (Tls.REQUIRE, Tls.OFF):
        assert try_it(server, change(right, tls=tls, ca=""))


@pytest.mark.parametrize("tls", ["verify", "require", "off"])
def test_any_password_and_every_kind_of_tls(lab: Lab, tls: str) -> None:
    alice = prepare(lab)
    plain(lab, alice)
    privileges = "ALL ON *.* TO odd@'%' WITH GRANT OPTION"
    escaped = PASSWORD.replace("\\", "\\\\").replace("'", "''")
    lab.server.sql(f"CREATE USER odd@'%' IDENTIFIED BY '{escaped}'", f"GRANT {privileges}")
    lab.write_site(user="odd", tls=tls)
    lab.password = PASSWORD
    folder = lab.folder / "archives"
    lab.ok("db", "remove-user", "alice", "--archive", str(folder), "--yes")
    assert schemas_of(lab.server) == []
    assert len(manifest(folder)) == 1
