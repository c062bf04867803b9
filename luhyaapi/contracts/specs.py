"""Value objects that commands and reports share."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from luhyaapi import subnets
from luhyaapi.contracts.base import Model
from luhyaapi.contracts.vocabulary import (
    Accelerator,
    Allowed,
    DiskBus,
    DiskFormat,
    DomainState,
    FirmwareType,
    GuestClock,
    LeaseState,
    LinkState,
    MachineType,
    NetworkMode,
    Part,
    PointerModel,
    Protocol,
    VideoModel,
    VifModel,
)
from luhyaapi.errors import Refused
from luhyaapi.ids import FwdId, HostId, ImgId, InsId, NetId, Sha256

Mac = Annotated[str, StringConstraints(pattern="^([0-9a-f]{2}:){5}[0-9a-f]{2}$")]
Ipv4 = Annotated[str, StringConstraints(pattern=r"^(\d{1,3}\.){3}\d{1,3}$")]
Ipv4Net = Annotated[str, StringConstraints(pattern=r"^(\d{1,3}\.){3}\d{1,3}/\d{1,2}$")]
Ipv6Net = Annotated[str, StringConstraints(pattern=r"^[0-9a-f:]{2,39}/64$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
MIB = 1024 * 1024
FAULT_AT_MOST = 4000
USER_DATA_AT_MOST = 64 * 1024
"""Bytes of UTF-8 a user may hand to a machine."""
WORDS = 2**50
"""No host heard of a higher number than this; there is room above it, for who told it to go on counting."""
SEGMENTS = 4094
"""So many networks a cluster has at most."""
RESERVATIONS = 4096
"""So many addresses of a cluster are reserved at most."""
USAGE = {
    "f": LeaseState.FREE, "l": LeaseState.LENT, "c": LeaseState.RESTING, "r": LeaseState.RESERVED, "t": LeaseState.TAKEN,
    "g": LeaseState.GATEWAY, "o": LeaseState.OUTSIDE,
}
"""How an address stands, as one sign."""


# cut: it is kept with every event that tells of it
def _short(text: str) -> str:
    return text if len(text) <= FAULT_AT_MOST else f"{text[:FAULT_AT_MOST - 1]}…"


Said = Annotated[str, AfterValidator(_short)]


class Blob(Model):
    """One file of an image version, named by its content. ``size`` in bytes as stored; ``virtual_size`` in bytes, disks only.

    ``index`` is the BLAKE3 digest of the digests of its blocks: by it every byte is verified on its way.
    """

    part: Part
    sha256: Sha256
    index: Sha256
    size: int = Field(ge=0)
    format: DiskFormat = DiskFormat.RAW
    virtual_size: int = Field(default=0, ge=0)


class Neighbour(Model):
    """A host that has an image, or is just fetching it: ``url`` is what the addresses of its blobs begin with, ``ticket`` opens them."""

    host: HostId
    url: str = Field(max_length=200)
    ticket: str = Field(max_length=4000)


class Half(Model):
    """A file that is not whole yet: ``size`` is what it takes on the disk, in bytes; its holes take nothing."""

    sha256: Sha256
    size: int = Field(ge=0)


class UploadPart(Model):
    """One uploaded file as its sender announced it. No ``format``, an empty ``sha256``: not announced, the store finds it out."""

    part: Part
    size: int = Field(gt=0)
    format: DiskFormat | None = None
    sha256: Annotated[str, StringConstraints(pattern="^([0-9a-f]{64})?$")] = ""


class PartFacts(Model):
    """What became of one file on its way into the store.

    ``sha256`` and ``size`` (bytes) are those of the file as it was sent, ``was`` its formats, outermost first (gz, ova, vmdk).
    ``filled`` are its bytes without holes, ``added`` those by which the store grew.
    """

    part: Part
    sha256: Annotated[str, StringConstraints(pattern="^([0-9a-f]{64})?$")] = ""
    size: int = Field(default=0, ge=0)
    was: tuple[str, ...] = Field(default=(), max_length=8)
    filled: int = Field(default=0, ge=0)
    added: int = Field(default=0, ge=0)


class Amount(Model):
    """Different blocks of files, each counted once and holes not at all, and the bytes they hold."""

    blocks: int = Field(ge=0)
    bytes: int = Field(ge=0)


class Difference(Model):
    """What two versions have: what only the one and only the other has, and what both have."""

    only_one: Amount
    only_other: Amount
    shared: Amount


class Hardware(Model):
    """The devices the system of an image has drivers for, in the words of Glance's ``hw_`` properties."""

    disk_bus: DiskBus = DiskBus.VIRTIO
    vif_model: VifModel = VifModel.VIRTIO
    video_model: VideoModel = VideoModel.VGA
    pointer_model: PointerModel = PointerModel.VIRTIO
    machine_type: MachineType = MachineType.PC
    firmware_type: FirmwareType = FirmwareType.BIOS
    clock: GuestClock = GuestClock.UTC

    def check(self) -> None:
        """Raises Refused(invalid) for devices that no machine has together."""
        if self.firmware_type is FirmwareType.UEFI:
            raise Refused("invalid", "firmware_type is not possible", "nodes have no firmware for uefi; give bios", field="firmware_type")
        if self.disk_bus is DiskBus.IDE and self.machine_type is MachineType.Q35:
            raise Refused("invalid", "disk_bus is not possible", "the machine type q35 has no ide; give sata, or the machine type pc", field="disk_bus")


