"""The kept order of the nodes chooses as looking at all of them does, and is never used once it is old."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from cc.services import children, placement, placements, pool, roll
from cc.services.office import Office
from luhyaapi import clock
from luhyaapi.conf import Beat, Network
from luhyaapi.contracts.commands import InstanceRun
from luhyaapi.contracts.reports import HostFacts
from luhyaapi.contracts.specs import Blob, ImageRef
from luhyaapi.contracts.vocabulary import Part, Usage
from luhyaapi.errors import Unavailable
from luhyadb import memory
from luhyadb.models import AddressLease, Child, Placement, PortLease

pytestmark = pytest.mark.django_db(databases=["default", "cc"], transaction=True)
SHA = ["a" * 64, "b" * 64]


class _Agent:
    """What placing asks of an agent."""

    me = "cc-00000001"

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.relay = type("Relay", (), {"heard": {}})()
        self.settings = type("Settings", (), {"beat": Beat(), "network": Network(subnet="10.9.0.0/24", display_first=20000, display_count=200)})()

    def listening_since(self) -> float:
        return clock.now()

    def report(self, report: Any, _task: str = "") -> None:
        self.told.append(report)


@pytest.fixture(autouse=True)
def _at_a_cluster() -> Any:
    with memory.of("cc"):
        yield


@pytest.fixture
def office() -> Office:
    arrivals = SimpleNamespace(let_go=lambda _instance: None)
    return Office(_Agent(), None, None, arrivals, None)  # type: ignore[arg-type]


def _node(number: int, memory_mib: int = 8192, cpus: int = 16, **more: Any) -> str:
    host = f"nc-{number:08x}"
    Child.objects.create(pk=host, role="nc", name=f"n{number}", certificate="x", cpus=cpus, memory_mib=memory_mib, disk_mib=1000,
                         speaks={"domain/start": 2}, last_heard=clock.now(), **more)
    return host


def _order(number: int, memory_mib: int = 512, cpus: int = 1, shas: tuple[str, ...] = ()) -> InstanceRun:
    blobs = tuple(Blob(part=Part.KERNEL if n == 0 else Part.INITRD, sha256=sha, index=sha, size=1) for n, sha in enumerate(shas or SHA[:1]))
    return InstanceRun(instance=f"ins-{number:08x}", name="lab", cpus=cpus, memory_mib=memory_mib, usage=Usage.SERVER,
                       image=ImageRef(image="img-00000001", version=1, blobs=blobs), image_url="http://127.0.0.1:1", image_ticket="t")


def _place(office: Office, order: InstanceRun) -> str:
    with memory.atomic():
        return placements.place(office, order, "tsk-00000001", 1)[0].node


def _has(office: Office, host: str, *shas: str) -> None:
    office.saw(HostFacts(host=host, at=clock.now(), blobs=shas))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.walk
def test_it_chooses_as_looking_at_all_does_whatever_comes(office: Office, seed: int) -> None:
    chance = random.Random(seed)
    hosts = [_node(n, chance.choice((2048, 8192, 8192)), chance.choice((4, 16)), draining=chance.random() < 0.1) for n in range(90)]
    for host in chance.sample(hosts, 75 if seed % 2 else 9):
        _has(office, host, *chance.sample(SHA, chance.randint(0, 2)))
    placed: list[int] = []
    for n in range(60):
        order = _order(n, chance.choice((256, 512, 1500)), chance.choice((1, 2)), tuple(SHA[: chance.randint(1, 2)]))
        wanted = placement.Wanted(cpus=order.cpus, memory_mib=order.memory_mib, images=frozenset(b.sha256 for b in order.image.blobs))
        best = placement.choose(wanted, children.nodes(office)).node.host
        assert _place(office, order) == best
        placed.append(n)
        if chance.random() < 0.2:
            gone = placed.pop(chance.randrange(len(placed)))
            with memory.atomic():
                placements.release(office, f"ins-{gone:08x}", "tsk-00000002")
        if chance.random() < 0.1:
            children.drain(chance.choice(hosts), on=chance.random() < 0.5)
    held = {instance: (cpus, mib) for instance, cpus, mib in Placement.objects.values_list("pk", "cpus", "memory_mib")}
    with memory.atomic():
        kept = office.roll.at(pool.alone(), office.agent.settings.network)
        assert sum(node.memory_mib for node in kept.nodes.values()) == sum(mib for _, mib in held.values())
        assert kept.known is not None
        assert kept.known.holders == set(held)
    assert set(AddressLease.objects.exclude(instance="").values_list("instance", flat=True)) == set(held)
    assert PortLease.objects.exclude(instance="").count() == len(held)


def test_one_after_another_reads_the_tables_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    _node(1)
    real, reads = roll.read, []
    monkeypatch.setattr(roll, "read", lambda *a: reads.append(a) or real(*a))
    for n in range(5):
        _place(office, _order(n))
    with memory.atomic():
        placements.release(office, "ins-00000003", "tsk-00000002")
    _place(office, _order(9))
    assert len(reads) == 1


def test_what_is_taken_back_before_the_commit_was_never_counted(office: Office) -> None:
    _node(1)
    _place(office, _order(1))

    def crash() -> None:
        with memory.atomic():
            placements.place(office, _order(2), "tsk-00000001", 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()
    assert _place(office, _order(2))
    assert office.roll.nodes["nc-00000001"].guests == 2
    assert len(set(AddressLease.objects.values_list("ip", flat=True))) == 2


def test_somebody_elses_change_is_seen(office: Office) -> None:
    first, second = _node(1), _node(2)
    assert _place(office, _order(1)) == first
    other = replace(office, roll=type(office.roll)())
    assert _place(other, _order(2)) == second
    assert _place(office, _order(3)) == first
    assert _place(office, _order(4)) == second
    children.drain(first, on=True)
    assert {_place(office, _order(n)) for n in (5, 6)} == {second}


def test_what_has_rested_is_lent_again(office: Office) -> None:
    network = office.agent.settings.network = Network(subnet="10.9.0.0/29", display_first=20000, display_count=5, cooldown_s=0)
    _node(1)
    for n in range(12):
        _place(office, _order(n))
        with memory.atomic():
            placements.release(office, f"ins-{n:08x}", "tsk-00000002")
    office.agent.settings.network = network.model_copy(update={"cooldown_s": 60})
    for n in range(20, 24):
        _place(office, _order(n))
    with pytest.raises(Unavailable, match="of 5, 4 are lent and 1 rest after their last use") as caught:
        _place(office, _order(24))
    assert caught.value.code == "no_capacity"
    assert Placement.objects.count() == AddressLease.objects.exclude(instance="").count() == 4


def test_what_was_forgotten_in_vain_is_not_taken_for_free(office: Office) -> None:
    office.agent.settings.network = Network(subnet="10.9.0.0/29", display_first=20000, display_count=5, cooldown_s=0)
    _node(1)
    _place(office, _order(1))
    with memory.atomic():
        placements.release(office, "ins-00000001", "tsk-00000002")
    other = replace(office, roll=type(office.roll)())
    with pytest.raises(Unavailable, match=r"no room|memory"):
        _place(other, _order(2, memory_mib=999_999))
    assert _place(other, _order(3)), "that nobody took it does not make it rest less"


def test_a_full_cluster_says_why_of_each(office: Office) -> None:
    _node(1, 1024)
    _node(2, 512)
    with pytest.raises(Unavailable, match="nc-00000001 not enough memory") as caught:
        _place(office, _order(1, 2048))
    assert set(caught.value.params["nodes"]) == {"nc-00000001", "nc-00000002"}
    assert Placement.objects.count() == AddressLease.objects.count() == 0


def test_of_many_nodes_some_are_named(office: Office) -> None:
    for n in range(80):
        _node(n)
    with memory.atomic():
        row, _ = placements.place(office, _order(1), "tsk-00000001", 1)
    assert len(row.why) == 20
    assert row.node not in row.why


def test_guests_of_one_image_spread_over_nodes_with_comparable_room(office: Office) -> None:
    hosts = [_node(n, 65536) for n in range(1, 4)]
    _has(office, hosts[2], *SHA)
    placed = [_place(office, _order(n)) for n in range(6)]
    assert placed[0] == hosts[2], "the one that has the image takes the first"
    assert sorted(map(placed.count, hosts)) == [2, 2, 2]
