"""What a cluster tells of what it lends, with thousands of leases: in order, in pages, with few questions to its database."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from cc.drivers.fake import FakeEdge
from cc.services import lent, pool
from cc.services.office import Office
from luhyaapi import clock
from luhyaapi.conf import Network
from luhyaapi.contracts.commands import LeasesTell
from luhyaapi.errors import Failed
from luhyaapi.subnets import mac_of
from luhyadb import memory
from luhyadb.models import AddressLease, ReservedAddress, TakenAddress

pytestmark = pytest.mark.django_db(databases="__all__")
CLUSTER = "cc-00000001"
MANY = 3000


@pytest.fixture(autouse=True)
def _at_a_cluster() -> Iterator[None]:
    with memory.of("cc"):
        yield


@pytest.fixture
def office() -> Office:
    agent = SimpleNamespace(me=CLUSTER, settings=SimpleNamespace(network=Network(subnet="10.9.0.0/16")))
    return Office(agent, FakeEdge(), None, None, None)  # type: ignore[arg-type]


def lend(many: int) -> list[str]:
    addresses = [f"10.9.{number // 256}.{number % 256}" for number in range(2, many + 2)]
    AddressLease.objects.bulk_create(
        AddressLease(ip=ip, mac=mac_of(CLUSTER, ip), network="default", instance=f"ins-{n:08x}", name="lab", lent_at=clock.now())
        for n, ip in enumerate(addresses)
    )
    return addresses


def ask(office: Office, **more: object) -> LeasesTell:
    return LeasesTell(network="default", question="prb-00000001", **more)


def test_thousands_come_in_order_and_in_pages(office: Office) -> None:
    addresses = lend(MANY)
    found: list[str] = []
    more = True
    while more:
        page = lent.answer(office, ask(office, after=found[-1] if found else ""))
        assert len(page.leases) <= 1000
        found += [each.address for each in page.leases]
        more = page.more
    assert found == addresses


def test_the_map_has_a_sign_for_each_host_of_the_widest_network(office: Office) -> None:
    lend(MANY)
    ReservedAddress.objects.create(ip="10.9.255.254", network="default")
    usage = lent.answer(office, ask(office, limit=1, usage=True)).usage
    assert len(usage) == 65534
    assert (usage[:2], usage[MANY : MANY + 2], usage[-1]) == ("gl", "lf", "r")


def test_many_leases_are_no_more_questions_than_few(office: Office) -> None:
    def questions() -> int:
        with CaptureQueriesContext(connections[memory.alias()]) as asked:
            lent.answer(office, ask(office, usage=True))
            lent.pools_of(office.agent.settings.network)
        return len(asked)

    few = questions()
    lend(MANY)
    assert questions() == few < 20


def test_counts_are_kept_until_something_changes(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(lent, "pools_of", lambda network: counted.append(network) or ())
    for _ in range(3):
        lent.pools_now(office)
    pool.turn()
    lent.pools_now(office)
    assert len(counted) == 2


def test_settings_that_cannot_be_cost_the_counts_alone(office: Office) -> None:
    office.agent.settings.network = Network(subnet="10.9.0.0/8")
    assert lent.pools_now(office) == ()
    office.agent.settings.network = Network(subnet="10.9.0.0/24", lent_first=65000, lent_count=64512)
    office.lends = (-1, 0.0, ())
    ports = next(each for each in lent.pools_now(office) if each.pool == "ports")
    assert (ports.first, ports.last) == (65000, 65535)


def test_who_cannot_be_seen_is_listed_all_the_same(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(_network: object) -> None:
        raise Failed("network", "The neighbours could not be read")

    lend(1)
    monkeypatch.setattr(office.edge, "seen", blind)
    assert lent.answer(office, ask(office)).leases[0].seen_at == 0


def test_what_is_lent_comes_before_what_else_is_said_of_an_address(office: Office) -> None:
    (ip,) = lend(1)
    ReservedAddress.objects.create(ip=ip, network="default", owner="ada", name="lab")
    TakenAddress.objects.create(ip=ip, network="default", mac="00:11:22:33:44:55", seen_at=clock.now())
    (lease,) = lent.answer(office, ask(office)).leases
    assert (str(lease.state), lease.mac) == ("lent", mac_of(CLUSTER, ip))