class ImageRef(Model):
    """One version of an image: what to run. ``cmdline`` stands on the kernel's command line."""

    image: ImgId
    version: int = Field(ge=1)
    blobs: tuple[Blob, ...] = Field(min_length=1)
    cmdline: str = Field(default="", max_length=1024)
    hardware: Hardware = Hardware()

    def blob(self, part: Part) -> Blob | None:
        """The file of that part, or None."""
        return next((b for b in self.blobs if b.part is part), None)


class Forward(Model):
    """A port of a guest that is reached by a leased port of its node, by TCP."""

    guest_port: int = Field(ge=1, le=65535)
    host: Ipv4 = "127.0.0.1"
    port: int = Field(ge=1024, le=65535)


class NetworkSpec(Model):
    """A network of a cluster as its CLC wants it. ``subnet`` in CIDR; ``gateway`` of its guests, empty: its first address.

    ``subnet6``: the /64 of its IPv6 side, of which each card has the address told from its MAC; empty: it has none.
    ``number`` is its own in the cluster: it names its bridge on every host; 0 is the network of the cluster's settings.
    ``ranges`` are the first and last addresses of what may be lent; none: all of the subnet. ``way_out``: its guests reach what lies
    outside of the cluster, under the cluster's address. ``isolated``: they do not reach each other.
    """

    id: NetId
    name: Name
    mode: NetworkMode = NetworkMode.CLUSTER
    number: int = Field(ge=0, le=SEGMENTS)
    subnet: Ipv4Net
    ranges: tuple[tuple[Ipv4, Ipv4], ...] = Field(default=(), max_length=64)
    gateway: Ipv4 | Literal[""] = ""
    way_out: bool = True
    isolated: bool = False
    subnet6: Ipv6Net | Literal[""] = ""


def _source(text: str) -> str:
    if "%" in text:
        raise ValueError("a zone is of one host, and may be any text")
    ipaddress.ip_network(text)
    return text


class Allow(Model):
    """A security rule: what may reach a card from outside of its network. ICMP and any protocol have no ports (0).

    ``source`` is an IPv4 or IPv6 CIDR, without a zone.
    """

    protocol: Allowed
    first_port: int = Field(default=0, ge=0, le=65535)
    last_port: int = Field(default=0, ge=0, le=65535)
    source: Annotated[str, AfterValidator(_source)] = Field(default="0.0.0.0/0", max_length=50)


