"""Lists: pages without gaps or doubles, also while rows come and go, filters, and few queries."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from luhyadb.models import Instance


@pytest.fixture
def many(world, admin, user):
    world.cluster()
    image = world.image(admin)
    rows = [world.instance(user, image, f"m{n}") for n in range(7)]
    # all in the same moment: only the id tells them apart
    Instance.objects.update(created_at=1_800_000_000.123456)
    return rows


def walk(client, path):
    pages, seen = 0, []
    while path:
        answer = client.get(path).json()
        seen += [i["id"] for i in answer["results"]]
        path, pages = answer["next"], pages + 1
        assert pages < 20
    return seen, pages


def test_pages_hold_everything_once(many, user, api):
    seen, pages = walk(api(user), "/api/v1/instances/?limit=2")
    assert (sorted(seen), pages) == (sorted(i.pk for i in many), 4)
    assert len(set(seen)) == len(seen)


def test_newest_come_first_and_a_new_one_disturbs_nobody(many, world, user, api):
    client = api(user)
    for n, row in enumerate(many):
        Instance.objects.filter(pk=row.pk).update(created_at=1000.5 + n)
    first = client.get("/api/v1/instances/?limit=3").json()
    assert [i["name"] for i in first["results"]] == ["m6", "m5", "m4"]
    world.instance(user, many[0].image.image, "late")
    seen, _ = walk(client, first["next"])
    assert seen == [many[n].pk for n in (3, 2, 1, 0)]


def test_filters_narrow_and_stay_on_the_next_page(many, user, api):
    client = api(user)
    for row in many[:5]:
        Instance.objects.filter(pk=row.pk).update(state="running")
    seen, pages = walk(client, "/api/v1/instances/?state=running&limit=2")
    assert (set(seen), pages) == ({r.pk for r in many[:5]}, 3)
    assert [i["name"] for i in client.get("/api/v1/instances/?name=m3,m4").json()["results"]] != []
    assert client.get("/api/v1/instances/?image=none").json()["results"] == []


def test_deleted_instances_are_listed_only_when_asked_for(many, user, api):
    client = api(user)
    Instance.objects.filter(pk=many[0].pk).update(state="deleted", live_name=None)
    assert len(client.get("/api/v1/instances/").json()["results"]) == 6
    assert [i["id"] for i in client.get("/api/v1/instances/?state=deleted").json()["results"]] == [many[0].pk]
    assert client.get(f"/api/v1/instances/{many[0].pk}/").json()["state"] == "deleted"


@pytest.mark.parametrize("noun", ["instances", "tasks", "hosts", "images", "users"])
def test_a_longer_list_needs_no_more_queries(many, world, admin, api, noun):
    client = api(admin)

    def queries(limit):
        with CaptureQueriesContext(connection) as caught:
            assert client.get(f"/api/v1/{noun}/?limit={limit}").status_code == 200
        return len(caught)

    for n in range(4):
        world.host("nc", f"more{n}")
        world.image(admin, f"more{n}", versions=2)
        world.account(f"more{n}")
    queries(1)
    assert queries(100) == queries(4) <= 9
