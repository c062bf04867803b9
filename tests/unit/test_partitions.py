"""Raw disks that are cut off: their partition table says it. Whatever else is raw is taken as before."""

import os
import struct
import subprocess
import zlib

import pytest

from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.errors import Refused
from walrus.services import formats

MIB = 1024 * 1024
LINUX, EXTENDED, PROTECTIVE = 0x83, 0x05, 0xEE


def mbr(*parts, active=0x80):
    """A boot record with partitions (type, first sector, sectors)."""
    rows = b"".join(struct.pack("<B3xB3xII", active if n == 0 else 0, *part) for n, part in enumerate(parts))
    return os.urandom(440) + bytes(6) + rows.ljust(64, b"\0") + b"\x55\xaa"


def gpt(size, *parts, unit=512, other=None, protective=0xFFFFFFFF, beside=()):
    """The first sectors of a GPT for a disk of ``size`` bytes with partitions (first, last sector), as sfdisk writes them."""
    sectors = size // unit
    table = b"".join(struct.pack("<16s16sQQ72x", b"\x0f" * 16, os.urandom(16), *part) for part in parts).ljust(128 * 128, b"\0")
    reserved = -(-len(table) // unit)
    head = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, sectors - 1 if other is None else other, 2 + reserved,
                       sectors - reserved - 2, os.urandom(16), 2, 128, 128, zlib.crc32(table))
    head = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
    return mbr((PROTECTIVE, 1, protective), *beside).ljust(unit, b"\0") + head.ljust(unit, b"\0") + table


@pytest.fixture
def disk(tmp_path):
    def made(head, size):
        path = tmp_path / "disk.raw"
        path.write_bytes(head)
        os.truncate(path, size)
        return path
    return made


def taken(path):
    return formats.look(path, DiskFormat.RAW, largest_mib=1 << 20).virtual_size


def cut(path):
    with pytest.raises(Refused) as refused:
        taken(path)
    assert refused.value.code == "image_format"
    assert "Copy the file again" in refused.value.hint
    return refused.value.why


TABLES = {
    "mbr": mbr((LINUX, 2048, 96 * 2048 - 2048)),
    "mbr of several": mbr((LINUX, 2048, 40 * 2048), (EXTENDED, 50 * 2048, 46 * 2048)),
    "gpt": gpt(96 * MIB, (2048, 90 * 2048)),
    "gpt without partitions": gpt(96 * MIB),
    "gpt of large sectors": gpt(96 * MIB, (256, 90 * 256), unit=4096),
    "gpt with a true protective size": gpt(96 * MIB, (2048, 4096), protective=96 * 2048 - 1),
    "gpt with a partition behind its end": gpt(28 * MIB, (2048, 96 * 2048 - 1)),
    "hybrid": gpt(96 * MIB, (2048, 4096), beside=[(LINUX, 2048, 2048)]),
}


@pytest.mark.parametrize("name", TABLES)
def test_what_its_table_names_must_be_there(disk, name):
    assert cut(disk(TABLES[name], 28 * MIB)) == "it is cut off: its partition table ends at 96 MiB, the file has 28 MiB"
    assert taken(disk(TABLES[name], 96 * MIB)) == 96 * MIB
    assert taken(disk(TABLES[name], 200 * MIB)) == 200 * MIB, "a disk that grew"


def test_one_sector_that_is_not_there_is_told_in_bytes(disk):
    assert cut(disk(TABLES["gpt"], 96 * MIB - 512)) == f"it is cut off: its partition table ends at {96 * MIB} bytes, the file has {96 * MIB - 512} bytes"
    assert taken(disk(TABLES["gpt"], 96 * MIB - 100)) == 96 * MIB - 100, "half a sector is read as a whole one"


@pytest.mark.parametrize("head", [
    b"", bytes(510) + b"\x55\xaa", mbr(), mbr((PROTECTIVE, 1, 0xFFFFFFFF)),
    mbr((LINUX, 1 << 31, 1 << 31), active=0x42),
    mbr((LINUX, 2048, 1 << 20), (LINUX, 4096, 1 << 20)),
    b"\xeb\x52\x90NTFS    " + TABLES["mbr"][11:],
    TABLES["mbr"][:54] + b"FAT16   " + TABLES["mbr"][62:],
    TABLES["mbr"][:82] + b"FAT32   " + TABLES["mbr"][90:],
    mbr((LINUX, 1, 10)) + gpt(96 * MIB)[512:],
    TABLES["gpt"][:520] + b"\xff" + TABLES["gpt"][521:],
    gpt(28 * MIB, (2048, 1 << 40))[:1024] + bytes(16384),
    gpt(28 * MIB, (1 << 40, 5)),
], ids=[
    "empty", "signature", "no partition", "protective only", "code", "overlapping", "ntfs", "fat16", "fat32", "left over", "bad sum", "bad table", "backwards",
])
def test_what_is_no_table_says_nothing(disk, head):
    assert taken(disk(head, 28 * MIB)) == 28 * MIB


def test_nothing_far_away_is_read(disk):
    head = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, 9, 9, 9, bytes(16), (1 << 64) - 1, 1 << 31, 1 << 31, 0)
    head = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
    assert taken(disk(mbr((PROTECTIVE, 1, 9)) + head, 28 * MIB)) == 28 * MIB


def test_a_plain_file_system_is_taken(disk):
    path = disk(b"", 28 * MIB)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", path], check=True)
    assert taken(path) == 28 * MIB
