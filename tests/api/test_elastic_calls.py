"""Public addresses by API: brought in, lent, led, moved, released, retired; what is refused, what the cluster is told."""

import json

import pytest

from cc.role import ROLE
from clc.services import elastic, instances, people
from luhyaapi import clock
from luhyaapi.contracts.commands import AccessSet, NetworksSet
from luhyadb.models import ElasticAddress, Forward, Host, Instance, Outbox

AT = "/api/v1/elastic-addresses/"


@pytest.fixture
def cluster(world):
    found = next(h for h in world.cluster() if h.role == "cc")
    Host.objects.filter(pk=found.pk).update(speaks=ROLE.speaks | {AccessSet.kind: 1}, subnet="10.231.0.0/24")
    return found


@pytest.fixture
def bring(api, admin, cluster):
    def more(*ranges, **over):
        return api(admin).post(f"{AT}ranges/", {"ranges": list(ranges), **over}, format="json")

    return more


@pytest.fixture
def two(world, admin, user, cluster):
    """Two machines of a user, both placed."""
    image = world.image(admin)
    rows = [world.instance(user, image, name, node="nc-00000001", cluster=cluster.pk, state="running") for name in ("one", "two")]
    Outbox.objects.all().delete()
    return rows


def led(cluster):
    """Each word about networks that waits for a cluster: its number, and which address leads where."""
    orders = [json.loads(row.order) for row in Outbox.objects.filter(to=cluster.pk).order_by("id")]
    bodies = [json.loads(order["body"]) for order in orders if order["kind"] == NetworksSet.kind]
    return [(body["number"], {each["address"]: each["instance"] for each in body["elastics"]}) for body in bodies]


def test_it_is_brought_in_lent_led_moved_and_released(api, user, admin, cluster, bring, two):
    made = bring("192.0.2.10-192.0.2.12", "192.0.2.20")
    assert made.status_code == 201, made.json()
    assert [each["address"] for each in made.json()["results"]] == ["192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.20"]
    assert {each["state"] for each in api(admin).get(AT).json()["results"]} == {"free"}
    client, (one, other) = api(user), two
    assert client.get(AT).json()["results"] == []
    mine = client.post(AT, {}, format="json")
    assert (mine.status_code, mine.json()["address"], mine.json()["state"]) == (201, "192.0.2.10", "allocated"), mine.json()
    assert client.get(AT).json()["results"] == [mine.json()] == [client.get(f"{AT}192.0.2.10/").json()]
    assert client.post(f"{AT}192.0.2.10/associate/", {"instance": "one"}, format="json").json()["instance"] == one.pk
    assert client.get(f"/api/v1/instances/{one.pk}/").json()["reached"]["elastic"] == "192.0.2.10"
    moved = client.post(f"{AT}{mine.json()['id']}/associate/", {"instance": other.pk}, format="json").json()
    assert (moved["instance_name"], moved["state"]) == ("two", "associated")
    assert led(cluster) == [(2, {"192.0.2.10": other.pk})], "a move is one word, and the one before it waited still"
    client.post(f"{AT}192.0.2.10/associate/", {"instance": "two"}, format="json")
    assert led(cluster)[-1][0] == 2, "nothing new is not said"
    assert client.post(f"{AT}192.0.2.10/dissociate/", {}, format="json").json()["state"] == "allocated"
    client.post(f"{AT}192.0.2.10/associate/", {"instance": "two"}, format="json")
    assert client.post(f"{AT}192.0.2.10/release/", {}, format="json").json()["state"] == "resting"
    assert led(cluster)[-1][1] == {}
    assert client.get(f"{AT}192.0.2.10/").status_code == 404


def test_it_rests_after_its_release(api, user, bring):
    bring("192.0.2.10")
    before = clock.use(clock.ManualClock(clock.now()))
    try:
        client = api(user)
        assert client.post(AT, {}, format="json").status_code == 201
        assert client.post(AT, {}, format="json").json()["code"] == "no_capacity"
        client.post(f"{AT}192.0.2.10/release/", {}, format="json")
        full = client.post(AT, {}, format="json")
        assert (full.status_code, "1 rest" in full.json()["why"], full.json()["hint"]) == (503, True, "The next is free in 60 s."), full.json()
        clock.sleep(elastic.COOLDOWN_S)
        assert client.post(AT, {}, format="json").json()["address"] == "192.0.2.10"
    finally:
        clock.use(before)


