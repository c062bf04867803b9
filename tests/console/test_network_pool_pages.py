"""What is lent of a network on pages: the map with its words, the list, reservations, an ethers file, other ranges."""

import html
import re

import pytest
from django.test import Client

from cc.role import ROLE
from clc.services import leases, pictures, usage_map
from luhyaapi import ids
from luhyaapi.contracts.reports import LeasesFacts
from luhyaapi.contracts.specs import LeaseFacts
from luhyaapi.subnets import subnet_of
from luhyadb.models import Host, Network, Reservation

QUESTION = "prb-11111111"
POOL = {"first": 0, "last": 0, "size": 5, "free": 2, "lent": 1, "resting": 4, "reserved": 3, "taken": 1}


@pytest.fixture
def cluster(world):
    found = next(h for h in world.cluster() if h.role == "cc")
    Host.objects.filter(pk=found.pk).update(speaks=ROLE.speaks, subnet="10.231.0.0/24")
    return found


@pytest.fixture
def page(cluster, admin):
    client = Client()
    client.force_login(admin)

    def show(where, form=None, language="en"):
        said = {"headers": {"accept-language": language}}
        answer = client.get(where, **said) if form is None else client.post(where, form, follow=True, **said)
        return answer.status_code, html.unescape(answer.content.decode())

    return show


@pytest.fixture
def network(page, cluster):
    assert page("/networks/add/", {"name": "class-7", "subnet": "10.40.0.0/29", "mode": "closed", "cluster": cluster.pk})[0] == 200
    row = Network.objects.get()
    pictures.board().write(f"host:{cluster.pk}", {"pools": [POOL | {"pool": row.pk}, POOL | {"pool": "default"}, POOL | {"pool": "ports", "first": 20000,
                                                                                                                   "last": 20004}]})
    return row


@pytest.fixture
def say(cluster, network):
    before = ids.use(lambda size: b"\x11" * size)

    def say(*found, **more):
        leases.found(pictures.board(), LeasesFacts(host=cluster.pk, question=QUESTION, network=network.pk, leases=found, **more))

    yield say
    ids.use(before)


def test_the_counts_stand_beside_the_networks(page, cluster, network):
    _, text = page("/networks/")
    assert text.count("2 free") == 2, "the network's and the cluster's own"
    _, text = page(f"/networks/{network.pk}/")
    for shown in ("4 rest", "3 reserved", "1 somebody else's", f'hx-get="/networks/{network.pk}/addresses/"', "02:"):
        assert shown in text
    _, text = page(f"/networks/{cluster.pk}/")
    assert "20000–20004 · 1 of 5" in text
    assert "Give up" not in text


@pytest.mark.parametrize(("language", "words"), [
    ("en", ("Somebody else's", "Gateway", "Reserved", "until", "Last seen")), ("zh-hans", ("被他人占用", "网关", "已保留", "直到", "最近出现")),
])
def test_the_map_is_a_drawing_with_its_words(page, network, say, language, words):
    taken = LeaseFacts(address="10.40.0.5", state="taken", mac="00:16:3e:00:00:09", since=1_800_000_000, until=1_800_000_600)
    say(LeaseFacts(address="10.40.0.2", state="lent", mac="02:00:0a:28:00:02", instance="ins-00000001", name="web", seen_at=1_800_000_000), taken,
        usage="glrrtf", more=True)
    code, text = page(f"/networks/{network.pk}/addresses/", language=language)
    assert code == 200
    assert re.findall(r'<rect class="use use-(\w+)" x="(\d+)" y="0" width="(\d+)"', text) == [
        ("gateway", "0", "1"), ("lent", "1", "1"), ("reserved", "2", "2"), ("taken", "4", "1"), ("free", "5", "1")]
    for shown in (*words, "10.40.0.3 – 10.40.0.4", 'href="/instances/ins-00000001/"', "00:16:3e:00:00:09", "?after=10.40.0.5", 'role="img"'):
        assert shown in text


def test_what_is_somebody_elses_is_reserved_for_him_by_two_clicks(page, network, say):
    say(LeaseFacts(address="10.40.0.5", state="taken", mac="00:16:3e:00:00:09"), usage="gfffff")
    _, text = page(f"/networks/{network.pk}/addresses/")
    (link,) = re.findall(r'href="([^"]*reservations/\?address[^"]*)"', text)
    _, text = page(link)
    assert 'value="10.40.0.5"' in text
    assert 'value="00:16:3e:00:00:09"' in text


@pytest.mark.parametrize(("language", "told"), [("en", "Its cluster does not answer"), ("zh-hans", "其集群没有应答")])
def test_a_silent_cluster_is_told_in_its_place(page, network, monkeypatch, language, told):
    monkeypatch.setattr(leases, "PATIENCE_S", 0.0)
    code, text = page(f"/networks/{network.pk}/addresses/?after=nonsense", language=language)
    assert code == 200
    assert told in text


