"""The accelerator, proved by booting a guest with a deadline: a device file, an API version and libvirt all may lie."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from luhyaapi import log
from luhyaapi.conf import Settings
from luhyaapi.contracts.vocabulary import Accelerator
from luhyaapi.errors import Failed, Trouble
from luhyaapi.process import run

_log = log.get(__name__)

MARKER = b"EDUCLOUD-PROBE-OK"
QEMU = "qemu-system-x86_64"
DEVICE = Path("/dev/kvm")
FILE = "accelerator.json"
MEMORY_MIB = 128
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Proof:
    """The accelerator guests of this node get, and why that one, in a sentence for the administrator."""

    accelerator: Accelerator
    why: str


def prove(settings: Settings, device: Path = DEVICE) -> Proof:
    """The accelerator of this node. Never raises: what cannot be proved is emulated.

    A trial counts until the next boot of the host, another probe kernel or another QEMU. What was decided stands in
    ``accelerator.json`` of the role's state: key (boot, guest, qemu), accelerator, why.
    """
    wish = settings.hypervisor.accelerator
    if wish != "auto":
        believed = Accelerator.KVM if wish == "kvm" else Accelerator.TCG
        return _kept(settings, {"boot": _boot(), "guest": wish, "qemu": ""}, lambda: Proof(
            believed, f"set to {wish} by the administrator, not proved",
        ))
    kernel, initrd = settings.hypervisor.probe_kernel, settings.hypervisor.probe_initrd
    if not device.exists():
        return Proof(Accelerator.TCG, f"{device} is not there: no hardware virtualization on this host")
    if not kernel or not initrd or not kernel.is_file() or not initrd.is_file():
        return Proof(Accelerator.TCG, f"no probe kernel, so {device} could not be proved")
    try:
        key = _key(kernel, initrd)
    except (Trouble, OSError) as error:
        return Proof(Accelerator.TCG, f"hardware virtualization could not be tried: {error}")
    return _kept(settings, key, lambda: _try(kernel, initrd, settings.hypervisor.probe_deadline_s))


def forget(settings: Settings) -> None:
    """Have the next :func:`prove` try again."""
    (settings.host.state / FILE).unlink(missing_ok=True)


def _kept(settings: Settings, key: dict[str, str], find: Callable[[], Proof]) -> Proof:
    # also what was only believed is written down: who opens the device to libvirt reads it there
    memory = settings.host.state / FILE
    known = _recall(memory, key)
    if known:
        return known
    proof = find()
    _log.info("accelerator decided", accelerator=str(proof.accelerator), why=proof.why)
    _remember(memory, key, proof)
    return proof


def _try(kernel: Path, initrd: Path, deadline_s: float) -> Proof:
    try:
        ended = run(_argv(kernel, initrd), timeout_s=deadline_s, check=False)
    except Failed as error:
        if error.code == "timeout":
            why = f"a test guest with hardware virtualization hung and was ended after {deadline_s:.0f} s"
        else:
            why = f"a test guest could not be started: {error}"
        return Proof(Accelerator.TCG, why)
    if MARKER in ended.stdout:
        return Proof(Accelerator.KVM, "a test guest booted with hardware virtualization")
    last = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"QEMU ended with {ended.code}"]
    return Proof(Accelerator.TCG, f"a test guest with hardware virtualization did not boot: {last[0]}")


def _argv(kernel: Path, initrd: Path) -> list[str | Path]:
    return [
        QEMU, "-accel", "kvm", "-machine", "pc", "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config",
        "-no-reboot", "-display", "none", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd,
        "-append", "console=ttyS0 panic=-1 quiet",
    ]


def _key(kernel: Path, initrd: Path) -> dict[str, str]:
    version = run([QEMU, "--version"], timeout_s=10).text.splitlines()[0]
    digest = hashlib.sha256()
    for path in (kernel, initrd):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {"boot": _boot(), "guest": digest.hexdigest(), "qemu": version}


def _boot() -> str:
    return _BOOT_ID.read_text("ascii").strip()


def _recall(memory: Path, key: dict[str, str]) -> Proof | None:
    try:
        kept = json.loads(memory.read_text("utf-8"))
        if kept["key"] != key:
            return None
        return Proof(Accelerator(kept["accelerator"]), str(kept["why"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(memory: Path, key: dict[str, str], proof: Proof) -> None:
    part = memory.with_suffix(f".{os.getpid()}.part")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"key": key, **asdict(proof)}, ensure_ascii=False), "utf-8")
        part.replace(memory)
    except OSError as error:
        part.unlink(missing_ok=True)
        _log.warning("accelerator verdict not kept", why=str(error))
