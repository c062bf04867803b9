"""Networks by API: made by administrators, used by everybody."""

import json

import pytest

from cc.role import ROLE
from luhyadb.models import Host, Instance, Outbox

CLASS = {"name": "class-7", "subnet": "10.40.0.0/24", "mode": "closed", "ranges": ["10.40.0.100-10.40.0.199"]}


@pytest.fixture
def cluster(world):
    found = next(h for h in world.cluster() if h.role == "cc")
    Host.objects.filter(pk=found.pk).update(speaks=ROLE.speaks, subnet="10.231.0.0/24", subnet6="fd00:231::/64")
    return found


@pytest.fixture
def made(api, admin, cluster):
    return api(admin).post("/api/v1/networks/", CLASS, format="json").json()


def test_it_is_made_shown_and_said_to_its_cluster(api, user, cluster, made):
    assert (made["cluster"], made["number"], made["gateway"], made["addresses"], made["instances"]) == (cluster.pk, 1, "10.40.0.1", 100, 0)
    assert made["ranges"] == CLASS["ranges"]
    (shown,) = api(user).get("/api/v1/networks/").json()["results"]
    assert shown == made == api(user).get("/api/v1/networks/class-7/").json() == api(user).get(f"/api/v1/networks/{made['id']}/").json()
    order = json.loads(Outbox.objects.get(to=cluster.pk).order)
    said = json.loads(order["body"])
    assert (order["kind"], said["number"], [n["name"] for n in said["networks"]]) == ("networks/set", 1, ["class-7"])


@pytest.mark.parametrize(("over", "status", "field"), [
    ({"name": ""}, 422, "name"), ({"subnet": "10.40.0.0"}, 422, "subnet"),
    ({"subnet": "10.231.0.0/16", "ranges": []}, 409, "subnet"), ({"mode": "x"}, 422, "mode"),
    ({"subnet6": "fd00:40::/48"}, 422, "subnet6"), ({"subnet6": "fe80::/64"}, 422, "subnet6"), ({"subnet6": "fd00:40::1/64"}, 422, "subnet6"),
    ({"subnet6": "fd00:40::%eth0/64"}, 422, "subnet6"), ({"subnet6": "10.40.0.0/24"}, 422, "subnet6"), ({"subnet6": "ff00::/64"}, 422, "subnet6"),
    ({"subnet6": "2001:db8:40::/64", "mode": "node"}, 422, "subnet6"), ({"subnet6": "fd00:231::/64"}, 409, "subnet6"),
    ({"ranges": ["10.50.0.1"]}, 422, "ranges"), ({"cluster": "elsewhere"}, 404, "cluster"), ({"number": 7}, 422, "number"),
])
def test_a_bad_one_is_refused_and_the_field_named(api, admin, cluster, over, status, field):
    answer = api(admin).post("/api/v1/networks/", CLASS | over, format="json")
    assert (answer.status_code, answer.json().get("field")) == (status, field)
    assert not Outbox.objects.exists()


def test_only_administrators_change_them(api, user, made):
    assert api(user).post("/api/v1/networks/", CLASS | {"name": "other"}, format="json").status_code == 403
    assert api(user).delete("/api/v1/networks/class-7/").status_code == 403


def test_an_instance_is_put_into_it_and_keeps_it_from_going(api, admin, user, world, made):
    world.image(admin)
    ran = api(user).post("/api/v1/instances/", {"image": "tiny", "networks": ["class-7", "default"]}, format="json")
    assert ran.status_code == 202, ran.json()
    row = Instance.objects.get()
    assert [card.network_id for card in row.cards.all()] == [made["id"], None]
    assert api(user).get("/api/v1/networks/class-7/").json()["instances"] == 1
    refused = api(admin).delete("/api/v1/networks/class-7/")
    assert (refused.status_code, refused.json()["code"]) == (409, "state")
    assert row.name in refused.json()["why"]
    Instance.objects.update(state="deleted")
    assert api(admin).delete("/api/v1/networks/class-7/").status_code == 204
    assert api(user).get("/api/v1/networks/").json()["results"] == []
    gone = api(user).post("/api/v1/instances/", {"image": "tiny", "networks": [made["id"]]}, format="json")
    assert gone.status_code == 404


def test_its_ipv6_side_is_shown_and_said(api, admin, cluster):
    made = api(admin).post("/api/v1/networks/", CLASS | {"subnet6": "FD00:0040:0:0::/64"}, format="json").json()
    assert made["subnet6"] == "fd00:40::/64", "as it is written everywhere (RFC 5952)"
    (said,) = json.loads(json.loads(Outbox.objects.get(to=cluster.pk).order)["body"])["networks"]
    assert said["subnet6"] == "fd00:40::/64"
    assert api(admin).get(f"/api/v1/networks/{cluster.pk}/").json()["subnet6"] == "fd00:231::/64"


@pytest.mark.parametrize(("first", "second", "status"), [
    ({"subnet6": "fd00:40::/64"}, {}, 201),
    ({"subnet6": "2001:db8:40::/64"}, {}, 409),
    ({"subnet6": "2001:db8:40::/64", "mode": "campus"}, {"mode": "campus", "ranges": ["10.40.0.1-10.40.0.9"]}, 201),
    ({"subnet6": "2001:db8:40::/64", "mode": "campus"}, {"subnet": "10.41.0.0/24"}, 409),
])
def test_a_global_one_is_one_clusters_and_a_local_one_each_ones_own(api, admin, world, cluster, first, second, status):
    other = next(h for h in world.cluster() if h.role == "cc" and h.pk != cluster.pk)
    Host.objects.filter(pk=other.pk).update(speaks=ROLE.speaks)
    given = CLASS | {"ranges": ["10.40.0.100-10.40.0.109"], "cluster": cluster.pk} | first
    assert api(admin).post("/api/v1/networks/", given, format="json").status_code == 201
    again = given | {"name": "class-8", "cluster": other.pk} | ({"ranges": []} if "subnet" in second else {}) | second
    again["mode"] = second.get("mode", "closed")
    assert api(admin).post("/api/v1/networks/", again, format="json").status_code == status


def test_in_one_cluster_each_has_its_own(api, admin, made):
    given = CLASS | {"name": "class-8", "subnet": "10.41.0.0/24", "ranges": [], "subnet6": "fd00:41::/64"}
    assert api(admin).post("/api/v1/networks/", given, format="json").status_code == 201
    again = api(admin).post("/api/v1/networks/", given | {"name": "class-9", "subnet": "10.42.0.0/24"}, format="json")
    assert (again.status_code, again.json()["field"]) == (409, "subnet6")
    assert "class-8" in again.json()["why"]
