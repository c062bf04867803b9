"""What a node can be driven by. A new driver is one line here and one line in its conformance suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from luhyaapi.contracts.vocabulary import Role

if TYPE_CHECKING:
    from luhyaapi.conf import Settings
    from nc.drivers.base import Hypervisor, NodeNetwork
    from nc.drivers.metadata_base import MetadataDoor, Told


def _libvirt(settings: Settings) -> Hypervisor:
    from nc.drivers.libvirt_hypervisor import LibvirtHypervisor

    return LibvirtHypervisor(settings)


def _fake(settings: Settings) -> Hypervisor:
    from nc.drivers.fake import FakeHypervisor

    return FakeHypervisor(settings.host.state / "fake")


def _bridge(settings: Settings) -> NodeNetwork:
    from luhyaapi import edge
    from luhyaapi.edge import routes
    from nc.drivers.bridge_network import BridgeNetwork
    from nc.drivers.taps import Here

    network = settings.network

    def here() -> Here:
        addresses = (network.address or routes.own_address(), routes.address_in(settings.host.door))
        return Here(network.outside or routes.outside(), tuple(dict.fromkeys(filter(None, addresses))))

    return BridgeNetwork(
        network.bridge, uplink=network.uplink, rules=edge.rules_for(network, Role.NC), campus=network.campus, folder=settings.host.state / "edge",
        here=here,
    )


def _fake_network(settings: Settings) -> NodeNetwork:
    from nc.drivers.fake import FakeNetwork

    return FakeNetwork(settings.host.state / "fake")


def _user(settings: Settings) -> NodeNetwork:
    from nc.drivers.user_network import UserNetwork

    return UserNetwork(settings.host.state / "cards")


def _bridge_metadata(_settings: Settings, told: Told) -> MetadataDoor:
    from nc.drivers.metadata_bridge import BridgeMetadata

    return BridgeMetadata(told)


def _fake_metadata(_settings: Settings, told: Told) -> MetadataDoor:
    from nc.drivers.metadata_fake import FakeMetadata

    return FakeMetadata(told)


HYPERVISORS: dict[str, Callable[[Settings], Hypervisor]] = {"libvirt": _libvirt, "fake": _fake}
NETWORKS: dict[str, Callable[[Settings], NodeNetwork]] = {"bridge": _bridge, "fake": _fake_network, "user": _user}
METADATA: dict[str, Callable[[Settings, Told], MetadataDoor]] = {"bridge": _bridge_metadata, "fake": _fake_metadata}
"""By the name of the network driver: where it makes no networks of ours, a guest reaches nobody it could ask."""
