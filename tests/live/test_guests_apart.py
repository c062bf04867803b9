"""Real guests of one node, kept apart: accounts, files and screens, and what a broken-out guest could not do."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from deploy.demo_images.build import build_tiny
from luhyaapi import clock, conf
from luhyaapi.contracts.reports import InstanceFacts
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec
from luhyaapi.contracts.vocabulary import DiskFormat, DomainState, InstanceState, Part
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.wire import stream
from nc.drivers.fake import FakeNetwork
from nc.drivers.libvirt_hypervisor import LibvirtHypervisor
from nc.services.domains import Domains, Hands
from tests.support.private_libvirtd import PrivateLibvirtd, private_libvirtd

pytestmark = pytest.mark.live
A, B = "ins-0000000a", "ins-0000000b"
PORTS = {A: 8700, B: 8701}
NOBODY = 65534


class Node:
    """A node's services on a real libvirt, without a cloud; ``told`` is what it reports."""

    def __init__(self, private: PrivateLibvirtd, files: dict[Part, Path]) -> None:
        self.private = private
        self.state = private.folder / "nc"
        self.state.mkdir(mode=0o711, exist_ok=True)
        self.settings = conf.Settings(host={"state": self.state}, hypervisor={"uri": private.uri, "accelerator": "tcg"})
        self.cache = BlobCache(self.state / "cache", 1024, 0)
        self.blobs = tuple(self._blob(part, file) for part, file in files.items())
        self.told: list[InstanceFacts] = []
        self.gen = 0
        self.driver = LibvirtHypervisor(self.settings)
        self.again()

    def _blob(self, part: Part, file: Path) -> Blob:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        self.cache.adopt(Path(shutil.copy(file, self.state / "cache" / "parts")), sha256)
        return Blob(part=part, sha256=sha256, index=self.cache.index(sha256).name, size=file.stat().st_size, format=DiskFormat.RAW)

    def again(self) -> None:
        """As after the death of the node's process."""
        hands = Hands(self.driver, FakeNetwork(self.state / "fake"), self.cache)
        self.domains = Domains(self.settings, hands, "nc-00000001", self.told.append)

    def spec(self, instance: str) -> MachineSpec:
        image = ImageRef(image="img-00000001", version=1, blobs=self.blobs, cmdline="console=ttyS0")
        return MachineSpec(instance=instance, name="trial", cpus=1, memory_mib=96, image=image, display_port=PORTS[instance])

    def start(self, instance: str) -> None:
        job = SimpleNamespace(task="tsk-00000001", checkpoint=lambda: None, cancelled=lambda: False)
        assert self.domains.start(job, self.spec(instance), self._next(), 1).state is DomainState.RUNNING

    def stop(self, instance: str) -> None:
        self.domains.stop(SimpleNamespace(cancelled=lambda: False), instance, 0, self._next(), 1)

    def delete(self, instance: str) -> None:
        self.domains.delete(instance, self._next(), 1)

    def _next(self) -> int:
        """The generation of the next order."""
        self.gen += 1
        return self.gen

    def pid(self, instance: str) -> int:
        return next(p for p in self.private.pids(f"guest={instance},") if "qemu" in psutil.Process(p).name())

    def seen(self) -> dict[str, tuple[int, int, int, str]]:
        """Owner, group, mode and content of every blob."""
        files = [self.cache.path(blob.sha256) for blob in self.blobs]
        return {f.name: (*f.stat()[4:6], f.stat().st_mode, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files if f}

    def folder(self, instance: str) -> Path:
        return self.domains.wanted.folder(instance)


def as_account(uid: int, gid: int, act: Callable[[], object]) -> str:
    """What a process of that account hears when it tries: ``done``, or the name of the error."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        said = "nothing"
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            act()
            said = "done"
        except OSError as e:
            said = type(e).__name__
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


def knock(at: Path) -> None:
    """Open a socket file."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(at))


def put_link(at: Path, aim: Path) -> None:
    """What a guest's process may do in its own folder."""
    at.unlink()
    at.symlink_to(aim)


@pytest.fixture(scope="module")
def private() -> Iterator[PrivateLibvirtd]:
    with private_libvirtd() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> dict[Part, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    built = build_tiny(folder / "out", folder / "work")
    (folder / "disk").write_bytes(bytes(1024 * 1024))
    return {Part.KERNEL: built.files["kernel"], Part.INITRD: built.files["initrd"], Part.DISK: folder / "disk"}


@pytest.fixture
def node(private: PrivateLibvirtd, image: dict[Part, Path]) -> Iterator[Node]:
    made = Node(private, image)
    yield made
    for instance in (A, B):
        made.delete(instance)
    made.driver.close()
    shutil.rmtree(made.state)


def greeting(node: Node, instance: str) -> bytes:
    """The first bytes of a screen as they come out at the node's boss."""
    ends: list[socket.socket] = []

    def joined(_stream: str, _host: str) -> socket.socket:
        near, far = socket.socketpair()
        ends.append(far)
        return near

    boss = stream.Exchange("127.0.0.1", 0, joined).start()
    try:
        boss.expect("s1", 10)
        stream.bridge(node.domains.screen(instance), stream.Dialling(("127.0.0.1", boss.port)), "s1", "nc-00000001")
        ends[0].settimeout(10)
        return ends[0].recv(12)
    finally:
        boss.stop()
        for end in ends:
            end.close()


def test_blobs_are_the_same_before_during_and_after(node: Node) -> None:
    gid = node.driver.account(node.spec(A)).gid
    node.start(A)
    before = node.seen()
    assert {(uid, group, stat.S_IMODE(mode)) for uid, group, mode, _ in before.values()} == {(0, gid, 0o440)}
    node.start(B)
    assert node.seen() == before
    node.stop(A)
    assert node.seen() == before
    node.start(A)
    os.kill(node.pid(A), signal.SIGKILL)
    node.delete(B)
    assert node.seen() == before


def test_no_guest_can_write_what_others_boot_from(node: Node) -> None:
    node.start(A)
    uid, gid = psutil.Process(node.pid(A)).uids().real, psutil.Process(node.pid(A)).gids().real
    assert uid == 1_900_000_000 + PORTS[A]
    before = node.seen()
    for blob in node.blobs:
        path = node.cache.path(blob.sha256)
        assert path
        assert as_account(uid, gid, partial(path.open, "rb")) == "done"
        for act in (partial(path.open, "r+b"), partial(path.chmod, 0o666), path.unlink, partial(path.rename, f"{path}.old"),
                    partial(os.listdir, path.parent)):
            assert as_account(uid, gid, act) == "PermissionError", act
        assert as_account(NOBODY, NOBODY, partial(path.open, "rb")) == "PermissionError"
    assert node.seen() == before


def test_one_guests_account_reaches_nothing_of_another(node: Node) -> None:
    node.start(A)
    node.start(B)
    one, other = (psutil.Process(node.pid(each)).uids().real for each in (A, B))
    gid = psutil.Process(node.pid(A)).gids().real
    assert one != other
    assert psutil.Process(node.pid(A)).uids().effective == one
    for name in ("disk.qcow2", "seed.iso", "console.log", "wanted.json"):
        path = node.folder(B) / name
        assert as_account(one, gid, partial(path.open, "rb")) == "PermissionError", name
        assert as_account(one, gid, partial(path.open, "r+b")) == "PermissionError", name
        assert as_account(NOBODY, NOBODY, partial(path.open, "rb")) == "PermissionError", name
    assert as_account(other, gid, partial((node.folder(B) / "disk.qcow2").open, "r+b")) == "done"
    assert as_account(one, gid, partial(os.listdir, node.folder(B))) == "PermissionError"
    victim = node.pid(B)
    assert as_account(one, gid, partial(os.kill, victim, 0)) == "PermissionError"
    assert as_account(one, gid, Path(f"/proc/{victim}/mem").read_bytes) == "PermissionError"


def test_a_guest_runs_no_other_program(node: Node) -> None:
    node.start(A)
    status = Path(f"/proc/{node.pid(A)}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "CapEff:\t0000000000000000" in status


def test_a_screen_opens_to_its_node_and_to_nobody_else(node: Node) -> None:
    node.start(A)
    node.start(B)
    assert greeting(node, A) == b"RFB 003.008\n"
    assert [c for c in psutil.Process(node.pid(A)).net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    at = node.folder(A) / "vnc" / "sock"
    gid = psutil.Process(node.pid(A)).gids().real
    for uid, group in ((NOBODY, NOBODY), (psutil.Process(node.pid(B)).uids().real, gid)):
        assert as_account(uid, group, partial(knock, at)) == "PermissionError"
    running = [facts for facts in node.told if facts.state is InstanceState.RUNNING]
    assert [facts.display.port for facts in running] == [PORTS[A], PORTS[B]]


def test_a_screen_outlives_the_nodes_process_and_a_killed_guest_is_shown_again(node: Node) -> None:
    node.start(A)
    node.again()
    node.domains.reconcile(set())
    assert greeting(node, A) == b"RFB 003.008\n"
    os.kill(node.pid(A), signal.SIGKILL)
    until = clock.monotonic() + 10
    while node.driver.inspect(A).state is not DomainState.CRASHED and clock.monotonic() < until:
        clock.sleep(0.05)
    assert (node.folder(A) / "vnc" / "sock").is_socket()
    with pytest.raises(Refused, match="no screen"):
        node.domains.screen(A)
    node.domains.reconcile(set())
    assert greeting(node, A) == b"RFB 003.008\n"


def test_a_link_a_guest_left_for_a_socket_is_not_followed(node: Node) -> None:
    node.start(A)
    at = node.folder(A) / "vnc" / "sock"
    uid, gid = psutil.Process(node.pid(A)).uids().real, psutil.Process(node.pid(A)).gids().real
    aim = node.private.folder / "run" / "libvirt-sock"
    assert aim.is_socket()
    assert as_account(uid, gid, partial(put_link, at, aim)) == "done"
    with pytest.raises(Refused) as trouble:
        greeting(node, A)
    assert trouble.value.code == "not_found"
    node.delete(A)
    assert aim.is_socket()
    node.start(A)
    assert greeting(node, A) == b"RFB 003.008\n"


def test_a_folder_too_long_for_a_socket_is_said_and_starts_nothing(node: Node) -> None:
    node.domains.wanted._folder = node.state / ("x" * 90)
    with pytest.raises(Refused, match="too long"):
        node.start(A)
    assert node.driver.list() == []


def test_the_longest_path_a_socket_can_have_is_listened_on(node: Node) -> None:
    room = 107 - len(str(node.state)) - len(f"//{A}/vnc/sock")
    node.domains.wanted._folder = node.state / ("x" * room)
    node.start(A)
    assert len(str(node.folder(A) / "vnc" / "sock")) == 107
    assert greeting(node, A) == b"RFB 003.008\n"


def test_an_account_the_host_does_not_know_is_said(node: Node) -> None:
    node.settings.hypervisor.guest_group = "edu-nobodys-group"
    with pytest.raises(Failed, match="edu-nobodys-group") as trouble:
        node.start(A)
    assert trouble.value.code == "missing"
    assert node.driver.list() == []
