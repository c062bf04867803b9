"""Appliances: a tar of plain files with one disk; everything that is more than that is refused, and no name becomes a path."""

import io
import os
import struct
import tarfile

import pytest

from luhyaapi.errors import Refused
from tests.support import disks, vmware
from tests.support.disks import MIB, member, ovf, tar
from walrus.services import ova
from walrus.services.unpacking import Caps, Reader

DISK = vmware.stream(disks.bare())
BOX = [("a.ovf", ovf("a.vmdk")), ("a.vmdk", DISK), ("a.mf", b"SHA256(a.ovf)= 0\n")]


def disk(data):
    assert ova.is_ova(data[:512])
    return b"".join(ova.disk(Reader(io.BytesIO(data), Caps(64 * MIB))))


def refused(data):
    with pytest.raises(Refused) as e:
        disk(data)
    assert e.value.code == "image_format"
    return e.value.why


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_disk_comes_out(form):
    assert disk(tar(*BOX, form=form)) == DISK


def test_without_a_description_the_one_disk_is_it():
    assert disk(tar(("x", b"notes"), ("disk", DISK))) == DISK
    assert disk(tar(("disk", DISK), ("a.ovf", ovf("disk")))) == DISK


def test_a_description_may_name_a_raw_disk():
    assert disk(tar(("a.ovf", ovf("a.img")), ("a.img", disks.bare()))) == disks.bare()


def test_an_iso_beside_it_is_left_out():
    assert disk(tar(*BOX, ("tools.iso", bytes(40_000)))) == DISK


@pytest.mark.parametrize("name", ["../a.vmdk", "/etc/passwd", "/a.vmdk", "a/b.vmdk", "./a.vmdk", "..", ".", "a\\b", "a\nb", "a\x7f"])
def test_names_that_lead_elsewhere_are_refused(name):
    assert "plain file name" in refused(tar((name, DISK)))


def test_a_folder_in_the_second_half_of_a_name_is_refused():
    assert "plain file name" in refused(tar(("etc/" * 30 + "x.vmdk", DISK)))


@pytest.mark.parametrize(("kind", "why"), [
    (tarfile.SYMTYPE, "symbolic link"), (tarfile.LNKTYPE, "hard link"), (tarfile.CHRTYPE, "device"), (tarfile.BLKTYPE, "device"),
    (tarfile.FIFOTYPE, "pipe"), (tarfile.DIRTYPE, "folder"), (tarfile.CONTTYPE, "unknown"), (b"S", "unknown"), (b"g", "unknown"),
    (b"x", "unknown"), (b"L", "unknown"), (b"K", "unknown"), (b"Z", "unknown"), (b"V", "unknown"), (b"M", "unknown"),
])
@pytest.mark.parametrize("first", [True, False])
def test_members_that_are_no_plain_files_are_refused(kind, why, first):
    odd = (member("a.vmdk" if first else "link", kind, "/etc/hostname"), b"")
    box = [odd, *BOX[:2]] if first else [*BOX, odd]
    assert why in refused(raw_tar(*box))


def raw_tar(*members):
    """A tar whose headers say what they are told, kinds that tarfile would refuse to write too."""
    out = bytearray()
    for what, data in members:
        info = what if isinstance(what, tarfile.TarInfo) else member(what)
        info.size = len(data)
        head = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        head[156:157] = info.type
        out += summed(head) + data + bytes(-len(data) % 512)
    return bytes(out) + bytes(1024)


def summed(head):
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])
    return bytes(head)


def test_the_same_name_twice_is_refused():
    assert "twice" in refused(tar(*BOX, ("a.mf", b"x")))
    assert "twice" in refused(tar(*BOX, ("a.vmdk", DISK)))


