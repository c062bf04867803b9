"""What uploads try against the host that converts them: a canary nobody may read, a door nobody may knock at, noise, giants, bombs."""

import os
import socket
import struct
import threading
from pathlib import Path

import pytest

from luhyaapi.errors import Refused
from tests.support import disks, vmware
from tests.support.conversions import converted, refused, tried
from tests.support.disks import MIB, PACK, made, ovf, qemu_img, tar
from walrus.services import qemu_img as enclosed

pytestmark = pytest.mark.live
CANARY = b"canary: no image may ever hold this" + bytes(range(200))
KINDS = ["raw", *disks.FORMATS]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Format to bytes of its file."""
    folder = tmp_path_factory.mktemp("made")
    return {name: made(folder, name).read_bytes() for name in KINDS}


@pytest.fixture
def canary(tmp_path):
    """A host file that anybody may read, as large as a disk."""
    file = tmp_path / "canary"
    file.write_bytes((CANARY * (2 * MIB // len(CANARY) + 1))[:2 * MIB])
    return file


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def listener():
    """A door on loopback that counts who comes."""
    came = []
    door = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                line, _ = door.accept()
            except OSError:
                return
            came.append(1)
            line.close()

    threading.Thread(target=serve, daemon=True).start()
    yield door.getsockname()[1], came
    door.close()


def based_on(path, name, form="raw"):
    qemu_img("create", "-u", "-f", "qcow2", "-b", name, "-F", form, path, "2M")
    return path


def named(canary, port):
    return {
        "path": str(canary), "above": f"../{canary.name}", "file:": f"file:{canary}",
        "json:": f'json:{{"driver":"raw","file":{{"driver":"file","filename":"{canary}"}}}}',
        "nbd:": f"nbd:127.0.0.1:{port}", "nbd://": f"nbd://127.0.0.1:{port}/x", "http:": f"http://127.0.0.1:{port}/x",
        "ssh:": f"ssh://127.0.0.1:{port}/x", "rbd:": "rbd:pool/x", "fat:": "fat:/etc", "/proc": "/proc/self/fd/0", "shadow": "/etc/shadow",
    }


@pytest.mark.parametrize("way", named(Path("/x"), 1))
@pytest.mark.parametrize("packing", ["", "xz"])
def test_a_disk_based_on_something_of_the_host_is_refused(tmp_path, store, canary, listener, way, packing):
    port, came = listener
    data = based_on(tmp_path / "evil", named(canary, port)[way]).read_bytes()
    assert "backing file" in refused(store, PACK[packing](data) if packing else data)
    assert "backing file" in refused(store, tar(("evil", data)))
    assert came == []


@pytest.mark.parametrize("way", named(Path("/x"), 1))
def test_behind_the_walls_it_would_find_nothing(tmp_path, canary, listener, way):
    """The second line: what no inspection had seen, given to qemu-img as it is."""
    port, came = listener
    evil, out = based_on(tmp_path / "evil", named(canary, port)[way]), tmp_path / "out"
    out.write_bytes(bytes(2 * MIB))
    with pytest.raises(Refused):
        enclosed.convert(evil, "qcow2", out, 2 * MIB, lambda: False)
    assert out.read_bytes() == bytes(2 * MIB)
    assert came == []


def test_vmdks_of_other_files_find_nothing_behind_the_walls(tmp_path, canary):
    out = tmp_path / "out"
    for text in (
        f'RW 4096 FLAT "{canary}" 0', f'RW 4096 FLAT "{canary.name}" 0', f'RW 4096 FLAT "/..{canary}" 0',
    ):
        evil = tmp_path / "evil"
        evil.write_text(f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n{text}\n')
        out.write_bytes(bytes(2 * MIB))
        with pytest.raises(Refused):
            enclosed.convert(evil, "vmdk", out, 2 * MIB, lambda: False)
        assert out.read_bytes() == bytes(2 * MIB)


def test_a_data_file_is_refused(tmp_path, store, canary):
    evil = tmp_path / "evil"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path}/data,data_file_raw=on", evil, "2M")
    data = evil.read_bytes().replace(str(tmp_path / "data").encode(), str(canary).encode().ljust(len(str(tmp_path / "data")), b"\0"))
    assert "data file" in refused(store, evil.read_bytes())
    assert "data file" in refused(store, PACK["zst"](data))


@pytest.mark.parametrize("extents", [
    'RW 4096 FLAT "{}" 0', 'RW 2048 SPARSE "x.vmdk"\nRW 2048 FLAT "{}" 0', 'RW 4096 SPARSE "{}"', 'RW 4096 VMFS "{}"',
    'RW 4096 SPARSE "x.vmdk"\nparentFileNameHint="{}"',
])
@pytest.mark.parametrize("alone", [True, False])
def test_a_vmdk_that_names_a_host_file_is_refused(store, canary, extents, alone):
    lines = extents.format(canary).split("\n")
    if alone:
        data = "\n".join(["# Disk DescriptorFile", "version=1", "CID=1", "parentCID=ffffffff", 'createType="monolithicFlat"', *lines]).encode()
    else:
        data = vmware.stream(disks.bare(), extents=lines)
    refused(store, data)
    refused(store, PACK["bz2"](data))
    refused(store, tar(("evil.vmdk", data)))
    refused(store, tar(("a.ovf", ovf("evil.vmdk")), ("evil.vmdk", data), (canary.name, b"")))


@pytest.mark.parametrize("name", ["../canary", "/etc/hostname", "link"])
def test_an_appliance_writes_nothing_beside_the_store(store, canary, name):
    kind = disks.member(name, b"2", str(canary)) if name == "link" else name
    before = sorted(p.name for p in store.parent.iterdir())
    refused(store, tar((kind, b""), (name, vmware.stream(disks.bare()))))
    assert sorted({*before, "upload"}) == sorted(p.name for p in store.parent.iterdir())
    assert CANARY in canary.read_bytes()


@pytest.mark.parametrize("size", [1 << 50, (1 << 63) - 512, 65 * MIB])
def test_giants_are_refused(originals, store, size):
    data = bytearray(originals["qcow2"])
    data[24:32] = struct.pack(">Q", size)
    assert "at most" in refused(store, bytes(data))
    data = bytearray(originals["vhdx"])
    at = disks.vhdx_parts(data)["2442a52f"]
    data[at:at + 8] = struct.pack("<Q", size)
    assert "at most" in refused(store, bytes(data))


@pytest.mark.parametrize("packing", PACK)
def test_a_bomb_is_refused_and_its_rest_is_gone(store, packing):
    data = PACK[packing](bytes(80 * MIB))
    assert "allowed" in refused(store, data, largest_mib=8)


def test_a_disk_may_end_within_a_block(originals, store):
    """A disk that ends within a block."""
    data = bytearray(originals["vdi"])
    data[0x170:0x178] = struct.pack("<Q", 2 * MIB - 512)
    found = converted(store, bytes(data))
    assert (found.size, (store / "disk").read_bytes()) == (2 * MIB - 512, disks.bare()[:-512])


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("raw", "vhd fixed")])
@pytest.mark.parametrize("part", [0.2, 0.6, 0.97])
def test_a_cut_one_is_refused_and_its_rest_is_gone(tmp_path, store, kind, part):
    whole = made(tmp_path, kind, disks.bare(MIB) + os.urandom(MIB)).read_bytes()
    refused(store, whole[:int(len(whole.rstrip(b"\0")) * part)])


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vmdk stream", "vdi", "vhd", "vhdx"])
def test_noise_in_its_tables_never_makes_more_than_a_disk(originals, store, canary, kind):
    """Whatever is in the first sectors: refused, or a disk of an allowed size without a byte of the host."""
    for seed in range(12):
        data = bytearray(originals[kind])
        for n in range(40):
            at = (seed * 7919 + n * 104_729 + n * n * 31) % min(len(data), 8192 * (1 + seed % 3))
            data[at] ^= (seed * 37 + n * 11) % 255 + 1 if n % 3 else 0
        outcome = tried(store.parent / "upload", store / "disk", bytes(data))
        assert outcome in ("converted", "image_format")
        assert [p.name for p in store.iterdir()] == (["disk"] if outcome == "converted" else [])
        if outcome == "converted":
            assert CANARY[:30] not in (store / "disk").read_bytes()
            (store / "disk").unlink()


def test_what_qemu_img_does_not_open_is_refused(tmp_path, originals, canary):
    (tmp_path / "x").write_bytes(originals["qcow2"])
    with pytest.raises(Refused, match="cannot be opened"):
        enclosed.virtual_size(tmp_path / "x", "vdi")
    with pytest.raises(Refused, match="based on another file"):
        enclosed.virtual_size(based_on(tmp_path / "evil", str(canary)), "qcow2")
    assert enclosed.virtual_size(tmp_path / "x", "qcow2") == 2 * MIB
