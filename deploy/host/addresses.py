"""Which address this host's doors bind, and at which one others reach them."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from urllib.parse import urlsplit

import psutil

from deploy.host.plan import BOSSES, LOOPBACK, ROLES, Choices, Ports, bracketed
from luhyaapi.errors import Refused

IMAGES = ("all", "tiny", "none")
"""What the first images of a cloud may be."""
_ELSEWHERE = "192.0.2.1"  # kept free for examples: only the way there is asked for, nothing is sent
_HOW = "LISTEN=ADDRESS with an address of this machine, or 0.0.0.0 for all of them; 127.0.0.1 closes the doors again"


def listening(wanted: str, kept: Choices) -> Choices:
    """The choices with LISTEN as the user gave it now; empty: as it was. Raises Refused(invalid)."""
    if not wanted:
        return kept
    if wanted in ("localhost", LOOPBACK):
        if any(door.startswith("https:") for door in kept.bosses.values()):
            raise Refused("invalid", f"LISTEN={wanted} cannot be used", "the roles here belong to a cloud on other hosts, which reach them",
                          hint="Leave LISTEN out, or take away what joined: make reset.")
        return _at(kept, LOOPBACK, LOOPBACK)
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError as e:
        raise Refused("invalid", f"LISTEN={wanted} cannot be used", str(e), hint=_HOW) from e
    if address.is_unspecified:
        return _at(kept, str(address), outward())
    if str(address) not in _own() or address.is_loopback:
        raise Refused("invalid", f"LISTEN={wanted} cannot be used", "no network card of this machine has that address", hint=_HOW)
    return _at(kept, str(address), str(address))


def _at(kept: Choices, listen: str, address: str) -> Choices:
    """With these addresses; a boss on this very host is found at the new one too."""
    here = {role for role, door in kept.bosses.items() if BOSSES[role] in kept.bosses and boss_host(door) == kept.address}
    bosses = {role: _moved(door, address) if role in here else door for role, door in kept.bosses.items()}
    return dataclasses.replace(kept, listen=listen, address=address, bosses=bosses)


def _moved(door: str, host: str) -> str:
    parts = urlsplit(door)
    return parts._replace(netloc=f"{bracketed(host)}:{parts.port}").geturl()


def uplinked(wanted: str, choices: Choices) -> Choices:
    """The choices with EDUCLOUD_UPLINK as the user gave it now; empty: as it was, ``none``: no card."""
    return dataclasses.replace(choices, uplink="" if wanted == "none" else wanted) if wanted else choices


def with_demo(wanted: str, choices: Choices) -> Choices:
    """The choices with EDUCLOUD_DEMO as the user gave it now; empty: as it was. Raises Refused(invalid)."""
    if wanted not in ("", *IMAGES):
        raise Refused("invalid", f"EDUCLOUD_DEMO={wanted} cannot be used", f"there are {', '.join(IMAGES)}")
    return dataclasses.replace(choices, demo=wanted) if wanted else choices


def with_roles(wanted: str, choices: Choices) -> Choices:
    """The choices with EDUCLOUD_ROLES as the user gave it now; empty: as it was. Raises Refused(invalid)."""
    if not wanted:
        return choices
    roles = tuple(wanted.replace(",", " ").split())
    unknown = set(roles) - set(ROLES)
    if unknown or "clc" not in roles:
        raise Refused("invalid", f"EDUCLOUD_ROLES={wanted} cannot be used", f"clc and what else of {', '.join(ROLES)} runs on its host",
                      hint="A host without the CLC joins: make join.")
    return dataclasses.replace(choices, roles=roles)


def _own() -> set[str]:
    return {row.address for rows in psutil.net_if_addrs().values() for row in rows if row.family in (socket.AF_INET, socket.AF_INET6)}


def outward(toward: str = _ELSEWHERE) -> str:
    """The address this machine has towards another one. Raises Refused(invalid) when there is no way there."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(toward, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as sock:
            sock.connect(where)
            return str(sock.getsockname()[0])
    except OSError as e:
        raise Refused("invalid", "The address of this machine is not clear", f"towards {toward}: {e}", hint=_HOW) from e


def boss_door(role: str, given: str, ports: Ports) -> str:
    """The door of a role's boss from what the user gave: an address, an address with a port, or the door itself.

    Raises Refused(invalid).
    """
    try:
        parts = urlsplit(given if "://" in given else f"//{given}")
        host, port = parts.hostname or "", parts.port or ports[f"{BOSSES[role]}_door"]
    except ValueError as e:
        raise Refused("invalid", f"BOSS={given} is not an address", str(e)) from e
    if not host or parts.scheme not in ("", "http", "https") or parts.path.strip("/"):
        raise Refused("invalid", f"BOSS={given} is not an address", "give ADDRESS, ADDRESS:PORT or https://ADDRESS:PORT")
    scheme = parts.scheme or ("http" if host in (LOOPBACK, "localhost") else "https")
    return f"{scheme}://{bracketed(host)}:{port}"


def boss_host(door: str) -> str:
    """The address in a door."""
    return urlsplit(door).hostname or ""
