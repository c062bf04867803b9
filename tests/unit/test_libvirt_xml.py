"""Domain XML against golden files; ``python -m tests.unit.test_libvirt_xml`` writes them anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from luhyaapi.contracts.specs import Blob, Forward, Hardware, ImageRef, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import Accelerator, DiskFormat, Part
from luhyaapi.errors import Refused
from nc.drivers.base import Account, Files, tap_name
from nc.drivers.libvirt_xml import Kind, Wiring, domain_uuid, domain_xml

GOLDEN = Path(__file__).parent.parent / "golden"
INSTANCE = "ins-3fa21c00"
NIC = Nic(mac="52:54:00:ab:cd:ef", ip="10.231.0.5")
HOME = Path("/srv/nc")
KERNEL = (Blob(part=Part.KERNEL, sha256="1" * 64, index="1" * 64, size=9), Blob(part=Part.INITRD, sha256="2" * 64, index="2" * 64, size=9))
DISK = (Blob(part=Part.DISK, sha256="3" * 64, index="3" * 64, size=9, format="qcow2", virtual_size=99),)
LOG = HOME / "console.log"
SCREEN = HOME / "vnc" / "sock"
SERIAL = HOME / "tty" / "sock"
FIRST_BOOT = HOME / "first" / "sock"
ACCOUNT = Account(1_900_008_700, 110)
OF_KERNEL = Files(
    LOG, kernel=HOME / "kernel", initrd=HOME / "initrd", taps={NIC.mac: "t3fa21c00abcdef"}, screen=SCREEN, serial=SERIAL, account=ACCOUNT,
)
OF_DISK = Files(
    LOG, disk=HOME / "disk.qcow2", seed=HOME / "seed.iso", base=HOME / "base", base_format=DiskFormat.QCOW2,
    screen=SCREEN, serial=SERIAL, account=ACCOUNT,
)
# of hypervisors that know neither sockets nor accounts
OF_XEN_KERNEL = dataclasses.replace(OF_KERNEL, account=None)
OF_XEN_DISK = dataclasses.replace(OF_DISK, account=None)
OF_ALL = Files(
    LOG, disk=HOME / "disk.qcow2", seed=HOME / "seed.iso", kernel=HOME / "kernel", initrd=HOME / "initrd",
    base=HOME / "base", base_format=DiskFormat.QCOW2,
)


TODAY = Hardware()
XP = Hardware(disk_bus="ide", vif_model="rtl8139", video_model="cirrus", pointer_model="usbtablet", clock="localtime")


def image(*blobs: Blob, cmdline: str = "", hardware: Hardware = TODAY) -> ImageRef:
    return ImageRef(image="img-00c0ffee", version=2, blobs=blobs, cmdline=cmdline, hardware=hardware)


def spec(**over: Any) -> MachineSpec:
    given = {
        "instance": INSTANCE, "name": "lab-1", "cpus": 2, "memory_mib": 512,
        "image": image(*KERNEL, cmdline="console=ttyS0 quiet"), "nics": (NIC,), "display_port": 8700,
    }
    return MachineSpec(**{**given, **over})


SAMPLES = {
    "kernel-tcg": lambda: domain_xml(spec(), OF_KERNEL, Accelerator.TCG, "qemu", Wiring("edubr0")),
    "disk-tcg": lambda: domain_xml(spec(image=image(*DISK)), OF_DISK, Accelerator.TCG, "qemu", Wiring("edubr0")),
    "disk-lazy": lambda: domain_xml(
        spec(image=image(*DISK)), dataclasses.replace(OF_DISK, base_socket=HOME / "image"), Accelerator.TCG, "qemu", Wiring("edubr0"),
    ),
    "disk-data": lambda: domain_xml(
        spec(image=image(*DISK)), dataclasses.replace(OF_DISK, data=HOME / "data.raw"), Accelerator.TCG, "qemu", Wiring("edubr0"),
    ),
    "disk-offline": lambda: domain_xml(
        spec(image=image(*DISK)), dataclasses.replace(OF_DISK, first_boot=FIRST_BOOT), Accelerator.TCG, "qemu", Wiring("edubr0"),
    ),
    "disk-data-ide": lambda: domain_xml(
        spec(image=image(*DISK, hardware=XP)), dataclasses.replace(OF_DISK, data=HOME / "data.raw"), Accelerator.TCG, "qemu", Wiring("edubr0"),
    ),
    "disk-xp": lambda: domain_xml(spec(image=image(*DISK, hardware=XP)), OF_DISK, Accelerator.KVM, "kvm", Wiring("edubr0")),
    "disk-q35-user": lambda: domain_xml(
        spec(image=image(*DISK, hardware=Hardware(disk_bus="scsi", vif_model="e1000", machine_type="q35", video_model="virtio"))),
        OF_DISK, Accelerator.TCG, "qemu", Wiring(subnet="10.231.0.0/24"),
    ),
    "disk-kvm": lambda: domain_xml(spec(image=image(*DISK)), OF_DISK, Accelerator.KVM, "kvm", Wiring("edubr0")),
    "all-tcg-no-bridge": lambda: domain_xml(
        spec(image=image(*DISK, *KERNEL), display_port=0), OF_ALL, Accelerator.TCG, "qemu",
    ),
    "kernel-user": lambda: domain_xml(
        spec(nics=(NIC.model_copy(update={"forwards": (Forward(guest_port=80, port=9100), Forward(guest_port=22, port=9101))}),)),
        OF_KERNEL, Accelerator.TCG, "qemu", Wiring(subnet="10.231.0.0/24"),
    ),
    "kernel-xen": lambda: domain_xml(spec(), OF_XEN_KERNEL, Accelerator.UNPROVED, "xen", Wiring("edubr0")),
    "disk-xen": lambda: domain_xml(spec(image=image(*DISK)), OF_XEN_DISK, Accelerator.UNPROVED, "xen", Wiring("edubr0")),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_golden(name: str) -> None:
    assert SAMPLES[name]() == (GOLDEN / f"{name}.xml").read_text("utf-8")


def test_no_golden_file_without_a_sample() -> None:
    assert {path.stem for path in GOLDEN.glob("*.xml")} == set(SAMPLES)


VARIED: dict[str, Any] = {
    "instance": "ins-00000001", "name": "other", "cpus": 3, "memory_mib": 513, "image": image(*KERNEL, cmdline="quiet"),
    "nics": (), "display_port": 8701,
}
IN_THE_SEED = {"ssh_keys", "user_data"}
IN_THE_FILES = {"disk", "transient", "data_disk_mib", "first_boot_offline"}
"""Which disks there are, what becomes of them, and which boot is offline, its node says."""


def test_every_field_is_exercised() -> None:
    assert set(VARIED) | IN_THE_SEED | IN_THE_FILES == set(MachineSpec.model_fields)
    assert set(MachineSpec.model_fields) >= IN_THE_SEED


@pytest.mark.parametrize("field", VARIED)
def test_each_field_shows(field: str) -> None:
    plain = SAMPLES["kernel-tcg"]()
    assert domain_xml(spec(**{field: VARIED[field]}), OF_KERNEL, Accelerator.TCG, "qemu", Wiring("edubr0")) != plain


ANOTHER: dict[str, str] = {
    "disk_bus": "sata", "vif_model": "e1000e", "video_model": "cirrus", "pointer_model": "ps2mouse", "machine_type": "q35", "clock": "localtime",
}


@pytest.mark.parametrize("field", sorted(set(Hardware.model_fields) - {"firmware_type"}))
@pytest.mark.parametrize("wiring", [Wiring("edubr0"), Wiring(subnet="10.231.0.0/24")])
def test_each_piece_of_hardware_shows(field: str, wiring: Wiring) -> None:
    plain, other = image(*DISK), image(*DISK, hardware=Hardware(**{field: ANOTHER[field]}))
    texts = {domain_xml(spec(image=each), OF_DISK, Accelerator.TCG, "qemu", wiring) for each in (plain, other)}
    assert len(texts) == 2


def test_xen_has_its_own_devices() -> None:
    with pytest.raises(Refused, match="own devices"):
        domain_xml(spec(image=image(*DISK, hardware=XP)), OF_XEN_DISK, Accelerator.UNPROVED, "xen", Wiring("edubr0"))


def test_every_file_shows() -> None:
    text = SAMPLES["all-tcg-no-bridge"]()
    for path in (OF_ALL.disk, OF_ALL.seed, OF_ALL.kernel, OF_ALL.initrd, OF_ALL.console_log, OF_ALL.base):
        assert str(path) in text


def test_the_same_instance_is_the_same_domain() -> None:
    assert domain_uuid(INSTANCE) == domain_uuid(INSTANCE)
    assert domain_uuid(INSTANCE) != domain_uuid("ins-00000001")


def test_markup_in_a_command_line_stays_text() -> None:
    evil = "</cmdline></os><devices><x>&\"'"
    text = domain_xml(spec(image=image(*KERNEL, cmdline=evil)), OF_KERNEL, Accelerator.TCG, "qemu", Wiring("edubr0"))
    assert etree.fromstring(text).findtext("os/cmdline") == f"{evil} iid={INSTANCE}"


@pytest.mark.parametrize("cmdline", ["a\0b", "a\x1bb"])
def test_control_characters_are_refused(cmdline: str) -> None:
    with pytest.raises(Refused) as trouble:
        domain_xml(spec(image=image(*KERNEL, cmdline=cmdline)), OF_KERNEL, Accelerator.TCG, "qemu", Wiring("edubr0"))
    assert trouble.value.code == "invalid"


@pytest.mark.parametrize(("kind", "wiring"), [("xen", Wiring("edubr0")), ("qemu", Wiring(subnet="10.231.0.0/24"))])
def test_where_no_card_can_be_without_a_carrier_none_begins_so(kind: Kind, wiring: Wiring) -> None:
    with pytest.raises(Refused, match="offline") as trouble:
        domain_xml(spec(), dataclasses.replace(OF_KERNEL, account=None, first_boot=FIRST_BOOT), Accelerator.TCG, kind, wiring)
    assert trouble.value.code == "invalid"


def test_nothing_to_boot_is_refused() -> None:
    with pytest.raises(Refused, match="nothing to boot"):
        domain_xml(spec(), Files(LOG), Accelerator.TCG, "qemu")


def test_a_display_port_no_screen_can_have_is_refused() -> None:
    with pytest.raises(Refused, match="5900"):
        domain_xml(spec(display_port=80), OF_KERNEL, Accelerator.TCG, "qemu")


@pytest.mark.parametrize(("kind", "accelerator"), [("qemu", Accelerator.TCG), ("kvm", Accelerator.KVM)])
def test_no_guest_listens_on_a_port_and_no_file_is_relabelled(kind: Kind, accelerator: Accelerator) -> None:
    domain = etree.fromstring(domain_xml(spec(image=image(*DISK)), OF_DISK, accelerator, kind, Wiring("edubr0")))
    (listen,) = domain.findall("devices/graphics/listen")
    assert dict(listen.attrib) == {"type": "socket", "socket": str(SCREEN)}
    assert "port" not in domain.find("devices/graphics").attrib
    (label,) = domain.findall(".//seclabel")
    assert dict(label.attrib) == {"type": "static", "model": "dac", "relabel": "no"}
    assert label.findtext("label") == "+1900008700:+110"


def test_a_socket_no_path_can_name_is_refused() -> None:
    for which in ("screen", "serial", "first_boot"):
        long = dataclasses.replace(OF_KERNEL, **{which: Path("/") / ("x" * 103) / "vnc"})
        with pytest.raises(Refused, match="107") as trouble:
            domain_xml(spec(), long, Accelerator.TCG, "qemu")
        assert trouble.value.code == "invalid"
    domain_xml(spec(), dataclasses.replace(OF_KERNEL, screen=Path("/") / ("x" * 102) / "vnc"), Accelerator.TCG, "qemu")


def test_the_tap_has_a_name_also_when_nobody_gave_one() -> None:
    text = domain_xml(spec(), Files(LOG, kernel=HOME / "kernel"), Accelerator.TCG, "qemu", Wiring("edubr0"))
    assert etree.fromstring(text).find("devices/interface/target").get("dev") == tap_name(INSTANCE, NIC.mac)
    assert len(tap_name(INSTANCE, NIC.mac)) == 15


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for sample, make in SAMPLES.items():
        (GOLDEN / f"{sample}.xml").write_text(make(), "utf-8")
