"""A hypervisor and a network without a machine: files, latency, faults; the same laws as the real ones."""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luhyaapi import clock, ids
from luhyaapi.contracts.specs import Display, DomainFacts, LinkFacts, MachineSpec, Nic, SegmentSpan
from luhyaapi.contracts.vocabulary import Accelerator, DiskFormat, DomainState
from luhyaapi.edge import links
from luhyaapi.errors import CODES, Bug, Failed, Refused, Trouble, Unavailable
from nc.drivers.base import Account, Files, NodeEdge, Probe, check, ends_politely, never, tap_name

VERBS = ("probe", "define", "start", "stand", "connect", "stop", "remove", "inspect", "list", "plug", "unplug", "guard", "look", "found")
_ECHO_LOOK_S = 0.2
_ECHO_PIECE = 4096


class Faults:
    """What goes wrong, and how slow: ``always`` and ``latency_s`` by verb until taken away, :meth:`fail_next` once."""

    def __init__(self) -> None:
        self.always: dict[str, str] = {}
        self.latency_s: dict[str, float] = {}
        self._once: dict[str, list[str]] = {}

    def fail_next(self, verb: str, code: str) -> None:
        """Have the next ``verb`` end in ``code`` (one of errors.CODES), with nothing changed."""
        if verb not in VERBS or code not in CODES:
            raise Bug(f"No fault {verb} {code}")
        self._once.setdefault(verb, []).append(code)

    def strike(self, verb: str, about: str = "") -> None:
        """Be slow or fail now, as told."""
        clock.sleep(self.latency_s.get(verb, 0.0))
        once = self._once.get(verb)
        code = once.pop(0) if once else self.always.get(verb)
        if code:
            raise _trouble(code, f"{verb} {about}".strip())


def _trouble(code: str, what: str) -> Trouble:
    family = {"refused": Refused, "unavailable": Unavailable, "failed": Failed}[CODES[code].family]
    return family(code, what, "a fault was asked for")


