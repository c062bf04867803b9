"""Overlays, seeds and keys of one instance; the accelerator's memory; each refusal leaves nothing."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import pycdlib
import pytest

from luhyaapi import conf
from luhyaapi.contracts.vocabulary import Accelerator, DiskFormat
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import run
from nc.drivers import kvm_proof, libvirt_xml
from nc.services import accelerator, disks

MIB = 1024 * 1024


def key(kind: str = "ssh-ed25519", inside: str = "", comment: str = "me@home") -> str:
    name = (inside or kind).encode()
    blob = struct.pack(">I", len(name)) + name + struct.pack(">I", 32) + bytes(32)
    return f"{kind} {base64.b64encode(blob).decode()} {comment}".strip()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.raw"
    path.write_bytes(b"B" * MIB)
    return path


def info(path: Path) -> dict[str, object]:
    return dict(json.loads(run(["qemu-img", "info", "--output=json", path], timeout_s=10).stdout))


def test_overlay_stands_on_its_base(base: Path, tmp_path: Path) -> None:
    target = tmp_path / "ins-00000001" / "disk.qcow2"
    assert disks.overlay(base, DiskFormat.RAW, target) == target
    found = info(target)
    assert (found["format"], found["backing-filename"], found["backing-filename-format"]) == ("qcow2", str(base), "raw")
    assert found["virtual-size"] == MIB
    assert target.stat().st_size < MIB
    assert [p.name for p in target.parent.iterdir()] == ["disk.qcow2"]


def test_overlay_again_keeps_what_was_written(base: Path, tmp_path: Path) -> None:
    target = disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2")
    run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", target], timeout_s=10)
    before = target.read_bytes()
    disks.overlay(base, DiskFormat.RAW, target)
    assert target.read_bytes() == before


def test_overlay_has_its_name_when_it_is_on_the_disk(base, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("luhyaapi.transfer.sparse.os.fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink()))
    target = disks.overlay(base, DiskFormat.RAW, tmp_path / "ins" / "disk.qcow2")
    assert [file.name.startswith(f".{target.name}.") for file in synced] == [True, False]
    assert synced[1].name == "ins"


def test_overlay_may_be_larger_not_smaller(base: Path, tmp_path: Path) -> None:
    assert info(disks.overlay(base, DiskFormat.RAW, tmp_path / "a", 3 * MIB))["virtual-size"] == 3 * MIB
    with pytest.raises(Refused, match="too small") as trouble:
        disks.overlay(base, DiskFormat.RAW, tmp_path / "b", MIB - 512)
    assert trouble.value.code == "invalid"
    assert not (tmp_path / "b").exists()


def test_overlay_without_its_base_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused) as trouble:
        disks.overlay(tmp_path / "no.raw", DiskFormat.RAW, tmp_path / "ins-00000001" / "disk.qcow2")
    assert trouble.value.code == "not_found"
    assert list(tmp_path.iterdir()) == []


def test_overlay_on_a_base_of_another_format_leaves_nothing(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Failed) as trouble:
        disks.overlay(base, DiskFormat.QCOW2, tmp_path / "disk.qcow2")
    assert trouble.value.code == "program"
    assert [p.name for p in tmp_path.iterdir()] == ["base.raw"]


def test_overlay_never_replaces_another(base: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(MIB))
    target = disks.overlay(other, DiskFormat.RAW, tmp_path / "disk.qcow2")
    before = target.read_bytes()
    with pytest.raises(Refused) as trouble:
        disks.overlay(base, DiskFormat.RAW, target)
    assert trouble.value.code == "conflict"
    assert target.read_bytes() == before


def test_overlay_never_replaces_what_is_no_overlay(base: Path, tmp_path: Path) -> None:
    target = tmp_path / "disk.qcow2"
    target.write_bytes(b"mine")
    with pytest.raises(Refused) as trouble:
        disks.overlay(base, DiskFormat.RAW, target)
    assert trouble.value.code == "conflict"
    assert target.read_bytes() == b"mine"


def test_overlay_cancelled_leaves_nothing(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setattr(disks, "QEMU_IMG", slow)
    with pytest.raises(Refused) as trouble:
        disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2", cancelled=lambda: True)
    assert trouble.value.code == "cancelled"
    assert {p.name for p in tmp_path.iterdir()} == {"base.raw", "slow"}


def test_full_disk_is_called_so(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = tmp_path / "full"
    full.write_text("#!/bin/sh\necho 'Could not write: No space left on device' >&2\nexit 1\n")
    full.chmod(0o755)
    monkeypatch.setattr(disks, "QEMU_IMG", full)
    with pytest.raises(Failed) as trouble:
        disks.overlay(base, DiskFormat.RAW, tmp_path / "disk.qcow2")
    assert trouble.value.code == "disk_full"


def seed(path: Path) -> dict[str, str]:
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    try:
        assert iso.pvd.volume_identifier.decode().strip() == "cidata"
        texts = {}
        there = (child for child in iso.list_children(joliet_path="/") if child.is_file())
        for name in sorted(child.file_identifier().decode("utf-16-be") for child in there):
            for where in ({"rr_path": f"/{name}"}, {"joliet_path": f"/{name}"}):
                with iso.open_file_from_iso(**where) as file:
                    texts[name] = file.read().decode()
        return texts
    finally:
        iso.close()


def test_seed_says_who_the_guest_is(tmp_path: Path) -> None:
    texts = seed(disks.seed_iso(tmp_path / "i" / "seed.iso", "ins-00000001", "lab-1", [key()]))
    assert json.loads(texts["meta-data"]) == {"instance-id": "ins-00000001", "local-hostname": "lab-1"}
    head, body = texts["user-data"].split("\n", 1)
    assert head == "#cloud-config"
    assert json.loads(body) == {
        "hostname": "lab-1", "users": ["default"], "ssh_authorized_keys": [key()], "disable_root": True, "ssh_pwauth": False,
    }
    assert [p.name for p in (tmp_path / "i").iterdir()] == ["seed.iso"]


def test_seed_hands_over_what_the_user_gave_and_the_keys_beside_it(tmp_path: Path) -> None:
    given = "#!/bin/sh\necho 'ä' > /there\n"
    texts = seed(disks.seed_iso(tmp_path / "seed.iso", "ins-00000001", "lab-1", [key()], given))
    assert texts["user-data"] == given
    assert json.loads(texts["meta-data"]) == {"instance-id": "ins-00000001", "local-hostname": "lab-1", "public-keys": [key()]}
    texts = seed(disks.seed_iso(tmp_path / "seed.iso", "ins-00000001", "lab-1", [], given))
    assert json.loads(texts["meta-data"]) == {"instance-id": "ins-00000001", "local-hostname": "lab-1"}


def test_seed_tells_who_begins_offline_to_say_when_it_is_done(tmp_path: Path) -> None:
    assert "vendor-data" not in seed(disks.seed_iso(tmp_path / "seed.iso", "ins-00000001", "lab-1", []))
    script = seed(disks.seed_iso(tmp_path / "seed.iso", "ins-00000001", "lab-1", [], offline=True))["vendor-data"]
    assert script.startswith("#!/bin/sh\n")
    assert libvirt_xml.FIRST_BOOT in script
    run(["sh", "-n"], timeout_s=5, stdin=script.encode())


def test_seed_is_written_again_whole(tmp_path: Path) -> None:
    for name in ("one", "two"):
        path = disks.seed_iso(tmp_path / "seed.iso", "ins-00000001", name, [])
    assert json.loads(seed(path)["meta-data"])["local-hostname"] == "two"


@pytest.mark.parametrize("hostname", ["", "-a", "a-", "a b", "a\nb", "a.b", "a" * 64, "实验"])
def test_seed_refuses_what_is_no_host_name(tmp_path: Path, hostname: str) -> None:
    with pytest.raises(Refused):
        disks.seed_iso(tmp_path / "i" / "seed.iso", "ins-00000001", hostname, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "host"), [
    ("Lab 1", "lab-1"), ("..", "ins-00000001"), ("A.b_c", "a-b-c"), ("x" * 80, "x" * 63), ("实验", "ins-00000001"),
])
def test_any_name_gives_a_host_name(tmp_path: Path, name: str, host: str) -> None:
    assert disks.hostname_of(name, "ins-00000001") == host


@pytest.mark.parametrize("kind", disks.KEY_TYPES)
def test_known_key_types_are_taken(kind: str) -> None:
    assert disks.checked_keys([key(kind), key(kind, comment="") + "\n"]) == (key(kind), key(kind, comment=""))


@pytest.mark.parametrize("bad", [
    "", "hello", "ssh-ed25519", "ssh-ed25519 !!!!", "ssh-ed25519 AAAA", key("ssh-dss"), key(inside="ssh-rsa"),
    key() + "\nssh-ed25519 AAAA", key().replace(" me", "\nme"), 'command="x" ' + key(), key(comment="a\x1bb"), key() + "\x00",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
])
def test_bad_keys_are_refused_by_their_number(bad: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="SSH key 2") as trouble:
        disks.seed_iso(tmp_path / "seed.iso", "ins-00000001", "lab", [key(), bad])
    assert trouble.value.code == "invalid"
    assert list(tmp_path.iterdir()) == []


def test_log_is_trimmed_under_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    disks.trim_log(path)
    with path.open("ab", buffering=0) as guest:
        guest.write(b"a" * 1000 + b"b" * 100)
        disks.trim_log(path, 100)
        guest.write(b"c")
    assert path.read_bytes() == b"b" * 100 + b"c"
    disks.trim_log(path, 101)
    assert path.stat().st_size == 101


class Host:
    """A host that looks as if it had KVM, with a QEMU that does as told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.device = folder / "kvm"
        self.calls = folder / "calls"
        for name in ("kernel", "initrd", "kvm"):
            (folder / name).touch()
        self.does("exit 0")

    def does(self, then: str, version: str = "7") -> None:
        qemu = self.folder / "qemu"
        qemu.write_text(f"#!/bin/sh\n[ $1 = --version ] && echo QEMU {version} && exit\necho x >> {self.calls}\n{then}\n")
        qemu.chmod(0o755)
        self.monkeypatch.setattr(kvm_proof, "QEMU", str(qemu))

    def settings(self, **hypervisor: object) -> conf.Settings:
        given = {"probe_kernel": self.folder / "kernel", "probe_initrd": self.folder / "initrd", "probe_deadline_s": 0.3}
        return conf.Settings(host={"state": self.folder / "state"}, hypervisor={**given, **hypervisor})

    def prove(self, **hypervisor: object) -> kvm_proof.Proof:
        return kvm_proof.prove(self.settings(**hypervisor), self.device)

    @property
    def tried(self) -> int:
        return len(self.calls.read_text().split()) if self.calls.exists() else 0


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_guest_that_boots_proves_kvm(host: Host) -> None:
    host.does("echo EDUCLOUD-PROBE-OK")
    assert host.prove().accelerator is Accelerator.KVM


