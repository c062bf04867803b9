"""The API of instances: what may be asked, what is answered."""

import pytest

from luhyadb.models import Instance, ScreenTicket


@pytest.fixture
def ready(world, admin):
    world.cluster()
    return world.image(admin)


def test_without_a_wish_the_memory_is_what_the_image_recommends_and_shows(world, admin, user, api):
    world.cluster()
    world.image(admin)
    version = world.image(admin, "disk").versions.get()
    version.blobs = [{"part": "disk", "sha256": "0" * 64, "index": "0" * 64, "size": 1, "format": "qcow2", "virtual_size": 1}]
    version.save()
    for image, mib in (("tiny", 128), ("disk", 512)):
        made = api(user).post("/api/v1/instances/", {"image": image}, format="json").json()["results"][0]
        assert made["memory_bytes"] == api(user).get(f"/api/v1/images/{image}/").json()["memory_bytes"] == mib * 2**20


def test_run_answers_with_the_instance_and_the_place_of_its_task(ready, user, api):
    answer = api(user).post("/api/v1/instances/", {"image": "tiny", "name": "one", "memory_bytes": 128 * 2**20}, format="json")
    assert answer.status_code == 202, answer.data
    (made,) = answer.json()["results"]
    assert answer["Location"] == f"/api/v1/tasks/{made['task']}/"
    assert made["state"] == "queued"
    assert made["error"] is None
    assert made["memory_bytes"] == 128 * 2**20
    assert made["display"]["url"] == f"/instances/{made['id']}/screen/"


@pytest.mark.parametrize(("asked", "field"), [
    ({"persistence": "sometimes"}, "persistence"), ({"data_disk_bytes": 1}, "data_disk_bytes"), ({"data_disk_bytes": 2**60}, "data_disk_bytes"),
    ({"data_disk_bytes": 2**43}, "data_disk_bytes"),
])
def test_kinds_of_disks_that_cannot_be(ready, user, api, asked, field):
    answer = api(user).post("/api/v1/instances/", {"image": "tiny", **asked}, format="json")
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize("port", [0, 65536, -1, "22", 22.0, True, None])
def test_ports_that_cannot_be_reached(ready, user, api, port):
    made = api(user).post("/api/v1/instances/", {"image": "tiny", "name": "one"}, format="json").json()["results"][0]
    answer = api(user).post(f"/api/v1/instances/{made['id']}/tunnel/", {"port": port}, format="json")
    assert (answer.status_code, answer.json()["field"]) == (422, "port")
    assert ScreenTicket.objects.count() == 0


def test_a_ticket_for_a_port_is_like_one_for_a_screen(ready, user, api):
    made = api(user).post("/api/v1/instances/", {"image": "tiny", "name": "one"}, format="json").json()["results"][0]
    Instance.objects.update(state="running", node="nc-00000001", cluster="cc-00000001")
    for word, body in (("tunnel", {"port": 22}), ("serial", {}), ("screen", {})):
        answer = api(user).post(f"/api/v1/instances/{made['id']}/{word}/", body, format="json")
        assert answer.status_code == 201, answer.data
        assert answer.json()["url"] == f"/live/{word}/{answer.json()['ticket']}"
    assert sorted(ScreenTicket.objects.values_list("channel", flat=True)) == ["screen", "serial", "tunnel"]
