"""Who has an IPv6 address on a wire of this host, asked by neighbour discovery (RFC 4861)."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
from collections.abc import Collection

from luhyaapi import clock
from luhyaapi.edge.arp import PROBE_S, PROBES
from luhyaapi.errors import Failed
from luhyaapi.subnets import link_local

_IPV6, _ICMPV6 = 0x86DD, 58
_SOLICITATION, _ADVERTISEMENT, _OUR_LINK, _ITS_LINK = 135, 136, 1, 2
_HOPS = 255
"""What comes with fewer was sent on by a router, so it is no neighbour's (RFC 4861, 7.1)."""
_ETHERNET, _HEAD = 14, 40


def who_has(link: str, addresses: Collection[str], wait_s: float = PROBE_S) -> dict[str, list[str]]:
    """The MACs, sorted, of the others that answer for each IPv6 address that somebody has: ``wait_s`` after each of two questions.

    Raises Failed(network).

    Asked as a neighbour and not from nobody, as a card asks for an address it is about to take: who is just taking it would give it up.
    """
    targets = {ipaddress.IPv6Address(each).packed: each for each in addresses}
    found: dict[str, set[str]] = {}
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV6)) as wire:
            wire.bind((link, _IPV6))
            mac = bytes(wire.getsockname()[4])
            for _ in range(PROBES):
                for target in targets:
                    wire.send(_question(mac, target))
                until = clock.monotonic() + wait_s
                while (left := until - clock.monotonic()) > 0 and select.select([wire], [], [], left)[0]:
                    target, by = _answered(wire.recv(2048))
                    if target in targets and by not in ("", mac.hex(":")):
                        found.setdefault(targets[target], set()).add(by)
    except OSError as e:
        raise Failed("network", f"The card {link} cannot be used", str(e)) from e
    return {address: sorted(macs) for address, macs in found.items()}


def _question(mac: bytes, target: bytes) -> bytes:
    """A frame to the group of those whose address ends like it (RFC 4291, 2.7.1)."""
    source = ipaddress.IPv6Address(link_local(mac.hex(":"))).packed
    group = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + target[13:]
    said = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + target + bytes((_OUR_LINK, 1)) + mac
    said = said[:2] + _checksum(source + group + struct.pack("!II", len(said), _ICMPV6) + said) + said[4:]
    return b"\x33\x33" + group[12:] + mac + struct.pack("!HIHBB", _IPV6, 6 << 28, len(said), _ICMPV6, _HOPS) + source + group + said


def _answered(frame: bytes) -> tuple[bytes, str]:
    """The address of an advertisement and the MAC it names, if it is one."""
    said = frame[_ETHERNET + _HEAD:]
    if len(said) < 24 or frame[_ETHERNET + 6] != _ICMPV6 or said[0] != _ADVERTISEMENT:
        return b"", ""
    options = said[24:]
    while len(options) >= 8 and options[1]:
        if options[0] == _ITS_LINK:
            return said[8:24], options[2:8].hex(":")
        options = options[8 * options[1]:]
    return said[8:24], ""


def _checksum(data: bytes) -> bytes:
    """That of RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