class ForwardAsk(Model):
    """A port of a guest that shall be reached by a port of its cluster; which one, the cluster says.

    ``sources``: IPv4 CIDRs that may use it; none: anyone. ``until``: when it ends, seconds since 1970; 0: with its instance.
    """

    id: FwdId
    protocol: Protocol = Protocol.TCP
    guest_port: int = Field(ge=1, le=65535)
    sources: tuple[Ipv4Net, ...] = Field(default=(), max_length=64)
    until: float = Field(default=0, ge=0)


class ForwardFacts(Model):
    """Where a forward is reached: ``address``:``port``, and ``node_address``:``port`` when its node is the gateway of the guest."""

    id: FwdId
    address: Ipv4
    port: int = Field(ge=1, le=65535)
    node_address: Ipv4 | Literal[""] = ""


class NodeForward(Model):
    """A port of a node that leads to one of its guests. ``sources``: IPv4 CIDRs that may use it; none: anyone."""

    instance: InsId
    protocol: Protocol
    port: int = Field(ge=1, le=65535)
    guest_port: int = Field(ge=1, le=65535)
    sources: tuple[Ipv4Net, ...] = Field(default=(), max_length=65)


class NodeAllow(Model):
    """What may reach a guest of a node from outside."""

    instance: InsId
    allow: tuple[Allow, ...] = Field(min_length=1, max_length=256)


class ElasticSpec(Model):
    """A public address that leads to an instance: to its first card."""

    address: Ipv4
    instance: InsId


class ReservationSpec(Model):
    """An address of a network that nobody is lent by chance.

    ``owner`` and ``name``: whose instance gets it, and only the one of that name; its card has that ``mac``, if one is said. Without an
    owner it is no instance's: DHCP gives it to whoever has that MAC.
    """

    network: NetId
    address: Ipv4
    mac: Mac | Literal[""] = ""
    owner: str = Field(default="", max_length=150)
    name: Name | Literal[""] = ""


class PortRange(Model):
    """Ports in a row, both ends among them."""

    first: int = Field(ge=1024, le=65535)
    last: int = Field(ge=1024, le=65535)


class LeaseFacts(Model):
    """An address that is not free. Of one lent, ``since`` when and when it was ``seen_at`` last on the wire; 0: not known.

    ``until``: when one that rests, or is somebody else's, may be lent again. ``mac``: of its card, or of who answers for it.
    """

    address: Ipv4
    state: LeaseState
    mac: Mac | Literal[""] = ""
    instance: InsId | Literal[""] = ""
    name: str = Field(default="", max_length=63)
    owner: str = Field(default="", max_length=150)
    since: float = Field(default=0, ge=0)
    until: float = Field(default=0, ge=0)
    seen_at: float = Field(default=0, ge=0)


class PoolFacts(Model):
    """How much of what a cluster lends is lent: the addresses of a network, its ``ports`` that lead to guests, or its ``displays``.

    ``size`` is all that may be lent, ``free`` what of it may be lent now. ``first`` and ``last`` port; of addresses 0.
    """

    pool: str = Field(pattern="^(default|net-[0-9a-f]{8}|ports|displays)$")
    first: int = Field(default=0, ge=0, le=65535)
    last: int = Field(default=0, ge=0, le=65535)
    size: int = Field(ge=0, le=131072)
    free: int = Field(ge=0, le=131072)
    lent: int = Field(default=0, ge=0, le=131072)
    resting: int = Field(default=0, ge=0, le=131072)
    reserved: int = Field(default=0, ge=0, le=131072)
    taken: int = Field(default=0, ge=0, le=131072)


class LinkFacts(Model):
    """One link of the way from a guest to the outside, as the host that has it found it; ``card``: the address it is about, or none."""

    link: str = Field(pattern="^[a-z]{1,20}$")
    state: LinkState
    card: Ipv4 | Literal[""] = ""
    what: Said
    why: Said = ""
    hint: Said = ""


