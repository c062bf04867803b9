"""Blocks, indexes and frames."""

import os
import random

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer import blocks, frames, giver
from luhyaapi.transfer.blocks import BLOCK, GROUP, HOLE, Index, index_of


def noise(length, seed=1):
    return random.Random(seed).randbytes(length)


def names_of(data):
    return [blake3(data[at : at + BLOCK]).digest() if any(data[at : at + BLOCK]) else HOLE for at in range(0, len(data), BLOCK)]


def write(path, parts, size):
    """A file of ``size`` bytes with ``parts`` (offset to bytes), holes elsewhere."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in parts.items():
            file.seek(offset)
            file.write(data)
    return path


@pytest.mark.parametrize(("parts", "size"), [
    ({}, 0), ({}, 10 * BLOCK), ({0: b"x"}, 1), ({0: noise(BLOCK)}, BLOCK), ({0: noise(BLOCK + 1)}, BLOCK + 1),
    ({5 * BLOCK: noise(3 * BLOCK)}, 40 * BLOCK), ({5 * BLOCK + 17: noise(100), 33 * BLOCK - 1: b"ab"}, 40 * BLOCK + 5),
    ({0: noise(40 * BLOCK)}, 40 * BLOCK), ({0: bytes(3 * BLOCK), 3 * BLOCK: b"y"}, 4 * BLOCK),
])
def test_the_index_is_that_of_a_whole_read(tmp_path, parts, size):
    file = write(tmp_path / "f", parts, size)
    index = index_of(file)
    assert list(index) == names_of(file.read_bytes())
    assert index.size == size
    assert index.filled() == sum(len(file.read_bytes()[n * BLOCK : (n + 1) * BLOCK]) for n, d in enumerate(index) if d != HOLE)
    assert Index.checked(size, index.data, index.name).data == index.data


def test_holes_are_not_read(tmp_path):
    file = write(tmp_path / "f", {1000 * BLOCK: b"x"}, 100_000 * BLOCK)
    with file.open("rb") as opened:
        assert [first for first, _ in blocks.groups(opened.fileno(), file.stat().st_size)] == [1000]


def test_every_block_is_read_once(tmp_path):
    file = write(tmp_path / "f", {3 * BLOCK + 5: noise(37 * BLOCK), 60 * BLOCK: b"z", 61 * BLOCK - 1: b"z"}, 61 * BLOCK + 7)
    with file.open("rb") as opened:
        found = list(blocks.groups(opened.fileno(), file.stat().st_size))
    seen = [n for first, data in found for n in range(first, first + blocks.count(len(data)))]
    assert seen == sorted(set(seen))
    assert all(len(data) <= GROUP * BLOCK for _, data in found)


def test_another_index_is_told(tmp_path):
    index = index_of(write(tmp_path / "f", {0: noise(3 * BLOCK)}, 3 * BLOCK))
    with pytest.raises(Failed, match="Another index"):
        Index.checked(index.size, index.data[:-1] + b"\0", index.name)
    with pytest.raises(Failed, match="does not fit"):
        Index(4 * BLOCK, index.data)


def test_looking_through_can_be_cancelled(tmp_path):
    with pytest.raises(Refused, match="cancelled"):
        index_of(write(tmp_path / "f", {0: b"x"}, BLOCK), lambda: True)


def test_a_file_that_shrinks_meanwhile_is_an_error(tmp_path):
    file = write(tmp_path / "f", {0: noise(20 * BLOCK)}, 20 * BLOCK)
    with file.open("r+b") as opened:
        pieces = blocks.groups(opened.fileno(), 20 * BLOCK)
        next(pieces)
        opened.truncate(17 * BLOCK)
        with pytest.raises(OSError, match="ends at"):
            list(pieces)


@given(st.lists(st.sampled_from([b"", b"a", b"zeros", b"noise"]), min_size=1, max_size=GROUP), st.integers(1, BLOCK), st.data())
def test_frames_come_out_of_any_pieces_as_they_went_in(kinds, last, draw):
    contents = [{b"": bytes(BLOCK), b"a": b"a" * BLOCK, b"zeros": b"\0" * 9 + b"x" * (BLOCK - 9), b"noise": noise(BLOCK, i)}[kind]
                for i, kind in enumerate(kinds)]
    contents[-1] = contents[-1][:last]
    data = b"".join(contents)
    frame = frames.pack(blocks.digests(data), data, frames.AT_PUBLISH)
    assert len(frame) <= frames.LARGEST
    stream, reader, found = frame * 3, frames.Reader(), []
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert found == [frame] * 3
    assert not reader.rest
    assert [bytes(block) for _, block in frames.unpack(found[0])] == contents
    assert frames.names(frame) == blocks.digests(data)


@pytest.mark.parametrize("data", [noise(6 * BLOCK), b"".join(n.to_bytes(4, "big") * (BLOCK // 4) for n in range(6)), noise(2 * BLOCK) + b"tail"])
def test_the_whole_blocks_in_the_beginning_of_a_frame_count(data):
    frame = frames.pack(blocks.digests(data), data, 3)
    counts = []
    for end in [*range(0, 300, 7), *range(300, len(frame), 5003), len(frame)]:
        found = frames.beginning(frame[:end])
        counts.append(len(found))
        assert b"".join(bytes(block) for _, block in found) == data[: len(found) * BLOCK]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == len(data) // BLOCK


def test_no_damaged_frame_gives_a_block():
    data = noise(2 * BLOCK) + b"tail"
    frame = frames.pack(blocks.digests(data), data, 3)
    for at in [*range(60), *range(60, len(frame), 997)]:
        broken = bytearray(frame)
        broken[at] ^= 1 << (at % 8)
        if 2 <= at < 4:
            continue  # two bytes that mean nothing
        with pytest.raises(Failed, match="Other bytes"):
            frames.unpack(bytes(broken))
    for length in (0, 5, 11, 12, 50, 200, len(frame) - 1):
        with pytest.raises(Failed, match="Other bytes"):
            frames.unpack(frame[:length])


def test_a_frame_that_unpacks_to_more_than_it_says_is_refused():
    data = bytes(GROUP * BLOCK)
    frame = bytearray(frames.pack([HOLE], b"\0" * BLOCK, 3))
    bomb = frames.pack([HOLE] * GROUP, data, 3)
    body = bomb[frames.HEAD.size + GROUP * 32 :]
    frame[: frames.HEAD.size] = frames.HEAD.pack(1, 1, len(body), BLOCK)
    with pytest.raises(Failed, match="damaged"):
        frames.unpack(bytes(frame[: frames.HEAD.size + 32]) + body)


def test_an_index_that_unpacks_to_more_than_it_may_is_refused():
    packed = zstandard.ZstdCompressor().compress(bytes(64 * 1024 * 1024))
    with pytest.raises(Failed, match="does not fit"):
        giver.unsqueeze(packed, 3 * BLOCK, "0" * 64)
    with pytest.raises(Failed, match="Another index"):
        giver.unsqueeze(b"noise", 3 * BLOCK, "0" * 64)


def test_a_stream_of_nonsense_ends_at_once():
    with pytest.raises(Failed, match="no sense"):
        list(frames.Reader().feed(os.urandom(4096).replace(b"\1", b"\xff")))
