"""Network namespaces with cables between them, as fast as one says: two, or several around a switch."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence

SERVER, CLIENT = "10.98.7.1", "10.98.7.2"


@contextlib.contextmanager
def cable(mbit: int) -> Iterator[tuple[list[str], list[str]]]:
    """The words before a program that make it run at the server's end, and at the client's; ``mbit`` 0: as fast as it goes."""
    ends = [f"edubench-{os.getpid()}-{side}" for side in "ab"]
    try:
        for name in ends:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "eth0", "netns", ends[0], "type", "veth", "peer", "name", "eth0", "netns", ends[1])
        for name, address in zip(ends, (SERVER, CLIENT), strict=True):
            _ip("-n", name, "address", "add", f"{address}/30", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            if mbit:
                _shape(name, "eth0", mbit)
        yield (["ip", "netns", "exec", ends[0]], ["ip", "netns", "exec", ends[1]])
    finally:
        for name in ends:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextlib.contextmanager
def switch(mbit: int, count: int) -> Iterator[list[tuple[list[str], str]]]:
    """``count`` hosts around a switch, each cable of ``mbit`` both ways: the words before a program there, and its address."""
    middle = f"edubench-{os.getpid()}-switch"
    hosts = [f"edubench-{os.getpid()}-{n}" for n in range(count)]
    try:
        _ip("netns", "add", middle)
        _ip("-n", middle, "link", "add", "br0", "type", "bridge")
        _ip("-n", middle, "link", "set", "br0", "up")
        for n, name in enumerate(hosts):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"port{n}", "netns", middle)
            _ip("-n", middle, "link", "set", f"port{n}", "master", "br0", "up")
            _ip("-n", name, "address", "add", f"10.98.8.{n + 1}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _shape(name, "eth0", mbit)
            _shape(middle, f"port{n}", mbit)
        yield [(["ip", "netns", "exec", name], f"10.98.8.{n + 1}") for n, name in enumerate(hosts)]
    finally:
        for name in (*hosts, middle):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def sent(there: Sequence[str]) -> int:
    """Bytes a host has sent over its cable so far."""
    told = subprocess.run([*there, "cat", "/sys/class/net/eth0/statistics/tx_bytes"], capture_output=True, text=True, check=True)
    return int(told.stdout)


def received(there: Sequence[str]) -> int:
    """Bytes that came to a host over its cable so far."""
    told = subprocess.run([*there, "cat", "/sys/class/net/eth0/statistics/rx_bytes"], capture_output=True, text=True, check=True)
    return int(told.stdout)


def _shape(name: str, device: str, mbit: int) -> None:
    _run(["tc", "-n", name, "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{mbit}mbit", "burst", "64kb", "latency", "50ms"])


def _ip(*words: str) -> None:
    _run(["ip", *words])


def _run(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
