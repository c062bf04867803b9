"""The libvirt driver with a real guest, and with a libvirt that is down, hung, killed or shared with others."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest
from lxml import etree

from deploy.demo_images.build import build_tiny
from luhyaapi import clock, conf
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import DiskFormat, DomainState, Part
from luhyaapi.errors import Failed, Refused, Unavailable
from nc.drivers.base import Files, tap_name
from nc.drivers.libvirt_hypervisor import POLITE_S, LibvirtHypervisor
from nc.drivers.libvirt_link import Link
from nc.drivers.libvirt_xml import domain_xml
from nc.services import belongings, disks
from nc.services.first_boots import FirstBoots
from nc.services.serial import Serials
from tests.support.private_libvirtd import PrivateLibvirtd, private_libvirtd

pytestmark = pytest.mark.live
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
GOLDEN = Path(__file__).parent.parent / "golden"
A, FOREIGN = "ins-0000000a", "ins-0000000f"
NIC = Nic(mac="52:54:00:00:00:0a", ip="10.231.0.7")
ZERO = "0" * 64


@pytest.fixture(scope="module")
def private() -> Iterator[PrivateLibvirtd]:
    with private_libvirtd() as daemon:
        yield daemon


@pytest.fixture
def driver(private: PrivateLibvirtd) -> Iterator[LibvirtHypervisor]:
    made = LibvirtHypervisor(settings(private), quick_s=5)
    yield made
    made.remove(A)
    shutil.rmtree(private.folder / A, ignore_errors=True)
    made.close()


def settings(private: PrivateLibvirtd, uri: str = "") -> conf.Settings:
    return conf.Settings(
        host={"state": private.folder}, hypervisor={"uri": uri or private.uri, "accelerator": "tcg", "logs": private.folder / "log" / "qemu"},
        network={"bridge": private.bridge},
    )


def spec(cmdline: str = "", display_port: int = 8700, nics: tuple[Nic, ...] = ()) -> MachineSpec:
    image = ImageRef(image="img-00000001", version=1, blobs=(Blob(part=Part.KERNEL, sha256=ZERO, index=ZERO, size=1),), cmdline=cmdline)
    return MachineSpec(
        instance=A, name="trial", cpus=1, memory_mib=96, image=image, nics=nics, display_port=display_port,
    )


def of_disk(private: PrivateLibvirtd) -> Files:
    base = private.folder / "base.img"
    base.write_bytes(bytes(1024 * 1024))
    folder = private.folder / A
    disk = disks.overlay(base, DiskFormat.RAW, folder / "disk.qcow2")
    return given(private, Files(folder / "console.log", disk=disk, base=base))


def given(private: PrivateLibvirtd, files: Files) -> Files:
    """As the node's services give them to the guest."""
    account = LibvirtHypervisor(settings(private)).account(spec())
    assert account
    folder = files.console_log.parent
    belongings.way(folder, account)
    belongings.log(files.console_log, account)
    for each in (files.kernel, files.initrd, files.base):
        if each:
            belongings.lent(each, account)
    if files.disk:
        belongings.own(files.disk, account)
    return dataclasses.replace(files, screen=belongings.screen(folder, account), serial=belongings.serial(folder), account=account)


def soon(holds: Callable[[], bool], within_s: float = 10) -> bool:
    until = clock.monotonic() + within_s
    while not (answer := holds()) and clock.monotonic() < until:
        clock.sleep(0.05)
    return answer


def serve_address(private: PrivateLibvirtd) -> None:
    known = private.folder / "known"
    known.mkdir(exist_ok=True)
    (known / A).write_text(f"{NIC.mac},{NIC.ip},infinite\n")
    private.enter("ip", "address", "replace", "10.231.0.1/24", "dev", private.bridge)
    private.enter(
        "dnsmasq", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=0", f"--interface={private.bridge}",
        "--bind-interfaces", "--except-interface=lo", "--dhcp-authoritative", "--no-ping", "--leasefile-ro", "--user=root",
        "--dhcp-range=10.231.0.0,static,255.255.255.0,infinite", f"--dhcp-hostsdir={known}",
        f"--pid-file={private.folder}/dnsmasq.pid",
    )


def links(private: PrivateLibvirtd) -> str:
    return private.enter("ip", "-brief", "link", "show", "master", private.bridge)