def test_what_rested_longest_is_lent_first(api, user, other, bring):
    bring("192.0.2.10-192.0.2.11")
    now = clock.now()
    ElasticAddress.objects.filter(address="192.0.2.10").update(released_at=now - 100)
    ElasticAddress.objects.filter(address="192.0.2.11").update(released_at=now - 200)
    assert [api(who).post(AT, {}, format="json").json()["address"] for who in (user, other)] == ["192.0.2.11", "192.0.2.10"]


def test_a_user_has_four_and_an_administrator_as_many_as_there_are(api, user, admin, bring):
    bring("192.0.2.0/28")
    assert ElasticAddress.objects.count() == 14, "a CIDR without its first and last"
    for who, most in ((user, elastic.EACH), (admin, 10)):
        for _ in range(most):
            assert api(who).post(AT, {}, format="json").status_code == 201
    refused = api(user).post(AT, {}, format="json")
    assert (refused.json()["code"], "at most 4" in refused.json()["why"]) == ("quota", True)
    assert api(admin).post(AT, {}, format="json").json()["code"] == "no_capacity"


@pytest.mark.parametrize(("ranges", "status", "code"), [
    ([], 422, "invalid"), (["here"], 422, "invalid"), (["192.0.2.9-192.0.2.1"], 422, "invalid"), (["192.0.2.1/24"], 422, "invalid"),
    (["2001:db8::1"], 422, "invalid"), (["224.0.0.1"], 422, "invalid"), (["127.0.0.1"], 422, "invalid"), (["0.0.0.1"], 422, "invalid"),
    (["255.255.255.255"], 422, "invalid"), (["10.0.0.0/8"], 403, "quota"), (["192.1.0.0-192.1.15.255", "203.0.0.1"], 403, "quota"),
    (["192.0.2.100", "10.231.0.9"], 409, "conflict"), (["10.40.0.0-10.40.0.9"], 409, "conflict"), (["192.0.2.1-192.0.2.5"], 409, "exists"),
    (["198.51.100.7"], 409, "conflict"),
])
def test_what_cannot_be_a_public_address_is_refused(api, admin, bring, cluster, ranges, status, code):
    assert bring("192.0.2.5").status_code == 201
    Host.objects.filter(role="nc").update(address="https://198.51.100.7:8603")
    assert api(admin).post("/api/v1/networks/", {"name": "class-7", "subnet": "10.40.0.0/24"}, format="json").status_code == 201
    answer = bring(*ranges)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.json()
    assert ElasticAddress.objects.count() == 1


def test_where_ports_of_the_cluster_are_reached_is_no_public_address_and_no_network(api, admin, bring, two):
    Forward.objects.create(id="fwd-00000001", instance=two[0], protocol="tcp", guest_port=22, address="192.0.2.2", port=20000, created_at=clock.now())
    answer = bring("192.0.2.1-192.0.2.9").json()
    assert (answer["code"], "are reached at 192.0.2.2" in answer["why"]) == ("conflict", True)
    refused = api(admin).post("/api/v1/networks/", {"name": "class-7", "subnet": "192.0.2.0/24"}, format="json").json()
    assert (refused["field"], "are reached at 192.0.2.2" in refused["why"]) == ("subnet", True)
    assert bring("192.0.2.3-192.0.2.9").status_code == 201


def test_a_network_does_not_overlap_with_them(api, admin, bring):
    bring("192.0.2.5")
    refused = api(admin).post("/api/v1/networks/", {"name": "class-7", "subnet": "192.0.2.0/24"}, format="json")
    assert (refused.status_code, refused.json()["field"]) == (409, "subnet")


def test_a_network_is_made_closed_and_apart(api, admin, cluster):
    form = {"name": "class-7", "subnet": "10.40.0.0/24", "way_out": False, "isolated": True}
    made = api(admin).post("/api/v1/networks/", form, format="json").json()
    assert (made["way_out"], made["isolated"]) == (False, True)
    (said,) = json.loads(json.loads(Outbox.objects.get(to=cluster.pk).order)["body"])["networks"]
    assert (said["way_out"], said["isolated"]) == (False, True)