class FakeHypervisor:
    """One JSON file per domain in ``folder``/domains, so domains outlive this process.

    ``stubborn`` names guests that do not end when asked, ``full`` those whose disk takes nothing. ``faults`` is what goes wrong.
    ``effect(what, instance, domain)`` is told of every change there really was: ``defined``, a state, ``removed``.
    """

    def __init__(self, folder: Path) -> None:
        self._domains = folder / "domains"
        self._domains.mkdir(parents=True, exist_ok=True)
        self.faults = Faults()
        self.stubborn: set[str] = set()
        self.full: set[str] = set()
        self.effect: Callable[[str, str, dict[str, Any]], None] = lambda _what, _instance, _domain: None
        self._callback: Callable[[str], None] = lambda _instance: None

    def probe(self) -> Probe:
        self.faults.strike("probe")
        return Probe("fake", "1", Accelerator.SIMULATED, "no machine: guests are only pretended")

    def define(self, spec: MachineSpec, files: Files) -> None:
        self.faults.strike("define", spec.instance)
        check(spec, files)
        before = self._read(spec.instance)
        needed = [str(path) for path in (files.disk, files.data, files.kernel, files.initrd, files.seed) if path]
        self._write(spec.instance, {
            "state": before.get("state", DomainState.STOPPED), "paused": before.get("paused", ""),
            "spec": spec.model_dump(mode="json"), "needed": needed, "console_log": str(files.console_log),
            "screen": str(files.screen or ""), "serial": str(files.serial or ""), "first_boot": str(files.first_boot or ""),
            "base_socket": str(files.base_socket or ""), "base": str(files.base or ""),
        })
        self.effect("defined", spec.instance, self._read(spec.instance))

    def start(self, instance: str) -> DomainFacts:
        self.faults.strike("start", instance)
        domain = self._read(instance)
        what = f"{instance} could not be started"
        if not domain:
            raise Failed("hypervisor", what, "it is not defined here")
        if domain["state"] != DomainState.RUNNING:
            gone = [path for path in domain["needed"] if not Path(path).is_file()]
            if gone:
                raise Failed("hypervisor", what, f"{gone[0]} is not there")
            if domain["base_socket"] and not Path(domain["base_socket"]).is_socket():
                raise Failed("hypervisor", what, "nobody exports its image")
            self._say(domain, f"{instance} starts")
            for at in (domain["screen"], domain.get("serial", ""), domain.get("first_boot", "")):
                _show(at, what)
            self._become(instance, DomainState.RUNNING)
        if domain.get("paused"):
            self._pause(instance, "")
            self.write(instance)
        return self._facts(instance)

    def stand(self, instance: str, base: Path, base_format: DiskFormat) -> None:  # noqa: ARG002 - nothing is read
        self.faults.strike("stand", instance)
        if not self._runs(instance) or not (domain := self._read(instance))["base_socket"]:
            return
        if not base.is_file():
            raise Failed("hypervisor", f"{instance} could not be put on its image", f"{base.name} is not there")
        self._write(instance, {**domain, "base_socket": "", "base": str(base)})
        self.effect("stands", instance, domain)

    def connect(self, instance: str) -> None:
        self.faults.strike("connect", instance)
        domain = self._read(instance)
        if domain.get("state") == DomainState.RUNNING and domain.get("first_boot"):
            self._write(instance, {**domain, "first_boot": ""})
            self.effect("connected", instance, domain)

    def is_connected(self, instance: str) -> bool:
        """Whether its cards have a carrier."""
        return self._runs(instance) and not self._read(instance).get("first_boot")

    def stop(self, instance: str, grace_s: float, cancelled: Callable[[], bool] = never) -> None:
        self.faults.strike("stop", instance)
        if not self._runs(instance):
            return

        def ask() -> None:
            if instance not in self.stubborn:
                self._say(self._read(instance), f"{instance} ends")
                self._become(instance, DomainState.STOPPED)

        if not ends_politely(ask, lambda: self._runs(instance), grace_s, cancelled):
            self._become(instance, DomainState.STOPPED)

    def remove(self, instance: str) -> None:
        self.faults.strike("remove", instance)
        if domain := self._read(instance):
            self._file(instance).unlink(missing_ok=True)
            self.effect("removed", instance, domain)
            self._callback(instance)

    def inspect(self, instance: str) -> DomainFacts:
        self.faults.strike("inspect", instance)
        return self._facts(instance)

    def list(self) -> builtins.list[DomainFacts]:
        self.faults.strike("list")
        return self._calm_list()

    def _calm_list(self) -> builtins.list[DomainFacts]:
        """Also while it does not answer."""
        found = [self._facts(path.stem) for path in sorted(self._domains.glob("ins-*.json"))]
        return [facts for facts in found if facts.state is not DomainState.ABSENT]

    def account(self, spec: MachineSpec) -> Account | None:  # noqa: ARG002 - all guests are this process
        """Ourselves."""
        return Account(os.getuid(), os.getgid())

    def screen(self, facts: DomainFacts, at: Path) -> Path | int:  # noqa: ARG002 - every guest has its own
        """The socket, on which nobody answers."""
        return at

    def busy_s(self, instance: str) -> float | None:  # noqa: ARG002 - it boots no longer than its start takes
        """Nobody can tell."""
        return None

    def watch(self, callback: Callable[[str], None]) -> None:
        """See :class:`nc.drivers.base.Watched`."""
        self._callback = callback

    def kill(self, instance: str) -> None:
        """What happens behind our back: the guest crashes."""
        if self._runs(instance):
            self._become(instance, DomainState.CRASHED)

    def end(self, instance: str) -> None:
        """What happens behind our back: the guest shuts itself down, or its host lost power."""
        if self._runs(instance):
            self._become(instance, DomainState.STOPPED)

    def write(self, instance: str) -> None:
        """What happens behind our back: the guest writes to its disk."""
        if instance in self.full and self._runs(instance):
            self._pause(instance, "io_error")

    def halt(self, instance: str) -> None:
        """What happens behind our back: its start was cut off before it was let run."""
        self.wake(instance)
        self._pause(instance, "halted")

    def _pause(self, instance: str, why: str) -> None:
        domain = self._read(instance)
        self._write(instance, {**domain, "paused": why})
        self.effect("paused" if why else "resumed", instance, domain)
        self._callback(instance)

    def answer(self, instance: str) -> None:
        """What happens behind our back: the guest says back what is typed at its serial port, until it ends."""
        domain = self._read(instance)
        listener = _bound(domain["serial"])
        listener.listen()
        threading.Thread(target=self._echo, args=(instance, listener, Path(domain["console_log"])), name="echo", daemon=True).start()

    def say_done(self, instance: str) -> None:
        """What happens behind our back: the guest says that its first boot is done, to whoever listens first."""
        listener = _bound(self._read(instance)["first_boot"])
        listener.listen()
        listener.settimeout(_ECHO_LOOK_S)
        threading.Thread(target=self._tell_done, args=(instance, listener), name="first-boot", daemon=True).start()

    def _tell_done(self, instance: str, listener: socket.socket) -> None:
        with listener:
            while self._runs(instance):
                with contextlib.suppress(TimeoutError):
                    sock, _ = listener.accept()
                    with sock:
                        sock.sendall(b"done\n")
                        return

    def _echo(self, instance: str, listener: socket.socket, console_log: Path) -> None:
        listener.settimeout(_ECHO_LOOK_S)
        with listener, contextlib.suppress(OSError):
            while self._runs(instance):
                with contextlib.suppress(TimeoutError):
                    self._echo_to(instance, listener.accept()[0], console_log)

    def _echo_to(self, instance: str, sock: socket.socket, console_log: Path) -> None:
        sock.settimeout(_ECHO_LOOK_S)
        with sock, console_log.open("ab", buffering=0) as log:
            while self._runs(instance):
                with contextlib.suppress(TimeoutError):
                    if not (typed := sock.recv(_ECHO_PIECE)):
                        return
                    sock.sendall(typed)
                    log.write(typed)

    def wake(self, instance: str) -> None:
        """What happens behind our back: somebody starts the guest by hand."""
        if self._read(instance):
            self._become(instance, DomainState.RUNNING)

    def _facts(self, instance: str) -> DomainFacts:
        domain = self._read(instance)
        state = DomainState(domain["state"]) if domain else DomainState.ABSENT
        return DomainFacts(
            instance=instance, state=state, paused=bool(why := domain.get("paused", "")), io_error=why == "io_error",
            display=Display(port=domain["spec"]["display_port"] if state is DomainState.RUNNING else 0),
            accelerator=Accelerator.SIMULATED if domain else Accelerator.UNPROVED,
        )

    def _runs(self, instance: str) -> bool:
        return self._read(instance).get("state") == DomainState.RUNNING

    def _become(self, instance: str, state: DomainState) -> None:
        domain = self._read(instance)
        if domain and domain["state"] != state:
            self._write(instance, {**domain, "state": state, "paused": ""})
            self.effect(str(state), instance, domain)
            self._callback(instance)

    def _say(self, domain: dict[str, Any], line: str) -> None:
        try:
            with Path(domain["console_log"]).open("a", encoding="utf-8") as console:
                console.write(f"{clock.rfc3339()} {line}\n")
        except OSError as error:
            raise Failed("hypervisor", "The console log could not be written", str(error)) from error

    def _file(self, instance: str) -> Path:
        if not ids.is_id(instance, "ins"):
            raise Refused("invalid", f"{instance!r} is not an instance")
        return self._domains / f"{instance}.json"

    def _read(self, instance: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self._file(instance).read_text("utf-8")))
        except FileNotFoundError:
            return {}

    def _write(self, instance: str, domain: dict[str, Any]) -> None:
        _replace(self._file(instance), json.dumps(domain, ensure_ascii=False))