def test_a_guest_from_start_to_its_own_end(private: PrivateLibvirtd, driver: LibvirtHypervisor, tmp_path: Path) -> None:
    tiny = build_tiny(tmp_path / "out", tmp_path / "work")
    folder = private.folder / A
    folder.mkdir()
    kernel, initrd = (Path(shutil.copy(tiny.files[name], folder)) for name in ("kernel", "initrd"))
    log = folder / "console.log"
    serve_address(private)
    files = dataclasses.replace(given(private, Files(log, kernel=kernel, initrd=initrd)), first_boot=belongings.first_boot(folder))
    driver.define(spec(tiny.cmdline, 8700, (NIC,)), files)
    assert driver.start(A).display.port == 8700
    assert tap_name(A, NIC.mac) in links(private)
    # it has no carrier until its first boot is done, which it says until it has one
    assert files.first_boot
    for _ in range(2):
        done: list[str] = []
        FirstBoots(lambda _instance: True, done.append).listen(A, files.first_boot)
        assert soon(lambda d=done: d == [A], 60), log.read_text("utf-8", "replace")
    assert "address" not in log.read_text("utf-8", "replace")
    driver.connect(A)
    assert soon(lambda: f"address {NIC.ip}" in log.read_text("utf-8", "replace"), 60)
    # its serial console: what it says is in the log whether or not somebody looks, and a shell reads what is typed
    serials = Serials()
    assert files.serial
    with serials.join(A, files.serial, log) as line:
        heard = b""
        line.settimeout(20)
        line.sendall(b"echo answer=$((6*7))\r")
        while b"answer=42" not in heard:
            heard += line.recv(4096)
        assert f"address {NIC.ip}".encode() in heard
    assert soon(lambda: "answer=42" in log.read_text("utf-8", "replace"))
    before = clock.monotonic()
    driver.stop(A, 60)
    assert clock.monotonic() - before < 50
    assert driver.inspect(A).state is DomainState.STOPPED
    assert "power button" in log.read_text("utf-8", "replace")
    assert links(private) == ""
    kept = private.folder / "log" / "qemu" / f"{A}.log"
    assert kept.exists()
    driver.remove(A)
    assert not kept.exists()


def test_golden_files_are_what_libvirt_takes() -> None:
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    for path in sorted(GOLDEN.glob("*.xml")):
        assert schema.validate(etree.parse(path)), (path.name, schema.error_log)


def test_no_libvirt_is_unavailable(private: PrivateLibvirtd) -> None:
    nobody = LibvirtHypervisor(settings(private, f"qemu:///system?socket={private.folder}/none"))
    for verb in (nobody.list, nobody.probe, lambda: nobody.inspect(A), lambda: nobody.start(A), lambda: nobody.stop(A, 0)):
        with pytest.raises(Unavailable, match="none") as trouble:
            verb()
        assert trouble.value.code == "hypervisor_down"


def test_a_hung_libvirt_is_unavailable_until_it_goes_on(private: PrivateLibvirtd) -> None:
    driver = LibvirtHypervisor(settings(private), quick_s=0.5)
    assert driver.list() == []
    daemon = private.daemon
    os.kill(daemon, signal.SIGSTOP)
    try:
        for _ in range(3):
            before = clock.monotonic()
            with pytest.raises(Unavailable):
                driver.list()
            assert clock.monotonic() - before < 20
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert soon(lambda: answers(driver))
    driver.close()


def test_a_hung_guest_is_ended_when_its_grace_is_over_and_hangs_nothing_else(private: PrivateLibvirtd, driver: LibvirtHypervisor) -> None:
    driver.define(spec(), of_disk(private))
    driver.start(A)
    pid, = private.pids(f"guest={A},")
    os.kill(pid, signal.SIGSTOP)
    before, grace_s = clock.monotonic(), POLITE_S + 2
    stopping = threading.Thread(target=driver.stop, args=(A, grace_s))
    stopping.start()
    while clock.monotonic() < before + grace_s:
        asked_at = clock.monotonic()
        assert [each.state for each in driver.list()] == [DomainState.RUNNING]
        assert driver.inspect(A).state is DomainState.RUNNING
        assert driver.busy_s(A) is not None
        assert clock.monotonic() - asked_at < 1
        clock.sleep(0.1)
    stopping.join(25)
    assert not stopping.is_alive()
    assert driver.inspect(A).state is DomainState.STOPPED
    assert not private.pids(f"guest={A},")
    assert soon(lambda: driver.start(A).state is DomainState.RUNNING), "no call hangs in it any more"


def answers(driver: LibvirtHypervisor) -> bool:
    try:
        return driver.list() is not None
    except Unavailable:
        return False


