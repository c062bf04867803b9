"""The API of workspaces and of versions: who may ask what, what is answered."""

import pytest

from luhyadb.models import Image, ImageVersion, Instance, Workspace


@pytest.fixture
def ready(world, admin):
    world.cluster()
    image = world.image(admin, "disk", versions=2)
    for version in image.versions.all():
        version.blobs = [{"part": "disk", "sha256": f"{version.version}" * 64, "index": "0" * 64, "size": 1, "format": "raw", "virtual_size": 1}]
        version.save()
    return image


@pytest.fixture
def begun(ready, admin, api):
    answer = api(admin).post("/api/v1/workspaces/", {"image": "disk"}, format="json")
    assert answer.status_code == 202, answer.data
    return answer.json()


def reach(state, instance="stopped"):
    Workspace.objects.update(state=state)
    Instance.objects.update(state=instance, node="nc-00000001", cluster=Instance.objects.first().cluster)


def test_begin_shows_what_it_is(begun, admin, api):
    assert begun["id"].startswith("wks-")
    assert (begun["state"], begun["image"], begun["is_new"], begun["version"]) == ("preparing", "disk", False, None)
    assert begun["base"] == {"image": "disk", "version": 2}
    assert begun["task"]["kind"] == "workspace/prepare"
    assert begun["instance"]["wanted"] == "stopped"
    assert [w["id"] for w in api(admin).get("/api/v1/workspaces/").json()["results"]] == [begun["id"]]
    assert api(admin).get("/api/v1/workspaces/?state=editing").json()["results"] == []
    assert api(admin).get(f"/api/v1/workspaces/{begun['id']}/").json()["id"] == begun["id"]


def test_only_administrators_begin_and_nobody_sees_others(begun, user, api):
    assert api(user).post("/api/v1/workspaces/", {"image": "disk"}, format="json").status_code == 403
    assert api(user).get("/api/v1/workspaces/").json()["results"] == []
    for verb in ("", "start/", "stop/", "submit/"):
        where = f"/api/v1/workspaces/{begun['id']}/{verb}"
        assert (api(user).post(where) if verb else api(user).get(where)).status_code == 404
    assert api(user).delete(f"/api/v1/workspaces/{begun['id']}/").status_code == 404


@pytest.mark.parametrize(("sent", "field"), [
    ({"image": "nope"}, ""), ({"image": "disk", "name": "no name"}, "name"), ({"image": "disk", "cpus": 0}, "cpus"), ({"image": "disk:7"}, ""),
    ({"image": "disk", "memory_bytes": 5}, "memory_bytes"), ({}, "image"), ({"image": "disk", "name": "disk"}, "name"),
])
def test_what_cannot_be_begun(ready, admin, api, sent, field):
    answer = api(admin).post("/api/v1/workspaces/", sent, format="json")
    assert answer.status_code in (400, 404, 409, 422), answer.data
    assert answer.json()["code"]
    assert not field or answer.json().get("field") == field
    assert Workspace.objects.count() == Instance.objects.count() == 0


@pytest.mark.parametrize("verb", ["start", "stop", "submit"])
def test_nothing_is_done_while_it_is_prepared(begun, admin, api, verb):
    answer = api(admin).post(f"/api/v1/workspaces/{begun['id']}/{verb}/", {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "state")
    assert "preparing" in answer.json()["why"]


def test_run_stop_submit_answer_with_their_tasks(begun, admin, api):
    where = f"/api/v1/workspaces/{begun['id']}"
    reach("editing")
    started = api(admin).post(f"{where}/start/", {}, format="json")
    assert started["Location"] == f"/api/v1/tasks/{started.json()['instance']['task']}/"
    reach("editing", "running")
    assert api(admin).post(f"{where}/stop/", {"grace_s": 5}, format="json").status_code == 202
    reach("editing")
    sent = api(admin).post(f"{where}/submit/", {"note": "new"}, format="json")
    assert (sent.status_code, sent.json()["state"], sent.json()["note"]) == (202, "submitting", "new")
    assert sent["Location"] == f"/api/v1/tasks/{sent.json()['task']['id']}/"


def test_a_submit_behind_another_is_told_and_may_go_on(begun, ready, admin, api):
    reach("editing")
    ImageVersion.objects.create(image=ready, version=3, state="published", blobs=ready.versions.first().blobs, created_at=1)
    where = f"/api/v1/workspaces/{begun['id']}/submit/"
    answer = api(admin).post(where, {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "version 2" in answer.json()["why"]
    assert api(admin).post(where, {"anyway": True}, format="json").status_code == 202


def test_abandon(begun, admin, api):
    answer = api(admin).delete(f"/api/v1/workspaces/{begun['id']}/")
    assert (answer.status_code, answer.json()["state"]) == (202, "abandoned")
    task = answer.json()["instance"]["task"]
    assert answer["Location"] == f"/api/v1/tasks/{task}/"
    assert api(admin).get(answer["Location"]).json()["kind"] == "instance/delete", "neither the task that prepared it nor the one that last ran it"
    assert api(admin).delete(f"/api/v1/workspaces/{begun['id']}/").status_code == 409


def test_go_back_and_retire(ready, admin, user, api):
    assert api(user).post("/api/v1/images/disk/versions/1/rollback/").status_code == 403
    assert api(user).delete("/api/v1/images/disk/versions/1/").status_code == 403
    image = api(admin).post("/api/v1/images/disk/versions/1/rollback/", {}, format="json").json()
    assert [(v["version"], v["parent"], v["note"]) for v in image["versions"]][-1] == (3, "disk:1", "version 1 again")
    assert api(admin).post("/api/v1/images/disk/versions/9/rollback/", {}, format="json").status_code == 404
    assert api(admin).delete("/api/v1/images/disk/versions/2/").status_code == 204
    assert Image.objects.get().versions.get(version=2).state == "retired"


def test_a_list_asks_a_bounded_number_of_questions(ready, admin, api, django_assert_max_num_queries):
    for n in range(4):
        assert api(admin).post("/api/v1/workspaces/", {"image": "disk", "name": f"new-{n}"}, format="json").status_code == 202
    client = api(admin)
    with django_assert_max_num_queries(22):
        assert len(client.get("/api/v1/workspaces/").json()["results"]) == 4
