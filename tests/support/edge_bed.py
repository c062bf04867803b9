"""A host with two guests on a bridge, a neighbour host on the same bridge and a client outside: namespaces with cables between them."""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import netns

from luhyaapi import process

HOST, A, B, FAR, OUT = "host", "a", "b", "far", "out"
MACS = {A: "02:00:0a:4d:00:0a", B: "02:00:0a:4d:00:0b", FAR: "02:00:0a:4d:00:fe"}
BRIDGE_MAC, WAN_MAC = "02:00:0a:4d:00:01", "02:00:0a:4d:00:02"
IPS = {A: "10.77.0.10", B: "10.77.0.11", FAR: "10.77.0.254"}
IP6S = {A: "fd00:77::a", B: "fd00:77::b", FAR: "fd00:77::fe"}
GATEWAY, GATEWAY6, SUBNET, SUBNET6 = "10.77.0.1", "fd00:77::1", "10.77.0.0/24", "fd00:77::/64"
PUBLIC, ELASTIC, CLIENT, OTHER_CLIENT, BEYOND = "192.0.2.1", "192.0.2.50", "192.0.2.9", "192.0.2.10", "198.51.100.9"
PUBLIC6, CLIENT6, BEYOND6 = "fd00:92::1", "fd00:92::9", "fd00:98::9"
TAPS = {A: "tapa", B: "tapb", FAR: "wire"}
PATIENCE_S, SILENCE_S = 3.0, 0.3
"""What is let in comes long before the first; what is dropped is waited for as long as the second."""


