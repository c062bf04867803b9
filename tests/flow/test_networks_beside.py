"""Networks beside the cluster's own, from the wish to the cards of a guest; what is lost or late on the way."""

import re

import pytest

from clc.services import cards, networks
from luhyaapi.contracts.commands import NetworksSet, SegmentsSet
from luhyaapi.contracts.reports import HostFacts
from luhyaapi.contracts.specs import SegmentSpan
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import AddressLease, Instance, NetworkPlan, Segment
from tests.support.flow_world import opened

CLASS = networks.Ask(cluster="", name="class-7", subnet="10.40.0.0/24", mode="closed")


def _served(cloud):
    return {each.bridge: [lease.instance for lease in each.leases] for each in cloud.role("cc").edge.found().networks}


def _heard():
    with memory.of("cc"):
        return list(Segment.objects.order_by("number").values_list("spec__name", flat=True))


def _made(cloud, **over):
    row = networks.create(cloud.admin, networks.Ask(**{**CLASS.__dict__, **over}))
    cloud.p.settle()
    return row


def test_an_instance_gets_a_card_in_each_network_it_asked_for(cloud):
    row = _made(cloud)
    assert _heard() == ["class-7"]
    one = cloud.do(networks=["class-7", "default"])
    nics = Instance.objects.get(pk=one).nics
    assert [(nic["network"], nic["segment"], nic["ip"]) for nic in nics] == [(row.pk, 1, "10.40.0.2"), ("default", 0, "10.231.0.2")]
    bridge = cloud.role("cc").agent.settings.network.bridge
    assert _served(cloud) == {bridge: [one], f"{bridge}-1": [one]}
    cloud.do("stop", one)
    cloud.do("start", one)
    assert Instance.objects.get(pk=one).nics == nics
    cloud.do("delete", one)
    assert _served(cloud) == {bridge: [], f"{bridge}-1": []}
    cloud.rest()


def test_without_a_wish_it_is_in_the_clusters_own(cloud):
    _made(cloud)
    one = cloud.do()
    assert [nic["network"] for nic in Instance.objects.get(pk=one).nics] == ["default"]
    assert cards.cards_of(Instance.objects.get(pk=one)) == ()


def test_only_its_ranges_are_lent_and_then_it_is_full(cloud, impatient):
    _made(cloud, ranges=("10.40.0.100-10.40.0.101", "10.40.0.7"))
    lent = [Instance.objects.get(pk=cloud.do(networks=["class-7"])).nics[0]["ip"] for _ in range(3)]
    assert lent == ["10.40.0.7", "10.40.0.100", "10.40.0.101"]
    _, task = cloud.ask(networks=["class-7"])
    cloud.until_rest()
    assert cloud.task(task) == ("failed", "no_capacity")
    cloud.do()
    cloud.rest()


def test_a_campus_network_has_the_router_it_has(cloud):
    _made(cloud, mode="campus", gateway="10.40.0.254", ranges=("10.40.0.253-10.40.0.254",))
    one = cloud.do(networks=["class-7"])
    nic, = Instance.objects.get(pk=one).nics
    assert (nic["mode"], nic["gateway"], nic["ip"]) == ("campus", "10.40.0.254", "10.40.0.253")


@pytest.mark.parametrize(("mode", "gateway", "why"), [
    ("closed", "10.40.0.254", "only a campus network"), ("campus", "10.41.0.1", "no host's address"), ("campus", "10.40.0.255", "no host's address"),
    ("campus", "router", "does not appear|Expected 4"),
])
def test_a_gateway_that_cannot_be_is_refused(cloud, mode, gateway, why):
    with pytest.raises(Refused) as e:
        _made(cloud, mode=mode, gateway=gateway)
    assert (e.value.code, e.value.params["field"]) == ("invalid", "gateway")
    assert re.search(why, e.value.why)


def test_a_network_that_is_used_cannot_be_given_up(cloud):
    row = _made(cloud)
    one = cloud.do(networks=["class-7"])
    with pytest.raises(Refused, match="cannot be given up") as e:
        networks.retire(cloud.admin, "class-7")
    assert Instance.objects.get(pk=one).name in e.value.why
    cloud.do("delete", one)
    networks.retire(cloud.admin, "class-7")
    cloud.p.settle()
    assert _heard() == []
    with pytest.raises(Refused, match="no network"):
        cloud.ask(networks=[row.pk])
    again = _made(cloud, subnet="10.41.0.0/24")
    assert (again.number, _heard()) == (1, ["class-7"])
    assert Instance.objects.get(pk=cloud.do(networks=["class-7"])).nics[0]["ip"] == "10.41.0.2"


