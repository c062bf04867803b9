"""The first guests of a cloud: built while the services start, brought in when the roles are up."""

from __future__ import annotations

import contextlib
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from deploy.host import enclose, unpack
from deploy.host.plan import Plan
from luhyaapi import clock, process
from luhyaapi.errors import Trouble

_PRETENCE = "eduCloud simulation: this is no {}; nothing boots it.\n"
_MAGIC_AT = 0x202


class Client(Protocol):
    """One call of the command line client."""

    def __call__(self, *words: str, timeout_s: float, check: bool = ...) -> process.Finished: ...


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Say how long a phase took, on standard error."""
    began = clock.monotonic()
    yield
    print(f"{clock.monotonic() - began:7.2f} s  {name}", file=sys.stderr, flush=True)


def build(plan: Plan, wanted: str) -> None:
    """Build what is needed soon: the accelerator proof's guest and, unless ``wanted`` is none, ``tiny``."""
    if plan.profile.is_simulated:
        _pretend(plan.demo_images / "tiny")
        return
    names = [("probe", "nc" in plan.roles and Path("/dev/kvm").exists()), ("tiny", wanted != "none")]
    for name in (name for name, needed in names if needed and not (plan.demo_images / name / "kernel").exists()):
        try:
            process.run(
                [plan.python, "-m", "deploy.demo_images", name, "--out", plan.demo_images, "--work", plan.demo_images / ".work"],
                timeout_s=600, cwd=plan.program, env=unpack.apt_environ(plan),
            )
        except Trouble as e:
            # Without the proof guests are emulated; without tiny the phase that uploads it says why.
            print(f"the guest {name} was not built: {e}", file=sys.stderr, flush=True)


def provide(plan: Plan, wanted: str, client: Client, home: Path) -> None:
    """Bring the first images into the cloud, each once: one that was deleted stays away. ``wanted``: all, tiny or none.

    ``home`` is the calling user's.
    """
    if wanted == "none":
        return
    brought = plan.supervisor / "demo-tiny"
    if not brought.exists():
        with phase("demonstration image tiny"):
            if client("image", "show", "tiny", "--json", timeout_s=30, check=False).code != 0:
                client(*_upload(plan), timeout_s=600)
        brought.touch()
    done = plan.supervisor / "demo-debian"
    if wanted == "all" and "debian" in plan.profile.first_images and not done.exists() and not enclose.ours(str(plan.home), "demo"):
        print("image           debian is being built, which takes a minute or two: educloud task list", file=sys.stderr, flush=True)
        process.spawn(
            [plan.python, "-m", "deploy.host.demo", done, plan.python.with_name("educloud"), "--context", plan.context],
            output=plan.supervisor / "demo-debian.log", cwd=plan.program,
            env={"HOME": str(home), "EDUCLOUD_HOME": str(plan.home), "EDUCLOUD_PROGRAM": "demo"},
        )


def _upload(plan: Plan) -> list[str]:
    if not plan.profile.is_simulated:
        return ["image", "build-demo", "--only", "tiny"]
    files = plan.demo_images / "tiny"
    return ["image", "upload", "--name", "tiny", "--kernel", str(files / "kernel"), "--initrd", str(files / "initrd"),
            "--description", "A pretended guest: this cloud is a simulation", "--os-type", "linux"]


def _pretend(folder: Path) -> None:
    """Files that look like what they are named, as far as the image store looks."""
    folder.mkdir(parents=True, exist_ok=True)
    kernel = _PRETENCE.format("kernel").encode().ljust(_MAGIC_AT, b"\0") + b"HdrS"
    (folder / "kernel").write_bytes(kernel.ljust(1024, b"\0"))
    (folder / "initrd").write_bytes(gzip.compress(_PRETENCE.format("ram disk").encode(), mtime=0))
