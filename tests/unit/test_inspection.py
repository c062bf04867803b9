"""What walrus takes as an image, and what it refuses with which reason; real files made by qemu-img."""

import gzip
import os
import struct
import subprocess

import pytest

from luhyaapi.contracts.vocabulary import DiskFormat, Part
from luhyaapi.errors import Refused
from walrus.services import qemu_img
from walrus.services.formats import look
from walrus.services.inspection import LARGEST_MIB, inspect_boot_file

MIB = 1024 * 1024


def make(*args):
    subprocess.run(["qemu-img", *map(str, args)], check=True, capture_output=True)


@pytest.fixture
def raw(tmp_path):
    """A raw disk with an MBR and some content."""
    file = tmp_path / "disk.raw"
    data = bytearray(2 * MIB)
    data[446:462] = struct.pack("<B3BB3BII", 0x80, 0, 1, 0, 0x83, 0, 0, 0, 2048, 2048)
    data[510:512] = b"\x55\xaa"
    data[MIB:] = bytes(range(256)) * (MIB // 256)
    file.write_bytes(data)
    return file


@pytest.fixture
def qcow2(raw, tmp_path):
    file = tmp_path / "disk.qcow2"
    make("convert", "-f", "raw", "-O", "qcow2", raw, file)
    return file


def inspect(path, part, declared, largest_mib=LARGEST_MIB):
    if part is not Part.DISK:
        return inspect_boot_file(path, part, declared)
    found = look(path, declared, largest_mib=largest_mib)
    qemu_img.check(path, found.format)
    return found


def refused(path, declared=DiskFormat.QCOW2, part=Part.DISK, **kw):
    with pytest.raises(Refused) as e:
        inspect(path, part, declared, **kw)
    assert e.value.code == "image_format"
    return e.value.why


def test_a_plain_qcow2(qcow2):
    found = inspect(qcow2, Part.DISK, DiskFormat.QCOW2)
    assert (found.format, found.virtual_size) == (DiskFormat.QCOW2, 2 * MIB)


@pytest.mark.parametrize(
    "options",
    [("-c",), ("-o", "compat=0.10"), ("-o", "lazy_refcounts=on"), ("-o", "cluster_size=4k"), ("-c", "-o", "compression_type=zstd")],
)
def test_other_plain_qcow2s(raw, tmp_path, options):
    make("convert", "-f", "raw", "-O", "qcow2", *options, raw, tmp_path / "x")
    assert inspect(tmp_path / "x", Part.DISK, DiskFormat.QCOW2).virtual_size == 2 * MIB


def test_an_empty_qcow2_disk_is_fine(tmp_path):
    make("create", "-f", "qcow2", tmp_path / "x", "10G")
    assert inspect(tmp_path / "x", Part.DISK, DiskFormat.QCOW2).virtual_size == 10 * 1024 * MIB


def test_a_partitioned_raw_disk(raw):
    found = inspect(raw, Part.DISK, DiskFormat.RAW)
    assert (found.format, found.virtual_size) == (DiskFormat.RAW, 2 * MIB)


def test_a_raw_disk_without_partitions(tmp_path):
    (tmp_path / "x").write_bytes(b"\1" * 5000)
    assert inspect(tmp_path / "x", Part.DISK, DiskFormat.RAW).virtual_size == 5000


def test_a_backing_file_is_refused(qcow2, tmp_path):
    make("create", "-f", "qcow2", "-b", qcow2, "-F", "qcow2", tmp_path / "x")
    assert "backing file" in refused(tmp_path / "x")


def test_a_backing_file_that_is_not_there_is_refused(tmp_path):
    make("create", "-u", "-f", "qcow2", "-b", "/etc/shadow", "-F", "raw", tmp_path / "x", "1M")
    assert "backing file" in refused(tmp_path / "x")


def test_an_external_data_file_is_refused(tmp_path):
    make("create", "-f", "qcow2", "-o", f"data_file={tmp_path}/data,data_file_raw=on", tmp_path / "x", "1M")
    assert "data file" in refused(tmp_path / "x")


def test_unknown_features_are_refused(qcow2):
    patch(qcow2, 72, struct.pack(">Q", 1 << 40))
    assert "features" in refused(qcow2)


def test_an_encrypted_one_is_refused(qcow2):
    patch(qcow2, 32, struct.pack(">I", 1))
    assert "encrypted" in refused(qcow2)


def test_one_marked_corrupt_is_refused(qcow2):
    patch(qcow2, 72, struct.pack(">Q", 2))
    assert "corrupt" in refused(qcow2)


def test_many_snapshots_are_refused(qcow2):
    patch(qcow2, 60, struct.pack(">I", 10_000))
    assert "snapshots" in refused(qcow2)


@pytest.mark.parametrize("size", [1 << 50, (1 << 63) - 512])
def test_a_giant_is_refused(qcow2, size):
    patch(qcow2, 24, struct.pack(">Q", size))
    assert "at most" in refused(qcow2)


def test_larger_than_allowed_here(raw):
    assert "at most 1 MiB" in refused(raw, DiskFormat.RAW, largest_mib=1)


def test_a_disk_of_no_size_is_refused(qcow2):
    patch(qcow2, 24, struct.pack(">Q", 0))
    assert "no size" in refused(qcow2)


def patch(file, offset, data):
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


@pytest.mark.parametrize("keep", [0, 3, 60, 100, 511, 70_000, 400_000])
def test_a_truncated_qcow2_is_refused(qcow2, keep):
    with qcow2.open("r+b") as file:
        file.truncate(keep)
    assert refused(qcow2)


@pytest.mark.parametrize("options", [(), ("-c",)])
def test_a_qcow2_cut_within_its_data_is_refused(raw, tmp_path, options):
    raw.write_bytes(os.urandom(2 * MIB))
    make("convert", "-f", "raw", "-O", "qcow2", *options, raw, tmp_path / "x")
    with (tmp_path / "x").open("r+b") as file:
        file.truncate((tmp_path / "x").stat().st_size - 140_000)
    assert refused(tmp_path / "x")


def test_an_end_that_is_cut_off_is_called_so(qcow2, raw):
    qcow2.unlink()
    raw.write_bytes(os.urandom(2 * MIB))
    make("convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
    with qcow2.open("r+b") as file:
        file.truncate(qcow2.stat().st_size - 70_000)
    assert "cut off" in refused(qcow2)


def test_a_packed_disk_is_refused(raw, tmp_path):
    (tmp_path / "x").write_bytes(gzip.compress(raw.read_bytes()))
    assert "gzip" in refused(tmp_path / "x", DiskFormat.RAW)


def test_a_damaged_table_is_refused(qcow2):
    (l1,) = struct.unpack(">Q", qcow2.read_bytes()[40:48])
    patch(qcow2, l1, struct.pack(">Q", (1 << 63) | 0x7FFF0000))
    assert "damaged" in refused(qcow2)


@pytest.mark.parametrize(("cluster_bits", "version"), [(63, 3), (0, 3), (16, 9)])
def test_nonsense_in_the_header_is_refused(qcow2, cluster_bits, version):
    patch(qcow2, 4, struct.pack(">I", version))
    patch(qcow2, 20, struct.pack(">I", cluster_bits))
    assert refused(qcow2)


def test_qcow2_declared_raw_is_refused(qcow2):
    assert refused(qcow2, DiskFormat.RAW) == "it was declared raw, and it looks like qcow2"


def test_raw_declared_qcow2_is_refused(raw):
    assert "it is a plain partitioned disk" in refused(raw)


@pytest.mark.parametrize("declared", list(DiskFormat))
@pytest.mark.parametrize(("format", "options"), [
    ("vmdk", ()), ("vdi", ()), ("vhdx", ()), ("vpc", ()), ("vpc", ("-o", "subformat=fixed")), ("qed", ()), ("qcow", ()),
    ("vmdk", ("-o", "subformat=monolithicFlat")), ("vmdk", ("-o", "subformat=streamOptimized")), ("parallels", ()),
])
def test_other_formats_are_refused_whatever_they_are_called(raw, tmp_path, declared, format, options):
    make("convert", "-f", "raw", "-O", format, *options, raw, tmp_path / "x")
    assert "declared" in refused(tmp_path / "x", declared) or format == "qcow"


@pytest.mark.parametrize("magic", [b"LUKS\xba\xbe\0\1", b"LUKS\xba\xbe\0\2", b"COWD", b"# Disk DescriptorFile\nversion=1\n"])
def test_other_headers_are_refused_as_raw(tmp_path, magic):
    (tmp_path / "x").write_bytes(magic + bytes(MIB))
    assert refused(tmp_path / "x", DiskFormat.RAW)


def test_an_iso_is_refused_as_raw(tmp_path):
    data = bytearray(100_000)
    data[0x8000:0x8006] = b"\1CD001"
    (tmp_path / "x").write_bytes(data)
    assert "iso" in refused(tmp_path / "x", DiskFormat.RAW)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x").touch()
    assert "empty" in refused(tmp_path / "x", DiskFormat.RAW)


def test_kernels(tmp_path):
    image = bytearray(2000)
    image[0x202:0x206] = b"HdrS"
    (tmp_path / "bz").write_bytes(image)
    (tmp_path / "elf").write_bytes(b"\x7fELF" + bytes(100))
    for name in ("bz", "elf"):
        inspect(tmp_path / name, Part.KERNEL, DiskFormat.RAW)
    (tmp_path / "sh").write_bytes(b"#!/bin/sh\n")
    assert "neither" in refused(tmp_path / "sh", DiskFormat.RAW, Part.KERNEL)
    assert "declared raw" in refused(tmp_path / "bz", DiskFormat.QCOW2, Part.KERNEL)


def test_initrds(tmp_path):
    (tmp_path / "gz").write_bytes(gzip.compress(b"070701"))
    (tmp_path / "cpio").write_bytes(b"070701" + bytes(100))
    for name in ("gz", "cpio"):
        inspect(tmp_path / name, Part.INITRD, None)
    (tmp_path / "x").write_bytes(b"hello")
    assert "ram disk" in refused(tmp_path / "x", DiskFormat.RAW, Part.INITRD)
    with (tmp_path / "gz").open("r+b") as file:
        file.truncate(513 * MIB)
    assert "at most 512" in refused(tmp_path / "gz", DiskFormat.RAW, Part.INITRD)
