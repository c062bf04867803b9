"""Every report there is. Noun and fact; durable ones are kept until the boss's broker has them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luhyaapi.contracts.base import Report
from luhyaapi.contracts.specs import (
    SEGMENTS,
    WORDS,
    Blob,
    Capacity,
    Difference,
    Display,
    Fault,
    ForwardFacts,
    Half,
    Ipv4,
    LeaseFacts,
    LinkFacts,
    Mac,
    MachineSpec,
    Nic,
    PartFacts,
    PoolFacts,
    StepFacts,
)
from luhyaapi.contracts.vocabulary import Accelerator, InstanceState, Role
from luhyaapi.ids import HostId, InsId, LtrId, NetId, PrbId, Sha256


class Hello(Report):
    """A role started or reconnected. ``speaks`` lists each command kind with its version.

    ``subnet`` is a cluster's own network, ``subnet6`` its IPv6 side.
    """

    v = 3
    host: HostId
    role: Role
    name: str
    version: str
    boot: str
    address: str = ""
    capacity: Capacity = Capacity()
    hypervisor: str = ""
    accelerator: Accelerator = Accelerator.UNPROVED
    accelerator_why: str = ""
    speaks: dict[str, int] = {}
    subnet: str = ""
    subnet6: str = ""

    @property
    def subject(self) -> str:
        """One picture per host."""
        return f"hello:{self.host}"


class HostFacts(Report):
    """The heartbeat: how a host is right now. May be lost without harm. Sizes in MiB, load as of one minute.

    ``blobs``: the files it has whole; ``halves``: those it has begun to fetch; ``damaged``: those of which blocks are damaged.
    ``strangers``: guests that run on a node and that it has no order for. ``children``: the hosts a cluster has let in, and
    whether it places nothing new there; ``networks``: the number of the last word it heard of its
    networks, ``segments`` that a node heard of its segments since it started, ``access`` the sum of the numbers of the last words
    about its instances' access, ``pools`` how much it lends.
    """

    v = 7
    durable = False
    host: HostId
    at: float
    uptime_s: float = 0
    load: float = 0
    cpus: int = 0
    memory_mib: int = 0
    memory_free_mib: int = 0
    disk_mib: int = 0
    disk_free_mib: int = 0
    process_mib: int = 0
    services: dict[str, str] = {}
    guests: int = 0
    blobs: tuple[Sha256, ...] = ()
    damaged: tuple[Sha256, ...] = ()
    halves: tuple[Half, ...] = ()
    open_commands: int = 0
    refused: dict[str, int] = {}
    health: str = ""
    strangers: tuple[InsId, ...] = ()
    children: dict[str, bool] = {}
    networks: int = Field(default=0, ge=0, le=WORDS)
    segments: int = Field(default=0, ge=0, le=WORDS)
    access: int = Field(default=0, ge=0, le=WORDS)
    pools: tuple[PoolFacts, ...] = Field(default=(), max_length=SEGMENTS + 3)

    @property
    def subject(self) -> str:
        """One picture per host."""
        return f"facts:{self.host}"


class AccessFacts(Report):
    """What reaches an instance from outside, as of the order with that ``number``; ``error``: why it is less than was ordered."""

    instance: InsId
    number: int = Field(ge=0, le=WORDS)
    forwards: tuple[ForwardFacts, ...] = Field(default=(), max_length=64)
    error: Fault | None = None

    @property
    def subject(self) -> str:
        """Beside how the instance itself is."""
        return f"access:{self.instance}"


class ProbeFacts(Report):
    """The links of the way from an instance to the outside, as one host found its own. May be lost: then that host did not answer."""

    durable = False
    instance: InsId
    probe: PrbId
    host: HostId
    links: tuple[LinkFacts, ...] = Field(default=(), max_length=200)

    @property
    def subject(self) -> str:
        """One answer of each host to each question."""
        return f"probe:{self.probe}"


class LeasesFacts(Report):
    """What a cluster lends of a network, by address; ``more``: there are others behind. May be lost: then it did not answer.

    ``usage``: a sign of ``USAGE`` for each host address of the subnet, or nothing when that was not asked.
    """

    durable = False
    host: HostId
    question: PrbId
    network: NetId
    leases: tuple[LeaseFacts, ...] = Field(default=(), max_length=1000)
    more: bool = False
    usage: str = Field(default="", max_length=65536, pattern="^[flcrtgo]*$")
    error: Fault | None = None

    @property
    def subject(self) -> str:
        """One answer to each question."""
        return f"leases:{self.question}"


class ConflictFacts(Report):
    """Somebody else answers for an address that was to be lent: it is passed over for a while."""

    host: HostId
    network: NetId
    address: Ipv4
    mac: Mac
    instance: InsId
    at: float = Field(ge=0)

    @property
    def subject(self) -> str:
        """One picture per address of a cluster."""
        return f"conflict:{self.host}:{self.address}"


class HostsFacts(Report):
    """The heartbeats a cluster gathered from hosts below it: it checked each one's signature, and answers for them with its own."""

    v = 5
    durable = False
    hosts: tuple[HostFacts, ...] = Field(max_length=1000)

    @property
    def subject(self) -> str:
        """All of a cluster's are numbered in one line."""
        return "hosts"