class SegmentSpan(Model):
    """A network, by its number, on one host of several: ``local`` is the host's address for the others, ``peers`` are theirs."""

    segment: int = Field(ge=1, le=SEGMENTS)
    vni: int = Field(ge=1, lt=1 << 24)
    local: Ipv4
    peers: tuple[Ipv4, ...] = Field(default=(), max_length=10_000)


class Nic(Model):
    """One network card with its leased addresses. ``network`` is one of the cluster's, ``segment`` the number of it.

    ``subnet`` in CIDR and ``gateway`` are the network's; empty: the cluster does not say, and its card is not guarded.
    ``isolated``: it reaches no other guest of its network, and none reaches it. ``way_out``: it reaches what lies outside.
    ``subnet6``: of it the card has the IPv6 address that is told from its MAC; empty: none.
    """

    mac: Mac
    ip: Ipv4
    network: NetId = "default"
    segment: int = Field(default=0, ge=0, le=SEGMENTS)
    mode: NetworkMode = NetworkMode.CLUSTER
    subnet: Ipv4Net | Literal[""] = ""
    gateway: Ipv4 | Literal[""] = ""
    isolated: bool = False
    way_out: bool = True
    subnet6: Ipv6Net | Literal[""] = ""
    forwards: tuple[Forward, ...] = ()

    @property
    def ip6(self) -> str:
        """Its IPv6 address; empty without one."""
        return subnets.ip6_of(self.subnet6, self.mac) if self.subnet6 else ""


def user_data(text: str) -> str:
    """The same text. Raises ValueError for what no guest is handed; its words name nothing of the text."""
    if "\0" in text:
        raise ValueError("it has a NUL in it")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8") from None
    if size > USER_DATA_AT_MOST:
        raise ValueError(f"it has {size} bytes of UTF-8; at most {USER_DATA_AT_MOST} are possible")
    return text


UserData = Annotated[str, AfterValidator(user_data)]
"""What a user hands to the guest, for cloud-init or another program there. It may hold secrets: it is never logged, never listed."""


class MachineSpec(Model):
    """Everything a node needs to define a domain, complete: a driver asks nothing back.

    ``disk`` numbers its system disk: a higher one than before is a new disk, fresh from ``image``. One that is ``transient`` is gone
    when the guest stops. ``data_disk_mib``: a second disk of its own, MiB, which stays until it is deleted; 0: none. ``first_boot_offline``: on each
    new system disk its cards have no carrier until the guest says that its first boot is done.
    """

    instance: InsId
    name: Name
    cpus: int = Field(ge=1, le=64)
    memory_mib: int = Field(ge=64, le=1024 * 1024)
    image: ImageRef
    nics: tuple[Nic, ...] = ()
    display_port: int = Field(default=0, ge=0, le=65535)
    ssh_keys: tuple[str, ...] = Field(default=(), max_length=16)
    user_data: UserData = Field(default="", repr=False)
    disk: int = Field(default=0, ge=0)
    transient: bool = False
    data_disk_mib: int = Field(default=0, ge=0)
    first_boot_offline: bool = False


class Display(Model):
    """How a guest's screen is spoken to. ``port`` was lent to it for as long as it has a place; 0: none. Nothing listens there yet."""

    protocol: str = "vnc"
    port: int = 0


class DomainFacts(Model):
    """What a hypervisor says of one domain. ``paused``: it runs, and stands still; ``io_error``: since its disk took no more."""

    instance: InsId
    state: DomainState
    paused: bool = False
    io_error: bool = False
    display: Display = Display()
    accelerator: Accelerator = Accelerator.UNPROVED


class Capacity(Model):
    """What a host has in all: durable, so in Hello. Sizes in MiB."""

    cpus: int = 0
    memory_mib: int = 0
    disk_mib: int = 0


class StepFacts(Model):
    """A step of a task: ``state`` is waiting, running, done, failed or undone."""

    step: str
    state: str
    host: str = ""
    started_at: float = 0
    ended_at: float = 0
    note: str = ""


class Fault(Model):
    """An error as it crosses the wire."""

    code: str
    what: Said
    why: Said = ""
    hint: Said = ""
