"""Which address a line to a guest's port is dialled at, who dials it, and what is refused."""

from types import SimpleNamespace

import pytest

from cc import handlers
from cc.handlers import OpenStream
from cc.services import leases, placements, tunnels
from clc.services import screens
from luhyaapi.contracts.commands import StreamOpen
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import AddressLease, Event, Instance, Outbox

BOSS = object()


class Recorder:
    def __init__(self):
        self.opened, self.kept = [], []

    def open(self, nic, instance, port, end):
        self.opened.append((nic.ip, instance, port, end[1]))


@pytest.fixture
def cluster(cloud, monkeypatch):
    """``cluster(driver)`` gives an order to a CC with that edge; what it dialled and what it refused."""
    refused = []
    monkeypatch.setattr(handlers.stream, "refuse", lambda boss, stream, _me, error: refused.append((boss, stream, error.code)))
    office = cloud.role("cc")
    recorder = Recorder()

    def order(driver, command):
        network = office.agent.settings.network.model_copy(update={"driver": driver})
        agent = SimpleNamespace(settings=office.agent.settings.model_copy(update={"network": network}), me=office.agent.me)
        services = SimpleNamespace(agent=agent, boss=BOSS, tunnels=recorder, streams=None)
        with memory.of("cc"), memory.atomic():
            OpenStream().run(SimpleNamespace(services=services, task="tsk-00000001"), command)

    return SimpleNamespace(order=order, dialled=recorder.opened, refused=refused)


def ask(instance, **over):
    return StreamOpen(**{"instance": instance, "channel": "tunnel", "port": 22, "stream": "s1", **over})


def sent():
    with memory.of("cc"):
        return [row.order for row in Outbox.objects.order_by("id") if "stream/open" in row.order]


def test_the_cluster_dials_the_address_that_is_lent_to_it(cloud, cluster):
    one, two = cloud.do(), cloud.do()
    before = sent()
    cluster.order("dnsmasq", ask(two, port=8080))
    assert cluster.dialled == [(Instance.objects.get(pk=two).nics[0]["ip"], two, 8080, "s1")]
    assert Instance.objects.get(pk=one).nics[0]["ip"] != cluster.dialled[0][0]
    assert sent() == before


def test_an_address_that_was_given_back_or_is_anothers_is_never_dialled(cloud, cluster):
    one, two = cloud.do(), cloud.do()
    with memory.of("cc"):
        spec = placements.spec_of(placements.find(one))
        assert tunnels.address_of(spec).ip == spec.nics[0].ip
        AddressLease.objects.filter(instance=one).update(instance="ins-0000000f")
    with pytest.raises(Refused, match="no address"):
        cluster.order("dnsmasq", ask(one))
    with memory.of("cc"), memory.atomic():
        leases.give_back(two)
    with pytest.raises(Refused, match="no address"):
        cluster.order("dnsmasq", ask(two))
    assert cluster.dialled == []
    assert cluster.refused == [(BOSS, "s1", "state")] * 2


def test_without_rights_the_node_is_asked(cloud, cluster):
    one = cloud.do()
    before = len(sent())
    cluster.order("user", ask(one))
    assert cluster.dialled == []
    assert len(sent()) == before + 1


def test_a_cluster_that_has_no_network_and_one_that_has_no_such_guest_say_so(cloud, cluster):
    one = cloud.do()
    with pytest.raises(Refused, match="no way"):
        cluster.order("fake", ask(one))
    with pytest.raises(Refused, match="no place"):
        cluster.order("dnsmasq", ask("ins-0000000f"))
    assert [code for _, _, code in cluster.refused] == ["unsupported", "state"]


def test_what_is_lent_is_looked_after(cloud, monkeypatch):
    one = cloud.do()
    here = tunnels.Tunnels(cloud.role("cc").agent.settings.network)
    kept = []
    monkeypatch.setattr(here, "keep_only", kept.append)
    with memory.of("cc"):
        here.look_after()
        here._open.append(object())
        here.look_after()
    assert kept == [{(one, Instance.objects.get(pk=one).nics[0]["ip"])}]


def test_the_order_and_the_event_name_the_port_and_who_asks(cloud):
    one = cloud.do()
    screens.open_look(cloud.admin, one, "tunnel", 22)
    assert Event.objects.filter(subject=one, what="tunnel to port 22 opened").count() == 1
    assert '\\"port\\":22' in Outbox.objects.order_by("-id").first().order or '"port":22' in Outbox.objects.order_by("-id").first().order
    cloud.do("stop", one)
    with pytest.raises(Refused, match="cannot be reached now"):
        screens.open_look(cloud.admin, one, "tunnel", 22)
    cloud.until_rest()