def test_two_disks_are_refused():
    assert "several disks" in refused(tar(*BOX, ("b.vmdk", DISK)))
    assert "several disks" in refused(tar(("a.vmdk", DISK), ("b.vmdk", DISK)))
    assert "2 disks" in refused(tar(("a.ovf", ovf("a.vmdk", "b.img")), ("a.vmdk", DISK), ("b.img", disks.bare())))


def test_a_huge_number_of_files_is_refused():
    assert "too many" in refused(tar(*((f"f{n}", b"") for n in range(5000))))


def test_without_a_disk_it_is_refused():
    assert "no disk" in refused(tar(("a.ovf", ovf("a.vmdk"))))
    assert "no disk" in refused(tar(("notes", b"hello")))


def test_a_description_that_does_not_fit_is_refused():
    assert "describes" in refused(tar(("a.ovf", ovf("b.vmdk")), ("a.vmdk", DISK)))
    assert "describes" in refused(tar(("a.ovf", ovf()), ("a.vmdk", DISK)))
    assert "several descriptions" in refused(tar(("a.ovf", ovf("a.vmdk")), ("b.ovf", ovf("a.vmdk")), ("a.vmdk", DISK)))


@pytest.mark.parametrize(("text", "why"), [
    (b"", "cannot be read"), (b"<a", "cannot be read"), (b"\xff\xfe<\0a\0", "not plain"), (b"<a>" * 100_000, "cannot be read"),
    (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>', "not plain"),
    (b'<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><a>&z;</a>', "not plain"),
    (b'<?xml version="1.0" encoding="nonsense"?><a/>', "cannot be read"),
    (b'<Envelope><DiskSection><Disk fileRef="f"/></DiskSection></Envelope>', "no file of it"),
    (b" " * (MIB + 1), "too large"),
])
def test_a_description_that_is_wrong_is_refused(text, why):
    assert why in refused(tar(("a.ovf", text), ("a.vmdk", DISK)))


@pytest.mark.parametrize("at", [0, 1, 100, 511, 512, 700, 1023, 1024, 2048, 3000, 70_000])
def test_a_cut_one_is_refused(at):
    data = tar(*BOX)
    cut = data[:len(data) - 10_240 - at] if at else data[:-10_240 + 100]
    why = refused(cut)
    assert "cut off" in why or "damaged" in why


def test_what_follows_its_end_is_refused():
    data = tar(*BOX)
    assert "follows" in refused(data + b"x")
    assert "follows" in refused(data + tar(("b.vmdk", DISK)))
    assert disk(data + bytes(100_000)) == DISK


def test_headers_that_lie_are_refused():
    data = bytearray(tar(*BOX))
    at = data.index(b"a.vmdk\0")
    assert "damaged" in refused(data[:at] + b"b" + data[at + 1:])
    for size in (b"77777777777\0", b"\x80" + bytes(3) + struct.pack(">Q", 1 << 60)):
        head = bytearray(data[at:at + 512])
        head[124:136] = size
        assert "cut off" in refused(data[:at] + summed(head) + data[at + 512:])
    for size in (b"-0000000001\0", b"\xff" * 12, b"99999999999\0", b"           \0", b"0x10\0      \0"):
        head = bytearray(data[at:at + 512])
        head[124:136] = size
        assert "damaged" in refused(data[:at] + summed(head) + data[at + 512:])


def test_a_size_in_binary_is_understood():
    data = bytearray(tar(*BOX))
    at = data.index(b"a.vmdk\0")
    head = bytearray(data[at:at + 512])
    head[124:136] = b"\x80" + bytes(3) + struct.pack(">Q", len(DISK))
    assert disk(data[:at] + summed(head) + data[at + 512:]) == DISK


def test_what_lies_between_files_is_empty():
    data = bytearray(tar(("a.mf", b"x"), *BOX[:2]))
    data[512 + 100] = 1
    assert "damaged" in refused(bytes(data))


def test_noise_is_no_ova():
    assert not ova.is_ova(os.urandom(512))
    assert not ova.is_ova(b"")
    assert not ova.is_ova(DISK[:512])
