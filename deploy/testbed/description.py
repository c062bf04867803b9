"""What a bed consists of: networks, hosts, which host has which roles, where it stands and by whom it goes out; pure."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from deploy.host.plan import BOSSES
from luhyaapi.contracts.base import Model
from luhyaapi.errors import Refused

Name = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9]{0,7}$")]


class Link(Model):
    """What a cable does to all that passes, each way: at most ``rate`` (as tc spells it; empty: no limit), and ``delay_ms`` late."""

    rate: str = Field("", pattern="^([1-9][0-9]{0,3}[kmg]bit)?$")
    delay_ms: int = Field(0, ge=0, le=10_000)


class BedHost(Model):
    """One host. ``addresses``: where it has a card, with its address there; empty in a network without addresses.

    ``bare``: networks where it has one more card, without an address, for guests to stand behind. ``router``: the host by which it goes
    out. ``hides``: networks whose addresses nobody else sees: what comes from there leaves with this router's address (NAT), and nobody
    gets in. ``boss``: the host it joins, when it is not the first of that role. ``settings``: what an operator sets, by role.
    """

    name: Name
    roles: tuple[Literal["clc", "walrus", "cc", "nc", "sc"], ...] = ()
    addresses: dict[Name, str] = Field({}, alias="networks")
    bare: tuple[Name, ...] = ()
    router: str = ""
    hides: tuple[Name, ...] = ()
    boss: str = ""
    links: dict[Name, Link] = {}
    settings: dict[str, dict[str, dict[str, Any]]] = {}

    def card(self, network: str) -> str:
        """The network card it has there."""
        return f"{network}0"

    @property
    def uplink(self) -> str:
        """The card by which its guests meet those of other hosts: that in a network without addresses; empty: it has none."""
        return next((self.card(network) for network, address in self.addresses.items() if not address), "")

    @property
    def cards(self) -> tuple[tuple[str, str, str], ...]:
        """Every card with its network and its address, which may be empty."""
        own = tuple((self.card(network), network, address) for network, address in self.addresses.items())
        return own + tuple((f"{network}1", network, "") for network in self.bare)


class Description(Model):
    """A bed. ``networks``: name to subnet, empty for a wire without addresses."""

    networks: dict[Name, str]
    hosts: dict[str, BedHost]

    def of_role(self, role: str) -> list[BedHost]:
        """The hosts that have a role."""
        return [host for host in self.hosts.values() if role in host.roles]

    def boss(self, role: str, host: BedHost) -> BedHost:
        """The host that commands this one in that role: itself, the one it names, or the first there is."""
        above = self.of_role(BOSSES[role])
        return next((each for each in above if each is host or each.name == host.boss), above[0])

    def is_router(self, host: BedHost) -> bool:
        """Whether it passes on what is not for it; one with roles decides that by itself."""
        return not host.roles and any(each.router == host.name for each in self.hosts.values())

    def router_address(self, host: BedHost) -> str:
        """Where the host sends what is for elsewhere; empty for one without a router."""
        router = self.hosts.get(host.router)
        shared = (router.addresses.get(network, "") for network in host.addresses) if router and router is not host else ()
        return next(filter(None, shared), "")

    def way(self, one: BedHost, other: BedHost) -> str:
        """The address at which ``one`` finds ``other``: in the first network both stand in, else beyond its router.

        Raises Refused(invalid) when there is none.
        """
        step: BedHost | None = one
        passed: list[BedHost] = []
        while step and step not in passed:
            for network, address in other.addresses.items():
                if address and network in step.addresses and (step is one or network not in step.hides):
                    return address
            passed.append(step)
            step = self.hosts.get(step.router)
        raise Refused("invalid", f"{one.name} does not reach {other.name}", "they stand in no common network, and no router leads there")


def read(file: Path) -> Description:
    """A description from its file. Raises Refused(invalid) with what is wrong."""
    try:
        form = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise Refused("invalid", f"{file} cannot be read", str(e)) from e
    try:
        form["networks"] = {name: subnet and str(ipaddress.IPv4Network(subnet)) for name, subnet in form.get("networks", {}).items()}
        form["hosts"] = {
            name: {**host, "name": name, "networks": _standing(host.get("networks", ()), form["networks"], place)}
            for place, (name, host) in enumerate(form.get("hosts", {}).items(), 1)
        }
        made = Description.model_validate(form)
    except ValidationError as e:
        first = e.errors()[0]
        raise Refused("invalid", "The description of the bed is not valid", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from e
    except (ValueError, TypeError, AttributeError) as e:
        raise Refused("invalid", "The description of the bed is not valid", str(e)) from e
    for host in made.hosts.values():
        _check_place(made, host)
    _check_roles(made)
    return made


def _standing(stands: Any, networks: dict[str, str], place: int) -> dict[str, str]:
    """Where a host stands, from a list of networks, or from a table with an address for each; else its place among all numbers it."""
    asked = stands if isinstance(stands, dict) else dict.fromkeys(stands, "")
    return {network: _address(networks.get(network, ""), given, place) for network, given in asked.items()}


def _address(subnet: str, given: str, place: int) -> str:
    if not subnet:
        return given
    net = ipaddress.IPv4Network(subnet)
    one = ipaddress.IPv4Address(given) if given else net.network_address + place
    if one not in net or one in (net.network_address, net.broadcast_address):
        raise ValueError(f"{one} is no host's address in {subnet}")
    return str(one)


def _check_place(made: Description, host: BedHost) -> None:
    if wrong := {*host.addresses, *host.bare} - made.networks.keys():
        raise _refused(host, "stands in a network that is not there", wrong)
    if wrong := {*host.hides, *host.links} - host.addresses.keys():
        raise _refused(host, "says something of a network it does not stand in", wrong)
    others = {address for each in made.hosts.values() if each is not host for address in each.addresses.values()}
    if wrong := others & set(host.addresses.values()) - {""}:
        raise _refused(host, "has the address of another host", wrong)
    if wrong := {address for network, address in host.addresses.items() if not made.networks[network]} - {""}:
        raise _refused(host, "has an address in a network without any", wrong)
    if host.router and not made.router_address(host):
        raise _refused(host, "has a router that is not beside it", {host.router})


def _check_roles(made: Description) -> None:
    if len(made.of_role("clc")) != 1:
        raise Refused("invalid", "A bed has exactly one clc")
    for host in made.hosts.values():
        if host.hides and not made.is_router(host):
            raise _refused(host, "hides networks and is nobody's router", set(host.hides))
        if wrong := host.settings.keys() - set(host.roles):
            raise _refused(host, "has settings for a role it does not have", wrong)
        for role in (each for each in host.roles if each != "clc"):
            _check_joins(made, host, role)


def _check_joins(made: Description, host: BedHost, role: str) -> None:
    if not made.of_role(BOSSES[role]):
        raise Refused("invalid", f"The bed has a {role} and no {BOSSES[role]}")
    boss = made.boss(role, host)
    if boss is not host:
        if host.boss not in ("", boss.name):
            raise _refused(host, f"has a boss it cannot join as {role}", {host.boss})
        made.way(host, boss)


def _refused(host: BedHost, what: str, which: set[str]) -> Refused:
    return Refused("invalid", f"The host {host.name} {what}", ", ".join(sorted(which)))
