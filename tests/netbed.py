"""Docker engines with networks of their own, on this machine: one, or the nodes of a swarm.

Each has a network namespace, and so its own loopback, bridges and firewall; a bridge in one more
namespace joins them. Nothing of it is on the machine's own network. The test's database, which is
on the machine's loopback, is brought in by relays, which a test can cut.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from tests.engine import Engine, running_engine

PREFIX = "10.77.0."
GATEWAY = PREFIX + "1"  # of the bridge, where a relay listens for all nodes
_CLONE_NEWNET = 0x40000000


@dataclass
class Node:
    """An engine, and the machine that it would be."""

    name: str
    address: str
    engine: Engine
    link: str  # its end on the bridge


@dataclass
class NetBed:
    """`nodes` can reach each other, and nothing else but relays."""

    lan: int  # a process in the namespace of the bridge
    nodes: list[Node] = field(default_factory=list)

    def relay(self, port: int) -> Relay:
        """What listens on this port of the machine's loopback, for all nodes at GATEWAY."""
        return Relay(self.lan, GATEWAY, port)

    def cut(self, node: Node) -> None:
        """Pull the cable of a node."""
        _ip(self.lan, "link", "set", node.link, "down")

    def mend(self, node: Node) -> None:
        _ip(self.lan, "link", "set", node.link, "up")


@contextmanager
def running_netbed(*names: str) -> Iterator[NetBed]:
    """A node of each name. Raises MapadminError when it cannot be had."""
    with ExitStack() as stack:
        bed = NetBed(stack.enter_context(_lan()))
        for number, name in enumerate(names):
            address, link = f"{PREFIX}{11 + number}", f"node{number}"

            def plug(pid: int, address: str = address, link: str = link) -> None:
                _ip(bed.lan, "link", "add", link, "type", "veth", "peer", "name", "eth0",
                    "netns", str(pid))  # fmt: skip
                _ip(bed.lan, "link", "set", link, "master", "lan", "up")
                _ip(pid, "addr", "add", f"{address}/24", "dev", "eth0")
                _ip(pid, "link", "set", "eth0", "up")
                _ip(pid, "route", "add", "default", "via", GATEWAY)

            engine = stack.enter_context(running_engine(host=name, plug=plug))
            bed.nodes.append(Node(name, address, engine, link))
        yield bed


@contextmanager
def _lan() -> Iterator[int]:
    """A namespace with a bridge; it ends with us, however we end."""
    make = (
        "ip link set lo up && ip link add lan type bridge && ip link set lan up"
        f" && ip addr add {GATEWAY}/24 dev lan && echo ready && exec cat"
    )
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", make], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


def _ip(pid: int, *arguments: str) -> None:
    """`ip`, in the network namespace of a process."""
    subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", *arguments], check=True,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
    )  # fmt: skip


@contextmanager
def _within(pid: int) -> Iterator[None]:
    """This thread is in the network namespace of a process; sockets stay where they were made."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if libc.setns(there, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0
    finally:
        os.close(home)
        os.close(there)


class Relay:
    """Listens inside a namespace, and passes on to the same port of this machine's loopback."""

    def __init__(self, pid: int, address: str, port: int) -> None:
        self.pid = pid
        self.address = address
        self.port = port
        self._listener: socket.socket | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Relay:
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def restore(self) -> None:
        """Listen (again)."""
        with _within(self.pid):
            listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Every connection ends, and none can be made."""
        with self._lock:
            listener, self._listener = self._listener, None
            ends = [end for pair in self._pairs for end in pair]
            self._pairs.clear()
        for one in ([listener] if listener else []) + ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                inside, _ = listener.accept()
            except OSError:
                return
            try:
                outside = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                inside.close()
                continue
            with self._lock:
                if self._listener is not listener:  # cut meanwhile
                    inside.close()
                    outside.close()
                    return
                self._pairs.append((inside, outside))
            for pair in ((inside, outside), (outside, inside)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
        for one in (source, to):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
