"""Listings side by side with globus-cli, on the emulator: speed at the service's limit, memory."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tests.bench.peak import peak
from tests.bench.result import Result
from tests.globus.emulator import CRON, RIG, SECRET, Emulator, globus_cli, running_emulator
from tests.globus.site import GlobusLab
from tests.zygote import MAPADMIN

FOLDERS = 2000
PEERS = 100  # folders for globus-cli, which lists one after the other: its time grows with them
LATENCY = 0.5  # seconds a call
LIMIT = 20  # requests a second
ROUNDS = 7


def bench_globus(folder: Path) -> list[Result]:
    with running_emulator(folder / "globus") as emulator:
        lab = GlobusLab(folder / "globus-site", emulator)
        for number in range(FOLDERS - 42):
            leaf = emulator.rig / "data" / f"s{number // 49:03}" / f"d{number:05}"
            leaf.mkdir(parents=True)
            (leaf / "x").touch()
        (emulator.rig / "few").mkdir()
        for number in range(PEERS - 1):
            (emulator.rig / "few" / f"d{number:03}").mkdir()
        results = [_bench_start(lab)]
        results += _bench_tree(lab)
        results.append(_bench_memory(lab))
    return results


def _bench_tree(lab: GlobusLab) -> list[Result]:
    emulator = lab.emulator
    paced = lab.folder / "mapadmin.toml"
    unlimited = paced.read_text()
    paced.write_text(unlimited.replace("requests_per_second = 0\n", ""))
    emulator.control(latency=LATENCY, rate=LIMIT)
    ours = _timed(lab, "ls", "-r", "rig:/data")
    folders = sum(path.is_dir() for path in (emulator.rig / "data").rglob("*")) + 1
    refused = sum(status == 429 for _, _, _, status in emulator.requests())
    emulator.control(latency=LATENCY)
    paced.write_text(unlimited)
    free = _timed(lab, "ls", "-r", "rig:/data")
    theirs = _cli(emulator, "ls", "-r", "--recursive-depth-limit", "50", f"{RIG}:/few")
    rate, peer = folders / ours, PEERS / theirs
    return [
        Result("globus ls -r, at the limit", ours / (folders / LIMIT), "x limit", 1.1,
               f"{folders} folders in {ours:.1f} s, {refused} times refused"),
        Result("the same against globus ls -r", peer / rate, "x peer", 1 / 8,
               f"{rate:.1f} folders/s against {peer:.2f}, of {PEERS} folders"),
        Result("globus ls -r, no limit: 16 in flight", free / (folders * LATENCY / 16), "x ideal",
               1.15, f"{folders} folders in {free:.1f} s"),
    ]  # fmt: skip


def _bench_start(lab: GlobusLab) -> Result:
    """One folder, without latency: what a person waits for; best of several, taken in turn."""
    ours = theirs = float("inf")
    for _ in range(ROUNDS):
        ours = min(ours, _timed(lab, "ls", "rig:/few"))
        theirs = min(theirs, _cli(lab.emulator, "ls", f"{RIG}:/few"))
    note = f"{ours * 1000:.0f} ms against {theirs * 1000:.0f} ms, best of {ROUNDS}"
    return Result("globus ls", ours / theirs, "x peer", 0.8, note)


class _Million(BaseHTTPRequestHandler):
    """A service of one tree that no disk holds: 400 folders, a million files."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        scope = "urn:globus:auth:scope:transfer.api.globus.org:all"
        self._send({"access_token": "x", "scope": scope, "expires_in": 9999,
                    "resource_server": "transfer.api.globus.org", "token_type": "Bearer",
                    "other_tokens": []})  # fmt: skip

    def do_GET(self) -> None:
        query = dict(parse_qsl(urlsplit(self.path).query))
        begin, limit = int(query["offset"]), int(query["limit"])
        if query["path"] == "/":
            names, kind = [f"session{n:03}" for n in range(400)], "dir"
        else:
            long = query["path"].endswith("0")
            names, kind = [f"f{n:06}.ap.bin" for n in range(12_000 if long else 1444)], "file"
        rows = [{"name": name, "type": kind, "size": 10**9, "permissions": "0644", "user": "map",
                 "group": "map", "last_modified": "2026-11-23 10:00:00+00:00", "link_target": None}
                for name in names[begin : begin + limit]]  # fmt: skip
        self._send({"DATA": rows, "length": len(rows), "total": len(names)})

    def _send(self, data: object) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _bench_memory(lab: GlobusLab) -> Result:
    """A million entries over HTTP; every tenth folder is larger than a page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Million)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = lab.folder / "mapadmin.toml"
    mine = f"http://127.0.0.1:{server.server_address[1]}/"
    path.write_text(path.read_text().replace(lab.emulator.url, mine))
    (lab.folder / "state" / "globus-tokens.json").unlink(missing_ok=True)
    begun = time.perf_counter()
    most, text = peak(lab.environment, "globus", "ls", "-r", "rig:/")
    seconds = time.perf_counter() - begun
    server.shutdown()
    server.server_close()
    entries = text.count("\n")
    assert entries == 400 + 40 * 12_000 + 360 * 1444, entries
    note = f"{entries:,} entries in {seconds:.0f} s"
    return Result("globus ls -r, memory", most, "MB", 300, note)


def _timed(lab: GlobusLab, *args: str) -> float:
    environment = {k: v for k, v in lab.environment.items() if k != "PYTHONWARNINGS"}
    begun = time.perf_counter()
    subprocess.run([MAPADMIN, "globus", *args], env=environment, check=True, capture_output=True)
    return time.perf_counter() - begun


def _cli(emulator: Emulator, *args: str) -> float:
    home = emulator.folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), **emulator.environment,
        "GLOBUS_CLI_CLIENT_ID": CRON, "GLOBUS_CLI_CLIENT_SECRET": SECRET,
    }  # fmt: skip
    begun = time.perf_counter()
    subprocess.run([globus_cli(), *args], env=environment, check=True, capture_output=True)
    return time.perf_counter() - begun
