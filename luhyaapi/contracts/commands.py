"""Every command there is. Noun and imperative verb; the class names the receiver and the time it may take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from luhyaapi.contracts.base import Command
from luhyaapi.contracts.specs import (
    RESERVATIONS,
    SEGMENTS,
    Allow,
    Blob,
    ElasticSpec,
    ForwardAsk,
    ImageRef,
    Ipv4,
    MachineSpec,
    Name,
    Neighbour,
    NetworkSpec,
    NodeAllow,
    NodeForward,
    PortRange,
    ReservationSpec,
    SegmentSpan,
    UploadPart,
    UserData,
)
from luhyaapi.contracts.vocabulary import DiskFormat, Lane, Role, Usage
from luhyaapi.ids import HostId, ImgId, InsId, LtrId, NetId, PrbId, Sha256, TaskId

ALL_ROLES = (Role.WALRUS, Role.CC, Role.NC, Role.SC)


AWAY_S = 600
"""So long a broker may be away without an order about an instance failing for it."""


class _AndGrace(float):
    """Seconds an order may take beside the grace it gives: of an order they are the sum, of its class this number."""

    def __get__(self, order: Any, _kind: type[Command]) -> float:
        return self if order is None else self + order.grace_s


class ImagePublish(Command):
    """Check the uploaded parts of an image version and make it visible, or refuse it and leave nothing."""

    to, timeout_s, lane = Role.WALRUS, 3600, Lane.TRANSFER
    image: ImgId
    version: int
    upload: str = Field(max_length=64)
    parts: tuple[UploadPart, ...] = Field(min_length=1)


class ImageAdopt(Command):
    """Keep a disk that came up whole as a draft, for the next version of an image."""

    to, timeout_s, lane = Role.WALRUS, 3600, Lane.TRANSFER
    image: ImgId
    version: int
    draft: TaskId


class ImageImport(Command):
    """Fetch a disk from a URL, check it as one that was uploaded and make it visible, or refuse it and leave nothing."""

    to, timeout_s, lane = Role.WALRUS, 6 * 3600, Lane.TRANSFER
    image: ImgId
    version: int
    upload: str = Field(max_length=64)
    url: str = Field(max_length=8192)
    format: DiskFormat | None = None
    sha256: Annotated[str, StringConstraints(pattern="^([0-9a-f]{64})?$")] = ""


class ImageDelete(Command):
    """Remove blobs that no version of any image needs any more."""

    to, timeout_s, lane = (Role.WALRUS, Role.CC, Role.NC), 600, Lane.QUICK
    image: ImgId
    blobs: tuple[Blob, ...]


class ImageCompare(Command):
    """Say which blocks the files of two versions of an image share, and which only one of them has."""

    to, timeout_s, lane = Role.WALRUS, 600, Lane.QUICK
    image: ImgId
    one: tuple[Sha256, ...] = Field(min_length=1, max_length=8)
    other: tuple[Sha256, ...] = Field(min_length=1, max_length=8)

    @property
    def subject(self) -> str:
        """It waits for no long order about that image: it changes nothing."""
        return f"compare:{self.image}"


class InstanceRun(Command):
    """Have an instance running on some node of the cluster; where it already has a place, there. Without ``boot``: ready to be.

    ``transient``, ``data_disk_mib`` (MiB): as in the machine they become. ``networks``: one card in each, in that order; none: one in the network
    of the cluster's settings. ``node``, as in every order about an instance: where the CLC takes it to be; empty: nowhere. A cluster that knows
    of no place as new as the fence of the order asks that node first.
    """

    v, to, timeout_s = 7, Role.CC, 1800
    instance: InsId
    name: Name
    usage: Usage
    cpus: int
    memory_mib: int
    image: ImageRef
    image_url: str
    image_ticket: str
    owner: str = ""
    ssh_keys: tuple[str, ...] = ()
    user_data: UserData = Field(default="", repr=False)
    boot: bool = True
    transient: bool = False
    data_disk_mib: int = Field(default=0, ge=0)
    networks: tuple[NetId, ...] = Field(default=(), max_length=8)
    first_boot_offline: bool = False
    node: HostId | Literal[""] = ""


class InstanceRestore(Command):
    """Have the system disk of an instance fresh from that version; all else of it stays.

    It is stopped for that: asked politely first, by force after ``grace_s`` seconds. With ``boot`` it runs again afterwards.
    """

    v, to, timeout_s = 2, Role.CC, 1800
    instance: InsId
    image: ImageRef
    image_url: str
    image_ticket: str
    boot: bool
    grace_s: float = 30
    node: HostId | Literal[""] = ""


class InstanceStop(Command):
    """Have an instance stopped: asked politely first, by force after ``grace_s`` seconds, for which it has time beside its own."""

    v = 2

    to, timeout_s = Role.CC, _AndGrace(AWAY_S + 270)
    instance: InsId
    grace_s: float = 30
    node: HostId | Literal[""] = ""


class InstanceReboot(Command):
    """Stop and start an instance in place; its addresses stay. It has time for ``grace_s`` beside its own."""

    v = 2

    to, timeout_s = Role.CC, _AndGrace(AWAY_S + 570)
    instance: InsId
    grace_s: float = 30
    node: HostId | Literal[""] = ""


class InstanceConnect(Command):
    """Give the cards of an instance their carrier, whether or not its first boot is done."""

    v, to, timeout_s = 2, Role.CC, AWAY_S + 60
    instance: InsId
    node: HostId | Literal[""] = ""


class InstanceSubmit(Command):
    """Have the disk of an instance in the store as a draft: it is stopped, and what differs from its image goes up."""

    v = 2

    to, timeout_s = Role.CC, 3 * 3600
    instance: InsId
    draft: TaskId
    url: str
    ticket: str
    grace_s: float = 60
    node: HostId | Literal[""] = ""


class InstanceDelete(Command):
    """Have nothing left of an instance: no domain, overlay, lease, DHCP entry or tap."""

    v, to, timeout_s = 2, Role.CC, AWAY_S + 600
    instance: InsId
    node: HostId | Literal[""] = ""


class InstanceRecall(Command):
    """Know again where an instance is: ``node`` is asked, unless its place is known."""

    to, timeout_s = Role.CC, 600
    instance: InsId
    node: HostId


class MachineTell(Command):
    """Say what of an instance is on this node, or without one which are; nothing changes."""

    to, timeout_s, v = Role.NC, 60, 2
    instance: InsId | Literal[""] = ""


class ImageFetch(Command):
    """Have the blobs of an image version in the own cache; bytes already here do not move.

    ``neighbours`` may have them, or fetch them too: they are asked before ``url``, which surely has them. ``keep_until``: they are
    pinned until then (seconds since 1970); 0: as long as the task needs them. ``lazy``: it is enough that a guest can start; what is
    left of its disk may come behind.
    """

    v = 3

    to, timeout_s, lane = (Role.CC, Role.NC), 3600, Lane.TRANSFER
    image: ImgId
    ref: ImageRef
    url: str
    ticket: str
    neighbours: tuple[Neighbour, ...] = Field(default=(), max_length=8)
    keep_until: float = 0
    lazy: bool = False


class ImagePrefetch(Command):
    """Have an image version in the cluster's cache, then in those of ``nodes``, pinned there until ``keep_until``.

    ``by``: when it shall be there; a node that is away is waited for until then. Both in seconds since 1970.
    """

    v = 2

    to, timeout_s = Role.CC, 4 * 86400
    image: ImgId
    ref: ImageRef
    url: str
    ticket: str
    nodes: tuple[HostId, ...] = Field(default=(), max_length=5000)
    by: float
    keep_until: float


class EdgeApply(Command):
    """Have DHCP and forwards of the cluster as the leases say; with an ``instance``, at least as far as it needs them.

    ``is_new``: it was just lent its addresses; where somebody else answers for one of them, it gets another.
    """

    to, timeout_s = Role.CC, AWAY_S + 120
    v = 2
    instance: InsId | Literal[""] = ""
    is_new: bool = False

    @property
    def subject(self) -> str:
        """None: it goes beside what is done to the instance itself, and no instance waits for another's."""
        return ""


