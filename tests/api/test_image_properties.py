"""What an administrator says of an image: checked, kept by the next version, and what a guest of it is made with."""

import pytest

from clc.services import image_properties, images, instances
from luhyaapi.command.send import Order
from luhyaapi.contracts.commands import InstanceRun
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.specs import Hardware
from luhyaapi.contracts.vocabulary import DiskBus
from luhyaapi.errors import Refused
from luhyadb.models import Image, ImageVersion, Outbox, Task

BASE = "/api/v1/images/"
XP = {"disk_bus": "ide", "vif_model": "rtl8139", "video_model": "cirrus"}


@pytest.fixture
def client(world, admin, api):
    world.cluster()
    return api(admin)


def change(client, image, **given):
    return client.patch(f"{BASE}{image}/", given, format="json")


def ordered():
    return [InstanceRun.model_validate_json(Order.model_validate_json(row.order).body) for row in Outbox.objects.all() if "instance/run" in row.order]


def publish(version):
    task = Task.objects.get(pk=version.task)
    images.ended(task, Outcome(command=task.command, task=task.pk))
    version.refresh_from_db()


def test_a_windows_of_old_travels_in_the_order_of_a_run(world, client, admin):
    image = world.image(admin, "xp")
    world.group("edu.school.class-7")
    answer = change(client, "xp", os_type="windows", os_distro="winxp", architecture="i686", owner_group="edu.school.class-7", **XP)
    assert answer.status_code == 200, answer.content
    said = answer.json()
    assert (said["architecture"], said["owner_group"], said["os_distro"]) == ("i686", "edu.school.class-7", "winxp")
    assert said["versions"][0]["hardware"] == Hardware(**XP).model_dump(mode="json")
    instances.run(admin, instances.Ask(image=image.name))
    assert [order.image.hardware for order in ordered()] == [Hardware(**XP)]


def test_only_what_is_named_changes_and_only_of_that_version(world, client, admin):
    image = world.image(admin, "xp", versions=2)
    change(client, "xp", description="of the lab", disk_bus="ide")
    assert change(client, "xp:1", disk_bus="sata").status_code == 200
    change(client, "xp", vif_model="e1000", description="")
    kept = [row.hardware.get("disk_bus") for row in image.versions.order_by("version")]
    assert kept == ["sata", "ide"]
    assert client.get(f"{BASE}xp/").json()["description"] == ""
    answer = change(client, "xp:1", owner_group="edu")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.content


@pytest.mark.parametrize(("given", "field"), [
    ({"disk_bus": "floppy"}, "disk_bus"), ({"firmware_type": "uefi"}, "firmware_type"), ({"disk_bus": "ide", "machine_type": "q35"}, "disk_bus"),
    ({"architecture": "arm"}, "architecture"), ({"architecture": ""}, "architecture"), ({"owner_group": "edu.sch ool"}, "owner_group"),
    ({"owner_group": "edu..school"}, "owner_group"), ({"owner_group": "edu.-x"}, "owner_group"), ({"owner_group": ".".join(["a" * 60] * 12)}, "owner_group"),
    ({"owner_group": "edu.sch_\u0430"}, "owner_group"), ({"os_type": "win\u202edows"}, "os_type"), ({"os_distro": "<b>"}, "os_distro"),
])
def test_what_cannot_be_is_refused_and_changes_nothing(world, client, admin, given, field):
    world.image(admin, "xp")
    before = client.get(f"{BASE}xp/").json()
    answer = change(client, "xp", **given)
    assert answer.status_code == 422, answer.content
    assert answer.json()["field"] == field
    assert client.get(f"{BASE}xp/").json() == before


def test_only_administrators_change_an_image(world, client, admin, user, api):
    world.image(admin, "xp")
    assert change(api(user), "xp", owner_group="edu").status_code == 403


def test_an_upload_says_it_and_the_next_version_keeps_it(world, admin):
    world.cluster()
    world.group("edu.school")
    ask = images.Ask("xp", os_type="Windows", more={**XP, "owner_group": "edu.school", "os_distro": ""})
    first = images.next_version(admin, ask)
    assert first.hardware == Hardware(**XP, clock="localtime", pointer_model="usbtablet").model_dump(mode="json")
    again = images.next_version(admin, images.Ask("xp", new_version=True, more={"disk_bus": "sata"}))
    assert again.hardware == {**first.hardware, "disk_bus": "sata"}
    assert Image.objects.get().group.path == "edu.school"
    with pytest.raises(Refused):
        images.next_version(admin, images.Ask("xp", new_version=True, more={"machine_type": "q35", "disk_bus": "ide"}))
    assert ImageVersion.objects.count() == 2


def test_an_import_takes_them_too(client):
    sent = {"name": "xp", "url": "https://example.org/xp.vmdk", "disk_bus": "ide", "architecture": "i686"}
    assert client.post(f"{BASE}import/", sent, format="json").status_code == 202
    assert ImageVersion.objects.get().hardware["disk_bus"] == DiskBus.IDE
    assert str(Image.objects.get().architecture) == "i686"
    refused = client.post(f"{BASE}import/", sent | {"name": "new", "vif_model": "ne2000"}, format="json")
    assert (refused.status_code, refused.json()["field"]) == (422, "vif_model")


def test_what_is_made_from_it_and_a_roll_back_are_as_it_was(world, client, admin):
    image = world.image(admin, "xp", versions=2)
    change(client, "xp:1", disk_bus="ide")
    world.group("edu.school")
    change(client, "xp", architecture="i686", owner_group="edu.school")
    assert images.roll_back(admin, "xp", 1).hardware["disk_bus"] == "ide"
    made = images.like(Image.objects.get(pk=image.pk), "xp-lab", admin, "")
    assert (str(made.architecture), made.group.path) == ("i686", "edu.school")
    assert images.add_version(made, image.versions.get(version=1), "", "").hardware["disk_bus"] == "ide"


def test_images_are_found_by_their_group_and_put_in_order(world, client, admin):
    for name, group in (("a", "edu.school.b"), ("b", "edu.schools"), ("c", "edu.school"), ("d", "")):
        world.image(admin, name)
        Image.objects.filter(name=name).update(group=world.group(group))
    ImageVersion.objects.filter(image__name="b").update(published_at=5.0)
    ImageVersion.objects.filter(image__name="d").update(published_at=9.0)

    def names(query):
        found, where = [], f"{BASE}?{query}&limit=1"
        while where:
            answer = client.get(where).json()
            found += [row["name"] for row in answer["results"]]
            where = answer["next"]
        return found

    assert names("owner_group=edu.school&sort=name") == ["a", "c"]
    assert names("sort=owner_group") == ["d", "c", "a", "b"]
    assert names("sort=published_at")[:2] == ["d", "b"]
    assert names("architecture=i686") == []
    assert client.get(f"{BASE}?sort=size").status_code == 422
    cursor = client.get(f"{BASE}?limit=1").json()["next"].split("cursor=")[1].split("&")[0]
    assert client.get(f"{BASE}?sort=name&cursor={cursor}").status_code == 422, "a place in another order"


def test_choices_are_those_of_the_order():
    assert set(image_properties.CHOICES) == set(Hardware.model_fields)
    assert all(words[0] == Hardware().model_dump(mode="json")[name] for name, words in image_properties.CHOICES.items())
