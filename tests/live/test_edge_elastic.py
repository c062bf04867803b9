"""Elastic addresses on a real wire: taken when nobody has them, announced to who knew them elsewhere, given back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from luhyaapi.edge import elastic
from luhyaapi.errors import Failed
from tests.support.edge_bed import CLIENT, HOST, OUT, Bed

pytestmark = pytest.mark.live
ONE, TWO, FOREIGN = "192.0.2.60", "192.0.2.61", "203.0.113.9"


@pytest.fixture
def bed() -> Iterator[Bed]:
    made = Bed()
    try:
        made.up()
        with made.inside(HOST):
            yield made
    finally:
        made.down()


def ours(bed: Bed) -> list[str]:
    shown = json.loads(bed.run(HOST, "ip", "-json", "-4", "address", "show", "dev", "wan0").text)
    return sorted(entry["local"] for link in shown if link for entry in link["addr_info"] if entry["label"] == "wan0:0abc")


def keep(*addresses: str) -> None:
    elastic.keep(("wan0",), addresses, "0abc")


def test_they_come_and_go_and_others_stay(bed: Bed) -> None:
    web = bed.listen(HOST, 80)
    for wanted in ((ONE,), (ONE, TWO), (ONE, TWO), (TWO, FOREIGN), ()):
        keep(*wanted)
        assert ours(bed) == sorted(wanted)
    assert bed.seen(web, OUT, "192.0.2.1", 80) == CLIENT
    elastic.keep((), (), "0abc")


def test_one_that_answers_on_the_wire_is_not_taken_and_the_others_are(bed: Bed) -> None:
    bed.ip(OUT, "address", "add", f"{ONE}/24", "dev", "eth0")
    with pytest.raises(Failed, match="somebody else's") as e:
        keep(ONE, TWO)
    assert "answers for it" in e.value.why
    assert ours(bed) == [TWO]
    bed.ip(OUT, "address", "delete", f"{ONE}/24", "dev", "eth0")
    keep(ONE, TWO)
    assert ours(bed) == [ONE, TWO]


def test_one_of_the_host_itself_is_not_taken(bed: Bed) -> None:
    with pytest.raises(Failed, match="this host's own"):
        keep("192.0.2.1", ONE)
    assert ours(bed) == [ONE]


def test_a_neighbour_that_knew_it_elsewhere_learns_where_it_is(bed: Bed) -> None:
    bed.ip(OUT, "neighbor", "add", ONE, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale")
    web = bed.listen(HOST, 80)
    keep(ONE)
    assert bed.seen(web, OUT, ONE, 80) == CLIENT


def test_without_a_card_there_are_none(bed: Bed) -> None:
    with pytest.raises(Failed, match="no card") as e:
        elastic.keep((), (ONE,), "0abc")
    assert "network.outside" in e.value.hint
    with pytest.raises(Failed, match="cannot be used"):
        elastic.keep(("gone0",), (ONE,), "0abc")
    with pytest.raises(Failed, match="too long"):
        elastic.keep(("averylongname0",), (ONE,), "0abc")