class DomainStart(Command):
    """Have a domain running as specified; its image is in the cache, or on its way there.

    Without ``boot``: have its disk, and no more. A disk with a lower number than the one here is not gone back to.
    """

    v = 8

    to, timeout_s, lane = Role.NC, AWAY_S + 600, Lane.BOOT
    instance: InsId
    spec: MachineSpec
    boot: bool = True


class DomainConnect(Command):
    """Give the cards of a domain their carrier, whether or not its first boot is done."""

    to, timeout_s = Role.NC, AWAY_S + 60
    instance: InsId


class DomainStop(Command):
    """Have a domain stopped; its overlay stays. It has time for ``grace_s`` beside its own."""

    to, timeout_s, lane = Role.NC, _AndGrace(AWAY_S + 270), Lane.STOP
    instance: InsId
    grace_s: float = 30


class DiskPush(Command):
    """Push the disk of a stopped domain up as a draft, block by block; what the other side has does not move."""

    to, timeout_s, lane = Role.NC, 3 * 3600, Lane.TRANSFER
    instance: InsId
    draft: TaskId
    url: str
    ticket: str


class DomainDelete(Command):
    """Have no domain, overlay or tap of an instance on this node."""

    to, timeout_s, lane = Role.NC, AWAY_S + 300, Lane.DOMAIN
    instance: InsId


class LetterResend(Command):
    """Send a dead letter again, or with ``drop`` forget it."""

    to, timeout_s = Role.CC, 60
    letter: LtrId
    drop: bool = False


class StreamOpen(Command):
    """Dial outward, boss by boss, and join the named channel of an instance (``screen``, ``log`` or ``serial``) with the stream.

    ``tunnel`` is its TCP port ``port``; for the other channels that is 0.
    """

    v, to, timeout_s = 3, (Role.CC, Role.NC), 30
    instance: InsId
    channel: str = Field(pattern="^(screen|log|serial|tunnel)$")
    port: int = Field(default=0, ge=0, le=65535)
    stream: str = Field(max_length=64)


