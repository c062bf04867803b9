"""Real files of every kind become the one raw disk, behind walls; what breaks or stops on the way leaves nothing."""

import contextlib
import gzip
import os
import shutil
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from luhyaapi import sandbox
from luhyaapi.contracts.vocabulary import DiskFormat
from luhyaapi.errors import Failed, Refused
from tests.support import disks, scratch, vmware
from tests.support.conversions import converted, refused, tried
from tests.support.disks import MIB, PACK, made, ovf, tar
from walrus.services import qemu_img as enclosed
from walrus.services.conversion import Converted, to_raw

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]
COUNT = str(900_000_000 + os.getpid())
KINDS = ["raw", *disks.FORMATS]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Format to bytes of its file."""
    folder = tmp_path_factory.mktemp("made")
    return {name: made(folder, name).read_bytes() for name in KINDS}


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packing", ["", *PACK])
def test_each_format_in_each_packing_is_the_same_disk(originals, store, kind, packing):
    data = PACK[packing](originals[kind]) if packing else originals[kind]
    was = (*([packing] if packing else []), kind.split()[0])
    assert converted(store, data) == Converted(2 * MIB, 2 * MIB, was)
    assert (store / "disk").read_bytes() == disks.bare()
    is_same = was == ("raw",)
    assert (store / "disk").samefile(store.parent / "upload") if is_same else (store / "disk").stat().st_blocks * 512 < MIB, "zeros are holes"


@pytest.mark.parametrize("packing", ["", *PACK])
@pytest.mark.parametrize("kind", ["vmdk stream", "qcow2", "vhd", "raw"])
def test_an_appliance_is_its_disk(originals, store, kind, packing):
    box = tar(("box.ovf", ovf("box-disk1")), ("box-disk1", originals[kind]), ("box.mf", b"x"))
    found = converted(store, PACK[packing](box) if packing else box)
    assert found.was == (*([packing] if packing else []), "ova", kind.split()[0])
    assert (store / "disk").read_bytes() == disks.bare()


@pytest.mark.parametrize("data", [disks.bare(), disks.bare(9 * MIB + 512), os.urandom(3 * MIB)])
def test_a_stream_as_vmware_writes_it(store, data):
    assert converted(store, vmware.stream(data)).was == ("vmdk",)
    assert (store / "disk").read_bytes() == data


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_fit_no_block(tmp_path, store, kind):
    data = disks.bare(3 * MIB + 3 * 512)
    converted(store, made(tmp_path, kind, data))
    assert (store / "disk").read_bytes() == data


def test_a_raw_disk_of_an_odd_size_stays_so(store):
    data = disks.bare(2 * MIB) + b"odd"
    assert converted(store, data, declared=DiskFormat.RAW).size == len(data)
    assert (store / "disk").read_bytes() == data


def test_holes_are_not_looked_through(tmp_path, store):
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.write(disks.bare(MIB))
        file.truncate(1 << 40)
        file.seek((1 << 39) + 5)
        file.write(b"in the middle")
    began = time.monotonic()
    assert to_raw(source, store / "disk", largest_mib=1 << 20).size == 1 << 40
    assert time.monotonic() - began < 60
    assert (store / "disk").stat().st_blocks * 512 < 2 * MIB
    with (store / "disk").open("rb") as file:
        file.seek((1 << 39) + 5)
        assert file.read(14) == b"in the middle\0"


@pytest.mark.parametrize("data", [b"", b"x", b"PK\3\4" + bytes(100), PACK["gz"](PACK["xz"](disks.bare())), PACK["xz"](b"")])
def test_what_is_no_disk_is_refused(store, data):
    refused(store, data)


def test_packing_in_packing_and_in_an_appliance_is_refused(originals, store):
    for inner in PACK:
        for outer in PACK:
            assert "file" in refused(store, PACK[outer](PACK[inner](originals["raw"])))
        assert refused(store, tar(("a.ovf", ovf("a.vmdk.gz")), ("a.vmdk.gz", PACK[inner](originals["vmdk"]))))
    box = tar(("a.ovf", ovf("a.vmdk")), ("a.vmdk", originals["vmdk"]))
    assert refused(store, tar(("a.ovf", ovf("box.ova")), ("box.ova", box)))


def test_what_was_declared_must_be_it(originals, store):
    assert "declared raw" in refused(store, PACK["gz"](originals["qcow2"]), declared=DiskFormat.RAW)
    assert "declared qcow2" in refused(store, originals["vmdk"], declared=DiskFormat.QCOW2)
    assert converted(store, PACK["gz"](originals["qcow2"]), declared=DiskFormat.QCOW2).was == ("gz", "qcow2")


def test_a_name_only_words_the_refusal(store):
    with pytest.raises(Refused) as e:
        converted(store, b"hello", name="../../etc/lesson; rm -rf.qcow2.xz")
    assert e.value.what == "The file '../../etc/lesson; rm -rf.qcow2.xz' cannot be accepted"


# -- on the way

def test_progress_grows_to_its_end(originals, store):
    seen = []
    converted(store, PACK["gz"](originals["qcow2"]), on_progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 2 * MIB
    seen.clear()
    converted(store, originals["raw"], on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2 * MIB, 2 * MIB)


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vmdk stream"])
@pytest.mark.parametrize("packing", ["", "zst"])
def test_cancelled_it_leaves_nothing(originals, store, kind, packing):
    data = PACK[packing](originals[kind]) if packing else originals[kind]
    outcomes = []
    while outcomes[-1:] != ["converted"] and len(outcomes) < 40:
        asked = iter([False] * len(outcomes))
        outcomes.append(tried(store.parent / "upload", store / "disk", data, cancelled=lambda asked=asked: next(asked, True)))
        assert len(list(store.iterdir())) == (outcomes[-1] == "converted")
    assert set(outcomes[:-1]) == {"cancelled"}
    assert outcomes[-1] == "converted"


def test_cancelled_while_qemu_img_works_it_leaves_nothing(tmp_path, store):
    """An asker who is told how far it is, and wants no more once something was written."""
    whole = made(tmp_path, "qcow2 packed", disks.bare(MIB) + bytes(range(256)) * 4096 * 64)
    size = []

    def cancelled():
        part = store / "disk.raw.part"
        if part.exists() and part.stat().st_blocks > 2048:
            size.append(part.stat().st_blocks)
        return bool(size)

    with pytest.raises(Refused) as e:
        to_raw(whole, store / "disk", largest_mib=400, cancelled=cancelled)
    assert e.value.code == "cancelled"
    assert list(store.iterdir()) == []


def test_an_asker_that_fails_leaves_nothing(originals, store):
    def failing(_done, _total):
        raise Failed("program", "the asker", "fails")

    for kind in ("raw", "qcow2"):
        assert refused(store, originals[kind], code="program", on_progress=failing) == "fails"


SMALL = """
import sys
from pathlib import Path
from luhyaapi.errors import Trouble
from walrus.services.conversion import to_raw
try:
    to_raw(Path(sys.argv[1]), Path(sys.argv[2]) / "disk", largest_mib=64)
