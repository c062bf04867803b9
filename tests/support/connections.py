"""A kernel's table of connections filled up: entries of nobody, made by netlink in the network namespace of the caller."""

from __future__ import annotations

import socket
import struct

_NEW, _FLAGS = 1 << 8, 0x1 | 0x200 | 0x400
"""A new entry of the table; a request that makes what is not there yet."""
_LASTS = 0b1110
"""Confirmed, answered and assured: the kernel gives none of these up for a new one."""
_AT_ONCE = 400
_UDP, _NETFILTER = 17, 12


def _attribute(kind: int, body: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(body), kind) + body + bytes(-len(body) % 4)


def _nested(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind | 0x8000, b"".join(parts))


def _tuple(kind: int, source: bytes, to: bytes, source_port: bytes, to_port: bytes) -> bytes:
    return _nested(
        kind, _nested(1, _attribute(1, source), _attribute(2, to)),
        _nested(2, _attribute(1, bytes([_UDP])), _attribute(2, source_port), _attribute(3, to_port)),
    )


def _entry(n: int, lasts_s: int) -> bytes:
    source, port = struct.pack("!I", 0x0A_63_00_00 + n // 60_000), struct.pack("!H", 1024 + n % 60_000)
    to, to_port = b"\x0a\x62\x00\x01", b"\x00\x35"
    body = struct.pack("=BBH", socket.AF_INET, 0, 0) + b"".join((
        _tuple(1, source, to, port, to_port), _tuple(2, to, source, to_port, port),
        _attribute(3, struct.pack("!I", _LASTS)), _attribute(7, struct.pack("!I", lasts_s)),
    ))
    return struct.pack("=IHHII", 16 + len(body), _NEW, _FLAGS, 0, 0) + body


def fill(count: int, lasts_s: int) -> None:
    """So many more, which end by themselves after so long. Those for which there is no room are not made."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as wire:
        wire.bind((0, 0))
        for first in range(0, count, _AT_ONCE):
            wire.send(b"".join(_entry(n, lasts_s) for n in range(first, min(first + _AT_ONCE, count))))
