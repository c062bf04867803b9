"""The next version of an image, made in a workspace: prepared, edited, submitted; what dies in between changes nothing of it."""

import os
import subprocess

import pytest

from clc.services import images, instances, tasks, workspace_pictures, workspaces
from deploy.playground import Near
from luhyaapi.errors import Refused
from luhyadb.models import Image, ImageVersion, Instance, Task, Workspace
from tests.support.flow_world import opened
from tests.support.image_store import whole

pytestmark = pytest.mark.walk
BLOCK = 64 * 1024
SIZE = 40 * BLOCK


@pytest.fixture
def disk(cloud):
    """The disk of ``debian``, version 1."""
    data = bytearray(os.urandom(12 * BLOCK) + bytes(SIZE - 12 * BLOCK))
    data[510:512] = b"\x55\xaa"
    cloud.upload("debian", bytes(data), "disk")
    cloud.p.settle()
    return data


def began(cloud, **more):
    space = workspaces.begin(cloud.admin, workspaces.Ask("debian", **more))
    cloud.p.settle()
    space.refresh_from_db()
    assert (space.state, space.instance.state) == ("editing", "stopped")
    return space


def edited(cloud, space, disk, *blocks):
    """The guest writes; the disk as it is then."""
    file = cloud.role(cloud.node(space.instance_id)).domains.wanted.folder(space.instance_id) / "disk.qcow2"
    disk = bytearray(disk)
    for number in blocks:
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -q -P 7 {number * BLOCK} {BLOCK}", file], check=True)
        disk[number * BLOCK : (number + 1) * BLOCK] = b"\7" * BLOCK
    return disk


def submitted(cloud, space, **more):
    workspaces.submit(cloud.admin, space.pk, **more)
    cloud.p.settle()
    space.refresh_from_db()
    return space


def newest(name="debian"):
    return ImageVersion.objects.filter(image__name=name, state="published").order_by("-version").first()


def content(cloud, version):
    return whole(cloud.role("walrus").store, version.blobs[0]["sha256"])


def test_prepared_run_stopped_submitted(cloud, disk):
    space = began(cloud)
    steps = [(s["name"], s["state"]) for s in workspace_pictures.workspace(space)["task"]["steps"]]
    assert steps == [(name, "done") for name in ("place", "fetch-cluster", "fetch-node", "address", "clone")]
    for _ in range(2):
        workspaces.start(cloud.admin, space.pk)
        cloud.p.settle()
        assert cloud.state(space.instance_id) == "running"
        workspaces.stop(cloud.admin, space.pk)
        cloud.p.settle()
        assert cloud.state(space.instance_id) == "stopped"
    disk = edited(cloud, space, disk, 3, 30)
    before = Near.moved_bytes
    submitted(cloud, space, note="two blocks of sevens")
    assert (space.state, space.error) == ("published", None)
    version = newest()
    assert (version.version, version.note, version.parent.version) == (2, "two blocks of sevens", 1)
    assert content(cloud, version) == disk
    assert content(cloud, ImageVersion.objects.get(image__name="debian", version=1)) != disk
    assert Near.moved_bytes - before < 2 * 8192, "by the cluster and to the store, two blocks of one byte each"
    assert version.parts[0]["added"] < 8192
    cloud.until_rest()
    assert cloud.state(space.instance_id) == "deleted"
    assert cloud.role("walrus").library.drafts.sweep(-1) == []
    cloud.rest()
    (one,) = instances.run(cloud.admin, instances.Ask("debian"))
    cloud.p.settle()
    assert cloud.state(one.pk) == "running"
    assert one.image == version


def test_what_runs_is_stopped_before_it_is_submitted(cloud, disk):
    space = began(cloud)
    workspaces.start(cloud.admin, space.pk)
    cloud.p.settle()
    assert submitted(cloud, space).state == "published"
    assert content(cloud, newest()) == disk


def test_a_new_image_made_from_another(cloud, disk):
    space = began(cloud, name="lab", description="with compilers")
    with pytest.raises(Refused, match="already"):
        workspaces.begin(cloud.admin, workspaces.Ask("debian", name="lab"))
    assert not Image.objects.filter(name="lab").exists()
    disk = edited(cloud, space, disk, 39)
    assert submitted(cloud, space).state == "published"
    assert content(cloud, newest("lab")) == disk
    assert newest("lab").parent == newest()
    assert Image.objects.get(name="lab").description == "with compilers"


