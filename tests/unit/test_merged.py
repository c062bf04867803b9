"""The disk of a guest as it sees it, against what qemu makes of the same overlay."""

import os
import random
import subprocess

import pytest

from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer import frames
from luhyaapi.transfer.blocks import BLOCK, HOLE, index_of
from nc.services import disks
from nc.services.merged import Merged


@pytest.fixture
def base(tmp_path):
    file = tmp_path / "base"
    file.write_bytes(os.urandom(5 * BLOCK) + bytes(9 * BLOCK) + os.urandom(2 * BLOCK))
    return file


def write(overlay, *orders):
    subprocess.run(["qemu-io", "-f", "qcow2", "-d", "unmap", *(word for order in orders for word in ("-c", order)), overlay], check=True, capture_output=True)


def seen(overlay, tmp_path):
    """What a guest would read."""
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", overlay, tmp_path / "seen"], check=True)
    return tmp_path / "seen"


def check(overlay, base, tmp_path):
    expected = seen(overlay, tmp_path)
    with Merged(overlay, lambda: base, index_of(base)) as disk:
        index = disk.index()
        assert (index.size, index.name) == (expected.stat().st_size, index_of(expected).name)
        some = sorted(random.Random(7).sample(range(len(index)), len(index) // 2))
        found = {name: block for frame in disk.frames(index, some) for name, block in frames.unpack(frame)}
        assert set(found) == {index[n] for n in some} - {HOLE}
    return index


def test_an_untouched_disk_is_its_image(base, tmp_path):
    overlay = disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2")
    with Merged(overlay, lambda: pytest.fail("nothing of the image is read"), index_of(base)) as disk:
        assert disk.index().name == index_of(base).name


@pytest.mark.parametrize("orders", [
    ["write -P 7 64k 64k"], ["write -P 7 1000 3"], ["write -P 7 0 1M"], ["write -P 9 960k 64k"], ["write -z 0 128k"], ["write -z 100 1000"],
    ["discard 0 256k"], ["write -P 1 320k 4k", "write -P 2 380k 90k", "discard 64k 64k"], ["write -P 0 128k 64k"],
])
def test_what_a_guest_wrote(base, tmp_path, orders):
    overlay = disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2")
    write(overlay, *orders)
    check(overlay, base, tmp_path)


def test_many_writes_anywhere(base, tmp_path):
    overlay = disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2")
    chance = random.Random(5)
    for _ in range(4):
        ways = ("write -P {}", "write -P {}", "write -z", "discard")
        write(overlay, *(
            f"{chance.choice(ways).format(chance.randrange(256))} {chance.randrange(0, 15 * BLOCK, 512)} {chance.randrange(512, BLOCK, 512)}" for _ in range(20)
        ))
        check(overlay, base, tmp_path)


@pytest.mark.parametrize("size", [16 * BLOCK + 512, 20 * BLOCK, 33 * BLOCK + 3 * 512])
def test_a_disk_larger_than_its_image(tmp_path, size):
    base = tmp_path / "base"
    base.write_bytes(os.urandom(15 * BLOCK + 7 * 512))
    overlay = disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2", size)
    check(overlay, base, tmp_path)
    write(overlay, f"write -P 5 {size - 1024} 1024", f"write -P 6 {15 * BLOCK} 512")
    check(overlay, base, tmp_path)


def test_zeros_of_the_guest_are_holes(base, tmp_path):
    overlay = disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2")
    write(overlay, "discard 0 1M")
    assert set(check(overlay, base, tmp_path)) == {HOLE}


def test_a_compressed_or_broken_overlay_is_refused(base, tmp_path):
    packed = tmp_path / "packed.qcow2"
    base.write_bytes(b"a" * 5 * BLOCK)
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", base, packed], check=True)
    with pytest.raises(Refused) as e:
        Merged(packed, lambda: base, index_of(base))
    assert e.value.code == "unsupported"
    (tmp_path / "none.qcow2").write_bytes(b"noise" * 1000)
    with pytest.raises(Failed):
        Merged(tmp_path / "none.qcow2", lambda: base, index_of(base))


def test_looking_through_it_can_be_cancelled(base, tmp_path):
    overlay = disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2")
    write(overlay, "write -P 7 64k 64k")
    with Merged(overlay, lambda: base, index_of(base)) as disk, pytest.raises(Refused) as e:
        disk.index(cancelled=lambda: True)
    assert e.value.code == "cancelled"
