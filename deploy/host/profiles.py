"""The three kinds of cloud on one host: which parts each is made of. What differs between them is said here; pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from luhyaapi.errors import Refused

MARK = ".educloud"
"""File in a cloud's folder that says it is ours and of which profile."""


@dataclass(frozen=True)
class Profile:
    """What a cloud is made of.

    ``services`` are programs of others, ``programs`` our own; ``accounts`` names the account of a program or of a role's
    folder, none: whoever calls. ``hypervisor``, ``edge`` and ``node_network`` are drivers by their registered names.
    ``forwarded`` are the guests' ports that are reached from their host, ``longest_home`` characters of the cloud's folder.
    """

    name: str
    services: tuple[str, ...]
    programs: tuple[str, ...]
    hypervisor: str
    edge: str
    node_network: str
    accounts: Mapping[str, str] = field(default_factory=dict)
    first_images: tuple[str, ...] = ("tiny",)
    forwarded: tuple[int, ...] = ()
    longest_home: int = 70  # a Unix socket's path has 107 characters, and ours add up to 35

    @property
    def is_roots(self) -> bool:
        """Whether it takes root, for accounts, mounts and a bridge."""
        return bool(self.accounts)

    @property
    def is_unpacked(self) -> bool:
        """Whether what Debian packages bring is unpacked into a folder where it is not installed."""
        return bool(self.services) and not self.is_roots

    @property
    def is_simulated(self) -> bool:
        """Whether no machine really runs."""
        return self.hypervisor == "fake"


_APART = ("clc-web", "clc-relay", "walrus", "cc", "nc", "sc")
FULL = Profile(
    "full", services=("broker", "board", "libvirtd"), programs=_APART,
    hypervisor="libvirt", edge="dnsmasq", node_network="bridge", first_images=("tiny", "debian"),
    accounts={
        "supervisor": "root", "broker": "rabbitmq", "board": "memcache", "libvirtd": "root",
        "clc": "educloud", "walrus": "educloud", "sc": "educloud",
        # The CC sets up a bridge, addresses and dnsmasq; the NC plugs taps and opens disks for the hypervisor.
        "cc": "root", "nc": "root",
    },
)
ROOTLESS = Profile(
    "rootless", services=("broker", "board", "libvirtd"), programs=_APART,
    hypervisor="libvirt", edge="user", node_network="user", forwarded=(80, 22),
    longest_home=49,  # those that a user's own libvirt makes add up to 58
)
DEMO = Profile("demo", services=(), programs=("cloud",), hypervisor="fake", edge="fake", node_network="fake")
PROFILES = {profile.name: profile for profile in (FULL, ROOTLESS, DEMO)}


def default(euid: int) -> Profile:
    """The profile of a user who chose none."""
    return FULL if euid == 0 else ROOTLESS


def kept(home: Path) -> Profile | None:
    """The profile a folder's cloud was made with, None for a folder without one. Raises Refused(invalid)."""
    try:
        name = (home / MARK).read_text("utf-8").strip() or FULL.name
    except FileNotFoundError:
        return None
    except OSError as e:
        raise Refused("forbidden", f"{home} cannot be read", str(e), hint="Call as the user who made this cloud.") from e
    return named(name)


def named(name: str) -> Profile:
    """A profile by its name. Raises Refused(invalid)."""
    if name not in PROFILES:
        raise Refused("invalid", f"PROFILE={name} is unknown", f"there are {', '.join(PROFILES)}")
    return PROFILES[name]


def chosen(wanted: str, home: Path, euid: int) -> Profile:
    """The profile for a cloud in ``home``: what it was made with, else ``wanted``, else the user's default.

    Raises Refused(invalid) for an unknown one, Refused(state) when the folder holds another, Refused(forbidden) without
    the rights for it.
    """
    there = kept(home)
    asked = named(wanted) if wanted else None
    if asked and there and asked is not there:
        raise Refused(
            "state", f"{home} holds a cloud of PROFILE={there.name}", f"PROFILE={asked.name} was asked for",
            hint=f"Take it away by `make reset`, or choose another folder by EDUCLOUD_HOME; without PROFILE it stays {there.name}.",
        )
    profile = there or asked or default(euid)
    if profile.is_roots and euid != 0:
        raise Refused("forbidden", "PROFILE=full needs root", hint="Run it as root; PROFILE=rootless and PROFILE=demo need none.")
    if profile is ROOTLESS and euid == 0:
        raise Refused("invalid", "PROFILE=rootless is for users without root", "its programs would be root's",
                      hint="Become such a user, or take PROFILE=full.")
    return profile


def places(environ: Mapping[str, str], euid: int) -> tuple[Path, Path]:
    """Where state and configuration are when nobody chose: of the machine for root, of the user for everybody else."""
    if euid == 0:
        return Path("/var/lib/educloud"), Path("/etc/educloud/educloud.toml")
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - also without HOME
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return data / "educloud", config / "educloud/educloud.toml"
