"""A host whose table of connections is full: what is there goes on, what is new is dropped and said, and ends when others do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from luhyaapi import clock
from luhyaapi.contracts.vocabulary import LinkState, Protocol
from luhyaapi.edge import connections, links
from luhyaapi.edge.nft import NftRules
from luhyaapi.edge.plan import Forward, RulesPlan, Segment
from tests.support import edge_bed
from tests.support.connections import fill
from tests.support.edge_bed import HOST, IPS, OUT, PUBLIC, A, Bed, alive

pytestmark = pytest.mark.live
WEB = Forward(protocol=Protocol.TCP, address=PUBLIC, port=8080, to=IPS[A], to_port=80)
DESK = Segment(name="desk", bridge="br0", subnets=(edge_bed.SUBNET, edge_bed.SUBNET6), gateway=True)
_LAST_S = 20


@pytest.fixture
def bed() -> Iterator[Bed]:
    made = Bed()
    try:
        made.up()
        with made.inside(HOST):
            yield made
    finally:
        made.down()


def test_what_is_there_goes_on_and_what_is_new_waits(bed: Bed) -> None:
    rules = NftRules("test")
    rules.apply(RulesPlan(name="test", uplinks=("wan0",), segments=(DESK,), forwards=(WEB,)))
    web = bed.listen(A, 80)
    before = bed.talk(OUT, PUBLIC, 8080, web)
    assert connections.trouble() == ""
    _count, most = connections.look()
    begun = clock.monotonic()
    fill(most, _LAST_S)
    assert clock.monotonic() - begun < _LAST_S, "this machine is too slow to have them all at once"
    count, _ = connections.look()
    assert count >= most
    assert alive(before)
    assert bed.is_closed(OUT, PUBLIC, 8080)
    assert connections.trouble() == f"The table of connections is full: {count} of {most}"
    assert links.connections(count, most).state is LinkState.BROKEN
    more = RulesPlan(name="test", uplinks=("wan0",), segments=(DESK,), forwards=(WEB, WEB.model_copy(update={"port": 8081})))
    rules.apply(more)
    assert rules.found() == more, "rules are made all the same"
    clock.sleep(max(0.0, begun + _LAST_S + 1 - clock.monotonic()))
    assert bed.seen(web, OUT, PUBLIC, 8081) == edge_bed.CLIENT
    assert alive(before)
    rules.close()
