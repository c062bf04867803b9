"""Hypervisor and NodeNetwork: the small interfaces a node acts through, and the laws every driver keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from luhyaapi import clock
from luhyaapi.contracts.specs import Allow, DomainFacts, LinkFacts, MachineSpec, Nic, NodeForward, SegmentSpan
from luhyaapi.contracts.vocabulary import Accelerator, DiskFormat, Part
from luhyaapi.errors import Refused, Unavailable

ASK_EVERY_S = 2.0
LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Probe:
    """What a hypervisor is: its name and version, the accelerator proved by booting a guest, and why that one."""

    name: str
    version: str
    accelerator: Accelerator
    why: str = ""


@dataclass(frozen=True)
class Account:
    """The numbers a guest's process has on this host: a user of its own, and the group all guests share."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Files:
    """The files of one domain on this node. ``disk`` (an overlay, qcow2) and ``data`` (raw) it may write; the others are read-only.

    ``taps`` names the tap of each card by its MAC, as :meth:`NodeNetwork.plug` answered it. ``base`` is what the
    overlay stands on; until that is whole it is read from ``base_socket`` (raw, by NBD), where somebody listens already.
    ``screen`` is the socket the guest's screen shall listen on; its folder is there and belongs to
    ``account``. ``serial`` is the one of its first serial port, of which all that is written goes to ``console_log`` too,
    whether or not somebody listens; None: to the log alone. With an ``account`` the guest runs as that and the hypervisor
    changes no owner and no mode of any file. ``first_boot`` is the socket of the port at which the guest says that its first boot is
    done; with it, its cards begin without a carrier.
    """

    console_log: Path
    disk: Path | None = None
    data: Path | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    seed: Path | None = None
    taps: Mapping[str, str] = field(default_factory=dict)
    base: Path | None = None
    base_format: DiskFormat = DiskFormat.RAW
    base_socket: Path | None = None
    screen: Path | None = None
    serial: Path | None = None
    first_boot: Path | None = None
    account: Account | None = None

    def of(self, part: Part) -> Path | None:
        """The file of that part, or None."""
        return {Part.DISK: self.disk, Part.KERNEL: self.kernel, Part.INITRD: self.initrd}[part]


class Hypervisor(Protocol):
    """Nine verbs and three questions. Every verb is idempotent and speaks our instance id only.

    Raises Unavailable(hypervisor_down) when it does not answer, Failed(hypervisor) when it answers no
    (also: ``start`` of what is not defined, or whose files are not there).
    Refused(invalid) for a machine it cannot make. Never reports, never waits without a limit. ``define`` leaves it as it runs and changes the next start.
    ``stop`` asks by ACPI and pulls the plug after ``grace_s`` seconds; cancelled, it raises Refused(cancelled)
    and pulls nothing. ``remove`` also ends what runs and leaves no definition; files belong to the caller.
    One whose process was ended from outside is CRASHED, as far as the driver heard of it; STOPPED is one that ended by itself.
    ``inspect`` of an absent domain answers DomainState.ABSENT; only a hypervisor that answered may say so.
    ``start`` lets one go on that is paused. One whose disk took no more (its node's is full) pauses by itself, is told ``paused`` with
    ``io_error``, and writes again what it could not when it goes on.
    ``list`` names our domains only. ``stand`` has the disk of a running guest that was started on ``base_socket`` stand on
    ``base``, which holds the same: from then on the socket is not needed, and the guest notices nothing. ``connect`` gives the cards
    of a running guest their carrier.
    ``display.port`` of a running one is the port its machine was lent, whether or not anything listens there.

    ``account`` answers what a guest of that machine runs as; None: as the hypervisor decides, which then takes the
    files over itself. ``screen`` answers where a running guest's screen is dialled: ``at`` if that is what it was
    told, or a port of loopback from hypervisors that know no sockets. ``busy_s`` answers how many seconds of a
    processor a running guest has had or stood in line for so far; None for one that does not run, or when that says nothing.
    """

    def probe(self) -> Probe: ...
    def define(self, spec: MachineSpec, files: Files) -> None: ...
    def start(self, instance: str) -> DomainFacts: ...
    def stand(self, instance: str, base: Path, base_format: DiskFormat) -> None: ...
    def stop(self, instance: str, grace_s: float, cancelled: Callable[[], bool] = ...) -> None: ...
    def remove(self, instance: str) -> None: ...
    def connect(self, instance: str) -> None: ...
    def inspect(self, instance: str) -> DomainFacts: ...
    def list(self) -> list[DomainFacts]: ...
    def account(self, spec: MachineSpec) -> Account | None: ...
    def screen(self, facts: DomainFacts, at: Path) -> Path | int: ...
    def busy_s(self, instance: str) -> float | None: ...