def test_a_guest_that_hangs_falls_back(host: Host) -> None:
    host.does("exec sleep 30")
    proof = host.prove()
    assert proof.accelerator is Accelerator.TCG
    assert "hung" in proof.why


def test_a_guest_that_fails_falls_back_with_its_words(host: Host) -> None:
    host.does("echo 'failed to set MSR' >&2; exit 1")
    proof = host.prove()
    assert (proof.accelerator, "MSR" in proof.why) == (Accelerator.TCG, True)


@pytest.mark.parametrize("gone", ["kvm", "kernel", "initrd"])
def test_what_is_missing_is_named_and_nothing_tried(host: Host, gone: str) -> None:
    (host.folder / gone).unlink()
    proof = host.prove()
    assert proof.accelerator is Accelerator.TCG
    assert ("not there" if gone == "kvm" else "no probe kernel") in proof.why
    assert host.tried == 0


def test_no_qemu_falls_back(host: Host) -> None:
    (host.folder / "qemu").unlink()
    assert host.prove().accelerator is Accelerator.TCG


def test_the_verdict_is_remembered_until_something_changed(host: Host) -> None:
    first = host.prove()
    assert (host.prove(), host.tried) == (first, 1)
    (host.folder / "kernel").write_text("another")
    host.prove()
    assert host.tried == 2
    host.does("echo EDUCLOUD-PROBE-OK", version="8")
    assert host.prove().accelerator is Accelerator.KVM
    assert host.tried == 3


