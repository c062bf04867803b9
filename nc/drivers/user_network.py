"""Cards without a bridge and without rights: QEMU's own user-mode network, reached from this host by leased ports."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from luhyaapi.contracts.specs import LinkFacts, Nic, SegmentSpan
from luhyaapi.edge import links
from luhyaapi.errors import Failed, Refused
from nc.drivers.base import NodeEdge, tap_name

_CARD = re.compile("^t[0-9a-f]{14}$")


class UserNetwork:
    """One file per card in ``folder``, holding the instance it belongs to: no device of this host stands for it.

    Each guest is in a network of its own, with the whole cluster's addresses and itself as the only guest in it. It
    reaches nobody: neither this host nor what lies behind it (``restrict``). It is reached by its forwarded ports.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def plug(self, instance: str, nic: Nic) -> str:
        if nic.segment:
            raise Refused("not_found", "This node has no networks beside its own", "it runs without rights")
        for forward in nic.forwards:
            _refuse_taken(forward.host, forward.port)
        name = tap_name(instance, nic.mac)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._folder / f".{name}.part"
            part.write_text(instance, "ascii")
            part.replace(self._folder / name)
        except OSError as e:
            raise Failed("network", f"The card {name} could not be noted", str(e)) from e
        return name

    def span(self, segments: Sequence[SegmentSpan]) -> None:
        if segments:
            raise Refused("not_found", "This node has no networks beside its own", "it runs without rights")

    def guard(self, edge: NodeEdge) -> None:
        """Each guest is alone in its network, which QEMU makes: there is nobody to be guarded from."""

    def look(self, instance: str, nic: Nic, edge: NodeEdge, segments: Sequence[SegmentSpan]) -> tuple[LinkFacts, ...]:  # noqa: ARG002 - it has no such links
        """A guest that is alone has no links of this host."""
        return links.seen(nic.ip, [("tap", lambda: self._seen(tap_name(instance, nic.mac)))])

    def _seen(self, name: str) -> LinkFacts:
        if name in self.found():
            return links.ok("tap", "The guest is alone in its network", "its node runs without rights")
        return links.broken("tap", "The guest's card is not there", "its node has not noted it", "Reboot the instance: its card is made as it starts.")

    def unplug(self, instance: str) -> None:
        for name, owner in self.found().items():
            if owner == instance:
                (self._folder / name).unlink(missing_ok=True)

    def found(self) -> dict[str, str]:
        try:
            return {p.name: p.read_text("ascii") for p in sorted(self._folder.iterdir()) if _CARD.match(p.name)}
        except FileNotFoundError:
            return {}


def netdev(ident: str, nic: Nic, subnet: str) -> str:
    """QEMU's ``-netdev`` for a card: the guest is given exactly its leased address. Raises Refused(invalid)."""
    try:
        network = ipaddress.IPv4Network(subnet)
        address = ipaddress.IPv4Address(nic.ip)
    except ValueError as e:
        raise Refused("invalid", "The guest network is not valid", str(e)) from e
    gateway = network.network_address + 1
    if address not in network or address in (network.network_address, gateway, network.broadcast_address):
        raise Refused("invalid", f"{nic.ip} is no address for a guest of {subnet}")
    # It has a name server's address in the guest's network whether or not it is reached: it must be nobody else's.
    names = next(a for n in (1, 2) if (a := network.broadcast_address - n) not in (address, gateway))
    parts = [f"user,id={ident}", f"net={network}", f"host={gateway}", f"dhcpstart={address}", f"dns={names}", "ipv6=off", "restrict=on"]
    parts += [f"hostfwd=tcp:{f.host}:{f.port}-{address}:{f.guest_port}" for f in nic.forwards]
    return ",".join(parts)


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as e:
            raise Failed("network", f"The port {port} lent to the guest is taken on this host", f"{host}:{port}: {e.strerror}",
                         hint="End the program that listens there, or choose other ports by EDUCLOUD_PORT_BASE.") from e