class Bed:
    """Everything is reached by the short names of its hosts."""

    def __init__(self) -> None:
        tag = secrets.token_hex(3)
        self.names = {short: f"edu-{short}-{tag}" for short in (HOST, A, B, FAR, OUT)}
        self._opened = contextlib.ExitStack()

    def ip(self, where: str, *words: str) -> None:
        process.run(["ip", "-n", self.names[where], *words], timeout_s=10)

    def run(self, where: str, *words: str, check: bool = True) -> process.Finished:
        return process.run(["ip", "netns", "exec", self.names[where], *words], timeout_s=20, check=check)

    @contextlib.contextmanager
    def inside(self, where: str) -> Iterator[None]:
        """Sockets that are opened here stay of that host."""
        netns.pushns(self.names[where])
        try:
            yield
        finally:
            netns.popns()

    def sysctl(self, where: str, name: str, value: str) -> None:
        with self.inside(where):
            Path("/proc/sys/net", name).write_text(value)

    def up(self) -> None:
        for name in self.names.values():
            process.run(["ip", "netns", "add", name], timeout_s=10)
        for short in self.names:
            self.sysctl(short, "ipv6/conf/default/accept_dad", "0")
            self.ip(short, "link", "set", "lo", "up")
        for name in ("iptables", "ip6tables", "arptables"):
            self.sysctl(HOST, f"bridge/bridge-nf-call-{name}", "0")
        self.sysctl(HOST, "ipv4/conf/all/forwarding", "0")
        self.bridge()
        for guest in (A, B, FAR):
            self.ip(guest, "link", "add", "eth0", "address", MACS[guest], "type", "veth", "peer", "name", TAPS[guest], "netns", self.names[HOST])
            self.ip(guest, "address", "add", f"{IPS[guest]}/24", "dev", "eth0")
            self.ip(guest, "link", "set", "eth0", "up")
            self.ip(HOST, "link", "set", TAPS[guest], "master", "br0", "up")
            self.ip(guest, "address", "add", f"{IP6S[guest]}/64", "dev", "eth0", "nodad")
        for guest in (A, B):
            self.ip(guest, "route", "add", "default", "via", GATEWAY)
            self.ip(guest, "-6", "route", "add", "default", "via", GATEWAY6)
            self.ip(guest, "route", "add", "198.51.100.0/24", "via", IPS[FAR])
            self.ip(guest, "-6", "route", "add", "fd00:98::/64", "via", IP6S[FAR])
        self.ip(FAR, "address", "add", f"{BEYOND}/32", "dev", "lo")
        self.ip(FAR, "address", "add", f"{BEYOND6}/128", "dev", "lo")
        self.ip(OUT, "link", "add", "eth0", "type", "veth", "peer", "name", "wan0", "address", WAN_MAC, "netns", self.names[HOST])
        for address in (PUBLIC, ELASTIC):
            self.ip(HOST, "address", "add", f"{address}/24", "dev", "wan0")
        self.ip(HOST, "address", "add", f"{PUBLIC6}/64", "dev", "wan0", "nodad")
        self.ip(HOST, "link", "set", "wan0", "up")
        for address in (CLIENT, OTHER_CLIENT):
            self.ip(OUT, "address", "add", f"{address}/24", "dev", "eth0")
        self.ip(OUT, "address", "add", f"{CLIENT6}/64", "dev", "eth0", "nodad")
        self.ip(OUT, "link", "set", "eth0", "up")
        self.ip(OUT, "-6", "route", "add", SUBNET6, "via", PUBLIC6)
        self.ip(OUT, "route", "add", SUBNET, "via", PUBLIC)

    def bridge(self) -> None:
        self.ip(HOST, "link", "add", "br0", "address", BRIDGE_MAC, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        self.ip(HOST, "address", "add", f"{GATEWAY}/24", "dev", "br0")
        self.ip(HOST, "address", "add", f"{GATEWAY6}/64", "dev", "br0", "nodad")
        self.ip(HOST, "link", "set", "br0", "up")

    def down(self) -> None:
        self._opened.close()
        for name in self.names.values():
            process.run(["ip", "netns", "del", name], timeout_s=10, check=False)

    def dump(self) -> str:
        """All packet rules of the host, in an order that is the same for the same rules."""
        return "\n".join(sorted(self.run(HOST, "nft", "-s", "list", "ruleset").text.splitlines()))

    # ---- connections

    def listen(self, where: str, port: int, address: str = "") -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside(where):
            server = self._opened.enter_context(socket.socket(family))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen()
        return server

    def connect(self, where: str, address: str, port: int, source: str = "", patience_s: float = PATIENCE_S) -> socket.socket | None:
        """A connection, or None when nobody answers or it is refused."""
        with self.inside(where):
            client = self._opened.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
        client.settimeout(patience_s)
        try:
            if source:
                client.bind((source, 0))
            client.connect((address, port))
        except OSError:
            client.close()
            return None
        return client

    def seen(self, server: socket.socket, where: str, address: str, port: int, source: str = "") -> str:
        """As whom ``server`` sees a connection to that address; that it is this one is known by what it says."""
        client = self.connect(where, address, port, source)
        assert client is not None, f"{where} does not reach {address}:{port}"
        client.sendall(b"hello")
        server.settimeout(PATIENCE_S)
        accepted, peer = server.accept()
        with client, accepted:
            accepted.settimeout(PATIENCE_S)
            assert accepted.recv(5) == b"hello"
            accepted.sendall(b"yes")
            assert client.recv(3) == b"yes"
        return str(peer[0])

    def is_closed(self, where: str, address: str, port: int, source: str = "") -> bool:
        return self.connect(where, address, port, source, SILENCE_S) is None

    def talk(self, where: str, address: str, port: int, server: socket.socket) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection that stays open."""
        client = self.connect(where, address, port)
        assert client is not None
        server.settimeout(PATIENCE_S)
        accepted, _peer = server.accept()
        accepted.settimeout(PATIENCE_S)
        return client, self._opened.enter_context(accepted)

    # ---- frames

    def tap(self, where: str) -> socket.socket:
        """All frames of a host's card, to be sent and received."""
        with self.inside(where):
            card = self._opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        card.bind(("eth0", 0))
        return card


def packets(card: socket.socket, kind: int, last: bytes) -> list[bytes]:
    """The payloads of one kind that a card got, until one from ``last`` came, at most so long as one has patience."""
    got: list[bytes] = []
    while select.select([card], [], [], PATIENCE_S)[0]:
        frame = card.recv(2048)
        if frame[12:14] == struct.pack("!H", kind) and b"????" in frame:
            got.append(frame[14:])
            if got[-1][12:16] == last:
                return got
    raise AssertionError("what is honest did not come")


_TAG = struct.pack("!HH", 0x8100, 1)


def arrive(frames: list[bytes], sender: socket.socket, receiver: socket.socket, last: bytes) -> list[bytes]:
    """Which of them came, in order; ``last`` is one that is let through, after which nothing is waited for."""
    while select.select([receiver], [], [], 0)[0]:
        receiver.recv(2048)
    for frame in (*frames, last):
        sender.send(frame)
    came: list[bytes] = []
    while select.select([receiver], [], [], PATIENCE_S)[0]:
        received = receiver.recv(2048)
        # A short frame may have been filled up on its way; the kernel hands a tag over beside the frame.
        came += [frame for frame in (*frames, last) if received.startswith(frame.replace(_TAG, b"", 1))]
        if last in came:
            return came[:-1]
    raise AssertionError("the last frame did not come, which should")


def alive(pair: tuple[socket.socket, socket.socket]) -> bool:
    """Whether bytes still go both ways."""
    client, server = pair
    client.settimeout(PATIENCE_S)
    try:
        client.sendall(b"ping")
        if server.recv(4) != b"ping":
            return False
        server.sendall(b"pong")
        return client.recv(4) == b"pong"
    except OSError:
        return False


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ether(source: str, payload: bytes, kind: int = 0x0800, to: str = "ff:ff:ff:ff:ff:ff") -> bytes:
    return mac(to) + mac(source) + struct.pack("!H", kind) + payload


def ipv4(source: str, to: str, payload: bytes, protocol: int = 17) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(to))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(source: int, to: int, payload: bytes = b"x" * 20) -> bytes:
    return struct.pack("!HHHH", source, to, 8 + len(payload), 0) + payload


def arp(operation: int, source_mac: str, source: str, target: str) -> bytes:
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, mac(source_mac), socket.inet_aton(source), bytes(6), socket.inet_aton(target))


def ipv6(source: str, to: str, payload: bytes, header: int = 17) -> bytes:
    there = [socket.inet_pton(socket.AF_INET6, each) for each in (source, to)]
    return struct.pack("!IHBB", 6 << 28, len(payload), header, 255) + b"".join(there) + payload


def icmpv6(source: str, to: str, kind: int, body: bytes) -> bytes:
    there = b"".join(socket.inet_pton(socket.AF_INET6, each) for each in (source, to))
    message = struct.pack("!BBH", kind, 0, 0) + body
    total = checksum(there + struct.pack("!II", len(message), 58) + message)
    return ipv6(source, to, message[:2] + struct.pack("!H", total) + message[4:], 58)


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