def test_a_damaged_memory_is_tried_anew(host: Host) -> None:
    host.prove()
    (host.folder / "state" / kvm_proof.FILE).write_text("{")
    host.prove()
    assert host.tried == 2
    assert [p.name for p in (host.folder / "state").iterdir()] == [kvm_proof.FILE]


@pytest.mark.parametrize(("wish", "given"), [("kvm", Accelerator.KVM), ("tcg", Accelerator.TCG)])
def test_an_administrator_is_believed_and_it_is_written_down(host: Host, wish: str, given: Accelerator) -> None:
    assert host.prove().accelerator is Accelerator.TCG
    tried = host.tried
    assert host.prove(accelerator=wish).accelerator is given
    assert host.tried == tried
    assert json.loads((host.folder / "state" / kvm_proof.FILE).read_text())["accelerator"] == given


def test_again_forgets(host: Host) -> None:
    settings = host.settings(accelerator="tcg")
    memory = host.folder / "state" / kvm_proof.FILE
    assert accelerator.verdict(settings).accelerator is Accelerator.TCG
    memory.write_text(memory.read_text().replace("not proved", "long ago"))
    assert "long ago" in accelerator.verdict(settings).why
    assert "long ago" not in accelerator.again(settings).why


def test_a_guest_that_writes_without_end_fills_no_disk(tmp_path: Path) -> None:
    talker, quiet, gone = (tmp_path / name for name in ("talker", "quiet", "gone"))
    with talker.open("ab", buffering=0) as guest:
        guest.write(b"x" * (disks.LOG_AT_MOST_BYTES + 1))
        quiet.write_bytes(b"x" * disks.LOG_AT_MOST_BYTES)
        assert disks.keep_logs_short([talker, quiet, gone]) == 1
        assert talker.stat().st_size == disks.LOG_KEPT_BYTES
        guest.write(b"more")
    assert talker.read_bytes().endswith(b"xmore")
    assert talker.stat().st_size == disks.LOG_KEPT_BYTES + 4
    assert quiet.stat().st_size == disks.LOG_AT_MOST_BYTES


