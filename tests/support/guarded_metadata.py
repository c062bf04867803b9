"""The metadata service of a node with the packet rules it stands on, as the node's own network keeps them."""

from __future__ import annotations

from collections.abc import Sequence

from luhyaapi.edge import RULES
from luhyaapi.edge.plan import Card, RulesPlan, Segment
from nc.drivers.metadata_base import Asker, Told
from nc.drivers.metadata_bridge import BridgeMetadata


class GuardedMetadata:
    """Keeps the laws of MetadataDoor; rules go before."""

    def __init__(self, told: Told, rules: str = "nftables") -> None:
        self._door, self._rules = BridgeMetadata(told), RULES[rules]("md")

    def serve(self, askers: Sequence[Asker]) -> None:
        """The rules of exactly those, and the service for them."""
        bridges = {bridge: f"s{n}" for n, bridge in enumerate(sorted({asker.bridge for asker in askers}))}
        plan = RulesPlan(
            name="md", segments=tuple(
                Segment(name=name, bridge=bridge, metadata=True, judged=True,
                        subnets=tuple(sorted(f"{asker.ip}/32" for asker in askers if asker.bridge == bridge)))
                for bridge, name in bridges.items()
            ),
            cards=tuple(Card(tap=a.tap, mac=a.mac, addresses=(a.ip,), segment=bridges[a.bridge]) for a in sorted(askers, key=lambda a: a.tap)),
        )
        if self._rules.found() != plan:
            self._rules.apply(plan)
        self._door.serve(askers)

    def close(self) -> None:
        """The rules stay."""
        self._door.close()
        self._rules.close()
