"""Which hosts a network spans, from placements and leases; who is told, when, and again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from cc.services import segments
from cc.services.office import Office
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.reports import HostFacts
from luhyaapi.contracts.vocabulary import Role
from luhyadb import memory
from luhyadb.models import AddressLease, Child, Outbox, Placement, Segment
from nc.role import ROLE as NC

pytestmark = pytest.mark.django_db(databases=["default", "cc"], transaction=True)
CLUSTER_WAY = "192.0.2.1"
_ips = itertools.count(2)


@pytest.fixture(autouse=True)
def _at_a_cluster() -> Iterator[None]:
    with memory.of("cc"):
        yield


@pytest.fixture
def office() -> Office:
    """What telling asks of an office."""
    settings = SimpleNamespace(host=SimpleNamespace(door=f"https://{CLUSTER_WAY}:8603"))
    return Office(SimpleNamespace(me="cc-00000001", settings=settings), None, None, None, None)  # type: ignore[arg-type]


def _node(n: int, way: str = "", **over: object) -> str:
    Child.objects.create(id=f"nc-{n:08x}", role=Role.NC, name=f"nc{n}", address=f"https://{way or f'192.0.2.{10 + n}'}:8605", speaks=NC.speaks, **over)
    return f"nc-{n:08x}"


def _network(number: int) -> str:
    Segment.objects.create(id=f"net-{number:08x}", number=number, spec={})
    return f"net-{number:08x}"


def _guest(n: int, node: str, *networks: str) -> str:
    instance = f"ins-{n:08x}"
    Placement.objects.create(instance=instance, node=node, spec={}, cpus=1, memory_mib=64)
    for network in networks:
        ip = next(_ips)
        AddressLease.objects.create(ip=f"10.40.{ip // 250}.{ip % 250}", mac=f"02:00:00:00:{ip // 256:02x}:{ip % 256:02x}", network=network, instance=instance)
    return instance


def _said(office: Office) -> dict[str, dict[int, tuple[str, ...]]]:
    """What is in the outbox, by node: its networks and their peers; the outbox is empty then."""
    with memory.atomic():
        segments.tell(office)
    found = {}
    for row in Outbox.objects.order_by("id"):
        body = json.loads(json.loads(row.order)["body"])
        found[row.to] = {each["segment"]: tuple(each["peers"]) for each in body["segments"]}
    Outbox.objects.all().delete()
    return found


def test_hosts_with_guests_in_a_network_reach_each_other_and_the_cluster(office: Office) -> None:
    one, two, three = _node(1), _node(2), _node(3)
    red, blue = _network(1), _network(2)
    _guest(1, one, red)
    _guest(2, two, red, blue)
    assert _said(office) == {one: {1: (CLUSTER_WAY, "192.0.2.12")}, two: {1: (CLUSTER_WAY, "192.0.2.11"), 2: (CLUSTER_WAY,)}}
    assert {number: span.peers for number, span in segments.own(office).items()} == {1: ("192.0.2.11", "192.0.2.12"), 2: ("192.0.2.12",)}
    assert three not in office.segments


def test_only_whom_a_change_concerns_is_told(office: Office) -> None:
    one, two, three = _node(1), _node(2), _node(3)
    red = _network(1)
    _guest(1, one, red)
    last = _guest(2, two, red)
    assert set(_said(office)) == {one, two}
    assert _said(office) == {}
    Placement.objects.filter(pk=last).update(node=three)
    assert _said(office) == {one: {1: (CLUSTER_WAY, "192.0.2.13")}, two: {}, three: {1: (CLUSTER_WAY, "192.0.2.11")}}
    Placement.objects.all().delete()
    Segment.objects.all().delete()
    assert _said(office) == {one: {}, three: {}}


def test_who_did_not_hear_it_is_told_again_and_later(office: Office, time: ManualClock) -> None:
    one = _node(1)
    _guest(1, one, _network(1))
    assert set(_said(office)) == {one}
    first = office.segments[one].number
    office.saw(HostFacts(host=one, at=0, segments=first))
    time.sleep(60)
    assert _said(office) == {}
    office.saw(HostFacts(host=one, at=0, segments=0))
    assert set(_said(office)) == {one}, "it began anew"
    assert _said(office) == {}, "it is given time"
    time.sleep(60)
    office.saw(HostFacts(host=one, at=0, segments=first * 2))
    assert set(_said(office)) == {one}
    assert office.segments[one].number > first * 2, "our clock went back"


def test_a_node_on_the_clusters_own_host_needs_no_way(office: Office) -> None:
    here, there = _node(1, CLUSTER_WAY), _node(2)
    red = _network(1)
    _guest(1, here, red)
    assert (_said(office), segments.own(office)) == ({}, {})
    _guest(2, there, red)
    assert _said(office) == {there: {1: (CLUSTER_WAY,)}}
    assert [span.peers for span in segments.own(office).values()] == [("192.0.2.12",)]


def test_an_older_node_is_not_told(office: Office) -> None:
    old = _node(1)
    Child.objects.update(speaks={})
    _guest(1, old, _network(1))
    assert _said(office) == {}


def test_what_many_nodes_cost_does_not_grow_with_them(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    red = _network(1)
    for n in range(1, 31):
        _guest(n, _node(n), red)
    real, looks = segments._within, []
    monkeypatch.setattr(segments, "_within", lambda *a: looks.append(a) or real(*a))
    assert len(_said(office)) == 30
    assert len(looks) == 1


def test_clusters_of_one_lan_have_other_numbers_on_the_wire() -> None:
    numbers = {segments.vni_of(f"cc-{n:08x}", 7) for n in range(20)}
    assert len(numbers) == 20
    assert all(0 < number < 1 << 24 and number & 0xFFF == 7 for number in numbers)