def test_two_at_once_get_two_branches_and_the_second_is_told(cloud, disk):
    one, two = began(cloud), began(cloud)
    first, second = edited(cloud, one, disk, 1), edited(cloud, two, disk, 2)
    submitted(cloud, one)
    with pytest.raises(Refused, match="published meanwhile"):
        workspaces.submit(cloud.admin, two.pk)
    assert submitted(cloud, two, anyway=True).state == "published"
    assert [content(cloud, v) for v in ImageVersion.objects.filter(image__name="debian", version__gt=1)] == [first, second]


def test_two_that_submit_at_the_same_time_are_told_too(cloud, disk):
    one, two = began(cloud), began(cloud)
    first, second = edited(cloud, one, disk, 1), edited(cloud, two, disk, 2)
    workspaces.submit(cloud.admin, one.pk)
    with pytest.raises(Refused, match="just being published"):
        workspaces.submit(cloud.admin, two.pk)
    workspaces.submit(cloud.admin, two.pk, anyway=True)
    cloud.until_rest()
    assert {w.state for w in Workspace.objects.all()} == {"published"}
    made = [content(cloud, v) for v in ImageVersion.objects.filter(image__name="debian", version__gt=1)]
    assert sorted(made) == sorted([first, second])
    cloud.rest()


def test_abandoned_it_leaves_nothing(cloud, disk):
    space = began(cloud)
    edited(cloud, space, disk, 1)
    with pytest.raises(Refused, match="works in it"):
        instances.delete(cloud.admin, space.instance_id)
    workspaces.abandon(cloud.admin, space.pk)
    cloud.until_rest()
    assert (Workspace.objects.get().state, cloud.state(space.instance_id)) == ("abandoned", "deleted")
    cloud.rest()
    with pytest.raises(Refused, match="abandoned"):
        workspaces.start(cloud.admin, space.pk)


def test_abandoned_while_it_is_prepared(cloud, disk):
    space = workspaces.begin(cloud.admin, workspaces.Ask("debian"))
    cloud.p.step()
    workspaces.abandon(cloud.admin, space.pk)
    cloud.until_rest()
    assert (Workspace.objects.get().state, cloud.state(space.instance_id)) == ("abandoned", "deleted")
    cloud.rest()


def test_it_is_prepared_also_when_nobody_heard_of_its_place(cloud, disk):
    cloud.tap(lambda d, _h, m: [] if d == "up" and opened(m)["kind"] == "placement/facts" else [m])
    space = workspaces.begin(cloud.admin, workspaces.Ask("debian"))
    cloud.p.settle()
    space.refresh_from_db()
    assert cloud.task(space.task) == ("done", None)
    assert (space.state, space.instance.state) == ("editing", "stopped")


def test_a_preparation_that_fails_leaves_nothing(cloud, disk):
    cloud.role("walrus").store.remove(newest().blobs[0]["sha256"])
    cloud.cold()
    space = workspaces.begin(cloud.admin, workspaces.Ask("debian"))
    cloud.until_rest()
    space.refresh_from_db()
    assert (space.state, space.error["code"]) == ("failed", "not_found")
    assert cloud.state(space.instance_id) == "deleted"
    cloud.rest()


@pytest.mark.parametrize("name", ["nc", "cc", "walrus", "clc"])
def test_a_submit_goes_on_after_a_death(cloud, disk, name):
    """A role dies after each step that the whole makes."""
    space = began(cloud)
    name = cloud.node(space.instance_id) if name == "nc" else name
    disk = edited(cloud, space, disk, *range(20, 40, 3))
    workspaces.submit(cloud.admin, space.pk)
    for _ in range(12):
        cloud.p.step()
        cloud.crash(name)
    cloud.until_rest()
    space.refresh_from_db()
    assert (space.state, space.error) == ("published", None)
    assert content(cloud, newest()) == disk
    cloud.rest()


def test_a_submit_that_is_cancelled_loses_nothing(cloud, disk):
    space = began(cloud)
    disk = edited(cloud, space, disk, 5)
    workspaces.submit(cloud.admin, space.pk)
    space.refresh_from_db()
    tasks.cancel(cloud.admin, space.task)
    cloud.until_rest()
    space.refresh_from_db()
    assert (space.state, space.error["code"]) == ("editing", "cancelled")
    assert submitted(cloud, space).state == "published"
    assert content(cloud, newest()) == disk


