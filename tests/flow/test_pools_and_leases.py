"""What a cluster lends: told with heartbeats and when it is asked, reserved for those who are meant, passed over where somebody else answers."""

from __future__ import annotations

import pytest

from cc.services import leases as lending
from cc.services import networks as known_networks
from clc.services import leases, mandates, networks, people, pools, reservations
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.commands import LeasesTell, NetworksSet
from luhyaapi.contracts.reports import ConflictFacts, LeasesFacts
from luhyaapi.edge.neighbours import Seen
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.subnets import mac_of
from luhyadb import memory
from luhyadb.models import AddressLease, Event, Host, Instance, NetworkPlan, Reservation, ReservedAddress, Task
from tests.support.flow_world import opened

SMALL = networks.Ask(cluster="", name="class-7", subnet="10.40.0.0/28")
PRINTER = "00:11:22:33:44:55"


@pytest.fixture
def small(cloud):
    row = networks.create(cloud.admin, SMALL)
    cloud.p.settle()
    return row


def answered(cloud, ident="class-7", **more):
    asked = leases.ask(cloud.admin, ident, **more)
    cloud.p.settle()
    return leases.answer(cloud.role("clc").board, asked)


def known(cloud, ident="class-7", **more):
    return [(each.address, str(each.state)) for each in answered(cloud, ident, **more).leases]


def pool(cloud, name):
    cloud.p.beat()
    cloud.p.settle()
    cluster = Host.objects.get(role="cc")
    picture = cloud.role("clc").board.read([f"host:{cluster.pk}"])[f"host:{cluster.pk}"]
    return next(each for each in picture["pools"] if each["pool"] == name)


def card(ident):
    (nic,) = Instance.objects.get(pk=ident).nics
    return nic["ip"], nic["mac"]


def reserve(cloud, address, **more):
    made = reservations.add(cloud.admin, "class-7", reservations.Ask(address, **more))
    cloud.p.settle()
    return made


# ---- what is lent


def test_an_address_is_lent_then_rests_then_is_free(cloud, small):
    assert known(cloud) == []
    before = cloud.clock.now()
    one = cloud.do(networks=["class-7"], name="web")
    (lease,) = answered(cloud).leases
    assert (lease.address, str(lease.state), lease.instance, lease.name, lease.mac) == ("10.40.0.2", "lent", one, "web", card(one)[1])
    assert lease.since >= before
    assert pool(cloud, small.pk) == {
        "pool": small.pk, "first": 0, "last": 0, "size": 13, "free": 12, "lent": 1, "resting": 0, "reserved": 0, "taken": 0}
    cloud.do("delete", one)
    (lease,) = answered(cloud).leases
    assert (str(lease.state), lease.instance) == ("resting", "")
    assert 0 < lease.until - cloud.clock.now() <= 60
    assert (pool(cloud, small.pk)["resting"], pool(cloud, small.pk)["free"]) == (1, 12)


def test_how_each_address_stands_is_one_sign(cloud, small):
    networks.set_ranges(cloud.admin, "class-7", ["10.40.0.4-10.40.0.9"])
    cloud.p.settle()
    cloud.do(networks=["class-7"])
    reserve(cloud, "10.40.0.6")
    assert answered(cloud, usage=True).usage == "goolfrfffooooo"
    assert answered(cloud).usage == ""


def test_the_clusters_own_network_is_asked_for_by_its_cluster(cloud):
    one = cloud.do()
    cluster = Host.objects.get(role="cc").pk
    assert known(cloud, cluster) == known(cloud, "default") == [("10.231.0.2", "lent")]
    assert pool(cloud, "default")["lent"] == 1
    assert pool(cloud, "displays")["lent"] == 1
    assert pool(cloud, "ports") == {
        "pool": "ports", "first": 20000, "last": 29999, "size": 10000, "free": 10000, "lent": 0, "resting": 0, "reserved": 0, "taken": 0}
    assert card(one)[0] == "10.231.0.2"


def test_many_come_in_pages(cloud, small):
    for number in range(3, 8):
        reserve(cloud, f"10.40.0.{number}")
    first = answered(cloud, limit=2)
    assert ([each.address for each in first.leases], first.more) == (["10.40.0.3", "10.40.0.4"], True)
    last = answered(cloud, limit=3, after="10.40.0.4")
    assert ([each.address for each in last.leases], last.more) == (["10.40.0.5", "10.40.0.6", "10.40.0.7"], False)


