"""The API of instances: what may be asked, what is answered."""

import pytest


@pytest.fixture
def ready(world, admin):
    world.cluster()
    return world.image(admin)


def test_run_answers_with_the_instance_and_the_place_of_its_task(ready, user, api):
    answer = api(user).post("/api/v1/instances/", {"image": "tiny", "name": "one", "memory_bytes": 128 * 2**20}, format="json")
    assert answer.status_code == 202, answer.data
    (made,) = answer.json()["results"]
    assert answer["Location"] == f"/api/v1/tasks/{made['task']}/"
    assert made["state"] == "starting"
    assert made["error"] is None
    assert made["memory_bytes"] == 128 * 2**20
    assert made["display"]["url"] == f"/instances/{made['id']}/screen/"
