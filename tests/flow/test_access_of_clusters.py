"""What a cluster lets reach its instances: ports lent, rules made of them, and what becomes of late, false and ended words."""

from __future__ import annotations

import pytest

from cc.role import ROLE
from cc.services import access, edge, lent
from clc.services import access as clc_access
from clc.services import elastic, networks, ports
from luhyaapi import clock
from luhyaapi.contracts.commands import AccessSet
from luhyaapi.contracts.specs import Allow, ForwardAsk
from luhyaapi.contracts.vocabulary import Allowed, Protocol
from luhyaapi.edge import connections
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyadb import memory
from luhyadb.models import Access, ForwardLease, Host

SSH = ForwardAsk(id="fwd-00000001", guest_port=22)
WEB = ForwardAsk(id="fwd-00000002", guest_port=80, sources=("10.0.0.0/8",))
NAMES = ForwardAsk(id="fwd-00000003", guest_port=53, protocol=Protocol.UDP)
PING = Allow(protocol=Allowed.ICMP)


@pytest.fixture
def office(cloud):
    """Of a cluster with an address for its users."""
    agent = cloud.role("cc").agent
    network = agent.settings.network.model_copy(update={"address": "192.0.2.1", "lent_count": 4})
    agent.settings = agent.settings.model_copy(update={"network": network})
    return agent.services


def word(office, instance, number, *forwards, allow=()):
    with memory.of("cc"):
        is_new = access.hear(office, AccessSet(instance=instance, number=number, forwards=forwards, allow=allow))
        edge.rule(office)
        return is_new


def heard():
    with memory.of("cc"):
        return access.heard()


def expire(office):
    with memory.of("cc"):
        return access.expire(office)


def ways(office):
    return {(f.protocol, f.port, f.to, f.to_port, f.sources) for f in office.edge.found().rules.forwards}


def test_each_forward_has_a_port_of_the_cluster_and_keeps_it(cloud, office):
    one = cloud.do()
    assert word(office, one, 1, SSH, WEB, NAMES)
    there = {("tcp", 20000, "10.231.0.2", 22, ()), ("tcp", 20001, "10.231.0.2", 80, ("10.0.0.0/8",)), ("udp", 20000, "10.231.0.2", 53, ())}
    assert ways(office) == there
    assert word(office, one, 2, WEB, NAMES, SSH)
    assert ways(office) == there
    assert word(office, one, 3, WEB.model_copy(update={"sources": ()}))
    assert ways(office) == {("tcp", 20001, "10.231.0.2", 80, ())}
    assert word(office, one, 4, SSH)
    assert ways(office) == {("tcp", 20002, "10.231.0.2", 22, ())}, "what was given back rests"


def test_other_ports_are_lent_from_then_on_and_those_that_are_stay(cloud, office):
    one = cloud.do()
    word(office, one, 1, SSH)
    ports.lend(cloud.admin, "", "30000-30001")
    cloud.p.settle()
    assert word(office, one, 2, SSH, WEB)
    assert {port for _, port, _, _, _ in ways(office)} == {20000, 30000}
    with memory.of("cc"):
        pool = next(each for each in lent.pools_of(office.agent.settings.network) if each.pool == "ports")
    assert (pool.first, pool.last, pool.size, pool.free, pool.lent) == (30000, 30001, 2, 1, 1)
    with pytest.raises(Unavailable, match="No port of the cluster is free"):
        word(office, one, 3, SSH, WEB, *(ForwardAsk(id=f"fwd-0000009{n}", guest_port=90 + n) for n in range(2)))
    ports.lend(cloud.admin, "", "")
    cloud.p.settle()
    assert word(office, one, 4, SSH, WEB, ForwardAsk(id="fwd-00000099", guest_port=99))
    assert {port for _, port, _, _, _ in ways(office)} == {20000, 30000, 20001}


def test_an_older_word_changes_nothing(cloud, office):
    one = cloud.do()
    word(office, one, 2, SSH)
    assert not word(office, one, 1, WEB)
    assert not word(office, one, 2)
    assert {to for _, _, _, to, _ in ways(office)} == {22}
    assert heard() == 2


def test_what_is_allowed_is_on_every_card_of_it(cloud, office):
    one = cloud.do()
    word(office, one, 1, allow=(PING,))
    card, = office.edge.found().rules.cards
    assert (card.tap, card.addresses, card.segment, card.allow) == ("", ("10.231.0.2",), "n0", (PING,))


