"""The search for unused files against one plain query, at every size of page."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from mapadmin.cleanup.figures.scan import find_unused
from mapadmin.cleanup.figures.store import open_stores
from mapadmin.core.secret import Secret
from mapadmin.db.server import connect
from mapadmin.site.folder import load_site
from tests.lab import Lab
from tests.servers import RunningServer

ROWS = 700
TRACKING = """CREATE TABLE map_scan.`~external_figures` (hash binary(16) PRIMARY KEY,
size bigint unsigned NOT NULL, attachment_name varchar(255), filepath varchar(1000),
contents_hash binary(16), timestamp timestamp NOT NULL)"""
USING = """CREATE TABLE map_scan.page (n int AUTO_INCREMENT PRIMARY KEY, figure binary(16) NULL,
FOREIGN KEY (figure) REFERENCES map_scan.`~external_figures` (hash))"""
# Made without DataJoint: no foreign key, no index, and hashes that are tracked nowhere.
COPIED = "CREATE TABLE map_scan.copied (figure binary(16) COMMENT ':filepath@figures:')"
PLAIN = """SELECT hash, size FROM map_scan.`~external_figures` t WHERE timestamp < '2026-01-01'
AND NOT EXISTS (SELECT 1 FROM map_scan.page p WHERE p.figure = t.hash)
AND NOT EXISTS (SELECT 1 FROM map_scan.copied c WHERE c.figure = t.hash)"""


def test_as_one_query_would_find_them(server: RunningServer, tmp_path: Path) -> None:
    server.wipe()
    server.sql("CREATE DATABASE map_scan", TRACKING, USING, COPIED)
    chance = random.Random(3)
    # The least and the greatest of all hashes, and several that differ in the last byte only.
    hashes = [bytes(16), b"\xff" * 16, *(bytes(15) + bytes([n]) for n in range(1, 9))]
    hashes += [hashlib.md5(b"%d" % n).digest() for n in range(ROWS - len(hashes))]
    rows = ",".join(
        f"(X'{one.hex()}', {chance.choice([0, 7, 2**64 - 1])}, 'a', "
        f"'{chance.choice(['2024-01-01', '2026-06-01'])}')"
        for one in hashes
    )
    server.sql(
        "INSERT INTO map_scan.`~external_figures` (hash, size, filepath, timestamp) VALUES " + rows
    )
    for table, used in (("page", hashes), ("copied", [*hashes, b"nowhere tracked!"])):
        some = [f"(X'{chance.choice(used).hex()}')" for _ in range(300)] + ["(NULL)"]
        # One that is used more often than fits into a page.
        some += [f"(X'{used[20].hex()}')"] * 500
        server.sql(f"INSERT INTO map_scan.{table} (figure) VALUES {','.join(some)}")
    expected = server.sql(PLAIN)

    lab = Lab(tmp_path / "site", server, "root", server.root_password)
    lab.roles = f"[stores.figures]\nprotocol = 'file'\nlocation = '{tmp_path}'\n"
    lab.write_site()
    site = load_site(lab.folder)
    connection = connect(site.database, Secret(server.root_password), lab.folder)
    (store,) = open_stores(connection, site)
    (table_,) = store.tables
    assert len(store.references(table_)) == 2
    for room in (64, 1024, 4_000_000):  # 1, 28, all rows in a page
        connection.query("SET SESSION group_concat_max_len = %s", [room])
        found = find_unused(connection, store, table_, before="2026-01-01", keep=ROWS)
        kept = [one for batch in found.batches(50) for one in batch]
        assert sorted(map(str, kept)) == sorted(str(row[0]) for row in expected), room
        assert (found.tracked, found.count) == (ROWS, len(expected))
        assert found.bytes == sum(int(str(row[1])) for row in expected)
    assert len(expected) > 50
    few = find_unused(connection, store, table_, before="2026-01-01", keep=5)
    assert (len(few), few.count) == (5, len(expected))
    stopped = iter([False, True])
    part = find_unused(
        connection, store, table_, before="2026-01-01", keep=ROWS, stop=lambda: next(stopped)
    )
    assert part.count == len(expected)  # of the one page that was begun
    connection.close()