def test_a_guest_that_was_heard_is_said_to_be_seen(cloud, small):
    one = cloud.do(networks=["class-7"])
    ip, mac = card(one)
    now = cloud.clock.now()
    cloud.role("cc").edge.heard = (Seen(ip, mac, now - 5), Seen("10.40.0.9", mac, now))
    assert answered(cloud).leases[0].seen_at == now - 5
    cloud.role("cc").edge.heard = (Seen(ip, "02:00:00:00:00:99", now),)
    assert answered(cloud).leases[0].seen_at == 0, "somebody else had it"


def test_a_cluster_that_does_not_answer_is_told_after_its_time(cloud, small):
    cloud.p.stop("cc")
    asked = leases.ask(cloud.admin, "class-7")
    cloud.p.settle()
    board = cloud.role("clc").board
    assert leases.answer(board, asked) is None
    cloud.clock.sleep(leases.PATIENCE_S)
    with pytest.raises(Unavailable, match="does not answer"):
        leases.answer(board, asked)


def test_a_network_its_cluster_does_not_have_is_said_so(cloud):
    cloud.tap(lambda _d, _h, m: [] if opened(m)["kind"] == NetworksSet.kind else [m])
    networks.create(cloud.admin, SMALL)
    with pytest.raises(Refused, match="no such network"):
        answered(cloud)


def test_only_administrators_ask(cloud, small):
    for act in (lambda: leases.ask(cloud.user, "class-7"), lambda: reservations.add(cloud.user, "class-7", reservations.Ask("10.40.0.9")),
                lambda: reservations.bring_in(cloud.user, "class-7", ""), lambda: reservations.remove(cloud.user, "class-7", "10.40.0.9"),
                lambda: networks.set_ranges(cloud.user, "class-7", [])):
        with pytest.raises(Refused) as e:
            act()
        assert e.value.code == "forbidden"


def test_an_older_cluster_is_not_asked(cloud, small):
    cluster = Host.objects.get(role="cc")
    Host.objects.update(speaks={NetworksSet.kind: 2})
    with pytest.raises(Refused) as e:
        leases.ask(cloud.admin, "class-7")
    assert e.value.code == "unsupported"
    with pytest.raises(Refused, match="cannot reserve addresses yet") as e:
        reservations.add(cloud.admin, cluster.pk, reservations.Ask("10.231.0.9"))


@pytest.mark.parametrize("kind", [LeasesFacts, ConflictFacts])
def test_a_cluster_speaks_of_its_own_networks_alone(cloud, small, kind):
    cluster = Host.objects.get(role="cc").pk
    more = {"question": "prb-00000001"} if kind is LeasesFacts else {"address": "10.40.0.2", "mac": PRINTER, "instance": "ins-00000001", "at": 1}

    def said(host, sender, network):
        report = kind(host=host, network=network, **more)
        mandates.judge(Envelope(id="1", kind=report.kind, sender=sender, to="clc", issued_at=0, expires_at=0, deadline=0, body="{}"), report)

    said(cluster, cluster, small.pk)
    said(cluster, cluster, "default")
    for host, sender, network in ((cluster, "cc-00000009", small.pk), ("cc-00000009", "cc-00000009", small.pk), ("nc-00000009", "nc-00000009", "default")):
        with pytest.raises(Refused) as e:
            said(host, sender, network)
        assert e.value.code == "forbidden"


def test_when_all_are_lent_it_says_what_there_is_and_when_more_comes(cloud, small, impatient):
    networks.set_ranges(cloud.admin, "class-7", ["10.40.0.2-10.40.0.4"])
    reserve(cloud, "10.40.0.4")
    one, _two = (cloud.do(networks=["class-7"]) for _ in range(2))
    cloud.do("delete", one)
    cloud.p.pass_time(20)
    _, task = cloud.ask(networks=["class-7"])
    cloud.p.settle()
    error = Task.objects.get(pk=task).error
    assert error["code"] == "no_capacity"
    assert error["why"] == "of 2, 1 are lent and 1 rest after their last use; 1 are reserved"
    assert error["hint"].startswith("The next is free in ")
    assert 0 < int(error["hint"].split()[-2]) <= 40


# ---- what is reserved


def test_nobody_is_lent_by_chance_what_is_reserved(cloud, small):
    reserve(cloud, "10.40.0.2")
    reserve(cloud, "10.40.0.3", mac=PRINTER)
    assert known(cloud) == [("10.40.0.2", "reserved"), ("10.40.0.3", "reserved")]
    assert card(cloud.do(networks=["class-7"]))[0] == "10.40.0.4"
    assert (pool(cloud, small.pk)["reserved"], pool(cloud, small.pk)["free"]) == (2, 10)
    reservations.remove(cloud.admin, "class-7", "10.40.0.2")
    cloud.p.settle()
    assert card(cloud.do(networks=["class-7"]))[0] == "10.40.0.2"
    cloud.rest()


