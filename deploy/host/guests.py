"""The guests of this host at the end of the day: asked to stop, then made to."""

from __future__ import annotations

from pathlib import Path

from deploy.host import tools
from deploy.host.plan import Plan
from luhyaapi import clock, process
from luhyaapi.errors import Trouble

_ASK_AGAIN_S = 4.0


def running(plan: Plan) -> list[str]:
    """Names of the running guests. Raises Failed when libvirt does not answer."""
    return virsh(plan, "list", "--name").split()


def virsh(plan: Plan, *words: str, timeout_s: float = 20.0) -> str:
    """One call of the private libvirt."""
    return process.run([*tools.virsh(plan), *words], timeout_s=timeout_s, env=tools.environ(plan)).text


def stop_all(plan: Plan, patience_s: float = 20.0) -> int:
    """Ask every guest to shut down, after ``patience_s`` make it; how many there were. Falls back to process numbers."""
    try:
        there = running(plan)
        for name in there:
            _try(plan, "shutdown", name)
        until, again = clock.monotonic() + patience_s, clock.monotonic() + _ASK_AGAIN_S
        while (left := running(plan)) and clock.monotonic() < until:
            clock.sleep(0.2)
            if clock.monotonic() > again:
                # A guest that was still booting did not hear it.
                again += _ASK_AGAIN_S
                for name in left:
                    _try(plan, "shutdown", name)
        for name in left:
            _try(plan, "destroy", name)
    except Trouble:
        there = []
    return max(len(there), end_left(plan))


def end_left(plan: Plan) -> int:
    """End guests by the process numbers libvirt wrote down; how many."""
    count = 0
    # A user's own libvirt keeps them one folder deeper.
    for file in (plan.hypervisor / "run/libvirt/qemu").rglob("*.pid"):
        pid = number(file)
        if pid and process.alive(pid) and "qemu" in _command_line(pid):
            process.end(pid)
            count += 1
    return count


def number(file: Path) -> int:
    """The process number in a file; 0 when there is none."""
    try:
        return int(file.read_text("ascii").strip() or 0)
    except (OSError, ValueError):
        return 0


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " ")
    except OSError:
        return ""


def _try(plan: Plan, *words: str) -> None:
    try:
        virsh(plan, *words)
    except Trouble as e:
        # Whoever is still there afterwards is made to end.
        if words[-1] in running(plan):
            print(f"guest: {e}", flush=True)
