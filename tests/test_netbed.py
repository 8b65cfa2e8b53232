"""Engines with networks of their own: what their containers reach, and what can be cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapadmin.core.docker import DockerError
from tests.engine import BASE
from tests.netbed import GATEWAY, NetBed, running_netbed
from tests.workers.running import wait_for


@pytest.fixture(scope="module")
def bed() -> Iterator[NetBed]:
    with running_netbed("one", "two") as bed:
        yield bed


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server on this machine's loopback, which says hello."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"hello")

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def namespaces() -> set[str]:
    """The network namespaces of all processes."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(str(link.readlink()))
        except OSError:
            continue
    return found


def test_a_container_reaches_the_machine_through_a_relay_only(bed: NetBed, port: int) -> None:
    node = bed.nodes[0]
    node.engine.import_base()
    hello = (
        f"import socket; s = socket.create_connection(({GATEWAY!r}, {port}), 5); print(s.recv(9))"
    )

    def say(*network: str) -> str:
        run = ("run", "--rm", *network, BASE, "python3", "-c", hello)
        return node.engine.docker.run(*run).strip()

    for network in ([], ["--network", "host"]):  # behind the engine's own bridge; the node's
        with bed.relay(port) as relay:
            assert say(*network) == "b'hello'"
            relay.cut()
            with pytest.raises(DockerError, match="Connection refused"):
                say(*network)
            relay.restore()
            assert say(*network) == "b'hello'"
            bed.cut(node)
            with pytest.raises(DockerError, match=r"timed out|No route to host"):
                say(*network)
            bed.mend(node)
            assert say(*network) == "b'hello'"


def test_nodes_make_a_swarm(bed: NetBed) -> None:
    first, second = (node.engine.docker for node in bed.nodes)
    first.run("swarm", "init", "--advertise-addr", bed.nodes[0].address)
    token = first.run("swarm", "join-token", "--quiet", "worker").strip()
    second.run("swarm", "join", "--token", token, bed.nodes[0].address)

    def ready() -> set[str]:
        nodes = first.records("node", "ls", "--format", "{{json .}}")
        return {node["Hostname"] for node in nodes if node["Status"] == "Ready"}

    wait_for("two nodes", lambda: ready() == {"one", "two"}, 30)
    bed.cut(bed.nodes[1])
    wait_for("one node", lambda: ready() == {"one"}, 60)


def test_nothing_is_left_of_it() -> None:
    before = namespaces()
    links = sorted(Path("/sys/class/net").iterdir())
    with running_netbed("alone") as bed:
        assert len(namespaces() - before) == 2
        folder = bed.nodes[0].engine.folder
        assert sorted(Path("/sys/class/net").iterdir()) == links
    assert not namespaces() - before
    assert not folder.exists()
