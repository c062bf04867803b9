"""What guests and nodes may try on images, each with a canary: the canary is never touched, and what was asked becomes nothing or harmless."""

import json
import os
import re
import struct
import subprocess
from pathlib import Path

import pytest

from cc.services.ascent import Ascent
from clc.services import images, instances, uploads, workspaces
from luhyaapi.errors import Refused
from luhyaapi.transfer import giver
from luhyaapi.transfer.blocks import Index
from luhyadb.models import ImageVersion
from nc.services import disks
from tests.support.image_store import whole

BLOCK = 64 * 1024
ROOT = Path(__file__).resolve().parents[2]
CANARY = b"canary-" + os.urandom(20).hex().encode()


@pytest.fixture
def disk(cloud):
    """The disk of ``debian``."""
    data = bytearray(os.urandom(6 * BLOCK) + bytes(14 * BLOCK))
    data[510:512] = b"\x55\xaa"
    cloud.upload("debian", bytes(data), "disk")
    cloud.p.settle()
    return data


def overlay(cloud, instance):
    return cloud.role(cloud.node(instance)).domains.wanted.folder(instance) / "disk.qcow2"


def written(file, data, tmp_path):
    """The guest writes at the beginning of its disk."""
    (tmp_path / "data").write_bytes(data)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -q -s {tmp_path}/data 0 {len(data)}", file], check=True)


def header(of):
    """Of a qcow2 file of 10 GiB that is based on another one."""
    name = f"{of}".encode()
    head = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 104 + 8, len(name), 16, 10 << 30, 0, 1, 3 * BLOCK, BLOCK, 1, 0, 0, 0, 0, 0, 4, 104)
    return (head + bytes(8) + name).ljust(4096, b"\0")


@pytest.mark.walk
@pytest.mark.parametrize("base", ["{canary}", 'json:{{"driver":"raw","file":{{"driver":"file","filename":"{canary}"}}}}', "nbd:unix:{canary}"])
def test_a_guest_that_writes_a_header_finds_its_header_again(cloud, disk, tmp_path, base):
    canary = tmp_path / "canary"
    canary.write_bytes(CANARY * 4000)
    space = workspaces.begin(cloud.admin, workspaces.Ask("debian"))
    cloud.p.settle()
    space.refresh_from_db()
    head = header(base.format(canary=canary))
    written(overlay(cloud, space.instance_id), head, tmp_path)
    disk[: len(head)] = head
    workspaces.submit(cloud.admin, space.pk)
    cloud.until_rest()
    version = ImageVersion.objects.filter(state="published").order_by("-version").first()
    assert whole(cloud.role("walrus").store, version.blobs[0]["sha256"]) == disk
    (one,) = instances.run(cloud.admin, instances.Ask("debian"))
    cloud.until_rest()
    assert (one.image, cloud.state(one.pk)) == (version, "running")
    made = overlay(cloud, one.pk)
    found = json.loads(subprocess.run(["qemu-img", "info", "-f", "qcow2", "--output=json", made], check=True, capture_output=True).stdout)
    assert (found["virtual-size"], found["backing-filename-format"]) == (len(disk), "raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", made, tmp_path / "seen"], check=True)
    assert (tmp_path / "seen").read_bytes() == disk
    assert CANARY not in (tmp_path / "seen").read_bytes()


@pytest.mark.walk
def test_a_new_disk_has_nothing_of_another(cloud, disk, tmp_path):
    cloud.drain_by_order("nc2")
    (one,) = instances.run(cloud.admin, instances.Ask("debian"))
    cloud.until_rest()
    first = overlay(cloud, one.pk)
    written(first, CANARY * 2000, tmp_path)
    assert CANARY in first.read_bytes()
    instances.delete(cloud.admin, one.pk)
    cloud.until_rest()
    (two,) = instances.run(cloud.admin, instances.Ask("debian"))
    cloud.until_rest()
    assert not any(extent["present"] for extent in disks.mapped(overlay(cloud, two.pk)))
    left = [file for file in cloud.p.folder.rglob("*") if file.is_file() and not file.is_symlink() and CANARY in file.read_bytes()]
    assert left == []


@pytest.mark.walk
def test_a_node_pushes_only_what_was_ordered(cloud, disk):
    ascent, index = Ascent(cloud.role("cc")), Index(BLOCK, bytes(range(32)))
    space = workspaces.begin(cloud.admin, workspaces.Ask("debian"))
    cloud.p.settle()
    space.refresh_from_db()
    workspaces.submit(cloud.admin, space.pk)
    cloud.until_rest()
    space.refresh_from_db()
    before = cloud.role("walrus").store.sha256s()
    for draft in ("tsk-nobody", space.task, "../../etc"):
        with pytest.raises(Refused, match="Nothing is being submitted"):
            ascent.begin(draft, BLOCK, index.name, giver.squeeze(index))
        with pytest.raises(Refused, match="Nothing is being submitted"):
            ascent.take(draft, CANARY)
    assert cloud.role("walrus").store.sha256s() == before
    assert cloud.role("walrus").library.drafts.sweep(-1) == []


NAMES = (
    "../x", "/etc/passwd", "..", ".", "a/b", "-rf", "a\n", "a\0", "a b", "", "a;touch x", "$(x)", "`x`", "a\u202ee", "\N{FULLWIDTH SOLIDUS}", "x" * 64,
    "import", "a.",
)


def test_no_name_of_an_image_is_a_path(cloud):
    for name in NAMES:
        with pytest.raises(Refused, match="name"):
            uploads.begin(cloud.admin, images.Ask(name, ({"part": "kernel", "size_bytes": 10},)))
        with pytest.raises(Refused):
            workspaces.begin(cloud.admin, workspaces.Ask("tiny", name or "."))


def test_nobody_mounts_an_image():
    """Whoever holds images has no program that mounts, or reads file systems or kernels out of them."""
    program = re.compile(r"""["'](mount|umount|losetup|kpartx|guestmount|guestfish|virt-\w+|qemu-nbd|nbd-client|fusermount3?|pygrub|debugfs)["']""")
    found = [
        f"{file.relative_to(ROOT)}: {hit}" for role in ("clc", "cc", "nc", "walrus", "sc", "luhyaapi", "luhyadb")
        for file in (ROOT / role).rglob("*.py") for hit in program.findall(file.read_text("utf-8"))
    ]
    assert found == []
