"""A raw disk shown as qcow2, against what qemu says of it."""

import os
import random
import subprocess

import pytest

from luhyaapi.transfer.blocks import BLOCK, HOLE, Index, index_of
from walrus.services.qcow2_view import Qcow2View


def view(file):
    def read(start, length):
        with file.open("rb") as opened:
            opened.seek(start)
            yield opened.read(length)

    return Qcow2View(index_of(file), read)


@pytest.mark.parametrize("blocks", [[], [0], [3], [0, 1, 2, 9], [39], list(range(40)), [8191, 8192, 8193], [20000]])
@pytest.mark.parametrize("odd", [0, 512, 1000])
def test_qemu_reads_the_same_disk(tmp_path, blocks, odd):
    file, made = tmp_path / "raw", tmp_path / "made"
    with file.open("wb") as raw:
        raw.truncate((max(blocks, default=5) + 1) * BLOCK - odd)
        for number in blocks:
            raw.seek(number * BLOCK)
            raw.write(os.urandom(1000))
    found = view(file)
    with made.open("wb") as out:
        out.writelines(found.read(0, found.size))
    assert made.stat().st_size == found.size <= (len(blocks) + 8) * BLOCK
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", made], check=True)
    subprocess.run(["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", made, file], check=True)


def test_any_part_is_that_part(tmp_path):
    file = tmp_path / "raw"
    file.write_bytes(os.urandom(7 * BLOCK) + bytes(9 * BLOCK) + os.urandom(5 * BLOCK + 300))
    found = view(file)
    whole = b"".join(found.read(0, found.size))
    chance = random.Random(3)
    for _ in range(50):
        start = chance.randrange(found.size)
        length = chance.randrange(1, 3 * BLOCK)
        assert b"".join(found.read(start, length)) == whole[start : start + length]
    assert b"".join(found.read(found.size, 10)) == b""


def test_tables_of_a_large_disk_fit():
    """64 GiB, every second block: nothing of it is read to know its size."""
    found = Qcow2View(Index(64 << 30, (HOLE + b"x" * len(HOLE)) * (512 * 1024)), lambda _start, length: iter((bytes(length),)))
    assert found._refcounts == 17
    assert found._clusters <= found._refcounts * (BLOCK // 2) <= found._refcount_table * (BLOCK // 8) * (BLOCK // 2)
    assert next(found.read(0, 4)) == b"QFI\xfb"
