"""VMware's disks: one file that names only itself is taken; what names, hides or repeats anything else is refused."""

import struct

import pytest

from luhyaapi.errors import Refused
from tests.support import disks, vmware
from tests.support.disks import MIB, patch
from walrus.services import formats

HOST_FILE = "/etc/hostname"
EXTENT = 'RW 4096 SPARSE "x.vmdk"'


def look(path, largest_mib=64):
    return formats.look(path, None, largest_mib=largest_mib)


def refused(path, **kw):
    with pytest.raises(Refused) as e:
        look(path, **kw)
    assert e.value.code == "image_format"
    assert e.value.why
    return e.value.why


def described(**change):
    return vmware.stream(disks.bare(), **change)


def vmdk(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    return tmp_path / "x"


def test_one_as_vmware_writes_it_is_taken(tmp_path):
    assert look(vmdk(tmp_path, described())) == formats.Disk("vmdk", 2 * MIB)


@pytest.mark.parametrize(("lines", "why"), [
    ([f'RW 4096 FLAT "{HOST_FILE}" 0'], "another file"),
    (['RW 4096 FLAT "x-flat.vmdk" 0'], "another file"),
    ([f'RW 4096 SPARSE "{HOST_FILE}"'], "another file"),
    (['RW 4096 SPARSE "..\\x.vmdk"'], "another file"),
    (['RW 4096 VMFS "x-flat.vmdk"'], "another file"),
    (['RW 4096 VMFSRDM "x-rdm.vmdk"'], "another file"),
    (["RW 4096 ZERO"], "another file"),
    (['NOACCESS 4096 SPARSE "x.vmdk"'], "another file"),
    ([EXTENT, EXTENT], "exactly one"),
    ([EXTENT, f'RW 1 FLAT "{HOST_FILE}" 0'], "another file"),
    (['RW 4097 SPARSE "x.vmdk"'], "exactly one"),
    ([], "exactly one"),
    ([EXTENT, f'parentFileNameHint="{HOST_FILE}"'], "parent"),
    ([EXTENT, f'PARENTFILENAMEHINT = "{HOST_FILE}"'], "parent"),
    ([EXTENT, "parentCID=00000001"], "line"),
    ([EXTENT, f'changeTrackPath="{HOST_FILE}"'], "line"),
    ([EXTENT, 'encryption.keySafe = "vmware:key/list"'], "line"),
    ([EXTENT, 'createType="monolithicFlat"'], "line"),
    ([EXTENT + "\x0b" + f'RW 1 FLAT "{HOST_FILE}" 0'], "another file"),
    ([EXTENT, "surprise"], "line"),
    ([EXTENT + f'\rRW 1 FLAT "{HOST_FILE}" 0'], "another file"),
])
def test_a_description_that_names_other_files_is_refused(tmp_path, lines, why):
    assert why in refused(vmdk(tmp_path, described(extents=lines)))


@pytest.mark.parametrize("kind", [
    "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "vmfs", "vmfsSparse", "vmfsRaw", "fullDevice", "custom", "x" * 90, "",
])
def test_kinds_of_several_files_are_refused(tmp_path, kind):
    assert "kind of vmdk" in refused(vmdk(tmp_path, described(kind=kind)))


def test_a_parent_is_refused(tmp_path):
    assert "parent" in refused(vmdk(tmp_path, described(parent="12345678")))


def test_other_letters_in_its_own_name_are_fine(tmp_path):
    assert look(vmdk(tmp_path, described(extents=['RDONLY 4096 SPARSE "教室-1.vmdk"'])))


@pytest.mark.parametrize("text", [
    f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 4096 FLAT "{HOST_FILE}" 0\n',
    f'version=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 4096 FLAT "{HOST_FILE}" 0\n',
    f'\n\n# Disk DescriptorFile\ncreateType="monolithicSparse"\nRW 4096 SPARSE "{HOST_FILE}"\n',
])
@pytest.mark.parametrize("size", [0, 3 * MIB])
def test_a_description_alone_is_refused(tmp_path, text, size):
    (tmp_path / "x").write_text(text)
    with (tmp_path / "x").open("ab") as opened:
        opened.write(b"\n" * size)
    assert refused(tmp_path / "x")


@pytest.mark.parametrize("change", [
    {"version": 9}, {"flags": 0x80030001}, {"flags": 0x10001}, {"flags": 3}, {"capacity": 0}, {"capacity": 1 << 60}, {"grain": 0},
    {"grain": 100}, {"grain": 1 << 30}, {"entries": 0}, {"entries": 1 << 31}, {"descriptor": 0}, {"descriptor": 8}, {"descriptor_size": 0},
    {"descriptor_size": 1 << 40}, {"compression": 7}, {"newlines": b"\n \n\n"}, {"directory": 1 << 50}, {"capacity": 1 << 41},
])
def test_nonsense_in_a_header_is_refused(tmp_path, change):
    assert refused(vmdk(tmp_path, described(header=change)))


@pytest.mark.parametrize("change", [
    {"version": 1}, {"capacity": 1 << 20}, {"descriptor": 3}, {"descriptor_size": 2}, {"grain": 8}, {"directory": vmware.AT_END}, {"flags": 0x30003},
    {"directory": 1 << 40}, {"compression": 0},
])
def test_a_footer_that_says_something_else_is_refused(tmp_path, change):
    assert refused(vmdk(tmp_path, described(footer=change)))


@pytest.mark.parametrize(("at", "data"), [(-1536 + 12, b"\1"), (-1536 + 100, b"x"), (-1536 + 8, b"\1"), (-512, b"\1"), (-1024, b"KDMW"), (-1, b"x")])
def test_tricks_around_a_footer_are_refused(tmp_path, at, data):
    path = vmdk(tmp_path, described())
    patch(path, path.stat().st_size + at, data)
    assert refused(path)


def test_what_follows_a_footer_is_refused(tmp_path):
    data = described()
    assert "cut off" in refused(vmdk(tmp_path, data + bytes(512)))
    assert "cut off" in refused(vmdk(tmp_path, data[:-512]))
    assert refused(vmdk(tmp_path, data[:600]))


def test_tables_that_name_the_same_data_again_and_again_are_refused(tmp_path):
    data = disks.made(tmp_path, "vmdk").read_bytes()
    (directory,) = struct.unpack_from("<Q", data, 56)
    (table,) = struct.unpack_from("<I", data, directory * 512)
    grains = struct.unpack_from("<512I", data, table * 512)
    path = vmdk(tmp_path, data)
    patch(path, table * 512, struct.pack("<I", max(grains)) * 512)
    assert "again" in refused(path)


def test_too_many_tables_are_refused(tmp_path):
    path = vmdk(tmp_path, described(header={"grain": 8, "capacity": 1 << 35}, footer={"grain": 8, "capacity": 1 << 35},
                                    extents=[f'RW {1 << 35} SPARSE "x"']))
    assert "tables" in refused(path, largest_mib=1 << 40)
