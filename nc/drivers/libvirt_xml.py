"""MachineSpec to libvirt domain XML. Pure: the same machine gives the same text."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lxml import etree

from luhyaapi.conf import bridge_for
from luhyaapi.contracts.specs import Blob, Hardware, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import (
    Accelerator,
    DiskBus,
    DiskFormat,
    MachineType,
    PointerModel,
    VideoModel,
    VifModel,
)
from luhyaapi.errors import Refused
from nc.drivers.base import Files, check, tap_name
from nc.drivers.user_network import netdev

Kind = Literal["qemu", "kvm", "xen"]
NAMESPACE = "https://educloud/ns"
QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
SMALL_TRANSLATION_CACHE_MIB = 32
TRANSLATION_CACHE_MIB = 128
TEXT_VRAM_KIB = 1024
DESKTOP_VRAM_KIB = 16 * 1024
FIRST_VNC_PORT = 5900
LONGEST_SOCKET = 107
_FIRST_CARD_AT = 0x10
DATA = "data"
AGENT = "org.qemu.guest_agent.0"
FIRST_BOOT = "org.educloud.first_boot.0"
_OURS = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)


def domain_uuid(instance: str) -> str:
    """The UUID of an instance's domain: told from its id, so that defining it again is the same domain."""
    return str(uuid.uuid5(_OURS, instance))


@dataclass(frozen=True)
class Wiring:
    """Where a guest's cards go: taps on ``bridge``; else by ``subnet`` into a user-mode network that gives each its leased address.

    Neither: the hypervisor's own address translation.
    """

    bridge: str = ""
    subnet: str = ""


def domain_xml(spec: MachineSpec, files: Files, accelerator: Accelerator, kind: Kind, wiring: Wiring = Wiring()) -> str:
    """The domain of ``spec`` as text.

    A kernel among the files is booted directly, else the disk. Raises Refused(invalid) for what no guest can be made of.
    """
    _check(spec, files, kind, wiring)
    domain = etree.Element("domain", type=kind, nsmap={"qemu": QEMU_NAMESPACE} if wiring.subnet else None)
    _add(domain, "name", spec.instance)
    _add(domain, "uuid", domain_uuid(spec.instance))
    _add(domain, "title", spec.name)
    _metadata(_add(domain, "metadata"), spec)
    _add(domain, "memory", str(spec.memory_mib), unit="MiB")
    _add(domain, "vcpu", str(spec.cpus))
    if kind != "xen":
        _serial_number(domain, spec)
    _boot(domain, spec, files, kind)
    _machine(domain, spec, files, accelerator, kind)
    for event, then in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _add(domain, event, then)
    _devices(_add(domain, "devices"), spec, files, kind, wiring)
    if files.account:
        # static and not relabelled: libvirt, which would give a guest every file it names, leaves all of them alone
        label = _add(domain, "seclabel", type="static", model="dac", relabel="no")
        _add(label, "label", f"+{files.account.uid}:+{files.account.gid}")
    if wiring.subnet:
        _cards_by_qemu(domain, spec, wiring.subnet)
    return str(etree.tostring(domain, pretty_print=True, encoding="unicode"))


def _add(parent: Any, tag: str, text: str | None = None, **attributes: str) -> Any:
    child = etree.SubElement(parent, tag, attributes)
    child.text = text
    return child


def _check(spec: MachineSpec, files: Files, kind: Kind, wiring: Wiring) -> None:
    check(spec, files)
    if kind == "xen" and spec.image.hardware != Hardware():
        raise Refused("invalid", "Xen has its own devices", "the image asks for others")
    if 0 < spec.display_port < FIRST_VNC_PORT:
        raise Refused("invalid", f"Display port {spec.display_port} cannot be", f"the first possible is {FIRST_VNC_PORT}")
    if files.first_boot and (kind == "xen" or wiring.subnet):
        raise Refused("invalid", "No guest of this node can begin offline", "it runs Xen, or without rights", hint="Run it without that, or elsewhere.")
    for at in filter(None, (files.screen, files.serial, files.first_boot)):
        if len(os.fsencode(at)) > LONGEST_SOCKET:
            raise Refused("invalid", "The node's folder is too long for a screen's socket", f"{at}: at most {LONGEST_SOCKET} characters")
    try:
        etree.Element("cmdline").text = spec.image.cmdline
    except (ValueError, TypeError) as e:
        raise Refused("invalid", "The kernel command line has a character no file can hold", str(e)) from e


def _metadata(parent: Any, spec: MachineSpec) -> None:
    mine = etree.SubElement(parent, f"{{{NAMESPACE}}}instance", nsmap={"educloud": NAMESPACE})
    mine.set("id", spec.instance)
    mine.set("display-port", str(spec.display_port))
    image = etree.SubElement(mine, f"{{{NAMESPACE}}}image", id=spec.image.image, version=str(spec.image.version))
    for blob in spec.image.blobs:
        image.append(_blob(blob))


