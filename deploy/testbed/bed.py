"""A bed: its hosts, what runs in them, power and cables."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from deploy.host import configs
from deploy.testbed.description import BedHost, Description
from deploy.testbed.init import READY
from deploy.testbed.switch import Switch
from luhyaapi import clock, process
from luhyaapi.errors import Failed, Refused
from luhyaapi.process import Finished

ROOT = Path(__file__).resolve().parents[2]
MARK = ".educloud-testbed"
_READY_S = 20.0
_UP_S = 600.0
_COMMANDS = {"broker": "beam.smp", "board": "memcached", "libvirtd": "libvirtd"}
"""By which command a program of others runs; ours run by their own names."""


class Bed:
    """Hosts on this machine. ``folder`` holds what they have on disk: delete it, and they were never there.

    ``emulated``: nodes do not try first whether this machine's hardware can run guests, which takes a quarter of a minute where it cannot.
    """

    def __init__(self, folder: Path, description: Description, tag: str = "bed", *, emulated: bool = False) -> None:
        self.folder, self.description, self._emulated = folder, description, emulated
        self.switch = Switch(tag, description)
        self.program = ROOT / ".venv/bin/educloud"

    # ---- hosts

    def build(self) -> None:
        """The networks, and every host powered on; no role runs yet."""
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / MARK).exists():
            raise Refused("invalid", f"{self.folder} is not a folder of a bed", "it has no mark of ours")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARK).touch()
        self.switch.up()
        for name in self.description.hosts:
            self.power_on(name)

    def power_on(self, name: str) -> None:
        """The host boots: its files are as they were, its /run is empty, no role runs yet."""
        host, folder = self.description.hosts[name], self._folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "init.log"
        log.write_text("", "ascii")
        words = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        outer = process.spawn([*words, sys.executable, "-m", "deploy.testbed.init", folder], output=log, cwd=ROOT)
        until = clock.monotonic() + _READY_S
        while READY not in (said := log.read_text("utf-8", "replace")):
            if clock.monotonic() > until or not process.alive(outer):
                raise Failed("program", f"The host {name} does not boot", said[-500:])
            clock.sleep(0.02)
        (inner,) = psutil.Process(outer).children()
        (folder / "pid").write_text(f"{inner.pid}\n", "ascii")
        self.switch.plug(host, inner.pid)

    def power_off(self, name: str) -> None:
        """As when the plug is pulled: every process of the host is gone at once, its guests too."""
        pid = self.pid(name)
        (self._folder(name) / "pid").unlink(missing_ok=True)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            until = clock.monotonic() + _READY_S
            while process.alive(pid) and clock.monotonic() < until:
                clock.sleep(0.02)

    def pid(self, name: str) -> int:
        """The host's first process as this machine numbers it; 0 when it is off."""
        try:
            pid = int((self._folder(name) / "pid").read_text("ascii"))
        except (OSError, ValueError):
            return 0
        return pid if process.alive(pid) else 0

    def programs(self, name: str) -> dict[str, int]:
        """The host's processes that belong to the cloud, with their numbers on this machine.

        A program bears its own name, what it started for itself has its command's beside (``broker epmd``), ``dnsmasq`` and ``supervisor``
        are as they are, and each running guest is ``guest`` and its id.
        """
        found: dict[str, int] = {}
        for each in psutil.Process(self.pid(name)).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if called := named(each.cmdline(), each.name(), each.environ().get("EDUCLOUD_PROGRAM", "")):
                    found.setdefault(called, each.pid)
        return found

    def destroy(self) -> None:
        """Everything is gone, the files too. Raises Refused(invalid) for a folder that is none of a bed."""
        if self.folder.exists() and not (self.folder / MARK).exists():
            raise Refused("invalid", f"{self.folder} is not a folder of a bed", "it has no mark of ours")
        with ThreadPoolExecutor(8) as beside:
            list(beside.map(self.power_off, [each.parent.name for each in self.folder.glob("*/pid")]))
        self.switch.down()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- what runs in them

    def run(
        self, name: str, words: Sequence[str | Path], *, timeout_s: float = 60, check: bool = True, env: dict[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Finished:
        """A program in a host, as root there."""
        return process.run([*self.inside(name), *words], timeout_s=timeout_s, check=check, env={"HOME": "/root", **(env or {})}, stdin=stdin)

    def inside(self, name: str) -> list[str]:
        """The words before a program that is to run in a host. Raises Failed(program) when the host is off."""
        pid = self.pid(name)
        if not pid:
            raise Failed("program", f"The host {name} is off")
        return ["nsenter", "--target", str(pid), "--net", "--mount", "--uts", "--ipc", "--pid", f"--wdns={ROOT}", "--"]

    def make(self, name: str, *words: str, timeout_s: float = _UP_S) -> Finished:
        """``make`` with these words in a host; its output stays beside the host's files."""
        done = self.run(name, ["make", "-C", ROOT, *words], timeout_s=timeout_s, check=False)
        with (self._folder(name) / "make.log").open("ab") as log:
            log.write(done.stdout + done.stderr)
        if done.code:
            raise Failed("program", f"`make {' '.join(words[:2])}` failed on {name}", (done.stderr or done.stdout).decode("utf-8", "replace")[-2000:])
        return done

    def educloud(self, *words: str, timeout_s: float = 120, check: bool = True) -> Finished:
        """The command line client, on the host of the CLC."""
        return self.run(self.front.name, [self.program, *words], timeout_s=timeout_s, check=check)

    def answer(self, *words: str, timeout_s: float = 120) -> object:
        """What the client prints with ``--json``."""
        return json.loads(self.educloud(*words, "--json", timeout_s=timeout_s).text)

    @property
    def front(self) -> BedHost:
        """The host of the CLC."""
        return self.description.of_role("clc")[0]

    def up(self, demo: str = "tiny") -> None:
        """The cloud runs: the front is made, every other role joins its boss. Again after a power cut: each host is made up."""
        front = self.front
        self._give_guests()
        self.make(front.name, "up", f"LISTEN={self._address(front)}", f"EDUCLOUD_ROLES={' '.join(front.roles)}", f"EDUCLOUD_DEMO={demo}")
        # A role joins after its boss; those of one boss at the same time.
        for wave in (("walrus", "cc"), ("nc", "sc")):
            jobs = [(host, role) for role in wave for host in self.description.of_role(role) if host is not front]
            with ThreadPoolExecutor(len(jobs) or 1) as beside:
                list(beside.map(lambda job: self._join(*job), jobs))

    def _give_guests(self) -> None:
        """What hosts would build from Debian packages: there is no way out of a bed, so they find it built."""
        images, there = self.folder / "images", Path("/var/lib/educloud/demo-images")
        for guest, role in (("tiny", "clc"), ("probe", "nc")):
            if not (images / guest / "kernel").exists():
                words: list[str | Path] = [sys.executable, "-m", "deploy.demo_images", guest, "--out", images, "--work", images / ".work"]
                process.run(words, timeout_s=_UP_S, cwd=ROOT)
            for host in self.description.of_role(role):
                self.run(host.name, ["mkdir", "-p", there])
                self.run(host.name, ["cp", "-r", images / guest, there])

    def _join(self, host: BedHost, role: str) -> None:
        boss = self.description.boss(role, host)
        words = [f"ROLE={role}", f"BOSS={self.description.way(host, boss)}"]
        if role != "walrus":
            words.append(f"EDUCLOUD_SUBNET={self._guest_subnet(host if role == 'cc' else boss)}")
        if role in ("cc", "walrus"):
            words.append(f"LISTEN={self._address(host)}")
        if host.uplink:
            words.append(f"EDUCLOUD_UPLINK={host.uplink}")
        settings = {**({"hypervisor": {"accelerator": "tcg"}} if self._emulated and role == "nc" else {}), **host.settings.get(role, {})}
        if settings:
            own = Path("/var/lib/educloud") / role / f"{role}.local.toml"
            self.run(host.name, ["mkdir", "-p", own.parent])
            self.run(host.name, ["tee", own], stdin=configs.toml(settings).encode())
        token, kept = json.loads(self.educloud("host", "token", "--role", role, "--json").text)["token"], f"/root/token-{role}"
        self.run(host.name, ["tee", kept], stdin=token.encode())
        self.make(host.name, "join", *words, f"TOKEN_FILE={kept}")

    def _address(self, host: BedHost) -> str:
        """Where its children find it: the last of its networks with addresses."""
        return [address for address in host.addresses.values() if address][-1]

    def _guest_subnet(self, cluster: BedHost) -> str:
        return f"10.99.{100 + self.description.of_role('cc').index(cluster)}.0/24"

    def _folder(self, name: str) -> Path:
        return self.folder / name


def named(words: Sequence[str], command: str, program: str) -> str:
    """What a process is called here; empty for one that is none of the cloud's."""
    if guest := next((w[6:].partition(",")[0] for w in words if w.startswith("guest=")), ""):
        return f"guest {guest}"
    if not program:
        return "dnsmasq" if command == "dnsmasq" else ""
    if program in _COMMANDS:
        # Each minute a broker looks after its epmd by another of its kind, for a moment.
        is_it_itself = command == _COMMANDS[program] and not any(word.startswith("epmd-starter") for word in words)
    else:
        is_it_itself = program == "supervisor" or list(words[-2:]) == ["deploy.processes", program]
    return program if is_it_itself else f"{program} {command}"
