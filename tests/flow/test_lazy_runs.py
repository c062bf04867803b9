"""Runs that do not wait for their disks: the same flow, and what comes behind it when time goes by and nodes are killed."""

import json
import struct

import pytest

from clc.services import images, instances
from luhyaapi.contracts.vocabulary import Part
from luhyadb.models import Task

pytestmark = pytest.mark.walk

DISK = bytes(446) + struct.pack("<BBBBBBBBII", 0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, 4095) + bytes(48) + b"\x55\xaa" + bytes(range(256)) * 8190


@pytest.fixture
def lazy(cloud):
    """An instance of a disk that runs before its disk is there, and the name of its node."""
    cloud.upload("deb", DISK, part="disk")
    cloud.p.settle()
    (row,) = instances.run(cloud.user, instances.Ask("deb"))
    cloud.p.settle()
    assert cloud.task(row.task) == ("done", None)
    return row.pk, cloud.node(row.pk)


def domain(cloud, node, instance):
    return json.loads((cloud.p.folder / node / "fake" / "domains" / f"{instance}.json").read_text())


def blob_of(cloud, node, instance):
    return cloud.role(node).domains.wanted.read(instance).spec.image.blob(Part.DISK)


def test_it_runs_before_its_disk_is_there(cloud, lazy):
    one, node = lazy
    assert cloud.state(one) == "running"
    assert cloud.role(node).cache.path(blob_of(cloud, node, one).sha256) is None
    assert domain(cloud, node, one)["base_socket"]
    steps = Task.objects.get(subject=one).steps.order_by("id")
    assert [s.name for s in steps] == ["place", "fetch-cluster", "fetch-node", "address", "boot"]
    cloud.p.pass_time(20)
    path = cloud.role(node).cache.path(blob_of(cloud, node, one).sha256)
    assert path.stat().st_size >= len(DISK)
    assert domain(cloud, node, one)["base"] == str(path)
    assert not domain(cloud, node, one)["base_socket"]
    cloud.rest()


def test_a_disk_that_gives_up_slow_reads_comes_whole_before(cloud):
    cloud.upload("xp", DISK, part="disk")
    cloud.p.settle()
    images.change(cloud.admin, "xp", {"disk_bus": "ide", "vif_model": "rtl8139"})
    (row,) = instances.run(cloud.user, instances.Ask("xp"))
    cloud.p.settle()
    made = domain(cloud, cloud.node(row.pk), row.pk)
    assert made["spec"]["image"]["hardware"]["disk_bus"] == "ide"
    assert not made["base_socket"]
    cloud.rest()


def test_a_killed_node_goes_on_with_it(cloud, lazy):
    one, node = lazy
    cloud.crash(node)
    cloud.until_rest()
    assert not domain(cloud, node, one)["base_socket"]
    assert cloud.state(one) == "running"
    cloud.rest()


def test_deleted_meanwhile_nothing_comes_any_more(cloud, lazy):
    one, node = lazy
    sha256 = blob_of(cloud, node, one).sha256
    cloud.do("delete", one)
    cloud.p.pass_time(20)
    assert cloud.role(node).cache.path(sha256) is None
    assert list((cloud.p.folder / node / "lazy").iterdir()) == []
    cloud.rest()


def test_stopped_and_started_meanwhile(cloud, lazy):
    one, node = lazy
    for verb in ("stop", "start", "reboot"):
        cloud.do(verb, one)
    cloud.p.pass_time(20)
    assert not domain(cloud, node, one)["base_socket"]
    cloud.rest()
