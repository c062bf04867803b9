"""The export of an image that still comes: QEMU's own programs read it, and whoever speaks nonsense is shown out."""

import contextlib
import hashlib
import os
import random
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed
from luhyaapi.transfer import download
from luhyaapi.transfer.blocks import BLOCK, index_of
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.courier import fetch
from luhyaapi.transfer.demand import Demand
from luhyaapi.transfer.sparse import SparseFile
from nc.drivers.base import Account
from nc.services.lazy import door as doors
from nc.services.lazy import nbd
from nc.services.lazy.door import SocketDoor
from nc.services.lazy.nbd import ASKED, FLAGS, REQUEST
from tests.support.faulty_transfer import FaultyTransfer

CONTENT = random.Random(7).randbytes(60 * BLOCK) + bytes(20 * BLOCK) + random.Random(8).randbytes(16 * BLOCK)
HELLO = struct.pack(">I", 3)
GO = struct.pack(">QIIIH", nbd.OPTION, nbd.GO, 6, 0, 0)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("far") / "file"
    with SparseFile(path) as opened:
        opened.write(CONTENT)
    return path


@pytest.fixture
def far(monkeypatch, file):
    transfer = FaultyTransfer(file)
    monkeypatch.setitem(download.PROTOCOLS, "fake", transfer)
    return transfer


@pytest.fixture
def demand(file):
    return Demand(file.stat().st_size)


@pytest.fixture
def at(tmp_path, demand):
    door = SocketDoor(tmp_path / "image", None, demand)
    yield tmp_path / "image"
    door.close()
    assert not (tmp_path / "image").exists()


def bring(cache, file, demand):
    blob = Blob(part="disk", sha256=hashlib.sha256(CONTENT).hexdigest(), index=index_of(file).name, size=len(CONTENT))
    running = threading.Thread(target=fetch, args=(cache, blob, "fake://boss/blobs/x", "t"), kwargs={"demand": demand})
    running.start()
    return running


def qemu(*words, timeout=20):
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=True).stdout


def address(at):
    return f"nbd+unix:///?socket={at}"


@pytest.mark.walk
def test_qemu_reads_every_byte_right_while_the_file_comes(tmp_path, file, far, demand, at):
    far.faults = [5000, 70_000]
    running = bring(BlobCache(tmp_path / "c", 100, 0), file, demand)
    chance, words = random.Random(3), []
    for _ in range(40):
        offset = chance.randrange(0, len(CONTENT) - 512) & ~511
        length = min(chance.choice((512, 4096, 65536, 300_032)), len(CONTENT) - offset)
        words += ["-c", f"read -v {offset} {length}"]
    said = qemu("qemu-io", "-r", "-f", "raw", *words, address(at))
    seen = {}
    for line in said.splitlines():
        where, _, rest = line.partition(":  ")
        if len(where) == 8 and rest:
            seen[int(where, 16)] = bytes.fromhex(rest[:47])
    assert len(seen) > 1000
    assert all(CONTENT[offset : offset + len(data)] == data for offset, data in seen.items())
    assert qemu("qemu-img", "compare", "-f", "raw", "-F", "raw", address(at), str(file)) == "Images are identical.\n"
    running.join(20)
    assert demand.get(0, len(CONTENT))


def test_a_read_waits_as_long_as_the_source_is_away_and_others_are_answered_meanwhile(tmp_path, file, far, demand, at):
    far.gate = threading.Event()
    running = bring(BlobCache(tmp_path / "c", 100, 0), file, demand)
    with dialled(at) as client:
        ask(client, 1, 5 * BLOCK, 10)
        while not demand.is_open:
            time.sleep(0.01)
        ask(client, 2, 70 * BLOCK, 10)
        assert answer(client, 10) == (0, 2, bytes(10))
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(10)
        far.gate.set()
        assert answer(client, 10) == (0, 1, CONTENT[5 * BLOCK :][:10])
        ask(client, 3, 0, len(CONTENT))
        assert answer(client, len(CONTENT)) == (0, 3, CONTENT)
    running.join(20)


