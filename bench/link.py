"""Two network namespaces with a cable between them, as fast as one says."""

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
                _run(["tc", "-n", name, "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", f"{mbit}mbit", "burst", "64kb", "latency", "50ms"])
        yield (["ip", "netns", "exec", ends[0]], ["ip", "netns", "exec", ends[1]])
    finally:
        for name in ends:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    _run(["ip", *words])


def _run(words: Sequence[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