def test_a_store_that_is_full_leaves_the_workspace_as_it_was(cloud, disk, monkeypatch):
    space = began(cloud)
    disk = edited(cloud, space, disk, 5)
    store = cloud.role("walrus").store
    monkeypatch.setattr(store, "_quota", 0)
    submitted(cloud, space)
    assert (space.state, space.error["code"]) == ("editing", "disk_full")
    monkeypatch.undo()
    assert submitted(cloud, space).state == "published"
    assert content(cloud, newest()) == disk
    cloud.until_rest()
    cloud.rest()


def test_an_image_without_a_disk_is_not_modified(cloud):
    with pytest.raises(Refused, match="no disk"):
        workspaces.begin(cloud.admin, workspaces.Ask("tiny"))
    with pytest.raises(Refused, match="may not change"):
        workspaces.begin(cloud.user, workspaces.Ask("tiny"))


def test_one_that_nobody_touches_is_abandoned_at_last(cloud, disk):
    space = began(cloud)
    assert workspaces.sweep() == 0
    Workspace.objects.update(changed_at=1)
    assert workspaces.sweep() == 1
    cloud.until_rest()
    assert Instance.objects.get(pk=space.instance_id).state == "deleted"


def test_an_older_version_is_gone_back_to_and_a_newer_one_retired(cloud, disk):
    space = began(cloud)
    edited(cloud, space, disk, 5)
    submitted(cloud, space)
    cloud.until_rest()
    moved = Near.moved_bytes
    third = images.roll_back(cloud.admin, "debian", 1)
    cloud.p.settle()
    assert (third.version, third.parent.version, Near.moved_bytes) == (3, 1, moved)
    assert content(cloud, newest()) == disk
    with pytest.raises(Refused, match="the newest already"):
        images.roll_back(cloud.admin, "debian", 3)
    images.retire(cloud.admin, "debian", 2)
    images.retire(cloud.admin, "debian", 1)
    cloud.p.settle()
    assert content(cloud, newest()) == disk, "version 3 has the same file as version 1"
    assert len([s for s in cloud.role("walrus").store.sha256s() if s != newest("tiny").blobs[0]["sha256"]]) == 1
    with pytest.raises(Refused, match="only one"):
        images.retire(cloud.admin, "debian", 3)
    with pytest.raises(Refused, match="no version 2"):
        images.roll_back(cloud.admin, "debian", 2)
    instances.run(cloud.admin, instances.Ask("debian", name="mine"))
    images.add_version(Image.objects.get(name="debian"), third, "", "")
    images.publish(ImageVersion.objects.get(version=4), third.blobs, third.parts)
    with pytest.raises(Refused, match="needed by mine"):
        images.retire(cloud.admin, "debian", 3)


def test_one_whose_store_never_answers_can_be_abandoned_and_leaves_nothing(cloud, disk):
    space = began(cloud)
    edited(cloud, space, disk, 5)
    held = []
    cloud.tap(lambda d, h, m: held.append((d, h, m)) or [] if d == "up" and opened(m)["subject"].endswith("#0.1") else [m])
    submitted(cloud, space)
    before = cloud.role("walrus").store.sha256s()
    with pytest.raises(Refused, match="being published"):
        workspaces.abandon(cloud.admin, space.pk)
    Task.objects.filter(pk=space.task).update(state="lost")
    workspaces.abandon(cloud.admin, space.pk)
    assert newest().version == 1
    cloud.tap(lambda _d, _h, m: [m])
    for each in held[:1]:
        cloud.p.wire.inject(*each)
    cloud.until_rest()
    assert len(cloud.role("walrus").store.sha256s()) == len(before) - 1
    assert cloud.state(space.instance_id) == "deleted"
    cloud.rest()


def test_one_that_cannot_be_abandoned_holds_up_no_other(cloud, disk):
    stays, goes = began(cloud), began(cloud)
    Workspace.objects.update(changed_at=1)
    Workspace.objects.filter(pk=stays.pk).update(version=ImageVersion.objects.get(image__name="debian"), task=tasks.open_task("x", None, "", "", 60).pk)
    assert workspaces.sweep() == 1
    assert {w.pk: w.state for w in Workspace.objects.all()} == {stays.pk: "editing", goes.pk: "abandoned"}