def test_it_leads_to_a_placed_machine_of_its_owner_only(api, user, other, admin, world, cluster, bring, two):
    bring("192.0.2.10-192.0.2.12")
    client, (one, _) = api(user), two
    for who in (user, other):
        api(who).post(AT, {}, format="json")
    assert client.post(f"{AT}192.0.2.11/associate/", {"instance": "one"}, format="json").status_code == 404, "it is somebody else's"
    assert api(other).post(f"{AT}192.0.2.11/associate/", {"instance": one.pk}, format="json").status_code == 404
    assert api(admin).post(f"{AT}192.0.2.12/associate/", {"instance": one.pk}, format="json").json()["code"] == "state", "it is nobody's"
    for changes in ({"node": ""}, {"node": "nc-00000001", "cluster": "cc-00000009"}):
        Instance.objects.filter(pk=one.pk).update(**changes)
        refused = client.post(f"{AT}192.0.2.10/associate/", {"instance": "one"}, format="json")
        assert (refused.status_code, refused.json()["code"]) == (409, "state")
    Instance.objects.filter(pk=one.pk).update(cluster=cluster.pk)
    client.post(AT, {}, format="json")
    assert client.post(f"{AT}192.0.2.10/associate/", {"instance": "one"}, format="json").status_code == 200
    refused = client.post(f"{AT}192.0.2.12/associate/", {"instance": "one"}, format="json").json()
    assert (refused["code"], "192.0.2.10" in refused["why"]) == ("state", True)
    assert api(admin).post(f"{AT}192.0.2.11/associate/", {"instance": "two"}, format="json").status_code == 200, "an administrator may"


def test_a_machine_that_is_deleted_leaves_its_address_to_its_owner(api, user, cluster, bring, two):
    bring("192.0.2.10")
    client, (one, _) = api(user), two
    client.post(AT, {}, format="json")
    client.post(f"{AT}192.0.2.10/associate/", {"instance": "one"}, format="json")
    instances.move(one, "delete", wanted="deleted")
    instances.move(one, "deleted")
    assert client.get(f"{AT}192.0.2.10/").json()["state"] == "allocated"
    assert led(cluster)[-1][1] == {}


def test_only_what_nobody_has_is_retired(api, user, admin, bring, cluster):
    bring("192.0.2.10-192.0.2.11")
    api(user).post(AT, {}, format="json")
    refused = api(admin).delete(f"{AT}192.0.2.10/")
    assert (refused.status_code, "ada" in refused.json()["why"]) == (409, True)
    assert api(admin).delete(f"{AT}192.0.2.11/").status_code == 204
    assert [each["address"] for each in api(admin).get(AT).json()["results"]] == ["192.0.2.10"]
    assert bring("192.0.2.11").status_code == 201, "it may come again"
    assert api(admin).post(f"{AT}192.0.2.10/release/", {}, format="json").status_code == 200
    assert api(admin).post(f"{AT}192.0.2.10/release/", {}, format="json").status_code == 409


def test_only_administrators_bring_them_in_and_retire_them(api, user, bring):
    bring("192.0.2.10")
    assert api(user).post(f"{AT}ranges/", {"ranges": ["192.0.2.20"]}, format="json").status_code == 403
    api(user).post(AT, {}, format="json")
    assert api(user).delete(f"{AT}192.0.2.10/").status_code == 403


def test_where_there_are_none_it_is_said(api, user, cluster):
    answer = api(user).post(AT, {}, format="json")
    assert (answer.status_code, answer.json()["what"]) == (404, "There are no public addresses")


def test_the_cluster_is_named_where_there_are_several(api, world, user, bring, cluster):
    second = world.host("cc", "second", speaks=ROLE.speaks)
    assert bring("192.0.2.10").json()["field"] == "cluster"
    assert bring("192.0.2.10", cluster="cc").status_code == bring("192.0.2.20", cluster="second").status_code == 201
    assert api(user).post(AT, {}, format="json").json()["field"] == "cluster"
    assert api(user).post(AT, {"cluster": second.pk}, format="json").json()["address"] == "192.0.2.20"
    Host.objects.filter(pk=second.pk).update(speaks={NetworksSet.kind: 1})
    assert "older version" in bring("192.0.2.30", cluster="second").json()["why"]


def test_who_is_no_more_has_none(api, world, admin, user, bring):
    bring("192.0.2.10")
    api(user).post(AT, {}, format="json")
    api(user).post("/api/v1/security-groups/", {"name": "web"}, format="json")
    people.delete(admin, "ada")
    assert api(admin).get(AT).json()["results"][0]["state"] == "resting"
    assert api(admin).get("/api/v1/security-groups/").json()["results"] == []