def test_it_is_read_only_bounded_and_says_so(file, demand, at):
    demand.whole(file)
    size = len(CONTENT)
    with dialled(at) as client:
        for kind, offset, length, error in (
            (nbd.READ, size - 10, 11, 22), (nbd.READ, 0, 0, 22), (nbd.READ, 0, nbd.LARGEST + 1, 22), (nbd.READ, 2**64 - 1, 2, 22),
            (nbd.FLUSH, 0, 0, 0), (4, 0, 512, 1), (7, 0, 512, 1),
        ):
            ask(client, 9, offset, length, kind)
            assert answer(client, 0) == (error, 9, b"")
        ask(client, 9, 0, 512, nbd.WRITE)
        assert client.recv(1) == b""
    with pytest.raises(subprocess.CalledProcessError):
        qemu("qemu-io", "-f", "raw", "-c", "write 0 512", address(at))
    assert f'"virtual-size": {size}' in qemu("qemu-img", "info", "--output=json", address(at))


def test_other_ways_to_begin(file, demand, at):
    demand.whole(file)
    with greeted(at) as client:
        client.sendall(struct.pack(">I", 1) + option(99, b"what") + option(nbd.LIST) + option(nbd.LIST, b"x") + option(nbd.INFO, bytes(6)))
        assert reply(client) == (99, nbd.UNSUPPORTED, b"")
        assert reply(client) == (nbd.LIST, nbd.SERVER, bytes(4))
        assert reply(client) == (nbd.LIST, nbd.ACK, b"")
        assert reply(client) == (nbd.LIST, nbd.INVALID, b"")
        assert reply(client) == (nbd.INFO, nbd.INFORMATION, struct.pack(">HQH", 0, len(CONTENT), FLAGS))
        assert reply(client)[:2] == (nbd.INFO, nbd.INFORMATION)
        assert reply(client) == (nbd.INFO, nbd.ACK, b"")
        client.sendall(option(nbd.GO, struct.pack(">I", 3) + b"abc" + bytes(2)) + option(nbd.GO, b"short") + option(nbd.EXPORT_NAME))
        assert reply(client) == (nbd.GO, nbd.UNKNOWN, b"")
        assert reply(client) == (nbd.GO, nbd.INVALID, b"")
        assert exactly(client, 134) == struct.pack(">QH", len(CONTENT), FLAGS) + bytes(124)
        ask(client, 4, 3, 5)
        assert answer(client, 5) == (0, 4, CONTENT[3:8])
    with greeted(at) as client:
        client.sendall(HELLO + option(nbd.ABORT))
        assert reply(client) == (nbd.ABORT, nbd.ACK, b"")
        assert client.recv(1) == b""


@pytest.mark.parametrize("words", [
    struct.pack(">I", 8), struct.pack(">I", 2), HELLO + b"x" * 16, HELLO + struct.pack(">QII", nbd.OPTION, 7, 2**31),
    HELLO + struct.pack(">QII", nbd.OPTION, nbd.EXPORT_NAME, 3) + b"abc", HELLO + (struct.pack(">QII", nbd.OPTION, 99, 0) * 40),
    HELLO + GO + b"y" * 28,
], ids=["wishes", "old", "option", "long", "name", "many", "request"])
def test_who_speaks_something_else_is_shown_out(at, words):
    with greeted(at) as client:
        client.sendall(words)
        shown_out(client)


def test_noise_ends_only_its_own_connection(file, demand, at):
    demand.whole(file)
    chance = random.Random(11)
    for _ in range(150):
        words = bytearray(HELLO + GO + REQUEST.pack(ASKED, 0, 0, 1, chance.randrange(2**20), chance.randrange(2**20)))
        for _ in range(chance.randrange(1, 5)):
            words[chance.randrange(len(words))] = chance.randrange(256)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(at))
            client.sendall(bytes(words[: chance.randrange(1, len(words) + 1)]))
            client.shutdown(socket.SHUT_WR)
            shown_out(client)
    with dialled(at) as client:
        ask(client, 1, 7, 9)
        assert answer(client, 9) == (0, 1, CONTENT[7:16])