def _blob(blob: Blob) -> Any:
    return etree.Element(f"{{{NAMESPACE}}}blob", part=blob.part, sha256=blob.sha256)


def _serial_number(domain: Any, spec: MachineSpec) -> None:
    system = _add(_add(domain, "sysinfo", type="smbios"), "system")
    _add(system, "entry", "eduCloud", name="manufacturer")
    _add(system, "entry", spec.instance, name="serial")


def _boot(domain: Any, spec: MachineSpec, files: Files, kind: Kind) -> None:
    boot = _add(domain, "os")
    if kind == "xen":
        _add(boot, "type", "linux" if files.kernel else "hvm", arch="x86_64", machine="xenpv" if files.kernel else "xenfv")
    else:
        _add(boot, "type", "hvm", arch="x86_64", machine=spec.image.hardware.machine_type)
    if files.kernel:
        _add(boot, "kernel", str(files.kernel))
        if files.initrd:
            _add(boot, "initrd", str(files.initrd))
        _add(boot, "cmdline", f"{spec.image.cmdline} iid={spec.instance}".strip())
    elif kind == "xen":
        _add(boot, "boot", dev="hd")
    if kind != "xen":
        _add(boot, "smbios", mode="sysinfo")


def _machine(domain: Any, spec: MachineSpec, files: Files, accelerator: Accelerator, kind: Kind) -> None:
    if kind == "xen":
        _add(domain, "clock", offset="utc")
        return
    features = _add(domain, "features")
    _add(features, "acpi")
    _add(features, "apic")
    if accelerator is Accelerator.KVM:
        _add(domain, "cpu", mode="host-model", check="partial")
    else:
        # by default it takes 207 MB of each guest; a whole system in 32 MiB spends 40 % more time to boot than in 192
        cache_mib = TRANSLATION_CACHE_MIB if files.disk else SMALL_TRANSLATION_CACHE_MIB
        _add(_add(features, "tcg"), "tb-cache", str(cache_mib), unit="MiB")
    _add(_add(domain, "clock", offset=spec.image.hardware.clock), "timer", name="hpet", present="no")


def _devices(devices: Any, spec: MachineSpec, files: Files, kind: Kind, wiring: Wiring) -> None:
    hardware = spec.image.hardware
    if files.disk:
        disk = _disk(devices, files.disk, "a", kind, hardware.disk_bus)
        if files.base:
            _base(disk, files, is_ours=bool(files.account or wiring.subnet))
        if not files.kernel and kind != "xen":
            _add(disk, "boot", order="1")
    if files.data:
        # by the serial a guest finds it whatever it is called there
        letter = "c" if hardware.disk_bus in _FEW_PLACES else "b"
        _add(_disk(devices, files.data, letter, kind, hardware.disk_bus, DiskFormat.RAW), "serial", DATA)
    if files.seed:
        _add(_disk(devices, files.seed, "z", kind, hardware.disk_bus, read_only=True), "readonly")
    if kind != "xen":
        _controllers(devices, files, hardware)
    for nic in () if wiring.subnet else spec.nics:
        _card(devices, spec, nic, files, kind, wiring.bridge)
    if kind == "xen":
        _screen(devices, spec, None)
        return
    _serial(devices, files)
    _channels(devices, files)
    if files.disk:
        _tablet(devices, hardware.pointer_model)
    _add(devices, "input", type="mouse", bus="ps2")
    _add(devices, "input", type="keyboard", bus="ps2")
    _screen(devices, spec, files.screen)
    _add(devices, "audio", id="1", type="none")
    vram_kib = DESKTOP_VRAM_KIB if files.disk else TEXT_VRAM_KIB
    size = {"vram": str(vram_kib)} if hardware.video_model is VideoModel.VGA else {}
    _add(_add(devices, "video"), "model", type=hardware.video_model, **size, heads="1", primary="yes")
    _add(devices, "memballoon", model="none")


def _serial(devices: Any, files: Files) -> None:
    # append: each start would truncate the log of the last one
    if not files.serial:
        _add(_add(devices, "serial", type="file"), "source", path=str(files.console_log), append="on")
        return
    serial = _add(devices, "serial", type="unix")
    _add(serial, "source", mode="bind", path=str(files.serial))
    _add(serial, "log", file=str(files.console_log), append="on")


def _channels(devices: Any, files: Files) -> None:
    if files.first_boot:
        channel = _add(devices, "channel", type="unix")
        _add(channel, "source", mode="bind", path=str(files.first_boot))
        _add(channel, "target", type="virtio", name=FIRST_BOOT)
    if files.disk:
        _add(_add(devices, "channel", type="unix"), "target", type="virtio", name=AGENT)