def test_who_is_meant_gets_it_with_its_mac_and_keeps_it(cloud, small):
    reserve(cloud, "10.40.0.9", owner="ada", name="web", mac="0:11:22:AA:bb:1")
    reserve(cloud, "10.40.0.8", owner="root")
    reserve(cloud, "10.40.0.7", owner="ada", name="mail")
    other = cloud.do(networks=["class-7"], name="other")
    web = cloud.do(networks=["class-7"], name="web")
    assert card(other)[0] == "10.40.0.2"
    assert card(web) == ("10.40.0.9", "00:11:22:aa:bb:01")
    cloud.do("stop", web)
    reservations.remove(cloud.admin, "class-7", "10.40.0.9")
    cloud.p.settle()
    cloud.do("start", web)
    assert card(web)[0] == "10.40.0.9"
    cloud.rest()


def test_any_instance_of_an_owner_gets_what_is_his(cloud, small):
    reserve(cloud, "10.40.0.9", owner="ada")
    first, second = (cloud.do(networks=["class-7"]) for _ in range(2))
    assert [card(first)[0], card(second)[0]] == ["10.40.0.9", "10.40.0.2"]
    cloud.do("delete", first)
    assert card(cloud.do(networks=["class-7"]))[0] == "10.40.0.3", "it rests first"
    cloud.p.pass_time(70)
    assert card(cloud.do(networks=["class-7"]))[0] == "10.40.0.9"


def test_a_device_is_served_by_dhcp_while_nobody_has_its_address(cloud, small):
    cloud.do(networks=["class-7"])
    reserve(cloud, "10.40.0.3", mac=PRINTER)
    network = next(each for each in cloud.role("cc").edge.found().networks if each.subnet == "10.40.0.0/28")
    assert [(each.ip, each.mac, each.hostname) for each in network.leases if not each.instance] == [("10.40.0.3", PRINTER, "host-10-40-0-3")]
    with memory.of("cc"):
        AddressLease.objects.create(ip="10.40.0.3", mac="02:00:00:00:00:77", network=small.pk, instance="ins-00000077")
        served = lending.served(cloud.role("cc").agent.settings.network, [each for each in _specs(cloud) if each.id == small.pk])
        assert PRINTER not in [each.mac for each in served[0].leases]
        AddressLease.objects.filter(instance="ins-00000077").delete()


def _specs(cloud):
    return known_networks.everyone(cloud.role("cc").agent.settings.network)


def test_a_mac_that_another_card_still_has_is_not_given_twice(cloud, small):
    reserve(cloud, "10.40.0.9", owner="ada", name="web", mac=PRINTER)
    web = cloud.do(networks=["class-7"], name="web")
    reservations.remove(cloud.admin, "class-7", "10.40.0.9")
    reserve(cloud, "10.40.0.10", owner="ada", name="mail", mac=PRINTER)
    mail = cloud.do(networks=["class-7"], name="mail")
    assert (card(web)[1], card(mail)[0]) == (PRINTER, "10.40.0.2")
    cloud.rest()


@pytest.mark.parametrize(("over", "code", "field"), [
    ({"address": "10.40.0.1"}, "invalid", "address"), ({"address": "10.40.0.15"}, "invalid", "address"), ({"address": "10.41.0.2"}, "invalid", "address"),
    ({"address": "printer"}, "invalid", "address"), ({"mac": "0011.2233.4455"}, "invalid", "mac"), ({"mac": "01:00:00:00:00:01"}, "invalid", "mac"),
    ({"mac": "00:00:00:00:00:00"}, "invalid", "mac"), ({"owner": "nobody"}, "not_found", "owner"), ({"name": "web"}, "invalid", "owner"),
    ({"name": "a b", "owner": "ada"}, "invalid", "name"),
])
def test_what_cannot_be_reserved_is_refused_and_nothing_is_said(cloud, small, over, code, field):
    with pytest.raises(Refused) as e:
        reserve(cloud, **{"address": "10.40.0.9"} | over)
    assert (e.value.code, e.value.params["field"]) == (code, field)
    assert not Reservation.objects.exists()
    assert NetworkPlan.objects.get().number == 1


