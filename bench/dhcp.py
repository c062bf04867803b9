"""A host more for DHCP beside 10,000 others: until the server answers for it, and until a real client has its address (goal G20).

A is ``DnsmasqNetwork``: one lease more, lent beside what it serves; nothing is restarted. The whole plan, which it compares now and then,
is a figure of its own. B is isc-dhcpd as one has it on a host: its hosts stand in its configuration, which gets one more, and it is
restarted. C is dnsmasq the same way, with its hosts in one file. Each has a bridge in a network namespace of its own and one guest
there; the rounds alternate. A discover goes out every two milliseconds from before the host is added until an offer comes; then busybox's
client asks as a guest does. That nobody but the new host got something is not asked here: the tests of dnsmasq do.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import select
import socket
import struct
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyroute2 import netns

from bench import peers
from luhyaapi.edge.dnsmasq import DnsmasqNetwork
from luhyaapi.edge.networks import EdgeLease, EdgeNetwork

PRESENT, ROUNDS = 10_000, 9
SUBNET, GATEWAY, BRIDGE = "10.80.0.0/16", "10.80.0.1", "edubench0"
_PATIENCE_S = 20.0
_CLIENT = '#!/bin/sh\n[ "$1" = bound ] && echo "GOT $ip"\nexit 0\n'


def measure() -> dict[str, Any]:
    """Milliseconds."""
    peers.needed("dnsmasq", "dhcpd", "busybox", "ip")
    runs: dict[str, list[float]] = {}
    with contextlib.ExitStack() as opened:
        servers = [opened.enter_context(_Server.opened(kind)) for kind in (Ours, Dhcpd, ByHand)]
        for turn in range(ROUNDS + 1):
            for server in servers:
                found = server.one_more(PRESENT + turn)
                for what, value in found.items() if turn else ():
                    runs.setdefault(f"{server.name}: {what}", []).append(value)
        restarts = servers[0].restarts
    assert restarts == 0
    return {"runs": runs}


def lease(n: int) -> EdgeLease:
    """The n-th one."""
    ip = ipaddress.IPv4Address("10.80.1.0") + n
    return EdgeLease(instance=f"ins-{n:08x}", mac=bytes((2, 0, *ip.packed)).hex(":"), ip=str(ip), hostname=f"pc-{n}")


class _Server(ABC):
    """A DHCP server with its bridge, and a guest there."""

    name = ""

    def __init__(self, folder: Path) -> None:
        tag = secrets.token_hex(3)
        self.folder, self.host, self.guest = folder, f"edubench-host-{tag}", f"edubench-guest-{tag}"
        self.restarts = 0

    @classmethod
    @contextlib.contextmanager
    def opened(cls, kind: type[_Server]) -> Iterator[_Server]:
        with tempfile.TemporaryDirectory(prefix="edu-bench-") as folder:
            one = kind(Path(folder))
            script = one.folder / "client"
            script.write_text(_CLIENT)
            script.chmod(0o755)
            for name in (one.host, one.guest):
                _run("ip", "netns", "add", name)
            try:
                with one._inside(one.host):
                    one.begin()
                    _run("ip", "link", "add", "tap0", "type", "veth", "peer", "name", "eth0", "netns", one.guest)
                    _run("ip", "link", "set", "tap0", "master", BRIDGE, "up")
                yield one
            finally:
                with one._inside(one.host):
                    one.end()
                for name in (one.host, one.guest):
                    _run("ip", "netns", "delete", name)

    def one_more(self, n: int) -> dict[str, float]:
        """Add the n-th host, and see when it is answered and has its address."""
        new = lease(n)
        _run("ip", "-n", self.guest, "link", "set", "eth0", "down")
        _run("ip", "-n", self.guest, "link", "set", "eth0", "address", new.mac)
        _run("ip", "-n", self.guest, "link", "set", "eth0", "up")
        with self._inside(self.guest):
            asker = _Asker(new, self.file(new))
        with self._inside(self.host):
            begun = time.monotonic()
            self.add(new)
        written, answered = asker.told()
        with self._inside(self.guest):
            asks = time.monotonic()
            said = _run("busybox", "udhcpc", "-i", "eth0", "-s", str(self.folder / "client"), "-n", "-q", "-f", "-t", "5", "-T", "1", "-A", "1")
            had = time.monotonic() - asks
        assert f"GOT {new.ip}" in said, said
        found = {"answered, ms": answered - begun, "the client alone, ms": had, "a client has it, ms": answered - begun + had}
        if written:
            found["answered after its file, ms"] = answered - written
        return {what: seconds * 1e3 for what, seconds in found.items()}

    @abstractmethod
    def begin(self) -> None:
        """The bridge is there, and all are served."""

    @abstractmethod
    def add(self, new: EdgeLease) -> None:
        """Serve this one too."""

    def file(self, _new: EdgeLease) -> Path | None:
        """The file a host has for itself."""
        return None

    @abstractmethod
    def end(self) -> None:
        """Nothing of it is left."""

    @staticmethod
    @contextlib.contextmanager
    def _inside(name: str) -> Iterator[None]:
        netns.pushns(name)
        try:
            yield
        finally:
            netns.popns()


class Ours(_Server):
    """A."""

    name = "A, our dnsmasq"

    def begin(self) -> None:
        _run("ip", "link", "set", "lo", "up")
        self._leases = tuple(map(lease, range(PRESENT)))
        self._driver = DnsmasqNetwork(self.folder / "edge", BRIDGE)
        self._driver.apply(self._plan())
        self._pid = self._pid_now()

    def add(self, new: EdgeLease) -> None:
        assert self._driver.lend((new,))

    def one_more(self, n: int) -> dict[str, float]:
        found = super().one_more(n)
        self._leases = (*self._leases, lease(n))
        plan, begun = self._plan(), time.monotonic()
        with self._inside(self.host):
            self._driver.apply(plan)
            found["the whole plan compared, ms"] = (time.monotonic() - begun) * 1e3
            assert self._driver.found() == plan
        self.restarts += self._pid != self._pid_now()
        return found

    def file(self, new: EdgeLease) -> Path:
        return self.folder / "edge" / "hosts" / new.mac.replace(":", "-")

    def end(self) -> None:
        self._driver.down()

    def _plan(self) -> EdgeNetwork:
        return EdgeNetwork(bridge=BRIDGE, subnet=SUBNET, gateway=GATEWAY, leases=self._leases)

    def _pid_now(self) -> str:
        return (self.folder / "edge" / "dnsmasq.pid").read_text()


class _Restarted(_Server):
    """One whose hosts stand in a file it reads as it starts."""

    def begin(self) -> None:
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        _run("ip", "address", "add", f"{GATEWAY}/16", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        self.prepare()
        self._hosts.write_text("".join(self.line(lease(n)) for n in range(PRESENT)))
        _run(*self.words())

    def add(self, new: EdgeLease) -> None:
        with self._hosts.open("a") as file:
            file.write(self.line(new))
        self._stop()
        _run(*self.words())

    def end(self) -> None:
        self._stop()

    def _stop(self) -> None:
        pid = int((self.folder / "pid").read_text())
        os.kill(pid, 15)
        until = time.monotonic() + _PATIENCE_S
        while _is_there(pid) and time.monotonic() < until:
            time.sleep(0.0005)
        (self.folder / "pid").unlink(missing_ok=True)

    @property
    def _hosts(self) -> Path:
        return self.folder / "hosts"

    def prepare(self) -> None:
        """Files it needs beside its hosts."""

    @abstractmethod
    def line(self, one: EdgeLease) -> str:
        """A host in its file."""

    @abstractmethod
    def words(self) -> list[str]:
        """What starts it; it comes back when it listens."""


class Dhcpd(_Restarted):
    """B."""

    name = "B, isc-dhcpd"

    def prepare(self) -> None:
        (self.folder / "leases").touch()
        (self.folder / "conf").write_text(
            f'authoritative;\nddns-update-style none;\nsubnet 10.80.0.0 netmask 255.255.0.0 {{ option routers {GATEWAY}; }}\ninclude "{self._hosts}";\n')

    def line(self, one: EdgeLease) -> str:
        return f'host {one.hostname} {{ hardware ethernet {one.mac}; fixed-address {one.ip}; option host-name "{one.hostname}"; }}\n'

    def words(self) -> list[str]:
        return ["dhcpd", "-4", "-q", "-cf", str(self.folder / "conf"), "-lf", str(self.folder / "leases"), "-pf", str(self.folder / "pid"), BRIDGE]


class ByHand(_Restarted):
    """C."""

    name = "C, dnsmasq by hand"

    def line(self, one: EdgeLease) -> str:
        return f"{one.mac},{one.ip},{one.hostname},infinite\n"

    def words(self) -> list[str]:
        return ["dnsmasq", "--conf-file=/dev/null", "--no-hosts", "--port=0", "--no-resolv", f"--interface={BRIDGE}", "--bind-interfaces",
                "--dhcp-range=10.80.0.0,static,255.255.0.0,infinite", "--dhcp-lease-max=65536", "--dhcp-authoritative", "--dhcp-ignore=tag:!known",
                "--no-ping", "--leasefile-ro", f"--dhcp-hostsfile={self._hosts}", f"--pid-file={self.folder / 'pid'}", "--user=root"]


class _Asker:
    """A process that sends a discover every two milliseconds until it is offered the address, and sees when that file is there."""

    def __init__(self, wanted: EdgeLease, file: Path | None) -> None:
        card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        card.bind(("eth0", 0))
        self._told, tell = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                os.write(tell, struct.pack("dd", *_asked(card, wanted, file)))
            finally:
                os._exit(0)
        card.close()
        os.close(tell)
        time.sleep(0.05)

    def told(self) -> tuple[float, float]:
        """When the file was there, 0 without one, and when the offer came."""
        said = os.read(self._told, 16)
        os.close(self._told)
        os.waitpid(self._pid, 0)
        assert said, "nobody answered"
        written, answered = struct.unpack("dd", said)
        return written, answered


def _asked(card: socket.socket, wanted: EdgeLease, file: Path | None) -> tuple[float, float]:
    discover, offer = _discover(wanted.mac), socket.inet_aton(wanted.ip)
    until, written = time.monotonic() + _PATIENCE_S, 0.0
    while time.monotonic() < until:
        if file and not written and file.exists():
            written = time.monotonic()
        card.send(discover)
        if select.select([card], [], [], 0.002)[0]:
            frame = card.recv(2048)
            # to the client's port, an answer, with the address that is wanted
            if frame[36:38] == b"\0\x44" and frame[42:43] == b"\2" and frame[58:62] == offer:
                return written, time.monotonic()
    raise TimeoutError


def _discover(mac: str) -> bytes:
    card = bytes.fromhex(mac.replace(":", ""))
    # the broadcast flag: the answer shall not wait for an address nobody has yet
    body = struct.pack("!BBBBIHH16x6s10x192x", 1, 1, 6, 0, 0x65647531, 0, 0x8000, card) + b"\x63\x82\x53\x63" + b"\x35\x01\x01\xff" + bytes(56)
    datagram = struct.pack("!HHHH", 68, 67, 8 + len(body), 0) + body
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return b"\xff" * 6 + card + b"\x08\x00" + head + datagram


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)[:200]}: {done.stderr}{done.stdout}"
    return done.stdout