def test_one_client_cannot_make_us_hold_much_nor_keep_others_out(monkeypatch, file, demand, at):
    monkeypatch.setattr(nbd, "WAITING_AT_MOST", 4)
    with dialled(at) as greedy, dialled(at) as other:
        for number in range(9):
            ask(greedy, number, number * BLOCK, 1)
        time.sleep(0.1)
        assert len(demand.read) == 5
        demand.whole(file)
        got = {answer(greedy, 1)[1:] for _ in range(9)}
        assert got == {(n, CONTENT[n * BLOCK :][:1]) for n in range(9)}
        ask(other, 1, 0, 4)
        assert answer(other, 4) == (0, 1, CONTENT[:4])


def test_silence_and_crowds(monkeypatch, at):
    monkeypatch.setattr(nbd, "HANDSHAKE_S", 0.1)
    crowd = []
    for _ in range(doors.CLIENTS_AT_MOST + 1):
        crowd.append(socket.socket(socket.AF_UNIX))
        crowd[-1].connect(str(at))
        crowd[-1].settimeout(5)
    assert crowd[-1].recv(99) == b""
    for client in crowd[:-1]:
        assert len(client.recv(99)) == 18
        assert client.recv(99) == b""
    for client in crowd:
        client.close()
    with greeted(at):
        pass


def test_the_socket_is_of_its_guest_alone(tmp_path, demand):
    at = tmp_path / "image"
    at.write_text("left over")
    door = SocketDoor(at, Account(os.getuid() + 1 if os.getuid() == 0 else os.getuid(), os.getgid()), demand)
    found = at.lstat()
    assert (oct(found.st_mode), found.st_uid) == (oct(0o140600), 1 if os.getuid() == 0 else os.getuid())
    door.close()
    with pytest.raises(Failed, match="No such file"):
        SocketDoor(tmp_path / "none" / "image", None, demand)


def test_closing_ends_reads_that_wait(tmp_path, demand):
    door = SocketDoor(tmp_path / "image", None, demand)
    with dialled(tmp_path / "image") as client:
        ask(client, 1, 0, 1)
        door.close()
        assert client.recv(1) == b""
    with pytest.raises(FileNotFoundError):
        socket.socket(socket.AF_UNIX).connect(str(tmp_path / "image"))


# ---- a client of its own


def shown_out(client):
    client.settimeout(5)
    with contextlib.suppress(ConnectionResetError):
        while client.recv(65536):
            pass


def greeted(at: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(at))
    assert exactly(client, 18) == struct.pack(">QQH", nbd.GREETING, nbd.OPTION, 3)
    return client


def dialled(at: Path) -> socket.socket:
    client = greeted(at)
    client.sendall(HELLO + GO)
    while reply(client)[1] != nbd.ACK:
        pass
    return client


def option(number: int, data: bytes = b"") -> bytes:
    return struct.pack(">QII", nbd.OPTION, number, len(data)) + data


def reply(client):
    magic, number, kind, length = struct.unpack(">QIII", exactly(client, 20))
    assert magic == nbd.REPLY
    return number, kind, exactly(client, length)


def ask(client, handle, offset, length, kind=nbd.READ):
    client.sendall(REQUEST.pack(ASKED, 0, kind, handle, offset, length))


def answer(client, length):
    magic, error, handle = nbd.ANSWER.unpack(exactly(client, nbd.ANSWER.size))
    assert magic == nbd.ANSWERED
    return error, handle, exactly(client, length)


def exactly(client, length):
    data = b""
    while len(data) < length:
        piece = client.recv(length - len(data))
        assert piece
        data += piece
    return data
