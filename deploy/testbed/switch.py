"""The networks of a bed: one bridge each in a namespace of their own, where links are cut and healed."""

from __future__ import annotations

import contextlib
import ipaddress

from deploy.testbed.description import BedHost, Description, Link
from luhyaapi.errors import Failed, Refused, Trouble
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
        """Cables from the bridges to the host whose first process is ``pid``, and its way out. Raises Refused(unsupported) for a delay."""
        inside = ["nsenter", "--target", str(pid), "--net", "--"]
        run([*inside, "ip", "link", "set", "dev", "lo", "up"], timeout_s=_IP_S)
        for card, network, address in host.cards:
            port = self._port(host, card)
            self._ip("link", "add", "name", port, "type", "veth", "peer", "name", card, "netns", str(pid))
            self._ip("link", "set", "dev", port, "master", network, "up")
            if address:
                prefix = ipaddress.IPv4Network(self._bed.networks[network]).prefixlen
                run([*inside, "ip", "address", "add", f"{address}/{prefix}", "dev", card], timeout_s=_IP_S)
            if network in host.bare and card != host.card(network):
                # Else it would answer for the host's own card in that network.
                run([*inside, "sysctl", "-qw", f"net.ipv4.conf.{card}.arp_ignore=1"], timeout_s=_IP_S)
            run([*inside, "ip", "link", "set", "dev", card, "up"], timeout_s=_IP_S)
            if card == host.card(network) and (link := host.links.get(network)):
                _shape(inside, card, link)
                _shape(["ip", "netns", "exec", self.namespace], port, link)
        if router := self._bed.router_address(host):
            run([*inside, "ip", "route", "add", "default", "via", router], timeout_s=_IP_S)
        if self._bed.is_router(host):
            run([*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1"], timeout_s=_IP_S)
            run([*inside, "nft", "-f", "-"], timeout_s=_IP_S, stdin=_hiding(self._bed, host).encode())

    def port(self, host: BedHost, network: str) -> str:
        """The switch's end of a cable."""
        return self._port(host, host.card(network))

    def _port(self, host: BedHost, card: str) -> str:
        # A link has at most 15 signs in its name.
        return f"{host.name}-{[each for each, _, _ in host.cards].index(card)}"

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


def _hiding(bed: Description, router: BedHost) -> str:
    """What comes out of a hidden network bears the router's address elsewhere; nothing begins from there inward."""
    subnets = [(network, bed.networks[network]) for network in router.hides]
    away = [f'add rule ip hides away ip saddr {net} oifname != "{router.card(name)}" masquerade' for name, net in subnets]
    inward = [f'add rule ip hides inward oifname "{router.card(name)}" iifname != "{router.card(name)}" ct state new drop' for name, _ in subnets]
    return "\n".join([
        "add table ip hides",
        "add chain ip hides away { type nat hook postrouting priority srcnat; policy accept; }",
        "add chain ip hides inward { type filter hook forward priority filter; policy accept; }",
        *away, *inward, "",
    ])


def _shape(inside: list[str], device: str, link: Link) -> None:
    """Both ends of a cable are shaped alike: each holds back what it sends."""
    parent = ["root"]
    if link.delay_ms:
        try:
            run([*inside, "tc", "qdisc", "add", "dev", device, "root", "handle", "1:", "netem", "delay", f"{link.delay_ms}ms"], timeout_s=_IP_S)
        except Failed as e:
            raise Refused("unsupported", "This kernel cannot delay a link", e.why, hint="Load its module sch_netem, or leave delay_ms out.") from e
        parent = ["parent", "1:"]
    if link.rate:
        run([*inside, "tc", "qdisc", "add", "dev", device, *parent, "tbf", "rate", link.rate, "burst", "64kb", "latency", "200ms"], timeout_s=_IP_S)
