"""Unpacking what strangers packed: the bytes, all of them, in flat memory; bombs, cuts and what follows are refused."""

import bz2
import gzip
import io
import lzma
import os
import random
import struct
import tracemalloc
import zlib

import pytest
import zstandard

from luhyaapi import clock
from luhyaapi.errors import Failed, Refused
from tests.support.disks import MIB, PACK
from walrus.services import unpacking
from walrus.services.unpacking import Caps, Reader

CAPS = Caps(16 * MIB)
DATA = bytes(range(256)) * 700 + bytes(300_000) + random.Random(9).randbytes(3000)


def unpacked(data, caps=CAPS):
    reader = Reader(io.BytesIO(data), caps)
    out = bytearray()
    while piece := reader.read(unpacking.CHUNK):
        assert len(piece) <= unpacking.CHUNK
        out += piece
    assert reader.position == len(out)
    assert reader.taken == len(data)
    return bytes(out)


def refused(data, caps=CAPS):
    with pytest.raises(Refused) as e:
        unpacked(data, caps)
    assert e.value.code == "image_format"
    return e.value.why


def zeros(size, how):
    """``size`` zeros packed: made piece by piece."""
    if how == "zst":
        out = io.BytesIO()
        with zstandard.ZstdCompressor(level=3).stream_writer(out, closefd=False) as packer:
            for _ in range(size // MIB):
                packer.write(bytes(MIB))
        return out.getvalue()
    packer = {"gz": lambda: zlib.compressobj(wbits=31), "bz2": bz2.BZ2Compressor, "xz": lambda: lzma.LZMACompressor(preset=0)}[how]()
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size // MIB)), packer.flush()])


@pytest.mark.parametrize("how", PACK)
@pytest.mark.parametrize("data", [DATA, b"", b"x", bytes(5 * MIB)])
def test_what_was_packed_comes_out(how, data):
    packed = PACK[how](data)
    assert unpacking.packing(packed) == how
    assert unpacked(packed) == data


def test_what_is_not_packed_comes_as_it_is():
    assert unpacking.packing(DATA) == ""
    assert unpacked(DATA) == DATA
    assert unpacked(b"") == b""


@pytest.mark.parametrize("how", PACK)
def test_several_behind_each_other_are_one(how):
    """As pigz, pbzip2, pixz and pzstd make them; zeros may follow."""
    packed = PACK[how](DATA)
    assert unpacked(packed + PACK[how](b"more") + packed) == DATA + b"more" + DATA
    if how != "zst":
        assert unpacked(packed + bytes(2 * MIB)) == DATA


@pytest.mark.parametrize("how", PACK)
@pytest.mark.parametrize("more", [b"x", b"\0\0x", b"garbage" * 100, b"\x1f\x8b", b"PK\3\4" + bytes(30)])
def test_what_follows_is_refused(how, more):
    assert refused(PACK[how](DATA) + more)


@pytest.mark.parametrize("how", PACK)
@pytest.mark.parametrize("part", [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_cut_one_is_refused(how, part):
    packed = PACK[how](DATA)
    why = refused(packed[:max(int(len(packed) * part), 6)])
    assert "cut off" in why or "damaged" in why


@pytest.mark.parametrize("how", PACK)
def test_cut_at_each_of_its_last_bytes(how):
    packed = PACK[how](b"disk" * 50)
    for left in range(7, len(packed)):
        assert "cut off" in refused(packed[:left]) or how == "xz"


@pytest.mark.parametrize("how", ["gz", "bz2", "xz", "zst"])
def test_a_changed_byte_is_noticed(how):
    packed = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(DATA) if how == "zst" else PACK[how](DATA))
    packed[-2000] ^= 0x55
    assert "damaged" in refused(bytes(packed))


@pytest.mark.parametrize("how", PACK)
@pytest.mark.walk
def test_a_bomb_ends_at_the_size_that_is_allowed(how):
    packed = zeros(64 * MIB, how)
    assert len(packed) < MIB
    tracemalloc.start()
    why = refused(packed, Caps(8 * MIB))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert why == "unpacked it has more than the 8 MiB that are allowed"
    assert peak < 24 * MIB, "memory does not grow with what comes out"


@pytest.mark.parametrize("how", ["bz2", "xz", "zst"])
@pytest.mark.walk
def test_a_bomb_ends_at_the_ratio_that_disks_have(how):
    assert "times its size" in refused(zeros(48 * MIB, how), Caps(1 << 50, ratio=100, free=4 * MIB))
    assert unpacked(zeros(2 * MIB, how), Caps(1 << 50, ratio=100, free=4 * MIB)) == bytes(2 * MIB)


def test_a_zst_bomb_within_one_piece_of_input_takes_no_memory():
    """A block of four bytes is 128 KiB of zeros: one MiB of them would be 32 GiB."""
    block = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    head = zstandard.ZstdCompressor(level=1).compress(b"")[:4] + bytes([0x00, 0x38])
    tracemalloc.start()
    assert "allowed" in refused(head + block * 260_000, Caps(8 * MIB))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MIB


def test_it_has_an_end_in_time():
    class Late(clock.Clock):
        now_s = 0.0

        def monotonic(self):
            self.now_s += 400.0
            return self.now_s

    before = clock.use(Late())
    try:
        with pytest.raises(Failed) as e:
            unpacked(gzip.compress(os.urandom(3 * MIB)))
    finally:
        clock.use(before)
    assert e.value.code == "timeout"


@pytest.mark.walk
def test_too_much_memory_is_refused():
    xz = lzma.compress(DATA, format=lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}])
    assert "damaged" in refused(xz)
    assert "memory" in refused(xz).lower()
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=29)
    out = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(out, closefd=False) as packer:
        packer.write(DATA)
    assert "memory" in refused(out.getvalue()).lower()


@pytest.mark.parametrize(("packed", "why"), [
    (b"\x28\xb5\x2f\xfd" + bytes([0, 0x38]) + (200_000 << 3 | 1).to_bytes(3, "little") + bytes(200_000), "too large"),
    (b"\x28\xb5\x2f\xfd" + bytes([0, 0x38]) + (10 << 3 | 3 << 1 | 1).to_bytes(3, "little") + bytes(10), "damaged"),
    (b"\x28\xb5\x2f\xfd" + bytes([0x08]) + bytes(40), "damaged"),
    (b"\x28\xb5\x2f\xfd", "damaged"),
    (b"\x1f\x8b\x09" + bytes(40), "damaged"),
    (b"BZh9" + bytes(40), "damaged"),
    (b"\xfd7zXZ\0" + bytes(40), "damaged"),
])
def test_nonsense_is_refused(packed, why):
    assert why in refused(packed)


def test_frames_that_hold_nothing_are_passed_over():
    skippable = struct.pack("<II", 0x184D2A53, 3 * MIB) + os.urandom(3 * MIB)
    assert unpacked(PACK["zst"](DATA) + skippable + PACK["zst"](b"more")) == DATA + b"more"
    assert "cut off" in refused(PACK["zst"](DATA) + skippable[:-1])


def test_one_looks_ahead_and_takes_exactly():
    reader = Reader(io.BytesIO(PACK["xz"](DATA)), CAPS)
    assert reader.peek(512) == DATA[:512]
    assert reader.exactly(10) == DATA[:10]
    assert reader.read(5) == DATA[10:15]
    assert reader.exactly(len(DATA) - 15) == DATA[15:]
    assert reader.peek(1) == reader.read(1) == b""
    with pytest.raises(Refused):
        reader.exactly(1)