@pytest.mark.parametrize("weather", ["lost", "twice", "backwards"])
def test_the_word_about_networks_may_be_lost_come_twice_or_come_late(cloud, weather):
    held = []

    def tap(_direction, _host, message):
        if opened(message)["kind"] != NetworksSet.kind:
            return [message]
        held.append((_direction, _host, message))
        return [message, message] if weather == "twice" else []

    cloud.tap(tap)
    _made(cloud)
    _made(cloud, name="class-8", subnet="10.42.0.0/24")
    cloud.tap(lambda _direction, _host, message: [message])
    for each in reversed(held if weather == "backwards" else []):
        cloud.p.wire.inject(*each)
    cloud.p.pass_time(60)
    assert _heard() == ["class-7", "class-8"]
    cloud.rest()


def test_a_memory_that_is_older_than_what_the_cluster_heard_goes_on_from_there(cloud):
    _made(cloud)
    _made(cloud, name="class-8", subnet="10.42.0.0/24")
    NetworkPlan.objects.update(number=1)
    networks.retire(cloud.admin, "class-8")
    NetworkPlan.objects.update(number=1)
    cloud.p.pass_time(60)
    assert _heard() == ["class-7"]


def test_a_run_for_a_network_its_cluster_does_not_know_fails_and_leaves_nothing(cloud):
    cloud.tap(lambda _d, _h, m: [] if opened(m)["kind"] == NetworksSet.kind else [m])
    _made(cloud)
    _, task = cloud.ask(networks=["class-7"])
    cloud.until_rest()
    assert cloud.task(task) == ("failed", "not_found")
    with memory.of("cc"):
        assert not AddressLease.objects.exclude(instance="").exists()


@pytest.mark.parametrize(("over", "code"), [
    ({"name": "default"}, "invalid"), ({"name": "a b"}, "invalid"), ({"subnet": "10.40.0.1/24"}, "invalid"), ({"subnet": "10.0.0.0/8"}, "invalid"),
    ({"subnet": "127.0.0.0/24"}, "invalid"), ({"subnet": "10.231.0.0/25"}, "conflict"), ({"mode": "open"}, "invalid"),
    ({"ranges": ("10.41.0.1-10.41.0.9",)}, "invalid"), ({"ranges": ("10.40.0.9-10.40.0.1",)}, "invalid"), ({"ranges": ("all",)}, "invalid"),
    ({"cluster": "nowhere"}, "not_found"), ({"cluster": "cc-00000000"}, "not_found"),
])
def test_what_cannot_be_a_network_is_refused_and_nothing_is_said(cloud, over, code):
    with pytest.raises(Refused) as e:
        _made(cloud, **over)
    assert e.value.code == code
    assert not NetworkPlan.objects.exists()


def test_two_networks_of_a_cluster_share_no_name_and_no_address(cloud):
    _made(cloud)
    for over, code in (({"subnet": "10.43.0.0/24"}, "exists"), ({"name": "class-8", "subnet": "10.40.0.128/25"}, "conflict")):
        with pytest.raises(Refused) as e:
            _made(cloud, **over)
        assert e.value.code == code


def test_only_administrators_make_networks_and_everybody_may_use_them(cloud):
    with pytest.raises(Refused) as e:
        networks.create(cloud.user, CLASS)
    assert e.value.code == "forbidden"
    _made(cloud)
    with pytest.raises(Refused) as e:
        networks.retire(cloud.user, "class-7")
    assert e.value.code == "forbidden"
    assert cards.resolve(cloud.user, "class-7")


def test_an_instance_names_each_network_once(cloud):
    row = _made(cloud)
    for names in (["class-7", "class-7"], ["class-7", row.pk], ["default"] * 2):
        with pytest.raises(Refused, match="named twice"):
            cloud.ask(networks=names)


def test_a_cluster_of_an_older_version_has_no_networks(cloud):
    from luhyadb.models import Host

    cluster = Host.objects.get(role="cc")
    Host.objects.filter(pk=cluster.pk).update(speaks={k: v for k, v in cluster.speaks.items() if k != NetworksSet.kind})
    with pytest.raises(Refused, match="networks of its own yet"):
        _made(cloud)


def test_a_node_has_its_networks_reach_others_again_when_that_was_undone(cloud):
    services = cloud.role("nc1")
    network = services.domains._hands.network
    span = SegmentSpan(segment=7, vni=7, local="192.0.2.1", peers=("192.0.2.2",))
    services.domains.guards.word = SegmentsSet(number=5, segments=(span,))
    assert network.spans == ()
    cloud.p.pass_time(30)
    assert network.spans == (span,)


@pytest.mark.parametrize("number", [-1, 2**50 + 1, 10**30])
def test_a_number_nobody_could_count_from_is_no_fact(number):
    for name in ("networks", "segments"):
        with pytest.raises(ValueError, match=name):
            HostFacts.model_validate({"host": "nc-00000001", "at": 1.0, name: number})
