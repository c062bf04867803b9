"""The probes and the judgements put together, by what is set up on this machine."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from deploy import lock
from deploy.doctor import machine, probes, running
from deploy.doctor.finding import Finding, fail, warn
from deploy.doctor.site import ETC, Role, Site, local, look
from deploy.host import plan as plans
from deploy.host import profiles, tools
from luhyaapi import clock
from luhyaapi.errors import Trouble

ROOT = Path(__file__).resolve().parents[2]
_NEEDED_TO_LOOK = ("psutil", "structlog", "supervisor", "cryptography", "pydantic")
_UNPACKED = {"rabbitmq-server", "memcached", "libvirtd", "virsh", "qemu-system-x86_64", "qemu-img", "bwrap"}
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def is_set_up(environ: Mapping[str, str]) -> bool:
    """Whether a role is set up on this machine; elsewhere the client may be all there is."""
    try:
        return bool(look(_plan(environ)).roles)
    except Trouble:
        return True


def _plan(environ: Mapping[str, str]) -> plans.Plan:
    home, file = profiles.places(environ, os.geteuid())
    if not home.exists():
        home, file = profiles.places(environ, 0)  # nothing of this user: the machine's cloud, if there is one
    # The choices kept in a home are its owner's to read.
    made = plans.make(environ, ROOT, Path(sys.executable), file, choices=plans.Choices(), default_home=home)
    if os.access(made.choices_file, os.R_OK):
        made = dataclasses.replace(made, choices=plans.Choices.kept(made.choices_file))
    return dataclasses.replace(made, profile=profiles.kept(made.home) or profiles.default(os.geteuid()))


def examine(environ: Mapping[str, str], etc: Path = ETC) -> list[Finding]:
    """Every finding, those of the machine first."""
    try:
        site = look(_plan(environ), etc)
    except Trouble as e:
        return [fail("configuration", e.what, e.why, e.hint)]
    found = [*_of_machine(site), *_of_setup(site)]
    if all(map(find_spec, _NEEDED_TO_LOOK)):
        return [*found, *_of_running(site)]
    return [*found, warn("running", "What runs was not looked at", "this Python has not the packages to look with",
                         "Run `make doctor` once they are installed.")]


def _of_machine(site: Site) -> Iterator[Finding]:
    profile = site.plan.profile
    yield machine.python(sys.version_info[:3])
    yield machine.packages(_lock(site), probes.installed(ROOT))
    root = site.plan.unpacked if profile.is_unpacked else None
    yield from machine.programs(site.names, probes.programs_there(machine.PROGRAMS, root), _elsewhere(site))
    for folder in sorted({r.state for r in site.roles} or {site.plan.home}):
        yield machine.disk(str(folder), probes.free_mib(folder))
    yield machine.memory(*probes.memory_mib(), site.names)
    yield machine.clock(clock.now())
    if "nc" in site.names and not profile.is_simulated:
        node = next((r.state for r in site.roles if r.name == "nc"), site.plan.home / "nc")
        yield machine.accelerator(
            is_there=Path("/dev/kvm").exists(), verdict=probes.text(node / "accelerator.json"), boot=probes.text(_BOOT_ID).strip(),
        )
    if not profile.is_roots:
        return
    yield from machine.network(
        has_bridges=probes.has_bridges(), has_tun=Path("/dev/net/tun").exists(),
        forwards=probes.text(Path("/proc/sys/net/ipv4/ip_forward")).strip() == "1", roles=site.names,
    )
    if site.names & {"cc", "nc"}:
        yield machine.connections(*probes.connections())


def _lock(site: Site) -> dict[str, str]:
    if "clc" in site.names:
        return machine.locked(lock.LOCK.read_text("utf-8") if site.plan.profile.is_roots else lock.uncompiled())
    found: dict[str, str] = {}
    for role in site.names:
        found |= machine.locked(lock.needed(role))
    return found


def _elsewhere(site: Site) -> set[str]:
    """Programs not needed here: services whose configuration names another machine, and what the profile does without."""
    if not site.plan.profile.is_roots:
        return {p.name for p in machine.PROGRAMS if p.name not in _UNPACKED or site.plan.profile.is_simulated}
    bosses = [r for r in site.roles if r.name in ("clc", "cc")]
    away = {"rabbitmq-server"} if bosses and not any(r.is_local("broker") for r in bosses) else set()
    if any(r.name == "clc" and not r.is_local("board") for r in bosses):
        away.add("memcached")
    return away


def _of_setup(site: Site) -> Iterator[Finding]:
    if site.closed or (os.geteuid() != 0 and site.plan.profile.is_roots):
        whose = f"the configuration of {', '.join(site.closed)}" if site.closed else "secrets and programs of the roles"
        yield warn("rights", "Not everything could be looked at", f"{whose} may not be read by this user", "Run it as root.")
    if not site.names_set_up:
        yield warn("roles", "No role is set up on this machine", f"neither below {site.plan.home} nor in {ETC}",
                   "`make up` makes a whole cloud here.")
    for role in site.roles:
        yield running.config(role.name, " and ".join(map(str, (role.file, *([local(role.file)] if role.own else [])))), role.trouble)
    yield from machine.secrets(probes.modes(p for r in site.roles for p in _secrets(r)))


def _secrets(role: Role) -> Iterator[Path]:
    yield from (role.state / name for name in ("identity/key.pem", "identity/membership.json", "authority/key.pem", "admin-password"))
    for group, name in (("broker", "password_file"), ("console", "secret_file"), ("boss", "token_file"), ("database", "password_file")):
        if file := role.path(group, name):
            yield file


def _of_running(site: Site) -> Iterator[Finding]:
    walls = tools.at(site.plan, "/usr/bin/bwrap")
    if "walrus" in site.names and not site.plan.profile.is_simulated and Path(walls).exists():
        yield machine.enclosure(probes.enclosure(walls, tools.environ(site.plan)))
    is_ours = site.is_one_host_cloud and not site.closed  # of another user's cloud neither programs nor the supervisor are seen
    if is_ours or not site.names_set_up:
        yield _ports(site)
    if is_ours:
        logs = {program: str(site.plan.log(program)) for program in site.plan.programs}
        yield from running.supervisor(probes.supervisor_states(site.plan), logs)
    sound = [r for r in site.roles if not r.trouble]
    for role in sound:
        if trouble := probes.config_trouble(role.file):
            yield running.config(role.name, str(role.where(trouble)), trouble)
    yield from _services(site, sound)
    for role in sound:
        yield from _of_role(site, role)


def _ports(site: Site) -> Finding:
    from deploy.host.checks import strangers

    return running.ports(strangers(site.plan), is_root=os.geteuid() == 0)


def _start(site: Site, unit: str) -> str:
    """How something is started on this machine."""
    return running.START if site.is_one_host_cloud else f"Start it where it runs, e.g. systemctl start {unit}."


def _services(site: Site, roles: list[Role]) -> Iterator[Finding]:
    brokers = {_broker_of(r) for r in roles if not site.plan.profile.is_simulated}
    for host, port, secured in sorted(brokers - {("", 0, False)}):
        yield running.service("broker", f"{host}:{port}", probes.broker(host, port, secured=secured), _start(site, "rabbitmq-server"))
    for role in roles:
        if role.name == "clc" and role.get("board", "port"):
            host, port = str(role.get("board", "host")), int(role.get("board", "port"))
            yield running.service("board", f"{host}:{port}", probes.board(host, port), _start(site, "memcached"))
        if role.name == "nc" and role.get("hypervisor", "driver") == "libvirt" and (os.geteuid() == 0 or not site.plan.profile.is_roots):
            uri = str(role.get("hypervisor", "uri"))
            told = probes.libvirt(uri, tools.at(site.plan, "/usr/bin/virsh"), tools.environ(site.plan))
            yield running.service("libvirt", uri, told, _start(site, "libvirtd"))


def _broker_of(role: Role) -> tuple[str, int, bool]:
    """The broker a boss runs, or the one a child was told of when it joined."""
    if role.name in ("clc", "cc"):
        return str(role.get("broker", "host")), int(role.get("broker", "port")), False
    return probes.place_of(probes.membership(role.state / "identity").get("broker", ""))


def _of_role(site: Site, role: Role) -> Iterator[Finding]:
    identity = role.state / "identity"
    if role.name == "clc":
        where = role.door("console", "port")
        yield running.door("clc-web", where, *probes.ready(where), _start(site, "educloud-clc-web"))
    where = role.door("host", "door_port")
    name = "clc-relay" if role.name == "clc" else role.name
    yield running.door(name, where, *probes.ready(where), _start(site, f"educloud-{name}"))
    if os.access(role.state, os.X_OK) and os.access(role.state, os.R_OK):
        if role.name != "clc":
            file = role.path("boss", "token_file")
            yield running.joined(role.name, host=probes.membership(identity).get("host", ""),
                                 has_token=bool(file and probes.text(file).strip()), token_file=str(file or ""))
            yield from running.machine(role.name, *probes.of_another_machine(identity))
        shown = identity / "tls.pem"
        if role.get("host", "tls") and (times := probes.validity(shown)):
            yield running.certificate(role.name, str(shown), *times, clock.now())
    if door := str(role.get("boss", "door")):
        yield machine.clock_offset(door, probes.offset_s(door, clock.now()))