def test_what_is_lent_reserved_or_ours_to_give_is_refused_by_name(cloud, small):
    one = cloud.do(networks=["class-7"], name="web")
    with pytest.raises(Refused, match="web of ada has it"):
        reserve(cloud, "10.40.0.2")
    assert reserve(cloud, "10.40.0.2", name="web").owner.username == "ada"
    for more, why in (({"owner": "root"}, "reserved already: for web of ada"), ({}, "reserved already")):
        with pytest.raises(Refused, match=why):
            reserve(cloud, "10.40.0.2", **more)
    cluster = Host.objects.get(role="cc").pk
    reserve(cloud, "10.40.0.5", mac=mac_of(cluster, "10.40.0.5"))
    for mac, why in ((mac_of(cluster, "10.40.0.6"), "the cluster's to give"), (mac_of(cluster, "10.40.0.5"), "reserved already")):
        with pytest.raises(Refused, match=why):
            reserve(cloud, "10.40.0.7", mac=mac)
    assert card(one)[0] == "10.40.0.2"


def test_reservations_go_with_their_network_and_their_owner(cloud, small):
    people.add(cloud.admin, "bob", "correct horse battery", "user")
    reserve(cloud, "10.40.0.9", owner="bob")
    reserve(cloud, "10.40.0.8", owner="ada")
    people.delete(cloud.admin, "bob")
    cloud.p.settle()
    with memory.of("cc"):
        assert list(ReservedAddress.objects.values_list("ip", flat=True)) == ["10.40.0.8"]
    networks.retire(cloud.admin, "class-7")
    cloud.p.settle()
    assert not Reservation.objects.exists()
    with memory.of("cc"):
        assert not ReservedAddress.objects.exists()


def test_a_lost_word_about_reservations_is_said_again(cloud, small):
    cloud.tap(lambda _d, _h, m: [] if opened(m)["kind"] == NetworksSet.kind else [m])
    reserve(cloud, "10.40.0.2")
    cloud.tap(lambda _d, _h, m: [m])
    cloud.p.pass_time(60)
    assert card(cloud.do(networks=["class-7"]))[0] == "10.40.0.3"


# ---- an ethers file

ETHERS = """# servers of the school
00:16:3e:00:00:01 10.40.0.9     # web
0:16:3E:0:0:2     10.40.0.10

00-16-3e-00-00-03 mail
"""


def test_an_ethers_file_becomes_reservations_of_its_owner(cloud, small):
    made = reservations.bring_in(cloud.admin, "class-7", ETHERS, owner="ada")
    assert [(row.address, row.mac, row.name) for row in made] == [
        ("10.40.0.9", "00:16:3e:00:00:01", ""), ("10.40.0.10", "00:16:3e:00:00:02", ""), ("10.40.0.2", "00:16:3e:00:00:03", "mail")]
    assert reservations.bring_in(cloud.admin, "class-7", ETHERS, owner="ada") == [], "what is there stays"
    cloud.p.settle()
    assert card(cloud.do(networks=["class-7"], name="mail")) == ("10.40.0.2", "00:16:3e:00:00:03")
    assert card(cloud.do(networks=["class-7"], name="other")) == ("10.40.0.9", "00:16:3e:00:00:01")


def test_a_name_in_an_ethers_file_is_that_of_an_instance(cloud, small):
    cloud.do(networks=["class-7"], name="mail")
    (made,) = reservations.bring_in(cloud.admin, "class-7", "00:16:3e:00:00:03 mail")
    assert (made.address, made.owner.username) == ("10.40.0.3", "ada")


def test_bad_lines_are_told_with_their_numbers_and_nothing_is_kept(cloud, small):
    text = """00:16:3e:00:00:01 10.40.0.9

00:16:3e:00:00 10.40.0.10
00:16:3e:00:00:02
00:16:3e:00:00:01 10.40.0.11
00:16:3e:00:00:04 10.40.0.9
00:16:3e:00:00:05 10.99.0.1
00:16:3e:00:00:06 nobody
"""
    with pytest.raises(Refused) as e:
        reservations.bring_in(cloud.admin, "class-7", text)
    why = e.value.why.split("; ")
    assert [each.split(":")[0] for each in why] == [f"line {n}" for n in (3, 4, 5, 6, 7, 8)]
    assert "give six pairs" in why[0]
    assert "no line of an ethers file" in why[1]
    assert "reserved already" in why[2]
    assert "reserved already" in why[3]
    assert "no host's address" in why[4]
    assert "no instance is called so" in why[5]
    assert "nothing of it was reserved" in e.value.hint
    assert not Reservation.objects.exists()