def test_a_data_disk_is_a_hole_and_stays_as_it_is(tmp_path: Path) -> None:
    target = disks.data(tmp_path / "ins-00000001" / "data.raw", 64 * MIB)
    assert (target.stat().st_size, target.stat().st_blocks, target.stat().st_mode & 0o777) == (64 * MIB, 0, 0o600)
    target.write_bytes(b"mine")
    assert disks.data(target, 32 * MIB).read_bytes() == b"mine"
    assert [p.name for p in target.parent.iterdir()] == ["data.raw"]


def test_a_data_disk_that_no_file_system_takes_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Failed) as told:
        disks.data(tmp_path / "data.raw", 2**62)
    assert told.value.code == "disk_full"
    assert list(tmp_path.iterdir()) == []


def test_of_system_disks_one_is_left(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ins-00000001"
    first, second = (disks.overlay(base, DiskFormat.RAW, disks.system(folder, n)) for n in (0, 7))
    assert (first.name, second.name) == ("disk.qcow2", "disk-7.qcow2")
    disks.data(folder / "data.raw", MIB)
    disks.drop_systems(folder, but=second)
    assert sorted(p.name for p in folder.iterdir()) == ["data.raw", "disk-7.qcow2"]
    disks.drop_systems(folder)
    assert [p.name for p in folder.iterdir()] == ["data.raw"]
