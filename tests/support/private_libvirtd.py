"""A libvirtd of a test's own: own mounts, network and process numbers, no hardware virtualization; gone without a trace."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.host import configs
from luhyaapi import clock

FOLDERS = {"etc": "/etc/libvirt", "run": "/run/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt", "log": "/var/log/libvirt"}
# whoever is number 1 there takes in every orphan at once, which is what makes destroying fast
FIRST = textwrap.dedent("""
    import os, subprocess, sys
    folder, bridge = sys.argv[1:3]
    def run(*argv): subprocess.run(argv, check=True)
    for name, place in %r.items(): run("mount", "--bind", f"{folder}/{name}", place)
    if os.path.exists("/dev/kvm"): run("mount", "--bind", f"{folder}/nothing", "/dev/kvm")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0")
    run("ip", "link", "set", bridge, "up")
    daemon = subprocess.Popen(["libvirtd"]).pid
    while True:
        if os.wait()[0] == daemon: daemon = subprocess.Popen(["libvirtd"]).pid
""") % (FOLDERS,)


@dataclass(frozen=True)
class PrivateLibvirtd:
    """``uri`` to connect to; ``inside`` is a process in its namespaces; ``folder`` is open to its guests, ``small`` a file system that is soon full."""

    uri: str
    folder: Path
    bridge: str
    outside: int
    inside: int

    def pids(self, word: str) -> list[int]:
        """Processes of this libvirtd (seen from outside) whose arguments contain ``word``."""
        space = Path(f"/proc/{self.inside}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if word in (entry / "cmdline").read_text() and (entry / "ns/pid").readlink() == space:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    @property
    def small(self) -> Path:
        return self.folder / "small"

    @property
    def daemon(self) -> int:
        """The process number of libvirtd itself, not of a child it is just forking."""
        named = [p for p in self.pids("libvirtd") if Path(f"/proc/{p}/cmdline").read_bytes().startswith(b"libvirtd\0")]
        return min(named)

    def enter(self, *argv: str) -> str:
        """What a program prints in its namespaces."""
        return subprocess.run(
            ["nsenter", "-t", str(self.inside), "-n", "-m", "-p", *argv], check=True, capture_output=True, text=True, timeout=20,
        ).stdout


@contextmanager
def private_libvirtd(bridge: str = "edutest0") -> Iterator[PrivateLibvirtd]:
    """Start one, wait for its socket, and have nothing left of it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="educloud-libvirt-"))
    folder.chmod(0o755)
    for name in FOLDERS:
        (folder / name).mkdir()
    (folder / "nothing").touch(mode=0o000)
    small = folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "none", str(small)], check=True, timeout=20)
    (folder / "etc" / "qemu.conf").write_text(configs.qemu())
    for place in FOLDERS.values():
        Path(place).mkdir(parents=True, exist_ok=True)
    with (folder / "output").open("wb") as output:
        outer = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
             sys.executable, "-c", FIRST, str(folder), bridge],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )
    try:
        socket = folder / "run" / "libvirt-sock"
        until = clock.monotonic() + 60
        while not socket.exists():
            assert outer.poll() is None, (folder / "output").read_text()
            assert clock.monotonic() < until, (folder / "output").read_text()
            clock.sleep(0.05)
        inside = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()[0])
        yield PrivateLibvirtd(f"qemu:///system?socket={socket}", folder, bridge, outer.pid, inside)
    finally:
        outer.send_signal(signal.SIGKILL)
        outer.wait(20)
        subprocess.run(["umount", "--lazy", str(small)], check=True, timeout=20)
        _gone(folder)


def _gone(folder: Path) -> None:
    # the namespace dies a moment after its first process; what it still writes would be left over
    until = clock.monotonic() + 10
    while folder.exists() and clock.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        clock.sleep(0.05)