def test_a_file_with_too_many_lines_is_refused_and_a_long_list_of_faults_is_cut(cloud, small, monkeypatch):
    with pytest.raises(Refused) as e:
        reservations.bring_in(cloud.admin, "class-7", "x y\n" * 30)
    assert e.value.why.endswith("and 20 more")
    monkeypatch.setattr(reservations, "RESERVATIONS", 2)
    with pytest.raises(Refused) as e:
        reservations.bring_in(cloud.admin, "class-7", ETHERS, owner="ada")
    assert e.value.code == "quota"


# ---- somebody else has it


def test_an_address_that_somebody_else_answers_for_is_passed_over_and_told(cloud, small, monkeypatch):
    monkeypatch.setattr(lending, "TAKEN_S", 30.0)
    edge = cloud.role("cc").edge
    edge.strangers = {"10.40.0.2": PRINTER, "10.40.0.3": PRINTER}
    one = cloud.do(networks=["class-7"])
    assert card(one)[0] == "10.40.0.4"
    taken = answered(cloud).leases[:2]
    assert [(each.address, str(each.state), each.mac) for each in taken] == [("10.40.0.2", "taken", PRINTER), ("10.40.0.3", "taken", PRINTER)]
    assert (pool(cloud, small.pk)["taken"], pool(cloud, small.pk)["free"]) == (2, 10)
    told = Event.objects.filter(what="address is somebody else's").order_by("id").first()
    assert (told.subject, told.fields["address"], told.fields["mac"], told.fields["instance"]) == (small.pk, "10.40.0.2", PRINTER, one)
    assert card(cloud.do(networks=["class-7"]))[0] == "10.40.0.5"
    edge.strangers = {}
    cloud.p.pass_time(40)
    assert ("10.40.0.2", "taken") not in known(cloud)
    assert card(cloud.do(networks=["class-7"]))[0] == "10.40.0.2"
    cloud.rest()


def test_a_guest_that_starts_again_keeps_its_address(cloud, small):
    one = cloud.do(networks=["class-7"])
    cloud.do("stop", one)
    cloud.role("cc").edge.strangers = {"10.40.0.2": PRINTER}
    cloud.do("start", one)
    assert card(one)[0] == "10.40.0.2"


def test_where_everything_is_somebody_elses_the_start_fails_and_leaves_nothing(cloud, small):
    cloud.role("cc").edge.strangers = {f"10.40.0.{n}": PRINTER for n in range(2, 15)}
    _, task = cloud.ask(networks=["class-7"])
    cloud.p.settle()
    assert cloud.task(task) == ("failed", "network")
    with memory.of("cc"):
        assert not AddressLease.objects.exclude(instance="").exists()


# ---- ranges


def test_other_ranges_keep_what_is_lent_until_it_is_given_back(cloud, small):
    one = cloud.do(networks=["class-7"])
    networks.set_ranges(cloud.admin, "class-7", ["10.40.0.10-10.40.0.12"])
    cloud.p.settle()
    assert card(one)[0] == "10.40.0.2"
    assert (pool(cloud, small.pk)["size"], pool(cloud, small.pk)["free"], pool(cloud, small.pk)["lent"]) == (3, 3, 1)
    cloud.do("stop", one)
    cloud.do("start", one)
    assert card(cloud.do(networks=["class-7"]))[0] == "10.40.0.10"
    cloud.do("delete", one)
    cloud.p.pass_time(70)
    assert card(cloud.do(networks=["class-7"]))[0] == "10.40.0.11"
    with pytest.raises(Refused) as e:
        networks.set_ranges(cloud.admin, "class-7", ["10.41.0.1"])
    assert e.value.code == "invalid"
    number = NetworkPlan.objects.get().number
    networks.set_ranges(cloud.admin, "class-7", ["10.40.0.10-10.40.0.12"])
    assert NetworkPlan.objects.get().number == number, "the same ranges are no word"


def test_the_default_network_of_several_clusters_must_be_named(cloud):
    Host.objects.create(id="cc-00000009", role="cc", name="second", state="up", subnet="")
    with pytest.raises(Refused, match="must be named"):
        pools.resolve(cloud.admin, "default")
    with pytest.raises(Refused, match="not said"):
        pools.resolve(cloud.admin, "cc-00000009")


def test_asking_is_no_order_that_waits_for_another(cloud):
    assert LeasesTell(network="default", question="prb-00000001").subject == "leases:prb-00000001"