def test_a_guest_that_is_kept_from_its_processor_is_busy_all_the_same(private: PrivateLibvirtd, driver: LibvirtHypervisor) -> None:
    files = of_disk(private)
    assert files.base
    files.base.write_bytes(b"\xeb\xfe".ljust(510, b"\0") + b"\x55\xaa" + bytes(1024 * 1024 - 512))  # a boot sector that turns in a circle
    driver.define(spec(), files)
    driver.start(A)
    (guest,) = private.pids(f"guest={A},")
    one = {min(os.sched_getaffinity(0))}
    crowd = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(6)]
    try:
        for thread in [int(each.name) for each in Path(f"/proc/{guest}/task").iterdir()] + [each.pid for each in crowd]:
            os.sched_setaffinity(thread, one)
        clock.sleep(1.5)
        began, before = clock.monotonic(), driver.busy_s(A)
        clock.sleep(2)
        busy, took = driver.busy_s(A), clock.monotonic() - began
    finally:
        for each in crowd:
            each.kill()
            each.wait()
    assert before is not None
    assert busy is not None
    assert (busy - before) / took > 0.7
    driver.remove(A)
    assert driver.busy_s(A) is None


def test_guests_and_news_outlive_a_killed_libvirt(private: PrivateLibvirtd, driver: LibvirtHypervisor) -> None:
    told: list[str] = []
    driver.watch(told.append)
    driver.define(spec(), of_disk(private))
    driver.start(A)
    told.clear()
    os.kill(private.daemon, signal.SIGKILL)
    assert soon(lambda: "" in told)
    assert soon(lambda: answers(driver), 20), (private.folder / "output").read_text()
    assert driver.inspect(A).state is DomainState.RUNNING
    # asking the guest itself waits until the new libvirtd has found it; it tells no news of it before
    link = Link(private.uri)
    assert link.ask(lambda c: c.lookupByName(A).memoryStats(), what="asked")
    link.close()
    told.clear()
    for pid in private.pids(f"guest={A},"):
        os.kill(pid, signal.SIGKILL)
    assert soon(lambda: A in told)
    assert soon(lambda: driver.inspect(A).state is DomainState.CRASHED)


def test_a_connection_that_is_dropped_leaves_no_socket(private: PrivateLibvirtd) -> None:
    link = Link(private.uri)
    link.watch(lambda _domain: None)
    link.ask(lambda c: c.getVersion(), what="asked")

    def sockets() -> int:
        return sum(str(each.readlink()).startswith("socket:") for each in Path("/proc/self/fd").iterdir() if each.is_symlink())

    before = sockets()
    for _ in range(5):
        link._drop(link._open())
        link.ask(lambda c: c.getVersion(), what="asked")
    assert soon(lambda: sockets() == before), f"{sockets()} sockets, {before} before"
    link.close()
    assert soon(lambda: sockets() == before - 1)


def test_a_domain_of_somebody_else_is_left_alone(private: PrivateLibvirtd, driver: LibvirtHypervisor) -> None:
    connection = libvirt.open(private.uri)
    for name in (FOREIGN, "somebody"):
        connection.defineXML(f"<domain type='qemu'><name>{name}</name><memory>65536</memory><os><type>hvm</type></os></domain>")
    try:
        assert driver.list() == []
        for verb in (driver.remove, driver.start, driver.inspect):
            with pytest.raises(Failed, match="not ours"):
                verb(FOREIGN)
        assert connection.lookupByName(FOREIGN).isActive() == 0
    finally:
        for name in (FOREIGN, "somebody"):
            connection.lookupByName(name).undefine()
        connection.close()


def test_a_screen_that_cannot_listen_is_said(private: PrivateLibvirtd, driver: LibvirtHypervisor) -> None:
    files = of_disk(private)
    driver.define(spec(), files)
    assert files.screen
    shutil.rmtree(files.screen.parent)
    with pytest.raises(Failed, match="sock") as trouble:
        driver.start(A)
    assert trouble.value.code == "hypervisor"
    assert driver.inspect(A).state is DomainState.STOPPED
    driver.define(spec(), of_disk(private))
    assert driver.start(A).state is DomainState.RUNNING


def test_a_session_runs_guests_as_ourselves_and_a_machine_without_a_port_has_no_account(private: PrivateLibvirtd) -> None:
    assert LibvirtHypervisor(settings(private, "qemu:///session")).account(spec()) is None
    assert LibvirtHypervisor(settings(private, "xen:///system")).account(spec()) is None
    with pytest.raises(Refused, match="display port") as trouble:
        LibvirtHypervisor(settings(private)).account(spec(display_port=0))
    assert trouble.value.code == "invalid"


def test_bad_xml_is_answered_with_libvirts_words(private: PrivateLibvirtd, driver: LibvirtHypervisor) -> None:
    xml = domain_xml(spec(), of_disk(private), driver.probe().accelerator, "qemu").replace("<vcpu>1<", "<vcpu>no<")
    link = Link(private.uri)
    with pytest.raises(Failed) as trouble:
        link.ask(lambda c: c.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE), what="defined")
    assert trouble.value.code == "hypervisor"
    assert driver.list() == []
    link.close()
