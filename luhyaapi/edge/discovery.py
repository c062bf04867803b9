"""Who has an IPv6 address on a wire of this host, asked by neighbour discovery (RFC 4861)."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct

from luhyaapi import clock
from luhyaapi.edge.arp import PROBE_S, PROBES
from luhyaapi.errors import Failed
from luhyaapi.subnets import link_local

_IPV6, _ICMPV6 = 0x86DD, 58
_SOLICITATION, _ADVERTISEMENT, _OUR_LINK, _ITS_LINK = 135, 136, 1, 2
_HOPS = 255
"""What comes with fewer was sent on by a router, so it is no neighbour's (RFC 4861, 7.1)."""
_ETHERNET, _HEAD = 14, 40


def who_has(link: str, address: str, wait_s: float = PROBE_S) -> list[str]:
    """The MACs, sorted, of the others that answer for an IPv6 address: ``wait_s`` after each of two questions. Raises Failed(network).

    Asked as a neighbour and not from nobody, as a card asks for an address it is about to take: who is just taking it would give it up.
    """
    target = ipaddress.IPv6Address(address).packed
    found: set[str] = set()
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV6)) as wire:
            wire.bind((link, _IPV6))
            mac = bytes(wire.getsockname()[4])
            for _ in range(PROBES):
                wire.send(_question(mac, target))
                until = clock.monotonic() + wait_s
                while (left := until - clock.monotonic()) > 0 and select.select([wire], [], [], left)[0]:
                    found |= _answered(wire.recv(2048), target)
    except OSError as e:
        raise Failed("network", f"The card {link} cannot be used", str(e)) from e
    return sorted(found - {mac.hex(":")})


def _question(mac: bytes, target: bytes) -> bytes:
    """A frame to the group of those whose address ends like it (RFC 4291, 2.7.1)."""
    source = ipaddress.IPv6Address(link_local(mac.hex(":"))).packed
    group = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + target[13:]
    said = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + target + bytes((_OUR_LINK, 1)) + mac
    said = said[:2] + _checksum(source + group + struct.pack("!II", len(said), _ICMPV6) + said) + said[4:]
    return b"\x33\x33" + group[12:] + mac + struct.pack("!HIHBB", _IPV6, 6 << 28, len(said), _ICMPV6, _HOPS) + source + group + said


def _answered(frame: bytes, target: bytes) -> set[str]:
    """The MAC in an advertisement of that address, if it is one and names it."""
    said = frame[_ETHERNET + _HEAD:]
    if len(said) < 24 or frame[_ETHERNET + 6] != _ICMPV6 or said[0] != _ADVERTISEMENT or said[8:24] != target:
        return set()
    options = said[24:]
    while len(options) >= 8 and options[1]:
        if options[0] == _ITS_LINK:
            return {options[2:8].hex(":")}
        options = options[8 * options[1]:]
    return set()


def _checksum(data: bytes) -> bytes:
    """That of RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