@dataclass(frozen=True)
class Guest:
    """An instance as its networks see it: its name, as the user wrote it, and its cards."""

    name: str
    nics: tuple[Nic, ...]


@dataclass(frozen=True)
class NodeEdge:
    """All guests of a node by instance, and what reaches those of which the node judges that."""

    guests: Mapping[str, Guest] = field(default_factory=dict)
    forwards: tuple[NodeForward, ...] = ()
    allow: Mapping[str, tuple[Allow, ...]] = field(default_factory=dict)


@runtime_checkable
class Watched(Protocol):
    """A hypervisor that tells of changes at once, also of those nobody asked for.

    ``callback`` gets the instance that changed, or an empty text when anything may have changed (the connection
    broke or came back). It runs in a thread of the driver: it may wake a loop, and does no work itself.
    """

    def watch(self, callback: Callable[[str], None]) -> None: ...


class NodeNetwork(Protocol):
    """Taps of guests on the bridges of this node. All verbs are idempotent.

    ``plug`` makes the bridge ready and answers the tap's name; the tap itself may come and go with the guest.
    ``unplug`` leaves no tap of that instance. ``found`` answers the taps there are: tap name to instance.
    ``span`` has these networks reach the same ones of other hosts, and no others reach any. ``guard`` is told the whole edge: from then
    on each tap says only what its card may, guests whose network ends here have their DHCP and way out, and are reached as it says.
    ``look`` only looks: how each link of the way of that card is on this node, if the edge shall be so and its networks span so. What
    cannot be seen is unknown.
    Raises Refused(not_found) for a network this node does not have, Failed(network) otherwise.
    """

    def plug(self, instance: str, nic: Nic) -> str: ...
    def unplug(self, instance: str) -> None: ...
    def found(self) -> dict[str, str]: ...
    def span(self, segments: Sequence[SegmentSpan]) -> None: ...
    def guard(self, edge: NodeEdge) -> None: ...
    def look(self, instance: str, nic: Nic, edge: NodeEdge, segments: Sequence[SegmentSpan]) -> tuple[LinkFacts, ...]: ...


def check(spec: MachineSpec, files: Files) -> None:
    """Raises Refused(invalid) for a machine that no driver makes."""
    if not files.kernel and not files.disk:
        raise Refused("invalid", "There is nothing to boot", "neither a kernel nor a disk")
    spec.image.hardware.check()


def never() -> bool:
    """Nobody cancels."""
    return False


def tap_name(instance: str, mac: str) -> str:
    """The tap of that card: 15 characters, the most Linux takes, told from instance and MAC alone."""
    return "t" + instance.rsplit("-", 1)[-1] + mac.replace(":", "")[-6:]


def ends_politely(
    ask: Callable[[], None], runs: Callable[[], bool], grace_s: float, cancelled: Callable[[], bool],
) -> bool:
    """Ask a guest to end, again every few seconds since one that still boots is deaf; whether it ended in ``grace_s``.

    One whose process does not answer is deaf too: ``ask`` raises Unavailable. Raises Refused(cancelled).
    """
    until = clock.monotonic() + grace_s
    ask_at = clock.monotonic()
    while runs():
        now = clock.monotonic()
        if cancelled():
            raise Refused("cancelled", "Stopping was cancelled", "the guest may still end by itself")
        if now >= until:
            return False
        if now >= ask_at:
            with contextlib.suppress(Unavailable):
                ask()
            ask_at = now + ASK_EVERY_S
        clock.sleep(min(LOOK_EVERY_S, max(until - clock.monotonic(), 0.0)))
    return True
