"""What a bed consists of: networks, hosts, which host has which roles and stands in which networks; pure."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.host.plan import BOSSES, ROLES
from luhyaapi.errors import Refused

_NAME = re.compile("[a-z][a-z0-9]{0,7}")
GUESTS = "guests"
"""The network without addresses by which guests of different hosts meet."""


@dataclass(frozen=True)
class BedHost:
    """One host. ``addresses``: network to its own address there; a network without addresses has an empty one."""

    name: str
    roles: tuple[str, ...]
    addresses: dict[str, str]

    def card(self, network: str) -> str:
        """The network card it has there."""
        return f"{network}0"


@dataclass(frozen=True)
class Description:
    """A bed. ``networks``: name to subnet, empty for a wire without addresses."""

    networks: dict[str, str]
    hosts: dict[str, BedHost]

    def of_role(self, role: str) -> list[BedHost]:
        """The hosts that have a role."""
        return [host for host in self.hosts.values() if role in host.roles]

    def boss(self, role: str) -> BedHost:
        """The first host with the role that commands this one."""
        return self.of_role(BOSSES[role])[0]

    def way(self, one: BedHost, other: BedHost) -> str:
        """The address of ``other`` in the first network that both stand in. Raises Refused(invalid) when there is none."""
        for network, address in other.addresses.items():
            if address and network in one.addresses:
                return address
        raise Refused("invalid", f"{one.name} and {other.name} stand in no common network")


def read(file: Path) -> Description:
    """A description from its file. Raises Refused(invalid) with what is wrong."""
    try:
        form = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise Refused("invalid", f"{file} cannot be read", str(e)) from e
    networks = {_name(n, "network"): _subnet(n, s) for n, s in dict(form.get("networks", {})).items()}
    hosts = {}
    for place, (name, host) in enumerate(dict(form.get("hosts", {})).items(), 1):
        hosts[name] = _host(_name(name, "host"), host, networks, place)
    made = Description(networks, hosts)
    for role in {r for host in hosts.values() for r in host.roles} - {"clc"}:
        if not made.of_role(BOSSES[role]):
            raise Refused("invalid", f"The bed has a {role} and no {BOSSES[role]}")
    if len(made.of_role("clc")) != 1:
        raise Refused("invalid", "A bed has exactly one clc")
    for host in hosts.values():
        for role in (r for r in host.roles if r != "clc"):
            if made.boss(role) is not host:
                made.way(host, made.boss(role))
    return made


def _name(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise Refused("invalid", f"{name!r} cannot be the name of a {what}", "a letter, then letters and digits, at most 8")
    return name


def _subnet(name: str, subnet: Any) -> str:
    if subnet == "":
        return ""
    try:
        return str(ipaddress.IPv4Network(subnet))
    except ValueError as e:
        raise Refused("invalid", f"The network {name} has no good subnet", str(e)) from e


def _host(name: str, form: Any, networks: dict[str, str], place: int) -> BedHost:
    roles, stands = tuple(form.get("roles", ())), tuple(form.get("networks", ()))
    if wrong := [role for role in roles if role not in ROLES]:
        raise Refused("invalid", f"The host {name} has a role nobody knows", ", ".join(wrong))
    if wrong := [network for network in stands if network not in networks]:
        raise Refused("invalid", f"The host {name} stands in a network that is not there", ", ".join(wrong))
    addresses = {n: str(ipaddress.IPv4Network(networks[n])[place]) if networks[n] else "" for n in stands}
    return BedHost(name, roles, addresses)