def test_an_instance_without_a_place_is_not_reached(cloud, office):
    with pytest.raises(Refused, match="no place"):
        word(office, "ins-00000000", 1, SSH)
    assert heard() == 0


def test_too_few_ports_leave_everything_as_it_was(cloud, office):
    one, two = cloud.do(), cloud.do()
    word(office, one, 1, SSH, WEB)
    more = [ForwardAsk(id=f"fwd-0000010{n}", guest_port=1000 + n) for n in range(3)]
    with pytest.raises(Unavailable, match="No port of the cluster is free") as e:
        word(office, two, 1, *more)
    assert e.value.code == "no_capacity"
    assert "of 4, 4 are lent" in e.value.why
    assert len(ways(office)) == 2
    assert heard() == 1


def test_what_rested_is_lent_again_also_from_between(cloud, office, monkeypatch):
    one = cloud.do()
    four = [ForwardAsk(id=f"fwd-0000010{n}", guest_port=1000 + n) for n in range(4)]
    word(office, one, 1, *four)
    word(office, one, 2, four[0], *four[2:])
    with pytest.raises(Unavailable, match="1 rest after"):
        word(office, one, 3, four[0], *four[2:], SSH)
    later = clock.now() + office.agent.settings.network.cooldown_s + 1
    monkeypatch.setattr(clock, "now", lambda: later)
    word(office, one, 3, four[0], *four[2:], SSH)
    assert ("tcp", 20001, "10.231.0.2", 22, ()) in ways(office)


def test_the_time_of_a_forward_ends_it(cloud, office, monkeypatch):
    one = cloud.do()
    word(office, one, 1, SSH.model_copy(update={"until": clock.now() + 60}), WEB.model_copy(update={"until": clock.now() - 1}))
    assert {to for _, _, _, to, _ in ways(office)} == {22}
    assert expire(office) == 0
    later = clock.now() + 61
    monkeypatch.setattr(clock, "now", lambda: later)
    monkeypatch.setattr(access, "tell", lambda *_: None)
    assert expire(office) == 1
    with memory.of("cc"):
        edge.rule(office)
    assert ways(office) == set()


def test_nothing_leads_to_an_instance_that_has_gone(cloud, office):
    one = cloud.do()
    word(office, one, 1, SSH, allow=(PING,))
    cloud.do("delete", one)
    rules = office.edge.found().rules
    assert (rules.forwards, rules.cards, heard()) == ((), (), 0)
    with memory.of("cc"):
        assert ForwardLease.objects.filter(instance="").count() == 1


def test_a_cluster_whose_host_can_have_no_more_connections_says_so(cloud, office, tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "FOLDER", tmp_path)
    network = office.agent.settings.network.model_copy(update={"driver": "dnsmasq"})
    office.agent.settings = office.agent.settings.model_copy(update={"network": network})
    (tmp_path / "nf_conntrack_max").write_text("1000\n")
    me = f"host:{office.agent.me}"
    for count, said in (("40", "ok"), ("1000", "The table of connections is full: 1000 of 1000"), ("10", "ok")):
        (tmp_path / "nf_conntrack_count").write_text(count)
        cloud.p.beat()
        told = cloud.role("clc").board.read([me])[me]
        assert (told["services"]["connections"], told["health"]) == (said, "" if said == "ok" else said)


def test_a_public_address_that_is_somebody_elses_is_the_trouble_of_whom_it_leads_to_alone(cloud, office):
    Host.objects.filter(role="cc").update(speaks=ROLE.speaks)
    one, other = cloud.do(), cloud.do()
    elastic.add(cloud.admin, "", ["192.0.2.77"])
    elastic.associate(cloud.user, elastic.allocate(cloud.user).pk, one)
    cloud.p.settle()
    office.edge.trouble = Failed("network", "The public address 192.0.2.77 is somebody else's", "02:00:00:00:00:99 answers for it", address="192.0.2.77")
    networks.create(cloud.admin, networks.Ask(cluster="", name="class-7", subnet="10.40.0.0/24"))
    for each in (one, other):
        clc_access.set_rules(cloud.user, each, [{"protocol": "icmp"}])
    cloud.p.settle()
    assert Access.objects.get(instance=other).trouble is None
    assert "somebody else's" in Access.objects.get(instance=one).trouble["what"]
    assert cloud.state(cloud.do(networks=("class-7",))) == "running", "a start that needs the whole plan"
    office.edge.trouble = Failed("network", "The bridge said no")
    clc_access.set_rules(cloud.user, other, [])
    cloud.p.settle()
    assert Access.objects.get(instance=other).trouble["what"] == "The bridge said no"
