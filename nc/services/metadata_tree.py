"""What a guest may read about itself: as paths to texts, in the layouts of EC2 and of OpenStack. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from luhyaapi.contracts.specs import MachineSpec, Nic
from luhyaapi.contracts.vocabulary import NetworkMode
from nc.services import disks

_KIND6 = {False: "ipv6_dhcpv6-stateful", True: "ipv6_slaac"}
"""By whether its network is the campus: who says what its IPv6 address is."""
EC2_VERSIONS = ("1.0", "2009-04-04", "latest")
OPENSTACK_VERSIONS = ("2012-08-10", "2015-10-15", "2018-08-27", "latest")

Tree = Mapping[str, str]
"""Full paths, which begin with a slash and end with none, to what is read there."""


def tree(spec: MachineSpec, nic: Nic, zone: str) -> dict[str, str]:
    """Everything of one guest that asks by that card. ``zone``: the name of its cluster."""
    found: dict[str, str] = {}
    for version in EC2_VERSIONS:
        found |= {f"/{version}/meta-data/{path}": text for path, text in _ec2(spec, nic, zone).items()}
        if spec.user_data:
            found[f"/{version}/user-data"] = spec.user_data
    for version in OPENSTACK_VERSIONS:
        found |= {f"/openstack/{version}/{path}": text for path, text in _openstack(spec, zone).items()}
    return found


def read(tree: Tree, path: str) -> str | None:
    """What is read at a path: its text, or the names in it, a line each, folders with a slash at their end; None: nothing is there."""
    path = "/" + "/".join(part for part in path.split("/") if part)
    if path in tree:
        return tree[path]
    folder = path.rstrip("/") + "/"
    inside = [each.removeprefix(folder) for each in tree if each.startswith(folder)]
    return "\n".join(sorted({_listed(folder, each) for each in inside})) if inside else None


def _listed(folder: str, inside: str) -> str:
    name, slash, _rest = inside.partition("/")
    if folder.endswith("/meta-data/public-keys/"):
        return f"{name}={_key_name(int(name))}"
    # Versions, of either, are listed as names alone.
    return name + "/" if slash and folder not in ("/", "/openstack/") else name


def _key_name(number: int) -> str:
    return f"key-{number}"


def _ec2(spec: MachineSpec, nic: Nic, zone: str) -> dict[str, str]:
    host = disks.hostname_of(spec.name, spec.instance)
    found = {
        "ami-id": f"{spec.image.image}.{spec.image.version}", "ami-launch-index": "0", "hostname": host, "instance-id": spec.instance,
        "instance-type": f"cpus-{spec.cpus}.mib-{spec.memory_mib}", "local-hostname": host, "local-ipv4": nic.ip, "mac": nic.mac,
        "placement/availability-zone": zone,
    }
    if nic.ip6:
        found["ipv6"] = nic.ip6
    for number, key in enumerate(disks.checked_keys(spec.ssh_keys)):
        found[f"public-keys/{number}/openssh-key"] = key + "\n"
    for number, card in enumerate(spec.nics):
        at = f"network/interfaces/macs/{card.mac}"
        found |= {
            f"{at}/device-number": str(number), f"{at}/local-hostname": host, f"{at}/local-ipv4s": card.ip, f"{at}/mac": card.mac,
        } | ({f"{at}/ipv6s": card.ip6} if card.ip6 else {})
    return found


def _openstack(spec: MachineSpec, zone: str) -> dict[str, str]:
    host = disks.hostname_of(spec.name, spec.instance)
    keys = disks.checked_keys(spec.ssh_keys)
    named = {_key_name(number): key for number, key in enumerate(keys)}
    meta = {
        "uuid": spec.instance, "name": spec.name, "hostname": host, "availability_zone": zone, "launch_index": 0, "meta": {},
        "public_keys": named, "keys": [{"name": name, "type": "ssh", "data": key} for name, key in named.items()],
    }
    found = {
        "meta_data.json": meta, "network_data.json": _network(spec.nics), "vendor_data.json": {}, "vendor_data2.json": {},
    }
    texts = {path: json.dumps(each, ensure_ascii=False) + "\n" for path, each in found.items()}
    return texts | ({"user_data": spec.user_data} if spec.user_data else {})


def _network(nics: Iterable[Nic]) -> dict[str, Any]:
    """Every card asks by DHCP, and is told there what it was lent."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    for number, nic in enumerate(nics):
        links.append({"id": f"link{number}", "vif_id": f"link{number}", "type": "phy", "ethernet_mac_address": nic.mac, "mtu": None})
        kinds = ["ipv4_dhcp", *([_KIND6[nic.mode is NetworkMode.CAMPUS]] if nic.ip6 else [])]
        for kind in kinds:
            networks.append({"id": f"network{len(networks)}", "network_id": nic.network, "link": f"link{number}", "type": kind})
    return {"links": links, "networks": networks, "services": []}
