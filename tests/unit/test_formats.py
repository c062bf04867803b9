"""Disks of other kinds: one file each, building on nothing, whole; what says otherwise is refused before anything opens it."""

import os
import struct

import pytest

from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.errors import Refused
from tests.support import disks
from tests.support.disks import MIB, patch
from walrus.services import formats

OTHERS = [f for f in disks.FORMATS if not f.startswith("qcow2")]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Format to bytes of its file: made once, broken often."""
    folder = tmp_path_factory.mktemp("made")
    return {name: disks.made(folder, name).read_bytes() for name in ["raw", *disks.FORMATS]}


@pytest.fixture
def file(tmp_path, originals):
    def put(name):
        path = tmp_path / "x"
        path.write_bytes(originals[name])
        return path
    return put


def look(path, declared=None, largest_mib=64):
    return formats.look(path, declared, largest_mib=largest_mib)


def refused(path, declared=None, **kw):
    with pytest.raises(Refused) as e:
        look(path, declared, **kw)
    assert e.value.code == "image_format"
    assert e.value.why
    return e.value.why


@pytest.mark.parametrize("name", ["raw", *disks.FORMATS])
def test_each_is_known_by_its_bytes(file, name):
    assert look(file(name)) == formats.Disk(name.split()[0], 2 * MIB)


@pytest.mark.parametrize("name", disks.FORMATS)
def test_each_is_refused_when_it_is_larger_than_allowed(file, name):
    assert "at most 1 MiB" in refused(file(name), largest_mib=1)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("declared", list(DiskFormat))
def test_none_passes_for_what_it_is_not(file, name, declared):
    assert "declared" in refused(file(name), declared)


@pytest.mark.parametrize("name", [n for n in disks.FORMATS if "fixed" not in n or n == "vhdx fixed"])
@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_one_that_is_cut_is_refused(file, name, part):
    path = file(name)
    os.truncate(path, int(len(path.read_bytes().rstrip(b"\0")) * part))
    assert refused(path)


@pytest.mark.parametrize("name", [n for n in disks.FORMATS if n != "vhd fixed"])
@pytest.mark.parametrize("keep", [1, 63, 100, 400, 511, 513, 1100, 66_000])
def test_one_that_hardly_began_is_refused(file, name, keep):
    path = file(name)
    os.truncate(path, keep)
    assert refused(path)


def test_a_cut_fixed_vhd_is_an_undeclared_raw_disk_at_most(file):
    path = file("vhd fixed")
    os.truncate(path, path.stat().st_size - 512)
    assert look(path).format == "raw", "without its last sector it is nothing else"


@pytest.mark.parametrize("data", [b"hello", bytes(MIB), b"%PDF-1.7" + bytes(5000)])
def test_nobody_guesses_that_something_is_raw(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    assert "declared raw" in refused(tmp_path / "x")
    assert look(tmp_path / "x", DiskFormat.RAW).format == "raw"


@pytest.mark.parametrize("head", [b"QFI\xfb", b"KDMV", b"COWD", b"vhdxfile", b"conectix", b"QED\0", b"# Disk DescriptorFile", b"LUKS\xba\xbe\0\1"])
def test_a_raw_disk_on_which_a_guest_wrote_a_header_is_refused(file, head):
    path = file("raw")
    patch(path, 0, head)
    assert "looks like" in refused(path, DiskFormat.RAW)
    assert refused(path)


@pytest.mark.parametrize(("at", "magic"), [(64, b"\x7f\x10\xda\xbe"), (-512, b"conectix"), (0x8000, b"\1CD001")])
def test_headers_elsewhere_count_too(file, at, magic):
    path = file("raw")
    patch(path, at % path.stat().st_size, magic)
    assert "looks like" in refused(path, DiskFormat.RAW)
    assert refused(path)


def test_two_formats_at_once_are_refused(file):
    path = file("qcow2")
    with path.open("ab") as opened:
        opened.write(b"conectix" + bytes(504))
    assert "at once" in refused(path)


# -- qcow2

@pytest.mark.parametrize("options", [
    "cluster_size=64k", "cluster_size=2M", "cluster_size=512", "compat=0.10", "preallocation=metadata", "compression_type=zstd",
])
@pytest.mark.parametrize("how", [(), ("-c",)])
def test_a_qcow2_is_whole_and_less_of_it_is_not(tmp_path, options, how):
    if how and options == "preallocation=metadata":
        options = "lazy_refcounts=on"
    data = disks.bare(MIB) + os.urandom(70_000 // 512 * 512)
    (tmp_path / "raw").write_bytes(data)
    disks.qemu_img("convert", "-f", "raw", "-O", "qcow2", *how, "-o", options, tmp_path / "raw", tmp_path / "x")
    assert look(tmp_path / "x").virtual_size == len(data)
    end = len((tmp_path / "x").read_bytes().rstrip(b"\0"))
    os.truncate(tmp_path / "x", end)
    assert end % 512 or look(tmp_path / "x")
    os.truncate(tmp_path / "x", end - 1024)
    assert "cut off" in refused(tmp_path / "x")


@pytest.mark.parametrize(("at", "data", "why"), [
    (36, struct.pack(">I", 1 << 30), "damaged"), (36, bytes(4), "damaged"), (40, struct.pack(">Q", 1 << 62), "cut off"),
    (20, struct.pack(">I", 22), "damaged"), (20, struct.pack(">I", 8), "damaged"), (36, struct.pack(">I", 5 << 20), "damaged"),
])
def test_a_wrong_qcow2_is_refused(file, at, data, why):
    path = file("qcow2")
    patch(path, at, data)
    assert why in refused(path)


def test_a_qcow2_whose_tables_are_one_is_refused(tmp_path):
    disks.made(tmp_path, "raw")
    disks.qemu_img("convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=512", tmp_path / "made.raw", tmp_path / "x")
    data = (tmp_path / "x").read_bytes()
    (count, at) = struct.unpack(">IQ", data[36:48])
    tables = [n for n in struct.unpack_from(f">{count}Q", data, at) if n]
    patch(tmp_path / "x", data.index(struct.pack(">Q", tables[1]), at), struct.pack(">Q", tables[0]))
    assert "again" in refused(tmp_path / "x")


# -- vdi

@pytest.mark.parametrize(("at", "data", "why"), [
    (68, b"\2\0\1\0", "features"), (68, b"\1\0\2\0", "features"), (76, b"\4", "parent"), (76, b"\3", "parent"), (76, b"\0", "parent"),
    (0x1A8, b"\1", "parent"), (0x1B8, b"\1", "parent"), (0x178, bytes(4), "damaged"), (0x17C, b"\1", "damaged"), (0x168, b"\1", "damaged"),
    (0x184, b"\xff\xff\xff\x7f", "damaged"), (0x180, b"\xff\xff\xff\x7f", "damaged"), (0x154, b"\xff\xff\xff\xff", "damaged"),
    (0x170, struct.pack("<Q", 1 << 50), "damaged"), (0x158, b"\1", "damaged"), (0x154, struct.pack("<I", 1 << 30), "cut off"),
    (0x170, bytes(8), "no size"),
])
def test_a_wrong_vdi_is_refused(file, at, data, why):
    path = file("vdi")
    patch(path, at, data)
    assert why in refused(path)


def test_a_vdi_whose_table_names_the_same_data_is_refused(file):
    path = file("vdi fixed")
    (table,) = struct.unpack("<I", path.read_bytes()[0x154:0x158])
    patch(path, table, struct.pack("<2I", 0, 0))
    assert "again" in refused(path)
    patch(path, table, struct.pack("<2I", 0, 70))
    assert "cut off" in refused(path)


# -- vhd

def vhd_sum(data, at):
    return struct.pack(">I", ~(sum(data) - sum(data[at:at + 4])) & 0xFFFFFFFF)


def resum(path, *, kind=None, size=None):
    """Change what both copies of the footer say, and have them add up."""
    data = bytearray(path.read_bytes())
    for at in (0, len(data) - 512):
        if kind is not None:
            data[at + 60:at + 64] = struct.pack(">I", kind)
        if size is not None:
            data[at + 48:at + 56] = struct.pack(">Q", size)
        data[at + 64:at + 68] = vhd_sum(data[at:at + 512], 64)
    path.write_bytes(data)


@pytest.mark.parametrize(("kind", "why"), [(4, "parent"), (2, "contradict"), (0, "contradict"), (7, "contradict")])
def test_another_kind_of_vhd_is_refused(file, kind, why):
    path = file("vhd")
    resum(path, kind=kind)
    assert why in refused(path)


def test_a_vhd_larger_than_its_table_is_refused(file):
    path = file("vhd")
    resum(path, size=32 * MIB)
    assert "damaged" in refused(path)
    resum(path, size=1 << 50)
    assert "at most" in refused(path)


def test_a_vhd_whose_header_and_footer_differ_is_refused(file):
    path = file("vhd")
    patch(path, 20, b"x")
    assert "contradict" in refused(path)
    patch(path, path.stat().st_size - 500, b"x")
    assert "damaged" in refused(path)


@pytest.mark.parametrize(("at", "data", "why"), [
    (512 + 576, b"W2ru", "parent"), (512 + 40, b"\1", "parent"), (512, b"x", "parent"), (512 + 28, bytes(4), "damaged"),
    (512 + 32, bytes(4), "damaged"), (512 + 28, b"\x7f\xff\xff\xff", "damaged"), (512 + 16, struct.pack(">Q", 1 << 50), "cut off"),
])
def test_a_wrong_second_header_of_a_vhd_is_refused(file, at, data, why):
    path = file("vhd")
    patch(path, at, data)
    patch(path, 512 + 36, vhd_sum(path.read_bytes()[512:1536], 36))
    assert why in refused(path)


def test_a_second_header_that_does_not_add_up_is_refused(file):
    path = file("vhd")
    patch(path, 512 + 36, b"x")
    assert "damaged" in refused(path)


@pytest.mark.parametrize(("entry", "why"), [(0x7FFFFFFF, "cut off"), (4, "again")])
def test_a_vhd_table_that_lies_is_refused(tmp_path, entry, why):
    path = disks.made(tmp_path, "vhd", disks.bare(6 * MIB))
    (table,) = struct.unpack(">Q", path.read_bytes()[528:536])
    patch(path, table, struct.pack(">2I", entry, entry))
    assert why in refused(path)


def test_an_old_vhd_is_refused(file):
    path = file("vhd fixed")
    data = bytearray(path.read_bytes())
    data[-500:-496] = struct.pack(">I", 0x00020000)
    data[-448:-444] = vhd_sum(data[-512:], 64)
    path.write_bytes(data)
    assert "features" in refused(path)


# -- vhdx

@pytest.mark.parametrize(("part", "at", "data", "why"), [
    ("3767a1ca", 4, b"\2", "parent"), ("3767a1ca", 4, b"\x80", "damaged"), ("3767a1ca", 0, struct.pack("<I", 1000), "damaged"),
    ("3767a1ca", 0, bytes(4), "damaged"), ("3767a1ca", 0, struct.pack("<I", 1 << 31), "damaged"),
    ("2442a52f", 0, struct.pack("<Q", 1 << 50), "at most"), ("2442a52f", 0, bytes(8), "no size"),
    ("1dbf4181", 0, struct.pack("<I", 1), "damaged"), ("metadata", 0, b"x", "damaged"), ("metadata", 10, b"\x09", "features"),
    ("metadata", 10, b"\x04", "damaged"), ("metadata", 32, b"x", "features"), ("metadata", 32 + 20, b"\x04", "damaged"),
])
def test_a_wrong_vhdx_is_refused(file, part, at, data, why):
    path = file("vhdx")
    patch(path, disks.vhdx_parts(path.read_bytes())[part] + at, data)
    assert why in refused(path)


@pytest.mark.parametrize(("at", "data", "why"), [
    (0, b"x", "damaged"), (8, b"\x09", "features"), (8, b"\1", "damaged"), (16, b"x", "features"),
])
def test_a_wrong_table_of_regions_is_refused(file, at, data, why):
    path = file("vhdx")
    patch(path, disks.VHDX_REGIONS + at, data)
    assert why in refused(path)


def test_the_same_region_twice_is_refused(file):
    path = file("vhdx")
    patch(path, disks.VHDX_REGIONS + 16 + 32, path.read_bytes()[disks.VHDX_REGIONS + 16:disks.VHDX_REGIONS + 32])
    assert "features" in refused(path)


def test_a_vhdx_table_that_lies_is_refused(tmp_path):
    path = disks.made(tmp_path, "vhdx fixed", disks.bare(20 * MIB))
    at = disks.vhdx_parts(path.read_bytes())["map"]
    patch(path, at, struct.pack("<2Q", 1 << 40 | 6, 1 << 20 | 6))
    assert "cut off" in refused(path)
    patch(path, at, struct.pack("<2Q", 4 << 20 | 6, 4 << 20 | 6))
    assert "again" in refused(path)
    patch(path, disks.VHDX_REGIONS + 16 + 24, bytes(4))
    patch(path, disks.VHDX_REGIONS + 16 + 32 + 24, bytes(4))
    assert "damaged" in refused(path)
