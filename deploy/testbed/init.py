"""The first process of a host of the bed: ``python -m deploy.testbed.init FOLDER`` sets up its own files, then reaps and waits."""

from __future__ import annotations

import os
import signal
import socket
import sys
import uuid
from pathlib import Path

from luhyaapi.process import run

OWN = ("etc", "var/lib", "root", "home")
CLOUD = ("etc/educloud", "var/lib/educloud", "root/.config/educloud")
"""Where this machine's own cloud is, which no host of the bed may see."""
READY = "the host is up"
_MOUNT_S = 20


def main(folder: Path) -> None:
    """Own /etc, /var/lib and homes over the machine's, own /run; then stay, so that the host stays."""
    socket.sethostname(folder.name)
    for path in OWN:
        upper, work = folder / "files" / path, folder / "work" / path
        for each in (upper, work):
            each.mkdir(parents=True, exist_ok=True)
        for hidden in CLOUD:
            if hidden.startswith(path):
                _hide(Path("/", hidden), folder / "files" / hidden)
        _mount("-t", "overlay", "overlay", "-o", f"lowerdir=/{path},upperdir={upper},workdir={work}", f"/{path}")
    _mount("-t", "tmpfs", "tmpfs", "/run")
    Path("/run/lock").mkdir()
    Path("/etc/hostname").write_text(f"{folder.name}\n", "ascii")
    # its own name asks nobody, as on any installed host
    Path("/etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {folder.name}\n", "ascii")
    _new_boot()
    print(READY, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        _reap()
        signal.pause()


def _hide(lower: Path, upper: Path) -> None:
    """Of a folder of the machine nothing is seen through the overlay, only what the host itself has in its place."""
    if lower.exists():
        upper.mkdir(parents=True, exist_ok=True)
        os.setxattr(upper, "trusted.overlay.opaque", b"y")


def _new_boot() -> None:
    """Its own boot id: what the roles remember by the machine's would else seem to be of this very boot."""
    own = Path("/run/boot-id")
    own.write_text(f"{uuid.uuid4()}\n", "ascii")
    _mount("--bind", str(own), "/proc/sys/kernel/random/boot_id")


def _mount(*words: str) -> None:
    run(["/usr/bin/mount", *words], timeout_s=_MOUNT_S)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