def _controllers(devices: Any, files: Files, hardware: Hardware) -> None:
    has_usb = files.disk and hardware.pointer_model is PointerModel.USB
    # the one that Windows has known since 98
    _add(devices, "controller", type="usb", model="piix3-uhci" if has_usb else "none")
    if hardware.disk_bus is DiskBus.SCSI:
        _add(devices, "controller", type="scsi", model="virtio-scsi")


def _tablet(devices: Any, model: PointerModel) -> None:
    if model is not PointerModel.PS2:
        # a pointer that follows the one in the browser, for guests that know it; the others take the mouse
        _add(devices, "input", type="tablet", bus="usb" if model is PointerModel.USB else "virtio")


_FEW_PLACES = (DiskBus.IDE, DiskBus.SATA)
_LETTERS = {DiskBus.VIRTIO: "vd", DiskBus.SCSI: "sd", DiskBus.SATA: "sd", DiskBus.IDE: "hd"}


def _disk(
    devices: Any, path: Path, letter: str, kind: Kind, bus: DiskBus, format_: DiskFormat = DiskFormat.QCOW2, *, read_only: bool = False,
) -> Any:
    # where there are few places it takes the second one, as the drive that such a guest expects there
    is_drive = read_only and bus in _FEW_PLACES
    disk = _add(devices, "disk", type="file", device="cdrom" if is_drive else "disk")
    if read_only:
        _add(disk, "driver", name="qemu", type=DiskFormat.RAW)
    else:
        # writeback keeps every flush the guest asks for and also works where files cannot be opened directly (tmpfs)
        _add(disk, "driver", name="qemu", type=format_, cache="writeback", discard="unmap")
    _add(disk, "source", file=str(path))
    if kind == "xen":
        _add(disk, "target", dev=f"xvd{letter}", bus="xen")
    else:
        _add(disk, "target", dev=_LETTERS[bus] + ("b" if is_drive else letter), bus=bus)
    return disk


def _base(disk: Any, files: Files, *, is_ours: bool) -> None:
    if files.base_socket:
        base = _add(disk, "backingStore", type="network")
        _add(base, "format", type=DiskFormat.RAW)
        _add(_add(base, "source", protocol="nbd"), "host", transport="unix", socket=str(files.base_socket))
        _add(base, "backingStore")
        return
    base = _add(disk, "backingStore", type="file")
    _add(base, "format", type=files.base_format)
    source = _add(base, "source", file=str(files.base))
    if not is_ours:
        # many guests share it: libvirt would give the file to the account guests run as, which could then write it
        _add(source, "seclabel", model="dac", relabel="no")
    _add(base, "backingStore")


def _card(devices: Any, spec: MachineSpec, nic: Nic, files: Files, kind: Kind, bridge: str) -> None:
    # libvirt makes the tap under the name we chose: it needs no right of ours and goes with the guest, however that ends
    card = _add(devices, "interface", type="bridge" if bridge else "user")
    _add(card, "mac", address=nic.mac)
    if bridge:
        _add(card, "source", bridge=bridge_for(bridge, nic))
        _add(card, "target", dev=files.taps.get(nic.mac) or tap_name(spec.instance, nic.mac))
    if kind != "xen":
        _add(card, "model", type=spec.image.hardware.vif_model)
        _add(card, "rom", enabled="no")
    if files.first_boot:
        _add(card, "link", state="down")


_DEVICES = {VifModel.VIRTIO: "virtio-net-pci", VifModel.E1000: "e1000", VifModel.E1000E: "e1000e", VifModel.RTL8139: "rtl8139"}
_BUSES = {MachineType.PC: "pci.0", MachineType.Q35: "pcie.0"}


def _cards_by_qemu(domain: Any, spec: MachineSpec, subnet: str) -> None:
    # libvirt can neither forward a port into QEMU's own network nor say which address the guest is given there
    line = etree.SubElement(domain, f"{{{QEMU_NAMESPACE}}}commandline")
    for number, nic in enumerate(spec.nics):
        # A place of its own on the bus: libvirt gives out the low ones without looking for this card.
        model, bus = _DEVICES[spec.image.hardware.vif_model], _BUSES[spec.image.hardware.machine_type]
        device = f"{model},netdev=card{number},mac={nic.mac},romfile=,bus={bus},addr={_FIRST_CARD_AT + number:#x}"
        for word in ("-netdev", netdev(f"card{number}", nic, subnet), "-device", device):
            etree.SubElement(line, f"{{{QEMU_NAMESPACE}}}arg", value=word)


def _screen(devices: Any, spec: MachineSpec, at: Path | None) -> None:
    if at:
        _add(_add(devices, "graphics", type="vnc"), "listen", type="socket", socket=str(at))
        return
    port = {"port": str(spec.display_port), "autoport": "no"} if spec.display_port else {"port": "-1", "autoport": "yes"}
    graphics = _add(devices, "graphics", type="vnc", listen="127.0.0.1", **port)
    _add(graphics, "listen", type="address", address="127.0.0.1")
