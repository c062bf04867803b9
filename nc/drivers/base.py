"""Hypervisor and NodeNetwork: the small interfaces a node acts through, and the laws every driver keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from luhyaapi.contracts.specs import DomainFacts, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import Accelerator, Part


@dataclass(frozen=True)
class Probe:
    """What a hypervisor is: its name and version, the accelerator proved by booting a guest, and why that one."""

    name: str
    version: str
    accelerator: Accelerator
    why: str = ""


@dataclass(frozen=True)
class Files:
    """The files of one domain on this node. ``disk`` is the writable overlay (qcow2), the others are read-only."""

    console_log: Path
    disk: Path | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    seed: Path | None = None
    taps: Mapping[str, str] = field(default_factory=dict)

    def of(self, part: Part) -> Path | None:
        """The file of that part, or None."""
        return {Part.DISK: self.disk, Part.KERNEL: self.kernel, Part.INITRD: self.initrd}[part]


class Hypervisor(Protocol):
    """Seven verbs. Every verb is idempotent and speaks our instance id only.

    Raises Unavailable(hypervisor_down) when it does not answer, Failed(hypervisor) when it answers no.
    Never reports, never waits without a limit. ``stop`` asks by ACPI and pulls the plug after ``grace_s``
    seconds. ``remove`` leaves no definition; files belong to the caller. ``inspect`` of an absent domain
    answers DomainState.ABSENT; only a hypervisor that answered may say so.
    """

    def probe(self) -> Probe: ...
    def define(self, spec: MachineSpec, files: Files) -> None: ...
    def start(self, instance: str) -> DomainFacts: ...
    def stop(self, instance: str, grace_s: float, cancelled: Callable[[], bool] = ...) -> None: ...
    def remove(self, instance: str) -> None: ...
    def inspect(self, instance: str) -> DomainFacts: ...
    def list(self) -> list[DomainFacts]: ...


class NodeNetwork(Protocol):
    """Taps of guests on the bridges of this node. ``plug`` is idempotent and answers the tap's name."""

    def plug(self, instance: str, nic: Nic) -> str: ...
    def unplug(self, instance: str) -> None: ...
    def found(self) -> dict[str, str]: ...
