"""What a host has itself no rule for guests takes from it: its LAN stays reached, whatever network or public address was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cc.drivers.base import EdgePlan
from cc.drivers.linux import LinuxEdge
from luhyaapi.contracts.specs import Allow
from luhyaapi.contracts.vocabulary import Allowed, Protocol
from luhyaapi.edge.networks import EdgeNetwork
from luhyaapi.edge.nft import NftRules
from luhyaapi.edge.plan import Alias, Card, Forward, RulesPlan, Segment
from luhyaapi.errors import Failed
from tests.support.edge_bed import CLIENT, HOST, OUT, PUBLIC, Bed

pytestmark = pytest.mark.live
GUEST, STRAY, ELASTIC = "10.91.0.2", "192.0.2.33", "192.0.2.77"


def segment(number: int, subnet: str) -> Segment:
    return Segment(name=f"n{number}", bridge=f"edutest0-{number}", subnets=(subnet,), gateway=True)


def card(number: int, address: str) -> Card:
    return Card(tap="", mac=f"02:00:0a:5b:00:0{number}", addresses=(address,), segment=f"n{number}", allow=(Allow(protocol=Allowed.ANY),))


def forward(port: int, to: str) -> Forward:
    return Forward(protocol=Protocol.TCP, address=PUBLIC, port=port, to=to, to_port=80)


PLAN = EdgePlan(
    networks=(EdgeNetwork(bridge="edutest0-1", subnet="10.91.0.0/24", gateway="10.91.0.1"),
              EdgeNetwork(bridge="edutest0-2", subnet="192.0.2.0/24", gateway="192.0.2.254")),
    rules=RulesPlan(
        name="cc-edutest0", segments=(segment(1, "10.91.0.0/24"), segment(2, "192.0.2.0/24")), cards=(card(1, GUEST), card(2, STRAY)),
        forwards=(forward(20000, GUEST), forward(20001, STRAY)), aliases=(Alias(address=PUBLIC, to=GUEST), Alias(address=ELASTIC, to="10.91.0.3")),
    ),
)


@pytest.fixture
def bed() -> Iterator[Bed]:
    made = Bed()
    try:
        made.up()
        with made.inside(HOST):
            yield made
    finally:
        made.down()


def test_a_host_keeps_its_own_address_and_its_lan(bed: Bed, tmp_path: Path) -> None:
    edge = LinuxEdge(tmp_path, "edutest0", rules=NftRules("cc-edutest0"), outside=("wan0",))
    web = bed.listen(HOST, 80)
    try:
        with pytest.raises(Failed, match=r"The guest network 192\.0\.2\.0/24 is in use"):
            edge.apply(PLAN)
        assert bed.seen(web, OUT, PUBLIC, 80) == CLIENT
        assert PLAN.rules
        with pytest.raises(Failed, match="this host's own"):
            edge.rule(PLAN.rules)
        assert bed.seen(web, OUT, PUBLIC, 80) == CLIENT
        rules = bed.run(HOST, "nft", "list", "ruleset").text
        assert f"{ELASTIC} : 10.91.0.3" in rules, "what can be is there"
        assert f"{PUBLIC} . 20000 : {GUEST} . 80" in rules
        assert STRAY not in rules
    finally:
        edge.down()
