"""An image built outside the cloud is a task: seen by who waits for it, cancelled, lost when its builder is silent."""

import pytest

from clc.services import builds, tasks
from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyadb.models import Task

BASE = "/api/v1/builds/"


@pytest.fixture
def time():
    mine = ManualClock(clock.now())
    before = clock.use(mine)
    yield mine
    clock.use(before)


@pytest.fixture
def client(world, admin, api):
    world.cluster()
    return api(admin)


def begin(client, name="debian"):
    answer = client.post(BASE, {"name": name}, format="json")
    assert answer.status_code == 202, answer.content
    return answer.json()["id"]


def tell(client, build, phase="packages", percent=40):
    answer = client.put(f"{BASE}{build}/", {"phase": phase, "percent": percent}, format="json")
    assert answer.status_code == 200, answer.content
    return answer.json()


def run(client, image="debian"):
    return client.post("/api/v1/instances/", {"image": image}, format="json")


def test_who_runs_an_image_that_is_being_built_is_told_to_wait(client):
    build = begin(client)
    told = tell(client, build)
    assert (told["kind"], told["state"], told["phase"], told["progress"]) == ("image/build", "running", "packages", 40)
    answer = run(client)
    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["why"]) == ("state", "40 %: packages")
    assert client.post(f"{BASE}{build}/end/", {}, format="json").json()["state"] == "done"
    assert run(client).json()["code"] == "not_found", "it is not there, and nobody makes it"
    assert run(client, "other").json()["code"] == "not_found"


def test_a_build_that_fails_says_why_and_its_end_is_said_once(client):
    build = begin(client)
    ended = client.post(f"{BASE}{build}/end/", {"what": "mke2fs ended with 1", "why": "no space"}, format="json").json()
    assert (ended["state"], ended["error"]["what"], ended["error"]["why"]) == ("failed", "mke2fs ended with 1", "no space")
    assert client.post(f"{BASE}{build}/end/", {}, format="json").json()["state"] == "failed"
    assert tell(client, build)["state"] == "failed", "news that come late change nothing"


def test_a_cancelled_build_hears_it_with_its_next_news(client):
    build = begin(client)
    client.post(f"/api/v1/tasks/{build}/cancel/", {}, format="json")
    assert tell(client, build)["state"] == "cancelling"
    assert client.post(f"{BASE}{build}/end/", {"what": "Stopped"}, format="json").json()["state"] == "cancelled"


def test_a_silent_builder_is_lost_and_found_again(client, time):
    build = begin(client)
    time.sleep(builds.SILENT_S / 2)
    tell(client, build)
    time.sleep(builds.SILENT_S - 1)
    assert tasks.lose_overdue() == 0, "every word of it counts"
    time.sleep(2)
    assert tasks.lose_overdue() == 1
    assert run(client).json()["code"] == "not_found"
    assert tell(client, build)["state"] == "running"


def test_only_administrators_build_and_only_under_possible_names(client, user, api):
    assert client.post(BASE, {"name": "../x"}, format="json").json()["field"] == "name"
    assert api(user).post(BASE, {"name": "mine"}, format="json").status_code == 403
    build = begin(client)
    assert api(user).put(f"{BASE}{build}/", {"phase": "x", "percent": 1}, format="json").status_code == 403
    other = Task.objects.create(id="tsk-0000000f", kind="instance/run", deadline=clock.now() + 60, created_at=clock.now())
    assert client.put(f"{BASE}{other.pk}/", {"phase": "x", "percent": 1}, format="json").status_code == 404
