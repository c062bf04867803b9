"""The laws of a hypervisor, kept by every registered driver."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lxml import etree

from luhyaapi import clock, conf
from luhyaapi.contracts.specs import Blob, Hardware, ImageRef, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import Accelerator, DiskFormat, DomainState, Part
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer.demand import Demand
from luhyaapi.wire.ends import open_socket
from nc.drivers import HYPERVISORS
from nc.drivers.base import Files, Hypervisor, Watched
from nc.drivers.libvirt_link import Link
from nc.services import belongings, disks
from nc.services.lazy.door import SocketDoor
from tests.support.private_libvirtd import PrivateLibvirtd, private_libvirtd

A, B = "ins-0000000a", "ins-0000000b"
WRITER = bytes.fromhex("31c08ed88ed0bc007cbe207cb80043cd138106287c80008126287cff07ebea").ljust(32, b"\0") + bytes.fromhex(
    "10000100007c00000100000000000000").ljust(478, b"\0") + b"\x55\xaa"
"""A boot sector that writes to one place of its disk of 1 MiB after the other, for ever."""
PORTS = {A: 8700, B: 8701}
NIC = Nic(mac="52:54:00:00:00:0a", ip="10.231.0.7")
IMAGE = ImageRef(image="img-00000001", version=1, blobs=(Blob(part=Part.DISK, sha256="0" * 64, index="0" * 64, size=512, format="raw"),))


@dataclass
class Bench:
    """One driver on trial. ``again`` makes a second one that remembers what the first did."""

    driver: Hypervisor
    folder: Path
    kill: Callable[..., None]
    answer: Callable[[str], None]
    again: Callable[[], Hypervisor]
    is_connected: Callable[[str], bool]
    full: Callable[[Bench], Callable[[], None]]

    def spec(self, instance: str = A, **over: object) -> MachineSpec:
        given = {"instance": instance, "name": "trial", "cpus": 1, "memory_mib": 64, "image": IMAGE, "display_port": PORTS[instance]}
        return MachineSpec(**{**given, **over})

    def files(self, instance: str = A, home: Path | None = None, code: bytes = b"") -> Files:
        """Of a guest that shows its firmware for ever, or runs ``code``, and hears no ACPI."""
        folder = (home or self.folder) / "instances" / instance
        folder.mkdir(parents=True, exist_ok=True)
        base = (home or self.folder) / "base.img"
        if not base.exists():
            base.write_bytes(code.ljust(1024 * 1024, b"\0"))
        account = self.driver.account(self.spec(instance))
        assert account
        for each in (folder.parent, folder):
            belongings.way(each, account)
        belongings.lent(base, account)
        disk = disks.overlay(base, DiskFormat.RAW, folder / "disk.qcow2")
        data = disks.data(folder / "data.raw", 1024 * 1024)
        for each in (disk, data):
            belongings.own(each, account)
        return Files(
            belongings.log(folder / "console.log", account), disk=disk, data=data, base=base, base_format=DiskFormat.RAW,
            screen=belongings.screen(folder, account), serial=belongings.serial(folder), account=account,
        )

    def owners(self) -> dict[str, tuple[int, int, int]]:
        """Owner, group and mode of everything there but the sockets, which come and go."""
        found = [self.folder / "base.img", *sorted((self.folder / "instances").rglob("*"))]
        return {str(p): (s.st_uid, s.st_gid, s.st_mode) for p in found if not stat.S_ISSOCK((s := p.lstat()).st_mode)}

    def running(self, instance: str = A, *, offline: bool = False) -> Files:
        files = self.files(instance)
        if offline:
            files = dataclasses.replace(files, first_boot=belongings.first_boot(self.folder / "instances" / instance))
        self.driver.define(self.spec(instance, nics=(NIC,) if offline else ()), files)
        assert self.driver.start(instance).state is DomainState.RUNNING
        return files

    def becomes(self, instance: str, *states: DomainState) -> DomainState:
        until = clock.monotonic() + 10
        while (state := self.driver.inspect(instance).state) not in states and clock.monotonic() < until:
            clock.sleep(0.05)
        return state


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[PrivateLibvirtd]:
    with private_libvirtd() as private:
        yield private


def _settings(**over: object) -> conf.Settings:
    return conf.Settings(**over)


def _fake(tmp_path: Path) -> Iterator[Bench]:
    settings = _settings(host={"state": tmp_path})
    driver = HYPERVISORS["fake"](settings)
    driver.stubborn |= {A, B}

    def full(bench: Bench) -> Callable[[], None]:
        bench.running()
        driver.full.add(A)
        driver.write(A)
        return driver.full.clear

    yield Bench(driver, tmp_path, lambda it, _number=0: driver.kill(it), driver.answer, lambda: HYPERVISORS["fake"](settings), driver.is_connected, full)


def _libvirt(private: PrivateLibvirtd) -> Iterator[Bench]:
    settings = _settings(
        host={"state": private.folder}, hypervisor={"uri": private.uri, "accelerator": "tcg"},
        network={"bridge": private.bridge},
    )
    driver = HYPERVISORS["libvirt"](settings)

    def kill(instance: str, number: signal.Signals = signal.SIGKILL) -> None:
        for pid in private.pids(f"guest={instance},"):
            os.kill(pid, number)

    link = Link(private.uri)

    def is_connected(instance: str) -> bool:
        xml = link.ask(lambda c: c.lookupByName(instance).XMLDesc(), what="looked at")
        return etree.fromstring(xml.encode()).find("devices/interface/link[@state='down']") is None

    def full(bench: Bench) -> Callable[[], None]:
        files = bench.files(home=private.small, code=WRITER)
        ballast = private.small / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(private.small).free - 128 * 1024))
        driver.define(bench.spec(), files)
        driver.start(A)
        return ballast.unlink

    yield Bench(driver, private.folder, kill, lambda _instance: None, lambda: HYPERVISORS["libvirt"](settings), is_connected, full)
    link.close()
    for facts in driver.list():
        driver.remove(facts.instance)
        shutil.rmtree(private.folder / "instances" / facts.instance, ignore_errors=True)
    driver.close()


@pytest.fixture(params=["fake", pytest.param("libvirt", marks=pytest.mark.live)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "fake":
        yield from _fake(tmp_path)
    else:
        yield from _libvirt(request.getfixturevalue("libvirtd"))


def test_every_registered_driver_is_on_trial() -> None:
    assert set(HYPERVISORS) == {"fake", "libvirt"}


def test_says_what_it_is(bench: Bench) -> None:
    probe = bench.driver.probe()
    assert probe.name
    assert probe.version
    assert probe.why
    assert probe.accelerator in (Accelerator.SIMULATED, Accelerator.TCG)


def test_from_nothing_to_nothing(bench: Bench) -> None:
    assert bench.driver.inspect(A).state is DomainState.ABSENT
    bench.driver.define(bench.spec(), bench.files())
    assert bench.driver.inspect(A).state is DomainState.STOPPED
    started = bench.driver.start(A)
    assert started.state is DomainState.RUNNING
    assert started.accelerator is bench.driver.probe().accelerator
    bench.driver.stop(A, 0)
    assert bench.driver.inspect(A).state is DomainState.STOPPED
    assert bench.driver.inspect(A).display.port == 0
    bench.driver.remove(A)
    assert bench.driver.inspect(A).state is DomainState.ABSENT
    assert bench.driver.list() == []


def test_twice_is_as_once(bench: Bench) -> None:
    for _ in range(2):
        bench.driver.define(bench.spec(), bench.files())
    for _ in range(2):
        assert bench.driver.start(A).state is DomainState.RUNNING
    bench.driver.define(bench.spec(memory_mib=80), bench.files())
    assert bench.driver.inspect(A).state is DomainState.RUNNING
    for _ in range(2):
        bench.driver.stop(A, 0)
    for _ in range(2):
        bench.driver.remove(A)
    assert bench.driver.inspect(A).state is DomainState.ABSENT


def test_stop_and_remove_of_the_absent_are_done_already(bench: Bench) -> None:
    bench.driver.stop(B, 0)
    bench.driver.remove(B)
    assert bench.driver.inspect(B).state is DomainState.ABSENT


def test_start_of_the_undefined_is_refused_with_its_name(bench: Bench) -> None:
    with pytest.raises(Failed, match=B) as trouble:
        bench.driver.start(B)
    assert trouble.value.code == "hypervisor"
    assert bench.driver.list() == []


def test_start_without_its_disk_says_so_and_starts_nothing(bench: Bench) -> None:
    files = bench.files()
    bench.driver.define(bench.spec(), files)
    assert files.disk
    files.disk.unlink()
    with pytest.raises(Failed, match=r"disk\.qcow2") as trouble:
        bench.driver.start(A)
    assert trouble.value.code == "hypervisor"
    assert bench.driver.inspect(A).state is DomainState.STOPPED
    bench.files()
    assert bench.driver.start(A).state is DomainState.RUNNING


def test_nothing_to_boot_is_refused(bench: Bench) -> None:
    with pytest.raises(Refused):
        bench.driver.define(bench.spec(), Files(bench.folder / "console.log"))
    assert bench.driver.inspect(A).state is DomainState.ABSENT


OLD = {"disk_bus": "ide", "vif_model": "rtl8139", "video_model": "cirrus", "pointer_model": "usbtablet", "clock": "localtime"}
MACHINES = {
    "of 2001": OLD,
    "of 2009": {"disk_bus": "sata", "vif_model": "e1000", "pointer_model": "usbtablet", "machine_type": "q35", "clock": "localtime"},
    "of today": {"disk_bus": "scsi", "vif_model": "e1000e", "video_model": "virtio", "pointer_model": "ps2mouse"},
    "of today, on q35": {"vif_model": "e1000e", "machine_type": "q35"},
}


@pytest.mark.parametrize("hardware", MACHINES.values(), ids=MACHINES)
def test_a_machine_of_any_age_runs(bench: Bench, hardware: dict[str, str]) -> None:
    nic = Nic(mac="52:54:00:00:00:0a", ip="10.231.0.7")
    files = bench.files()
    seed = disks.seed_iso(bench.folder / "instances" / A / "seed.iso", A, "trial", ())
    belongings.own(seed, files.account)
    spec = bench.spec(image=IMAGE.model_copy(update={"hardware": Hardware(**hardware)}), nics=(nic,))
    bench.driver.define(spec, dataclasses.replace(files, seed=seed))
    assert bench.driver.start(A).state is DomainState.RUNNING


@pytest.mark.parametrize("hardware", [{"firmware_type": "uefi"}, {"disk_bus": "ide", "machine_type": "q35"}])
def test_a_machine_that_cannot_be_is_refused(bench: Bench, hardware: dict[str, str]) -> None:
    with pytest.raises(Refused, match=f"{next(iter(hardware))} is not possible") as trouble:
        bench.driver.define(bench.spec(image=IMAGE.model_copy(update={"hardware": Hardware(**hardware)})), bench.files())
    assert trouble.value.code == "invalid"
    assert bench.driver.inspect(A).state is DomainState.ABSENT


def test_a_deaf_guest_has_its_grace_and_no_more(bench: Bench) -> None:
    bench.running()
    before = clock.monotonic()
    bench.driver.stop(A, 0.5)
    assert 0.5 <= clock.monotonic() - before < 5
    assert bench.driver.inspect(A).state is DomainState.STOPPED


def test_cancelled_stop_pulls_no_plug(bench: Bench) -> None:
    bench.running()
    with pytest.raises(Refused) as trouble:
        bench.driver.stop(A, 30, lambda: True)
    assert trouble.value.code == "cancelled"
    assert bench.driver.inspect(A).state is DomainState.RUNNING


def test_removing_also_ends_what_runs_and_leaves_files_alone(bench: Bench) -> None:
    bench.running()
    bench.driver.remove(A)
    assert bench.driver.inspect(A).state is DomainState.ABSENT
    assert bench.files().disk.is_file()


def test_no_file_changes_hands(bench: Bench) -> None:
    bench.driver.define(bench.spec(), bench.files())
    before = bench.owners()
    below = (bench.folder / "base.img").stat()
    assert (below.st_uid, below.st_mode & 0o022) == (os.getuid(), 0)
    for _ in range(2):
        bench.driver.start(A)
        assert bench.owners() == before
        bench.driver.stop(A, 0)
        assert bench.owners() == before
    bench.driver.start(A)
    bench.kill(A)
    bench.becomes(A, DomainState.CRASHED)
    bench.driver.remove(A)
    assert bench.owners() == before


def test_the_screen_is_where_it_was_told_and_the_port_is_what_was_lent(bench: Bench) -> None:
    bench.driver.define(bench.spec(), files := bench.files())
    assert bench.driver.inspect(A).display.port == 0
    facts = bench.driver.start(A)
    assert facts.display.port == PORTS[A] == bench.again().inspect(A).display.port
    assert files.screen
    assert bench.driver.screen(facts, files.screen) == files.screen
    assert stat.S_ISSOCK(files.screen.stat().st_mode)
    assert stat.S_IMODE(files.screen.parent.stat().st_mode) == 0o700


def test_the_serial_port_is_a_socket_nobody_else_enters_and_ends_with_its_guest(bench: Bench) -> None:
    files = bench.running()
    bench.answer(A)
    assert files.serial
    assert stat.S_IMODE(files.serial.parent.stat().st_mode) == 0o700
    assert files.serial.parent.stat().st_uid == os.getuid()
    with open_socket(files.serial) as line:
        line.sendall(b"typed")
        assert bench.driver.inspect(A).state is DomainState.RUNNING
        bench.driver.stop(A, 0)
        with contextlib.suppress(ConnectionResetError):  # of what it never read
            while said := line.recv(100):
                assert said in b"typed"
    for _ in range(2):
        bench.driver.define(bench.spec(), bench.files())
        bench.driver.start(A)
        assert stat.S_ISSOCK(files.serial.stat().st_mode)
        bench.kill(A)
        bench.becomes(A, DomainState.CRASHED)


def test_a_screen_left_by_a_killed_guest_is_in_nobodys_way(bench: Bench) -> None:
    screen = bench.running().screen
    bench.kill(A)
    bench.becomes(A, DomainState.CRASHED)
    assert screen
    assert stat.S_ISSOCK(screen.lstat().st_mode)
    assert bench.driver.start(A).state is DomainState.RUNNING
    assert stat.S_ISSOCK(screen.lstat().st_mode)


def test_one_that_begins_offline_has_a_port_for_its_news_and_is_connected_on_demand(bench: Bench) -> None:
    bench.driver.connect(A)
    at = bench.running(offline=True).first_boot
    assert at
    assert stat.S_ISSOCK(at.lstat().st_mode)
    assert stat.S_IMODE(at.parent.stat().st_mode) == 0o700
    assert not bench.is_connected(A)
    for _ in range(2):
        bench.driver.connect(A)
        assert bench.is_connected(A)
    bench.driver.stop(A, 0)
    bench.driver.connect(A)
    bench.driver.remove(A)


def test_two_guests_side_by_side(bench: Bench) -> None:
    bench.running(A)
    bench.running(B)
    accounts = {bench.driver.account(bench.spec(each)) for each in (A, B)}
    assert None not in accounts
    assert [facts.display.port for facts in bench.driver.list()] == [PORTS[A], PORTS[B]]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_behind_our_back_is_crashed_and_starts_again(bench: Bench, number: signal.Signals) -> None:
    bench.running()
    bench.kill(A, number)
    assert bench.becomes(A, DomainState.CRASHED, DomainState.STOPPED) is DomainState.CRASHED
    assert [facts.state for facts in bench.driver.list()] == [DomainState.CRASHED]
    assert bench.driver.start(A).state is DomainState.RUNNING
    bench.driver.stop(A, 0)
    assert bench.driver.inspect(A).state is DomainState.STOPPED


def test_lists_all_of_ours(bench: Bench) -> None:
    bench.driver.define(bench.spec(B), bench.files(B))
    bench.running(A)
    states = {facts.instance: facts.state for facts in bench.driver.list()}
    assert states == {A: DomainState.RUNNING, B: DomainState.STOPPED}


def test_outlives_the_one_who_started_it(bench: Bench) -> None:
    bench.running()
    other = bench.again()
    assert other.inspect(A).state is DomainState.RUNNING
    other.remove(A)
    assert bench.driver.inspect(A).state is DomainState.ABSENT


def test_the_console_log_is_kept_over_starts(bench: Bench) -> None:
    bench.driver.define(bench.spec(), files := bench.files())
    files.console_log.write_text("of the last start\n")
    bench.driver.start(A)
    assert files.console_log.read_text("utf-8", "replace").startswith("of the last start\n")


def test_tells_of_changes_nobody_asked_for(bench: Bench) -> None:
    assert isinstance(bench.driver, Watched)
    told: list[str] = []
    bench.driver.watch(told.append)
    bench.running()
    told.clear()
    bench.kill(A)
    until = clock.monotonic() + 5
    while A not in told and clock.monotonic() < until:
        clock.sleep(0.02)
    assert A in told


def test_a_disk_read_from_a_socket_comes_to_stand_on_its_file(bench: Bench) -> None:
    files = bench.files()
    assert files.base
    at = bench.folder / "instances" / A / "image"
    lazy = dataclasses.replace(files, base_socket=at)
    bench.driver.define(bench.spec(), lazy)
    with pytest.raises(Failed) as trouble:
        bench.driver.start(A)
    assert trouble.value.code == "hypervisor"
    assert bench.becomes(A, DomainState.STOPPED, DomainState.CRASHED) is not DomainState.RUNNING
    content = Demand(files.base.stat().st_size)
    content.whole(files.base)
    door = SocketDoor(at, files.account, content)
    try:
        assert bench.driver.start(A).state is DomainState.RUNNING
        assert bench.again().start(A).state is DomainState.RUNNING
        for driver in (bench.driver, bench.again()):
            driver.stand(A, files.base, DiskFormat.RAW)
    finally:
        door.close()
    assert bench.driver.inspect(A).state is DomainState.RUNNING
    bench.driver.remove(A)
    bench.driver.stand(A, files.base, DiskFormat.RAW)


def test_a_guest_on_files_stands_on_them_already(bench: Bench) -> None:
    files = bench.running()
    assert files.base
    bench.driver.stand(A, files.base, DiskFormat.RAW)
    assert bench.driver.inspect(A).state is DomainState.RUNNING
    bench.driver.stop(A, 0)
    bench.driver.stand(A, files.base, DiskFormat.RAW)
    assert bench.driver.inspect(A).state is DomainState.STOPPED


def test_a_guest_whose_write_finds_no_room_stands_still_and_goes_on_when_started_again(bench: Bench) -> None:
    make_room = bench.full(bench)
    until = clock.monotonic() + 20
    while not (facts := bench.driver.inspect(A)).io_error and clock.monotonic() < until:
        clock.sleep(0.05)
    assert (facts.state, facts.paused, facts.io_error) == (DomainState.RUNNING, True, True)
    assert bench.again().list() == [facts]
    bench.driver.start(A)
    until = clock.monotonic() + 10
    while not (facts := bench.driver.inspect(A)).io_error and clock.monotonic() < until:
        clock.sleep(0.05)
    assert facts.io_error, "there is still no room"
    make_room()
    started = bench.driver.start(A)
    assert (started.state, started.paused, started.io_error) == (DomainState.RUNNING, False, False)
    clock.sleep(0.5)
    assert not bench.driver.inspect(A).paused
