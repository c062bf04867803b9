"""Networks by API: made by administrators, used by everybody."""

import json

import pytest

from cc.role import ROLE
from luhyadb.models import Host, Instance, Outbox

CLASS = {"name": "class-7", "subnet": "10.40.0.0/24", "mode": "closed", "ranges": ["10.40.0.100-10.40.0.199"]}


@pytest.fixture
def cluster(world):
    found = next(h for h in world.cluster() if h.role == "cc")
    Host.objects.filter(pk=found.pk).update(speaks=ROLE.speaks, subnet="10.231.0.0/24")
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
    ({"ranges": ["10.50.0.1"]}, 422, "ranges"), ({"cluster": "elsewhere"}, 404, "cluster"), ({"number": 7}, 422, "number"),
])
def test_a_bad_one_is_refused_and_the_field_named(api, admin, cluster, over, status, field):
    answer = api(admin).post("/api/v1/networks/", CLASS | over, format="json")
    assert (answer.status_code, answer.json().get("field")) == (status, field)
    assert not Outbox.objects.exists()


@pytest.mark.parametrize("mode", ["cluster", "closed", "node"])
def test_the_lan_of_a_host_is_no_network_of_guests(api, admin, cluster, mode):
    Host.objects.filter(pk=cluster.pk).update(address="https://10.40.0.7:8603")
    answer = api(admin).post("/api/v1/networks/", CLASS | {"mode": mode}, format="json").json()
    assert (answer["code"], answer["field"]) == ("conflict", "subnet")
    assert "10.40.0.7" in answer["why"]
    assert "Idempotency" not in answer["hint"]


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
