"""At most so much: of a group with all below it, and of one person."""

from __future__ import annotations

import pytest

from clc.services import images, quotas
from luhyaapi.contracts.vocabulary import Counted
from luhyaapi.errors import Refused
from luhyadb.models import Instance, Quota

API = "/api/v1/"


@pytest.fixture
def school(world, admin):
    """A school with two classes, a head, a teacher and two pupils; an image for all."""
    world.cluster()
    world.image(admin)
    for path in ("edu.a.one", "edu.a.two"):
        world.group(path)
    return {
        name: world.account(name, role, group) for name, role, group in (
            ("head", "powerAdm", "edu.a"), ("tina", "powerAdm", "edu.a.one"), ("paul", "user", "edu.a.one"), ("pia", "user", "edu.a.two"))
    }


def run(client, count=1, **more):
    return client.post(f"{API}instances/", {"image": "tiny", "count": count, **more}, format="json")


def put(client, counted, limit, **whose):
    return client.put(f"{API}quotas/", {"counted": counted, "limit": limit, **whose}, format="json")


def test_a_limit_of_a_group_counts_all_below_it_and_says_what_would_fit(api, admin, school):
    set_ = put(api(admin), "instances", 3, group="edu.a")
    assert (set_.status_code, set_.json()["left"]) == (200, 3)
    assert run(api(school["paul"]), 2).status_code == 202
    refused = run(api(school["pia"]), 2)
    assert (refused.status_code, refused.json()["code"]) == (403, "quota")
    assert refused.json()["what"] == "The limit of edu.a is reached"
    assert refused.json()["why"] == "Machines: 2 of 3 are used, 2 more are asked for, 1 would fit; root set it"
    assert Instance.objects.count() == 2, "all or none"
    assert run(api(school["pia"])).status_code == 202
    (shown,) = api(school["pia"]).get(f"{API}quotas/").json()["results"]
    assert (shown["group"], shown["counted"], shown["used"], shown["left"]) == ("edu.a", "instances", 3, 0)
    Instance.objects.filter(owner=school["paul"]).update(state="deleted")
    assert run(api(school["paul"])).status_code == 202


@pytest.mark.parametrize(("counted", "asked"), [
    ("cpus", {"cpus": 3}), ("memory_mib", {"memory_bytes": 300 * 2**20}), ("disk_mib", {"data_disk_bytes": 300 * 2**20}),
])
def test_sizes_are_counted_too(api, admin, school, counted, asked):
    put(api(admin), counted, 2 if counted == "cpus" else 256, user="paul")
    assert run(api(school["paul"]), **asked).json()["code"] == "quota"
    assert run(api(school["pia"]), **asked).status_code == 202, "it is paul's alone"


def test_the_narrowest_limit_binds(api, admin, school):
    put(api(admin), "instances", 10, group="edu.a")
    put(api(school["head"]), "instances", 1, group="edu.a.one")
    assert run(api(school["paul"])).status_code == 202
    assert run(api(school["paul"])).json()["what"] == "The limit of edu.a.one is reached"
    assert run(api(school["pia"])).status_code == 202


def test_images_and_public_addresses_are_counted(admin, school):
    quotas.put(admin, "images", 1, group="edu.a")
    images.next_version(school["head"], images.Ask("one"))
    with pytest.raises(Refused, match=r"limit of edu\.a is reached"):
        images.next_version(school["tina"], images.Ask("two"))
    quotas.put(admin, "addresses", 0, user="paul")
    with pytest.raises(Refused, match="limit of paul is reached"):
        quotas.check(school["paul"], school["paul"].group_id, {Counted.ADDRESSES: 1})


def test_nobody_sets_their_own(api, admin, school):
    tina = api(school["tina"])
    assert put(tina, "instances", 99, group="edu.a.one").status_code == 403
    assert put(tina, "instances", 99, group="edu.a").status_code == 403
    assert put(tina, "instances", 99, group="edu.a.two").status_code == 404
    assert put(tina, "instances", 99, user="tina").status_code == 403
    assert put(tina, "instances", 5, user="paul").json()["set_by"] == "tina"
    assert put(api(school["paul"]), "instances", 5, user="paul").status_code == 403
    assert put(api(school["head"]), "instances", 5, group="edu.a.one").status_code == 200
    assert put(api(school["head"]), "instances", 5, group="edu.a").status_code == 403
    assert put(api(admin), "instances", 5, group="everybody").status_code == 200


@pytest.mark.parametrize("body", [
    {"counted": "ships", "limit": 1, "group": "edu.a"}, {"counted": "cpus", "limit": -1, "group": "edu.a"}, {"counted": "cpus", "limit": 1},
    {"counted": "cpus", "limit": 1, "group": "edu.a", "user": "paul"}, {"counted": "cpus", "limit": 2**60, "group": "edu.a"},
    {"counted": "cpus", "limit": "many", "group": "edu.a"},
])
def test_what_cannot_be_is_refused(api, admin, school, body):
    assert api(admin).put(f"{API}quotas/", body, format="json").status_code == 422
    assert not Quota.objects.exists()


def test_a_limit_is_lifted_and_below_what_is_used_takes_nothing(api, admin, school):
    run(api(school["paul"]), 2)
    assert put(api(admin), "instances", 1, group="edu.a").json()["left"] == 0
    assert Instance.objects.exclude(state="deleted").count() == 2
    assert put(api(admin), "instances", None, group="edu.a").json()["limit"] is None
    assert run(api(school["paul"])).status_code == 202
    assert [each["limit"] for each in api(admin).get(f"{API}quotas/?group=edu.a").json()["results"]] == []
    assert api(admin).get(f"{API}quotas/?ship=a").status_code == 422


def test_a_moved_group_takes_its_use_along(api, admin, school):
    run(api(school["paul"]), 2)
    put(api(admin), "instances", 2, group="edu")
    api(admin).patch(f"{API}groups/edu.a.one/", {"path": "one"}, format="json")
    (shown,) = api(admin).get(f"{API}quotas/?group=edu").json()["results"]
    assert shown["used"] == 0
