"""Real guests, without hardware acceleration, which ask about themselves through their taps: one honest, one that lies."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo_images import build, cpio
from luhyaapi import clock
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import Part
from nc.drivers.base import tap_name
from nc.services.metadata import Metadata
from tests.support.edge_bed import HOST, Bed
from tests.support.guarded_metadata import GuardedMetadata

pytestmark = pytest.mark.live
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGEOw3wdmPDrr5GlHZ3cLmBEvnqXlsNzRQCk7YcaBLtQ me@here"
BOOTS_WITHIN_S = 120.0
ASKS = """#!/bin/sh
read -r words < /proc/cmdline
for word in $words; do case $word in own=*) own=${word#own=} ;; as=*) as=${word#as=} ;; esac; done
until ip link set eth0 up; do sleep 1; done
ip addr flush dev eth0
ip addr add "$own/24" dev eth0
ip route add default via 10.77.0.1
[ -z "$as" ] || { ip addr add "$as/32" dev eth0; ip route add 169.254.169.254 dev eth0 src "$as"; }
for path in latest/meta-data/instance-id latest/meta-data/local-hostname latest/meta-data/public-keys/0/openssh-key latest/user-data \
            openstack/latest/meta_data.json openstack/latest/user_data; do
  text=$(timeout 10 wget -qO- "http://169.254.169.254/$path" 2>&1)
  echo "asked $path: $text" > /dev/ttyS0
done
echo "asked all" > /dev/ttyS0
"""


def _spec(number: int, name: str) -> MachineSpec:
    blob = Blob(part=Part.KERNEL, sha256="a" * 64, index="b" * 64, size=1)
    return MachineSpec(
        instance=f"ins-0000000{number}", name=name, cpus=1, memory_mib=96, image=ImageRef(image="img-00000001", version=1, blobs=(blob,)),
        nics=(Nic(mac=f"52:54:00:00:00:0{number}", ip=f"10.77.0.2{number}"),), ssh_keys=(KEY,), user_data=f"#!/bin/sh\necho {name}",
    )


HONEST, LIAR = _spec(1, "honest"), _spec(2, "liar")


@pytest.fixture(scope="module")
def tiny() -> Iterator[build.Built]:
    """Made before anybody goes to another namespace, where no package can be fetched; and not below pytest's folder: apt needs to read it."""
    top = Path("/var/tmp") / f"educloud-metadata-{clock.now():.0f}"
    yield build.build_tiny(top / "out", top / "work")
    shutil.rmtree(top)


@pytest.fixture
def bed() -> Iterator[Bed]:
    made = Bed()
    try:
        made.up()
        with made.inside(HOST):
            yield made
    finally:
        made.down()


def test_guests_read_what_is_theirs_and_nothing_else(tiny: build.Built, bed: Bed, tmp_path: Path) -> None:
    inittab = (Path(build.__file__).parent / "guest/tiny/etc/inittab").read_text("ascii").replace("::respawn:/etc/network\n", "::once:/bin/sh /etc/asks\n")
    initrd = tmp_path / "initrd"
    initrd.write_bytes(tiny.files["initrd"].read_bytes() + cpio.archive([cpio.plain("etc/inittab", inittab.encode()), cpio.plain("etc/asks", ASKS.encode())]))
    service = Metadata(lambda told: GuardedMetadata(told, "nftables"), lambda _number: "br0", "cc-00000001")
    guests: list[subprocess.Popen[bytes]] = []
    try:
        for spec, lie in ((HONEST, ""), (LIAR, HONEST.nics[0].ip)):
            tap = tap_name(spec.instance, spec.nics[0].mac)
            bed.ip(HOST, "tuntap", "add", tap, "mode", "tap")
            bed.ip(HOST, "link", "set", tap, "master", "br0", "up")
            service.put(spec)
            words = f"{tiny.cmdline} iid={spec.instance} own={spec.nics[0].ip}" + (f" as={lie}" if lie else "")
            guests.append(subprocess.Popen([
                "qemu-system-x86_64", "-machine", "pc", "-accel", "tcg", "-display", "none", "-no-user-config", "-m", "96",
                "-serial", f"file:{tmp_path / spec.name}", "-kernel", tiny.files["kernel"], "-initrd", initrd, "-append", words,
                "-netdev", f"tap,id=n,ifname={tap},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=n,romfile=,mac={spec.nics[0].mac}",
            ], start_new_session=True))
        honest, liar = (_said(tmp_path / spec.name) for spec in (HONEST, LIAR))
    finally:
        for each in guests:
            each.kill()
            each.wait()
        service.serve(())
        service.close()
    for line in ("instance-id: ins-00000001", "local-hostname: honest", f"openssh-key: {KEY}", "latest/user-data: #!/bin/sh", '"uuid": "ins-00000001"'):
        assert line in honest, honest
    assert honest.count("echo honest") == 2
    assert "ins-00000001" not in liar.replace("iid=", ""), liar
    assert "honest" not in liar, liar
    assert "asked latest/user-data: wget:" in liar, liar


def _said(serial: Path) -> str:
    """What a guest's serial line says, once it asked all."""
    until = clock.monotonic() + BOOTS_WITHIN_S
    while clock.monotonic() < until:
        said = serial.read_text(errors="replace") if serial.exists() else ""
        if "asked all" in said:
            return said.replace("\r", "")
        clock.sleep(0.5)
    raise AssertionError(said[-3000:])
