"""Who has an IPv4 address on a wire of this host, asked by ARP; and that we have one, told."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Collection, Sequence

from luhyaapi import clock
from luhyaapi.errors import Failed

PROBES, PROBE_S = 2, 0.25
"""How often and how long the wire is asked who has an address (RFC 5227 asks three times in two seconds; a wire of ours is a room)."""
_ARP, _REQUEST = 0x0806, 1
_EVERYBODY = b"\xff" * 6
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")


def who_has(link: str, addresses: Collection[str], wait_s: float = PROBE_S) -> dict[str, list[str]]:
    """The MACs, sorted, of the others that answer for each address that somebody has.

    ``wait_s`` after each of two questions: half a second in all, if nothing else is said. Raises Failed(network).
    """
    found: dict[str, set[str]] = {}
    try:
        with _open(link) as wire:
            for _ in range(PROBES):
                for address in addresses:
                    # from nobody: so no neighbour takes us for its owner yet
                    _send(wire, b"\0" * 4, b"\0" * 6, address)
                until = clock.monotonic() + wait_s
                while (left := until - clock.monotonic()) > 0 and select.select([wire], [], [], left)[0]:
                    frame = wire.recv(2048)
                    if len(frame) >= _FRAME.size:
                        _, _, _, _, _, _, _, _, mac, sender, _, _ = _FRAME.unpack_from(frame)
                        address = socket.inet_ntoa(sender)
                        if address in addresses and mac != _mac(wire):
                            found.setdefault(address, set()).add(mac.hex(":"))
    except OSError as e:
        raise _unusable(link, e) from e
    return {address: sorted(macs) for address, macs in found.items()}


def announce(link: str, addresses: Sequence[str]) -> None:
    """Neighbours that knew them elsewhere learn that they are here. Raises Failed(network)."""
    if not addresses:
        return
    try:
        with _open(link) as wire:
            for address in [*addresses, *addresses]:
                _send(wire, socket.inet_aton(address), _EVERYBODY, address)
    except OSError as e:
        raise _unusable(link, e) from e


def _send(wire: socket.socket, sender: bytes, target: bytes, address: str) -> None:
    mac = _mac(wire)
    wire.send(_FRAME.pack(_EVERYBODY, mac, _ARP, 1, 0x0800, 6, 4, _REQUEST, mac, sender, target, socket.inet_aton(address)))


def _open(link: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP))
    try:
        wire.bind((link, _ARP))
    except OSError:
        wire.close()
        raise
    return wire


def _unusable(link: str, error: OSError) -> Failed:
    return Failed("network", f"The card {link} cannot be used", str(error))


def _mac(wire: socket.socket) -> bytes:
    return bytes(wire.getsockname()[4])
