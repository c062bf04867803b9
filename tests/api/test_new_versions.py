"""A name that is taken gives no new version by itself; a deleted image gives its name back; an upload can be given up."""

import importlib

import pytest
from django.apps import apps
from django.db import connection

from clc.services import images, remains
from clc.web.api import store
from luhyaapi.errors import Refused, Unavailable
from luhyadb.models import Image, ImageVersion, Task, Upload
from tests.api.test_uploads import BASE, KERNEL, begin, complete, publish, put
from tests.support import store_door


@pytest.fixture
def library(world, tmp_path, monkeypatch):
    """A store that answers on the way the API takes to it."""
    world.cluster()
    way, kept = store_door.behind_api(tmp_path)
    monkeypatch.setattr(store, "transport", [lambda: way])
    return kept


@pytest.fixture
def client(admin, api):
    return api(admin)


def whole(library, client, **more):
    """An upload that goes all the way; the image afterwards."""
    upload = begin(client, **more).json()["id"]
    put(client, upload, KERNEL, 0)
    publish(library, upload, Task.objects.get(pk=complete(client, upload).json()["id"]))
    return client.get("/api/v1/images/new/").json()


def test_a_name_that_is_taken_wants_an_explicit_wish(library, client):
    whole(library, client)
    answer = begin(client)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "exists", "name")
    assert "new_version" in answer.json()["hint"]
    assert "--new-version" in answer.json()["hint"]
    assert (Upload.objects.count(), ImageVersion.objects.count()) == (0, 1)
    assert [v["version"] for v in whole(library, client, new_version=True)["versions"]] == [1, 2]


def test_an_import_wants_it_too(library, client):
    whole(library, client)
    sent = {"name": "new", "url": "https://example.org/x.qcow2"}
    assert client.post("/api/v1/images/import/", sent, format="json").json()["code"] == "exists"
    assert client.post("/api/v1/images/import/", sent | {"new_version": True}, format="json").status_code == 202
    assert ImageVersion.objects.count() == 2


def test_a_half_done_upload_has_the_name_too(library, client):
    first = begin(client).json()["id"]
    assert begin(client).json()["why"] == "an upload of it is under way"
    assert client.get(f"{BASE}{first}/").status_code == 200


def test_a_wish_for_a_version_of_nothing_is_refused(library, client):
    answer = begin(client, new_version=True)
    assert (answer.status_code, answer.json()["field"]) == (404, "name")
    assert Image.objects.count() == 0


def test_a_new_version_keeps_what_is_not_said(library, client, world):
    world.group("edu")
    whole(library, client, usage="desktop", description="of the lab", os_type="linux", cmdline="quiet", disk_bus="sata", owner_group="edu")
    image = whole(library, client, new_version=True, vif_model="e1000")
    first, second = image["versions"]
    assert (image["usage"], image["description"], image["os_type"], image["owner_group"]) == ("desktop", "of the lab", "linux", "edu")
    assert (second["cmdline"], second["hardware"]) == ("quiet", first["hardware"] | {"vif_model": "e1000"})
    assert whole(library, client, new_version=True, usage="desktop", cmdline="ro")["versions"][2]["cmdline"] == "ro"


@pytest.mark.parametrize("given", [{"usage": "desktop"}, {"description": "else"}, {"os_type": "windows"}, {"owner_group": "edu"}, {"architecture": "i686"}])
def test_a_new_version_changes_nothing_of_its_image(library, client, given):
    before = whole(library, client)
    answer = begin(client, new_version=True, **given)
    assert (answer.status_code, answer.json()["field"]) == (422, *given)
    assert client.get("/api/v1/images/new/").json() == before


def test_a_deleted_image_is_not_revived(library, client, admin):
    old = whole(library, client, description="old", disk_bus="sata")
    client.delete("/api/v1/images/new/")
    assert client.get("/api/v1/images/new/").status_code == 404
    assert begin(client, new_version=True).json()["code"] == "not_found"
    image = whole(library, client)
    assert (image["id"] != old["id"], [v["version"] for v in image["versions"]], image["description"]) == (True, [1], "")
    assert image["versions"][0]["hardware"] != old["versions"][0]["hardware"]
    client.delete("/api/v1/images/new/")
    assert whole(library, client)["id"] not in (image["id"], old["id"])
    with pytest.raises(Refused, match="deleted"):
        images.resolve(admin, old["id"])
    assert images.like(Image.objects.get(pk=image["id"]), "new", admin, "").pk not in (image["id"], old["id"])


def test_a_version_that_comes_after_its_image_was_deleted_goes_too(library, client):
    upload = begin(client).json()["id"]
    put(client, upload, KERNEL, 0)
    task = Task.objects.get(pk=complete(client, upload).json()["id"])
    client.delete("/api/v1/images/new/")
    publish(library, upload, task)
    assert ImageVersion.objects.get().state == "retired"
    assert remains.forget_again("none", []) == 0


def abandon(client, upload):
    return client.delete(f"{BASE}{upload}/")


def test_an_upload_given_up_leaves_nothing(library, client):
    upload = begin(client).json()["id"]
    put(client, upload, KERNEL[:100_000], 0)
    assert abandon(client, upload).status_code == 204
    assert (Upload.objects.count(), ImageVersion.objects.count(), Image.objects.count()) == (0, 0, 0)
    with pytest.raises(Refused, match="no such upload"):
        library.received(upload)
    assert abandon(client, upload).status_code == 204
    assert begin(client).status_code == 201


def test_an_upload_of_a_next_version_leaves_the_others(library, client):
    before = whole(library, client)
    assert abandon(client, begin(client, new_version=True).json()["id"]).status_code == 204
    assert client.get("/api/v1/images/new/").json() == before


def test_a_complete_upload_is_given_up_by_its_task(library, client):
    upload = begin(client).json()["id"]
    put(client, upload, KERNEL, 0)
    task = complete(client, upload).json()["id"]
    for _ in range(2):
        answer = abandon(client, upload)
        assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (202, task, "cancelling")
        assert answer["Location"] == f"/api/v1/tasks/{task}/"
    assert library.received(upload) == {"kernel": len(KERNEL)}


def test_a_store_that_is_away_keeps_the_upload(library, client, monkeypatch):
    upload = begin(client).json()["id"]

    def away(*_):
        raise Unavailable("host_silent", "The image store does not answer now")

    monkeypatch.setattr(store, "abandon", away)
    assert abandon(client, upload).json()["code"] == "host_silent"
    assert client.get(f"{BASE}{upload}/").status_code == 200


def test_only_its_owner_and_administrators_give_it_up(library, client, user, api):
    upload = begin(client).json()["id"]
    assert abandon(api(user), upload).status_code == 404
    assert abandon(api(user), "none").status_code == 404
    Upload.objects.update(account=user)
    assert abandon(api(user), upload).status_code == 204
    assert Image.objects.count() == 0


def test_images_of_before_keep_their_names(world, admin):
    world.image(admin, "here")
    gone = world.image(admin, "gone")
    Image.objects.filter(pk=gone.pk).update(retired=True)
    Image.objects.update(live_name=None)
    importlib.import_module("luhyadb.migrations.0003_names_of_retired_images").keep(apps, connection.schema_editor())
    assert dict(Image.objects.values_list("name", "live_name")) == {"here": "here", "gone": None}