class HostAdmit(Command):
    """Let a child in: its certificate is signed, make its queues and its broker account."""

    v, to, timeout_s = 2, Role.CC, 60
    request: str = Field(max_length=64)
    host: HostId
    role: Role
    name: Name
    certificate: str
    authority: str
    tls: str = ""


class HostRefuse(Command):
    """Turn a joining request away, with the reason."""

    to, timeout_s = Role.CC, 60
    request: str = Field(max_length=64)
    why: str


class HostRemove(Command):
    """Forget a child: its account, its queues, its place in the plan."""

    to, timeout_s = Role.CC, 60
    host: HostId


class HostLost(Command):
    """Forget a child whose machine is gone for good, by an administrator's word: what was placed there has no place any more."""

    to, timeout_s = Role.CC, 60
    host: HostId


class HostDrain(Command):
    """Place nothing new on a host (``on``), or place there again."""

    to, timeout_s = Role.CC, 60
    host: HostId
    on: bool


class NetworksSet(Command):
    """Have these networks beside the one of the cluster's settings, and no others; one with a lower ``number`` than before is old.

    ``elastics``: which public addresses lead to which instances; no others lead anywhere. ``reservations``: what is lent to nobody by chance.
    ``ports``: which of the cluster's are lent to lead to guests; None: those of its settings.
    """

    to, timeout_s = Role.CC, 60
    v = 4
    number: int = Field(ge=1)
    networks: tuple[NetworkSpec, ...] = Field(default=(), max_length=SEGMENTS)
    elastics: tuple[ElasticSpec, ...] = Field(default=(), max_length=4096)
    reservations: tuple[ReservationSpec, ...] = Field(default=(), max_length=RESERVATIONS)
    ports: PortRange | None = None

    @property
    def subject(self) -> str:
        """All of them together."""
        return "networks"


class AccessSet(Command):
    """Have this, and nothing else, reach an instance from outside; one with a lower ``number`` than before is old."""

    to, timeout_s = Role.CC, 60
    instance: InsId
    number: int = Field(ge=1)
    allow: tuple[Allow, ...] = Field(default=(), max_length=256)
    forwards: tuple[ForwardAsk, ...] = Field(default=(), max_length=64)

    @property
    def subject(self) -> str:
        """Beside what is done to the instance itself."""
        return f"access:{self.instance}"


class SegmentsSet(Command):
    """Have these networks span to these other hosts, and no others; one with a lower ``number`` than before is old.

    ``forwards`` and ``allow``: what reaches guests of which this node judges that, and nothing else does.
    """

    to, timeout_s = Role.NC, 60
    v = 2
    number: int = Field(ge=1)
    segments: tuple[SegmentSpan, ...] = Field(default=(), max_length=SEGMENTS)
    forwards: tuple[NodeForward, ...] = Field(default=(), max_length=65535)
    allow: tuple[NodeAllow, ...] = Field(default=(), max_length=10_000)

    @property
    def subject(self) -> str:
        """All of them together."""
        return "segments"


class NetworkProbe(Command):
    """Look at each link of the way from an instance to the outside, have its node look too, and say what is found; nothing is changed."""

    to, timeout_s = Role.CC, 15
    instance: InsId
    probe: PrbId

    @property
    def subject(self) -> str:
        """It waits for nothing that is done to the instance."""
        return f"probe:{self.probe}"


class CardsProbe(Command):
    """Look at the links of the way of an instance that its node has, and say what is found; nothing is changed."""

    to, timeout_s = Role.NC, 15
    instance: InsId
    probe: PrbId

    @property
    def subject(self) -> str:
        """It waits for nothing that is done to the instance."""
        return f"probe:{self.probe}"


class LeasesTell(Command):
    """Say what of a network is lent, rests, is reserved or somebody else's: at most ``limit`` addresses behind ``after``.

    ``usage``: say also how each of its addresses stands.
    """

    to, timeout_s = Role.CC, 15
    network: NetId
    question: PrbId
    after: Ipv4 | Literal[""] = ""
    limit: int = Field(default=1000, ge=1, le=1000)
    usage: bool = False

    @property
    def subject(self) -> str:
        """It waits for nothing, and changes nothing."""
        return f"leases:{self.question}"


class HostRefresh(Command):
    """Send all facts now; a boss passes it on to the host it is about. A node says of ``doubtful`` ones that are not there that they are not."""

    v = 2

    to, timeout_s = ALL_ROLES, 30
    host: HostId
    doubtful: tuple[InsId, ...] = Field(default=(), max_length=100)


class TaskCancel(Command):
    """Stop what is being done for a task, undo its half, and refuse its later commands."""

    to, timeout_s = ALL_ROLES, 120
    target: TaskId


COMMANDS: dict[str, type[Command]] = {c.kind: c for c in Command.__subclasses__()}