except Trouble as e:
    print(e.code, [p.name for p in Path(sys.argv[2]).iterdir()])
"""


@pytest.mark.parametrize(("kind", "packing"), [("raw", "gz"), ("qcow2", ""), ("vmdk stream", "bz2")])
def test_a_full_disk_is_said_and_nothing_is_left(tmp_path, store, kind, packing):
    data = made(tmp_path, kind, disks.bare(MIB) + os.urandom(3 * MIB)).read_bytes()
    (tmp_path / "upload").write_bytes(PACK[packing](data) if packing else data)
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m none "$1"; shift; exec "$@"', "sh", store,
         sys.executable, "-c", SMALL, tmp_path / "upload", store], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.stdout == "disk_full []\n", done.stderr


def test_killed_in_the_middle_only_parts_are_left_and_the_next_attempt_is_whole(tmp_path, store):
    source = tmp_path / "upload"
    data = disks.bare(MIB) + os.urandom(8 * MIB)
    source.write_bytes(gzip.compress(data, 1))
    code = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from walrus.services.conversion import to_raw
        def stay(done, total):
            if done > total // 2:
                print("half", flush=True)
                time.sleep(60)
        to_raw(Path({str(source)!r}), Path({str(store / "disk")!r}), largest_mib=64, on_progress=stay)
    """)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as working:
        assert working.stdout.readline() == b"half\n"
        working.kill()
    assert [p.name for p in store.iterdir()] == ["disk.unpacked.part"]
    converted(store, source)
    assert (store / "disk").read_bytes() == data