class InstanceFacts(Report):
    """How one instance is on its node. ``gen`` is the generation of the order it answers, ``version`` that of its image; 0: not told.

    ``offline``: its cards have no carrier yet, for its first boot is not done.
    """

    v = 8

    instance: InsId
    state: InstanceState
    node: str = ""
    nics: tuple[Nic, ...] = ()
    display: Display = Display()
    accelerator: Accelerator = Accelerator.UNPROVED
    fence: int = 0
    gen: int = 0
    version: int = 0
    offline: bool = False
    error: Fault | None = None


class Progress(Report):
    """A task moved a little. May be lost without harm. Bytes of the running step; ``percent`` of it, 0 to 100."""

    durable = False
    command: str
    task: str
    phase: str
    percent: int = Field(default=0, ge=0, le=100)
    bytes_done: int = 0
    bytes_total: int = 0
    prompt: str = ""


class TaskSteps(Report):
    """How the steps of a task that have begun stand now, in their order."""

    task: str
    steps: tuple[StepFacts, ...]

    @property
    def subject(self) -> str:
        """One picture per task: the newest says all."""
        return f"steps:{self.task}"


class PlacementFacts(Report):
    """Where the cluster placed an instance, and why each other node was not chosen.

    Without ``node`` it has no place of this ``fence``, nor of an older one; of a newer one this says nothing.
    """

    v = 5

    instance: InsId
    task: str
    node: str
    fence: int
    nics: tuple[Nic, ...] = ()
    display: Display = Display()
    why: dict[str, str] = {}

    @property
    def subject(self) -> str:
        """One picture per instance, apart from its state."""
        return f"place:{self.instance}"


class PlacesFacts(Report):
    """Instances that have a place in a cluster: all of them behind ``after``, up to ``until``; empty: to the end. May be lost: it is said again."""

    durable = False
    host: HostId
    after: InsId | Literal[""] = ""
    until: InsId | Literal[""] = ""
    instances: tuple[InsId, ...] = Field(max_length=1000)

    @property
    def subject(self) -> str:
        """One picture per part of a cluster."""
        return f"places:{self.host}:{self.after}"


class MachinesFacts(Report):
    """Every instance that a node was told of, as its cluster asked. May be lost: it is asked again."""

    durable = False
    node: HostId
    instances: tuple[InsId, ...] = Field(max_length=10_000)

    @property
    def subject(self) -> str:
        """One picture per node."""
        return f"machines:{self.node}"


class MachineFacts(Report):
    """What of an instance is on a node, as its cluster asked: its machine, if the node was told one, and what shall become of it.

    ``runs``: whether there is a guest. ``gen`` and ``fence`` are those of the last order about it. May be lost: it is asked again.
    """

    durable = False
    instance: InsId
    node: HostId
    runs: bool
    machine: MachineSpec | None = None
    wanted: InstanceState = InstanceState.STOPPED
    gen: int = Field(default=0, ge=0)
    fence: int = Field(default=0, ge=0)

    @property
    def subject(self) -> str:
        """One picture per instance on a node, apart from its state."""
        return f"machine:{self.instance}"


class Outcome(Report):
    """How one command ended; ``error`` is empty when it was done. ``blobs``, ``parts``: the files of a version that came into the store.

    ``difference``: of the versions that were to be compared.
    Of an order on an instance: ``place`` is where the cluster has it now; without a node nothing is lent to it.
    """

    v = 4

    command: str
    task: str
    error: Fault | None = None
    difference: Difference | None = None
    blobs: tuple[Blob, ...] = ()
    parts: tuple[PartFacts, ...] = ()
    display: Display = Display()
    accelerator: Accelerator = Accelerator.UNPROVED
    place: PlacementFacts | None = None


class JoinAsked(Report):
    """A host asks to be let in below the reporting boss.

    ``csr`` and ``tls`` are signing requests (PEM) for the key that signs and the one that speaks TLS; the second only of
    roles that other hosts reach. ``proof`` is the one-time token's hash, never the token.
    """

    v = 2

    request: str
    role: Role
    name: str
    csr: str
    proof: str
    address: str = ""
    tls: str = ""

    @property
    def subject(self) -> str:
        """One picture per request."""
        return f"join:{self.request}"


class LetterFacts(Report):
    """A message died in the reporting boss's broker, was sent again, or is done with (``gone``). Its story, never its text."""

    letter: LtrId
    host: HostId
    at: float
    queue: str = Field(max_length=80)
    reason: str = Field(max_length=200)
    times: int = 1
    message: str = Field("", max_length=40)
    task: str = Field("", max_length=20)
    sender: str = Field("", max_length=20)
    to: str = Field("", max_length=20)
    about: str = Field("", max_length=100)
    sent_again_at: float = 0
    gone: bool = False

    @property
    def subject(self) -> str:
        """One picture per letter."""
        return f"letter:{self.letter}"


REPORTS: dict[str, type[Report]] = {r.kind: r for r in Report.__subclasses__()}