def test_a_large_network_is_drawn_in_spots_of_several():
    drawn = usage_map.drawn(subnet_of("10.50.0.0/16"), "g" + "l" * 31 + "t" + "f" * 65501)
    assert (drawn["each"], drawn["columns"], drawn["rows"]) == (32, 64, 32)
    assert [(str(each["state"]), each["width"]) for each in drawn["rectangles"][:3]] == [("lent", 1), ("taken", 1), ("free", 62)]
    assert [(str(each["state"]), each["count"]) for each in drawn["counts"]] == [("free", 65501), ("lent", 31), ("taken", 1), ("gateway", 1)]
    assert len(drawn["rectangles"]) < 40
    assert str(drawn["rectangles"][-1]["last"]) == "10.50.255.254"


def test_addresses_are_reserved_and_given_up_on_a_page(page, network, user):
    where = f"/networks/{network.pk}/reservations/"
    assert "Nothing is reserved" in page(where)[1]
    _, text = page(f"{where}add/", {"address": " 10.40.0.4 ", "mac": "0:16:3e:0:0:1", "owner": user.username, "name": "web"})
    assert "10.40.0.4 is reserved" in text
    assert "00:16:3e:00:00:01" in text
    _, text = page(f"{where}add/", {"address": "10.40.0.4", "mac": "", "owner": "", "name": ""})
    assert "is reserved already: for web of" in text
    assert 'value="10.40.0.4"' in text
    _, text = page(f"{where}remove/", {"address": "10.40.0.4"})
    assert "is reserved no more" in text
    assert not Reservation.objects.exists()


@pytest.mark.parametrize(("language", "told"), [
    ("en", "line 2: 10.99.0.1 cannot be reserved: it is no host's address of 10.40.0.0/29"),
    ("zh-hans", "10.99.0.1 不能被保留"),
])
def test_an_ethers_file_is_brought_in_or_its_bad_lines_told(page, network, language, told):
    where = f"/networks/{network.pk}/reservations/"
    bad = "00:16:3e:00:00:01 10.40.0.3\r\n00:16:3e:00:00:02 10.99.0.1\r\n"
    _, text = page(f"{where}import/", {"ethers": bad, "ethers_owner": ""}, language=language)
    assert told in text
    assert "00:16:3e:00:00:02 10.99.0.1" in text, "what was typed stays"
    assert not Reservation.objects.exists()
    page(f"{where}import/", {"ethers": bad.replace("99", "40").replace("0.0.1", "0.0.4").replace("40.0.1", "40.0.4"), "ethers_owner": ""})
    assert sorted(Reservation.objects.values_list("address", flat=True)) == ["10.40.0.3", "10.40.0.4"]


def test_what_another_tab_gave_up_is_told_on_the_page(page, network):
    code, text = page(f"/networks/{network.pk}/reservations/remove/", {"address": "10.40.0.3"})
    assert (code, "'10.40.0.3' is not reserved" in text, "Reserve an address" in text) == (200, True, True)
    assert 'aria-invalid="true"' not in text


def test_an_owner_that_is_none_is_told_at_its_field(page, network):
    _, text = page(f"/networks/{network.pk}/reservations/import/", {"ethers": "00:16:3e:00:00:01 10.40.0.3", "ethers_owner": "nobody"})
    assert "There is no user" in text


def test_other_ranges_on_its_page(page, network):
    _, text = page(f"/networks/{network.pk}/ranges/", {"ranges": "10.40.0.3-10.40.0.4\n10.40.0.6\n"})
    assert "The ranges of class-7 are changed" in text
    assert Network.objects.get().ranges == [["10.40.0.3", "10.40.0.4"], ["10.40.0.6", "10.40.0.6"]]
    _, text = page(f"/networks/{network.pk}/ranges/", {"ranges": "10.41.0.3"})
    assert "A range is not of the network" in text


def test_other_ports_on_the_page_of_a_clusters_own(page, cluster, network):
    _, text = page(f"/networks/{cluster.pk}/ports/", {"ports": "30000-30099"})
    assert f"The ports of {cluster.name} are changed" in text
    _, text = page(f"/networks/{cluster.pk}/ports/", {"ports": "80-90"})
    assert "The ports are not possible" in text
    assert 'value="80-90"' in text


def test_only_administrators_see_the_pages(user, network):
    client = Client()
    client.force_login(user)
    for where in ("addresses", "reservations"):
        assert client.get(f"/networks/{network.pk}/{where}/").status_code == 404