def test_an_earlier_half_file_does_not_harm(originals, store):
    for name in ("disk.raw.part", "disk.unpacked.part"):
        (store / name).write_bytes(os.urandom(5 * MIB))
    converted(store, PACK["gz"](originals["vmdk"]))
    assert (store / "disk").read_bytes() == disks.bare()


def test_late_and_too_large_are_refused(tmp_path, originals):
    """Time and size are bounded: a program that ends for it had a file that made it."""
    (tmp_path / "x").write_bytes(originals["qcow2"])
    (tmp_path / "out").write_bytes(bytes(2 * MIB))
    endless = ["bench", "-c", "1000000000", "-f", "qcow2", "/disk"]
    with pytest.raises(Refused) as late:
        enclosed._run(endless, tmp_path / "x", "late", None, limits=sandbox.Limits(deadline_s=0.1))
    with pytest.raises(Refused) as killed:
        enclosed._run(endless, tmp_path / "x", "killed", None, limits=sandbox.Limits(cpu_s=1))
    with pytest.raises(Refused) as large:
        enclosed.convert(tmp_path / "x", "qcow2", tmp_path / "out", 4096, lambda: False)
    assert (late.value.why, killed.value.why, "File too large" in large.value.why) == ("late", "killed", True)
    assert (tmp_path / "out").stat().st_size == 2 * MIB


def test_too_few_threads_are_not_the_files_fault(originals):
    """The kernel counts those of an account without rights only."""
    disk = scratch.folder("threads") / "x"
    disk.write_bytes(originals["qcow2"])
    disk.parent.chmod(0o755)
    code = textwrap.dedent(f"""
        from pathlib import Path
        from luhyaapi import sandbox
        from luhyaapi.errors import Trouble
        from walrus.services import qemu_img
        for processes in (1, 128):
            try:
                qemu_img._run(["check", "-f", "qcow2", "/disk"], Path({str(disk)!r}), "late", None, limits=sandbox.Limits(processes=processes))
                print("done")
            except Trouble as e:
                print(e.code, e.why if e.what != "qemu-img got no further thread" else "")
    """)
    done = subprocess.run(
        ["setpriv", "--reuid=64123", "--regid=64123", "--clear-groups", "--no-new-privs", "--bounding-set=-all", sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )
    shutil.rmtree(disk.parent)
    assert done.stdout.split() == ["program", "done"], done.stdout + done.stderr


def test_somebody_elses_kill_is_not_the_files_fault(tmp_path, originals):
    (tmp_path / "x").write_bytes(originals["qcow2"])

    def kill():
        for stat in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = stat.read_bytes().split(b"\0")
                if words[0].endswith(b"/qemu-img") and COUNT.encode() in words:
                    os.kill(int(stat.parent.name), 9)
        return False

    with pytest.raises(Failed) as e:
        enclosed._run(["bench", "-c", COUNT, "-f", "qcow2", "/disk"], tmp_path / "x", "late", kill)
    assert (e.value.code, e.value.what) == ("program", "qemu-img was killed")


def test_without_walls_nothing_is_converted(originals, store, monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("prlimit", "qemu-img"):
        (tmp_path / "bin" / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "bubblewrap" in refused(store, originals["qcow2"], code="missing")
    assert converted(store, originals["raw"]).was == ("raw",), "a raw disk needs nobody"


def test_a_damaged_qcow2_is_refused(originals, store):
    data = bytearray(originals["qcow2"])
    (table,) = struct.unpack(">Q", data[40:48])
    data[table:table + 8] = struct.pack(">Q", (1 << 63) | 0x7FFF0000)
    assert "damaged" in refused(store, bytes(data))
