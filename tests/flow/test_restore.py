"""System disks made anew: by restore, by the stop of a transient instance, on the newest version; what dies in between loses none."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from clc.services import images, instances, renewals, tasks, workspaces
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Host, ImageVersion, Instance, Placement, Task
from tests.support.flow_crashes import Fuse, fused, settle
from tests.support.walks import sampled

BLOCK = 64 * 1024
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def _image(cloud):
    """``debian``, version 1, has a disk."""
    _publish(cloud)


def _publish(cloud):
    data = bytearray(os.urandom(2 * BLOCK) + bytes(14 * BLOCK))
    data[510:512] = b"\x55\xaa"
    cloud.upload("debian", bytes(data), "disk")
    cloud.p.settle()


def ran(cloud, **more):
    (row,) = instances.run(cloud.user, instances.Ask("debian", **more))
    cloud.p.settle()
    assert cloud.state(row.pk) == "running"
    return row.pk


def folder(cloud, one):
    return cloud.role(cloud.node(one)).domains.wanted.folder(one)


def disks(cloud, one):
    return sorted(f.name for f in folder(cloud, one).glob("disk*.qcow2"))


def whole(cloud, one):
    """Its image, which may come behind, is here."""
    cache = cloud.role(cloud.node(one)).cache
    if not all(cache.path(blob["sha256"]) for blob in Instance.objects.get(pk=one).image.blobs):
        cloud.p.pass_time(5)


def write(cloud, one):
    """The guest writes something on its system disk."""
    whole(cloud, one)
    (disk,) = folder(cloud, one).glob("disk*.qcow2")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -q -P 7 0 {BLOCK}", disk], check=True)
    assert is_written(cloud, one)


def is_written(cloud, one):
    (disk,) = folder(cloud, one).glob("disk*.qcow2")
    found = subprocess.run(["qemu-img", "map", "--output=json", disk], check=True, capture_output=True).stdout
    return any(extent["depth"] == 0 and extent["present"] for extent in json.loads(found))


def stands_on(cloud, one):
    """The sha256 of the image files under its system disk, one after the other."""
    whole(cloud, one)
    (disk,) = folder(cloud, one).glob("disk*.qcow2")
    found = subprocess.run(["qemu-img", "info", "-U", "--backing-chain", "--output=json", disk], check=True, capture_output=True).stdout
    return [Path(each["filename"]).name for each in json.loads(found)[1:]]


def restored(cloud, one, version=""):
    row = renewals.restore(cloud.user, one, version)
    cloud.p.settle()
    assert cloud.task(row.task) == ("done", None)


def same(cloud, one):
    """What a restore leaves as it is."""
    row = Instance.objects.get(pk=one)
    return row.name, row.node, row.nics, row.display_port, (folder(cloud, one) / "data.raw").stat().st_ino


@pytest.mark.parametrize("runs", [True, False])
def test_restored_it_has_a_fresh_disk_and_all_else_is_as_it_was(cloud, runs):
    one = ran(cloud, data_disk_bytes=64 * MIB)
    if not runs:
        cloud.do("stop", one)
    write(cloud, one)
    (folder(cloud, one) / "data.raw").write_bytes(b"mine")
    before = same(cloud, one)
    restored(cloud, one)
    assert cloud.state(one) == ("running" if runs else "stopped")
    assert not is_written(cloud, one)
    assert (same(cloud, one), (folder(cloud, one) / "data.raw").read_bytes()) == (before, b"mine")
    cloud.rest()
    if not runs:
        cloud.do("start", one)
        assert not is_written(cloud, one)
    cloud.do("delete", one)
    cloud.rest()


def test_a_transient_one_is_fresh_after_each_stop(cloud):
    one = ran(cloud, persistence="transient")
    write(cloud, one)
    cloud.do("reboot", one)
    assert not is_written(cloud, one), "it was stopped for that"
    cloud.do("stop", one)
    assert disks(cloud, one) == []
    cloud.do("start", one)
    assert not is_written(cloud, one)
    write(cloud, one)
    cloud.p.hypervisor(cloud.node(one)).end(one)
    cloud.p.pass_time(10)
    assert (cloud.state(one), disks(cloud, one)) == ("stopped", [])
    cloud.do("start", one)
    assert not is_written(cloud, one)


def test_a_transient_one_whose_guest_crashed_goes_on_with_its_disk(cloud):
    one = ran(cloud, persistence="transient")
    write(cloud, one)
    cloud.p.hypervisor(cloud.node(one)).kill(one)
    cloud.p.pass_time(10)
    assert (cloud.state(one), is_written(cloud, one)) == ("running", True)


def test_it_can_be_put_on_another_version(cloud):
    one = ran(cloud, data_disk_bytes=64 * MIB)
    first = stands_on(cloud, one)
    before = same(cloud, one)
    _publish(cloud)
    assert [row.pk for row in renewals.outdated(cloud.user, ImageVersion.objects.get(version=2))] == [one]
    restored(cloud, one, "newest")
    assert Instance.objects.get(pk=one).image.version == 2
    newest = ImageVersion.objects.get(version=2).blobs[0]["sha256"]
    assert (stands_on(cloud, one), same(cloud, one)) == ([newest], before)
    pins = cloud.role(cloud.node(one)).cache.pins()
    assert one in pins[newest]
    assert one not in pins.get(first[0], ())
    restored(cloud, one, "1")
    assert (Instance.objects.get(pk=one).image.version, stands_on(cloud, one)) == (1, first)
    cloud.do("stop", one)
    cloud.do("start", one)
    assert stands_on(cloud, one) == first
    with pytest.raises(Refused, match="no version 7"):
        renewals.restore(cloud.user, one, "7")
    cloud.rest()


def test_all_of_an_image_are_put_on_the_newest(cloud):
    runs, stopped, transient, other = ran(cloud), ran(cloud), ran(cloud, persistence="transient"), cloud.do()
    cloud.do("stop", stopped)
    _publish(cloud)
    space = workspaces.begin(cloud.admin, workspaces.Ask("debian:1"))
    cloud.p.settle()
    found = renewals.renew(cloud.user, "debian", transient_only=True)
    assert [row.pk for row in found.begun] == [transient]
    found = renewals.renew(cloud.admin, "debian")
    assert ({row.pk for row in found.begun}, [row.pk for row in found.passed_over]) == ({runs, stopped}, [transient])
    cloud.p.settle()
    assert {row.pk: (row.state, row.image.version) for row in Instance.objects.exclude(pk__in=[other, space.instance_id])} == {
        runs: ("running", 2), stopped: ("stopped", 2), transient: ("running", 2),
    }
    assert renewals.renew(cloud.admin, "debian").begun == []
    cloud.rest()


@pytest.fixture
def waiting(cloud, queue_set):
    """Three that run and shall have new disks; two are at it, and the last one waits."""
    queue_set(per_node=1)
    ones = [ran(cloud) for _ in range(3)]
    found = [renewals.restore(cloud.user, one) for one in ones]
    assert [bool(Task.objects.get(pk=row.task).command) for row in found] == [True, True, False]
    return found[2]


def test_while_it_waits_for_its_turn_it_goes_on(cloud, waiting):
    assert cloud.state(waiting.pk) == "running"
    with pytest.raises(Refused, match="something else"):
        renewals.restore(cloud.user, waiting.pk)
    cloud.p.settle()
    assert cloud.task(waiting.task) == ("done", None)
    assert len(disks(cloud, waiting.pk)) == 1
    cloud.rest()


@pytest.mark.parametrize("verb", ["stop", "delete"])
def test_another_order_comes_before_a_new_disk_it_waits_for(cloud, waiting, verb):
    cloud.do(verb, waiting.pk)
    cloud.until_rest()
    assert cloud.task(waiting.task) == ("cancelled", "cancelled")
    assert cloud.state(waiting.pk) == {"stop": "stopped", "delete": "deleted"}[verb]
    cloud.rest()


def test_cancelled_while_it_waits_nothing_happens(cloud, waiting):
    tasks.cancel(cloud.user, waiting.task)
    assert (cloud.state(waiting.pk), cloud.task(waiting.task)) == ("running", ("cancelled", "cancelled"))
    cloud.until_rest()
    cloud.rest()


def test_its_guest_ends_while_it_waits(cloud, waiting):
    cloud.p.hypervisor(cloud.node(waiting.pk)).end(waiting.pk)
    cloud.role(cloud.node(waiting.pk)).domains.look(waiting.pk, set())
    while cloud.state(waiting.pk) == "running":
        assert cloud.p.step()
    if not Task.objects.get(pk=waiting.task).command:
        with pytest.raises(Refused, match="waits for a new"):
            instances.start(cloud.user, waiting.pk)
    cloud.until_rest()
    assert cloud.task(waiting.task) == ("done", None)
    assert cloud.state(waiting.pk) == "stopped"
    cloud.rest()


def test_chains_end_at_the_image_whatever_made_it(cloud):
    """An overlay stands on a raw file of one version, also where that was made in a workspace over another one made so."""
    for version in (2, 3):
        space = workspaces.begin(cloud.admin, workspaces.Ask("debian"))
        cloud.p.settle()
        write(cloud, space.instance_id)
        workspaces.submit(cloud.admin, space.pk)
        cloud.until_rest()
        assert ImageVersion.objects.get(image__name="debian", version=version).state == "published"
    newest = ImageVersion.objects.get(image__name="debian", version=3)
    one = ran(cloud)
    assert stands_on(cloud, one) == [newest.blobs[0]["sha256"]]
    restored(cloud, one, "1")
    restored(cloud, one, "newest")
    assert stands_on(cloud, one) == [newest.blobs[0]["sha256"]]
    assert {blob["format"] for version in ImageVersion.objects.all() for blob in version.blobs} == {"raw"}


@pytest.mark.walk
@pytest.mark.parametrize("name", ["clc", "cc", "nc1"])
def test_each_point_of_a_restore(cloud, name):
    """Whoever dies at whichever point: it ends in the new disk, and there is one at any moment."""
    cloud.drain_by_order("nc2")
    one = ran(cloud, data_disk_bytes=64 * MIB)
    _publish(cloud)
    fuse = Fuse()
    with fused(cloud, name, fuse):
        renewals.restore(cloud.user, one, "newest")
        settle(cloud, name)
    points = sampled(sampled(n for n, point in enumerate(fuse.points) if point not in ("post progress", "post task/steps")), 1)
    assert len(points) > 1
    for at in points:
        write(cloud, one)
        before = same(cloud, one)
        task = renewals.restore(cloud.user, one, "1" if at % 2 else "newest").task
        with fused(cloud, name, Fuse(at)):
            settle(cloud, name)
            assert disks(cloud, one), f"{name} died at {at}: no disk"
        cloud.crash(name)
        cloud.until_rest()
        assert cloud.task(task) == ("done", None), f"{name} died at {at}"
        assert (cloud.state(one), is_written(cloud, one), same(cloud, one)) == ("running", False, before)
        row = Instance.objects.get(pk=one)
        assert row.image.version == (1 if at % 2 else 2)
        assert stands_on(cloud, one) == [row.image.blobs[0]["sha256"]]
    cloud.rest()


@pytest.mark.walk
@pytest.mark.parametrize("rounds", sampled(range(1, 14)))
def test_cancelled_it_has_the_old_disk_or_the_new_one(cloud, rounds):
    one = ran(cloud)
    _publish(cloud)
    write(cloud, one)
    task = renewals.restore(cloud.user, one, "newest").task
    for _ in range(rounds):
        cloud.p.step()
    try:
        tasks.cancel(cloud.user, task)
    except Refused:
        assert cloud.task(task)[0] == "done"
    cloud.until_rest()
    version = Instance.objects.get(pk=one).image
    assert cloud.state(one) in ("running", "stopped")
    if cloud.state(one) == "stopped":
        cloud.do("start", one)
    assert Instance.objects.get(pk=one).image == version
    assert stands_on(cloud, one) == [version.blobs[0]["sha256"]]
    assert is_written(cloud, one) == (version.version == 1), "what was on it is lost with the new disk, and only then"
    cloud.rest()


def test_a_node_that_cannot_make_it_leaves_the_old_one(cloud):
    one = ran(cloud)
    _publish(cloud)
    write(cloud, one)
    cloud.p.hypervisor(cloud.node(one)).faults.fail_next("stop", "hypervisor")
    task = renewals.restore(cloud.user, one, "newest").task
    cloud.until_rest()
    assert cloud.task(task) == ("failed", "hypervisor")
    assert (Instance.objects.get(pk=one).image.version, is_written(cloud, one)) == (1, True)
    restored(cloud, one, "newest")
    assert Instance.objects.get(pk=one).image.version == 2
    cloud.rest()


def test_who_may_not_or_cannot(cloud):
    one = ran(cloud)
    assert renewals.restore(cloud.admin, one).pk == one
    with pytest.raises(Refused, match="it is starting"):
        renewals.restore(cloud.user, one)
    cloud.p.settle()
    space = workspaces.begin(cloud.admin, workspaces.Ask("debian"))
    with pytest.raises(Refused, match="no instance"):
        renewals.restore(cloud.user, space.instance_id)
    cloud.p.settle()
    with pytest.raises(Refused, match="works in it"):
        renewals.restore(cloud.admin, space.instance_id)


def test_a_data_disk_takes_room_on_its_node_as_long_as_it_is_there(cloud):
    most = max(Host.objects.values_list("disk_mib", flat=True))
    assert most > 64
    with pytest.raises(Refused, match="disk that big"):
        instances.run(cloud.user, instances.Ask("debian", data_disk_bytes=(most + 1) * MIB))
    for size in (1, 15 * MIB, 17 * 1024**4, "10G", True):
        with pytest.raises(Refused, match="that size"):
            instances.run(cloud.user, instances.Ask("debian", data_disk_bytes=size))
    ones = [ran(cloud, data_disk_bytes=(most - 32) * MIB) for _ in range(2)]
    assert cloud.node(ones[0]) != cloud.node(ones[1])
    cloud.do("stop", ones[0])
    (third,) = instances.run(cloud.user, instances.Ask("debian", data_disk_bytes=64 * MIB))
    (small,) = instances.run(cloud.user, instances.Ask("debian"))
    cloud.p.settle()
    assert (cloud.state(third.pk), cloud.state(small.pk)) == ("queued", "running")
    cloud.do("start", ones[0])
    cloud.do("delete", ones[0])
    cloud.p.pass_time(60)
    assert cloud.state(third.pk) == "running"
    with memory.of("cc"):
        assert sorted(Placement.objects.values_list("disk_mib", flat=True)) == sorted([most - 32, 64, 0])


def test_a_version_that_somebody_is_put_on_is_not_retired(cloud):
    one = ran(cloud)
    _publish(cloud)
    _publish(cloud)
    renewals.restore(cloud.user, one, "2")
    with pytest.raises(Refused, match="in use"):
        images.retire(cloud.admin, "debian", 2)
    cloud.p.settle()
    images.retire(cloud.admin, "debian", 1)