class FakeNetwork:
    """One file per tap in ``folder``/taps, holding the instance it belongs to."""

    def __init__(self, folder: Path) -> None:
        self._taps = folder / "taps"
        self._taps.mkdir(parents=True, exist_ok=True)
        self.faults = Faults()
        self.spans: tuple[SegmentSpan, ...] = ()
        self.edge = NodeEdge()

    def plug(self, instance: str, nic: Nic) -> str:
        self.faults.strike("plug", instance)
        name = tap_name(instance, nic.mac)
        _replace(self._taps / name, instance)
        return name

    def span(self, segments: Sequence[SegmentSpan]) -> None:
        self.faults.strike("span")
        self.spans = tuple(segments)

    def guard(self, edge: NodeEdge) -> None:
        self.faults.strike("guard")
        self.edge = edge

    def look(self, instance: str, nic: Nic, edge: NodeEdge, segments: Sequence[SegmentSpan]) -> tuple[LinkFacts, ...]:
        self.faults.strike("look", instance)
        name, is_so = tap_name(instance, nic.mac), edge == self.edge and tuple(segments) == self.spans
        hint = "Reboot the instance: its tap is made as it starts."
        return links.seen(nic.ip, [
            ("tap", lambda: links.ok("tap", "The guest's tap is in the bridge of its network", name) if name in self.found()
             else links.broken("tap", "The guest's tap is not there", f"its node has no link {name}", hint)),
            ("guards", lambda: links.ok("guards", "The packet rules are in force") if is_so
             else links.broken("guards", "The packet rules are older than what is wanted", "the last change has not arrived there", "")),
        ])

    def unplug(self, instance: str) -> None:
        self.faults.strike("unplug", instance)
        for path in self._taps.glob(f"{tap_name(instance, '')}*"):
            path.unlink(missing_ok=True)

    def found(self) -> dict[str, str]:
        self.faults.strike("found")
        return {p.name: p.read_text("utf-8") for p in sorted(self._taps.iterdir()) if not p.suffix}


def _show(path: str, what: str) -> None:
    """Leave a socket there, as a guest's screen and its serial port do, also in place of one left by its last run."""
    if not path:
        return
    try:
        _bound(path).close()
    except OSError as error:
        raise Failed("hypervisor", what, f"its sockets: {error}") from error


def _bound(path: str) -> socket.socket:
    Path(path).unlink(missing_ok=True)
    folder = os.open(Path(path).parent, os.O_PATH | os.O_DIRECTORY)
    try:
        made = socket.socket(socket.AF_UNIX)
        # through the folder: a socket's own path may not be long
        made.bind(f"/proc/self/fd/{folder}/{Path(path).name}")
    finally:
        os.close(folder)
    return made


def _replace(target: Path, text: str) -> None:
    part = target.with_suffix(f".{os.getpid()}-{ids.secret()[:8]}.part")
    part.write_text(text, "utf-8")
    part.replace(target)
