"""The networks of a bed: one bridge each in a namespace of their own, where links are cut and healed."""

from __future__ import annotations

import contextlib
import ipaddress

from deploy.testbed.description import BedHost, Description
from luhyaapi.errors import Trouble
from luhyaapi.process import run

_IP_S = 10


class Switch:
    """The bridges and cables. ``tag`` tells the beds of one machine apart, at most 4 signs."""

    def __init__(self, tag: str, bed: Description) -> None:
        self._bed = bed
        self.namespace = f"edubed-{tag}"

    def up(self) -> None:
        """The namespace with one bridge per network."""
        run(["ip", "netns", "add", self.namespace], timeout_s=_IP_S)
        for network in self._bed.networks:
            self._ip("link", "add", "name", network, "type", "bridge", "stp_state", "0", "forward_delay", "0")
            self._ip("link", "set", "dev", network, "up")

    def down(self) -> None:
        """Nothing of it stays; the cables end with their bridges."""
        with contextlib.suppress(Trouble):
            run(["ip", "netns", "delete", self.namespace], timeout_s=_IP_S)

    def plug(self, host: BedHost, pid: int) -> None:
        """Cables from the bridges to the host whose first process is ``pid``."""
        inside = ["nsenter", "--target", str(pid), "--net", "--", "ip"]
        run([*inside, "link", "set", "dev", "lo", "up"], timeout_s=_IP_S)
        for network, address in host.addresses.items():
            port, card = self.port(host, network), host.card(network)
            self._ip("link", "add", "name", port, "type", "veth", "peer", "name", card, "netns", str(pid))
            self._ip("link", "set", "dev", port, "master", network, "up")
            if address:
                prefix = ipaddress.IPv4Network(self._bed.networks[network]).prefixlen
                run([*inside, "address", "add", f"{address}/{prefix}", "dev", card], timeout_s=_IP_S)
            run([*inside, "link", "set", "dev", card, "up"], timeout_s=_IP_S)

    def port(self, host: BedHost, network: str) -> str:
        """The switch's end of a cable; a link has at most 15 signs in its name."""
        return f"{host.name}{network[:7]}"[:15]

    def cut(self, host: BedHost, network: str, *, sends: bool = True, hears: bool = True) -> None:
        """What the host ``sends`` into the network, or ``hears`` from it, is lost without a word, until healed."""
        port = self.port(host, network)
        rules = [f'add rule bridge cuts forward {side} "{port}" drop' for side, on in (("iifname", sends), ("oifname", hears)) if on]
        chain = "add chain bridge cuts forward { type filter hook forward priority 0; policy accept; }"
        self._nft("\n".join(["add table bridge cuts", chain, *rules]) + "\n")

    def heal(self) -> None:
        """All cuts are over."""
        self._nft("add table bridge cuts\ndelete table bridge cuts\n")

    def _nft(self, rules: str) -> None:
        run(["ip", "netns", "exec", self.namespace, "nft", "-f", "-"], timeout_s=_IP_S, stdin=rules.encode())

    def _ip(self, *words: str) -> None:
        run(["ip", "-n", self.namespace, *words], timeout_s=_IP_S)
