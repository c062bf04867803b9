"""Whether this machine can carry its roles: pure judgements of what the probes found."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from deploy.doctor.finding import Finding, fail, ok, warn

OLDEST_PYTHON = (3, 11)
INSTALL = "Run `make up` (or deploy/install.sh), which installs what is missing."
_CONNECTIONS_MANY, _CONNECTIONS_FULL = 0.75, 0.95
_EARLIEST_S = 1_735_689_600.0  # 2025: nobody had this program before
_LATEST_S = 4_102_444_800.0  # 2100


@dataclass(frozen=True)
class Program:
    """A program of a Debian package, at any of ``paths``; ``roles`` need it."""

    name: str
    paths: tuple[str, ...]
    package: str
    roles: frozenset[str]
    is_needed: bool = True


def _program(name: str, package: str, roles: str, *paths: str, is_needed: bool = True) -> Program:
    return Program(name, paths, package, frozenset(roles.split()), is_needed)


PROGRAMS = (
    _program("rabbitmq-server", "rabbitmq-server", "clc cc", "/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/sbin/rabbitmq-server"),
    _program("memcached", "memcached", "clc", "/usr/bin/memcached"),
    _program("libvirtd", "libvirt-daemon-system", "nc", "/usr/sbin/libvirtd"),
    _program("virsh", "libvirt-clients", "nc", "/usr/bin/virsh"),
    _program("qemu-system-x86_64", "qemu-system-x86", "nc", "/usr/bin/qemu-system-x86_64"),
    _program("qemu-img", "qemu-utils", "nc walrus", "/usr/bin/qemu-img"),
    _program("bwrap", "bubblewrap", "walrus", "/usr/bin/bwrap"),
    _program("dnsmasq", "dnsmasq-base", "cc", "/usr/sbin/dnsmasq"),
    _program("ip", "iproute2", "cc nc", "/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"),
    _program("nft", "nftables", "cc", "/usr/sbin/nft", is_needed=False),
    _program("mmdebstrap", "mmdebstrap", "clc", "/usr/bin/mmdebstrap", is_needed=False),
    _program("busybox", "busybox-static", "clc", "/usr/bin/busybox", "/bin/busybox", is_needed=False),
)


def python(version: tuple[int, ...]) -> Finding:
    """The interpreter we run in."""
    said = ".".join(map(str, version))
    if version[:2] >= OLDEST_PYTHON:
        return ok("python", f"Python {said}")
    return fail("python", f"Python {said} is too old", "3.11 or newer is needed", "Install python3 of Debian 12 or newer.")


def locked(text: str) -> dict[str, str]:
    """Package to version of a lock; entries only for other Pythons or systems are left out."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)[ \t]*(;?)", text, re.MULTILINE)
    return {_plain(name): version for name, version, marker in found if not marker}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(lock: Mapping[str, str], installed: Mapping[str, str] | None) -> Finding:
    """Python packages against the lock; ``installed`` None: there is no virtual environment."""
    if installed is None:
        return fail("packages", "The virtual environment is not there", "no .venv beside the programs", INSTALL)
    there = {_plain(name): version for name, version in installed.items()}
    absent = sorted(name for name in lock if name not in there)
    other = sorted(f"{name} {there[name]} for {version}" for name, version in lock.items() if there.get(name, version) != version)
    if absent:
        return fail("packages", f"{len(absent)} of {len(lock)} Python packages are missing", _some(absent), INSTALL)
    if other:
        return warn("packages", "Python packages differ from the lock", _some(other), INSTALL)
    return ok("packages", f"{len(lock)} Python packages as the lock says")


def _some(names: Collection[str], at_most: int = 8) -> str:
    chosen = list(names)[:at_most]
    return ", ".join(chosen) + (f" and {len(names) - at_most} more" if len(names) > at_most else "")


def programs(roles: set[str], has: Collection[str], elsewhere: Collection[str] = ()) -> list[Finding]:
    """System programs the roles need; ``has``: names found, ``elsewhere``: names of services that run on another machine."""
    needed = [p for p in PROGRAMS if p.roles & roles and p.name not in elsewhere]
    absent = [p for p in needed if p.name not in has]
    found: list[Finding] = []
    for program in absent:
        who = ", ".join(sorted(program.roles & roles))
        step = f"{INSTALL} By hand: apt-get install {program.package}"
        if program.is_needed:
            found.append(fail("programs", f"{program.name} is not installed", f"needed by {who}", step))
        else:
            found.append(warn("programs", f"{program.name} is not installed", f"of use to {who}", step))
    present = [p.name for p in needed if p not in absent]
    return [*found, *([ok("programs", _some(present, 20))] if present else [])]


def disk(folder: str, free_mib: int) -> Finding:
    """Room where something is remembered."""
    line = f"{free_mib / 1024:.1f} GiB free for {folder}"
    step = "Free space there, or move EDUCLOUD_HOME to a larger disk."
    if free_mib < 2048:
        return fail("disk", line, "2 GiB are needed at least", step)
    return warn("disk", line, "images and guests' disks soon fill it", step) if free_mib < 10 * 1024 else ok("disk", line)


def memory(total_mib: int, available_mib: int, roles: set[str]) -> Finding:
    """Memory of the machine: a whole cloud takes about 1 GiB without guests."""
    needed_mib = 1536 if len(roles) > 2 else 512
    line = f"{total_mib / 1024:.1f} GiB, {available_mib / 1024:.1f} GiB available"
    if total_mib < needed_mib:
        return fail("memory", line, f"{needed_mib} MiB are needed for {', '.join(sorted(roles))}", "Give the machine more memory.")
    if available_mib < 256:
        return warn("memory", line, "programs may be ended for want of it", "Stop guests or other programs.")
    return ok("memory", line)


def clock(now_s: float) -> Finding:
    """Whether the time can be true at all."""
    if _EARLIEST_S < now_s < _LATEST_S:
        return ok("clock", "plausible")
    return fail("clock", "The clock is wrong", f"it shows {now_s:.0f} s since 1970", "Set it, e.g. by timedatectl or an NTP service.")


def clock_offset(door: str, offset_s: float | None) -> Finding:
    """Our time against that of the boss, in seconds ahead; None when the boss does not answer."""
    step = "Have both machines follow the same NTP service."
    if offset_s is None:
        return warn("clock", f"Not compared with {door}", "the boss's door does not answer", "See that the boss runs and is reached from here.")
    line = f"{abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} {door}"
    if abs(offset_s) > 60:
        return fail("clock", line, "signed messages expire", step)
    return warn("clock", line, "they drift apart", step) if abs(offset_s) > 5 else ok("clock", f"as at {door}")


def accelerator(*, is_there: bool, verdict: str, boot: str) -> Finding:
    """/dev/kvm: there, and proved in this boot? ``verdict`` is the node's file, empty when it has none."""
    if not is_there:
        return warn("kvm", "/dev/kvm is not there", "guests are emulated, which is slow", "Switch on virtualization in the firmware or the outer hypervisor.")
    try:
        said = json.loads(verdict) if verdict else {}
        what, why, when = str(said.get("accelerator", "")), str(said.get("why", "")), str((said.get("key") or {}).get("boot", ""))
    except (ValueError, AttributeError):
        what, why, when = "", "", ""
    if not what or when != boot:
        return warn("kvm", "/dev/kvm is there and not proved", "no node has booted a guest with it since this boot",
                    "Start the node: it proves it by itself. Until then guests are emulated.")
    if what == "kvm":
        return ok("kvm", f"proved: {why}" if why else "proved")
    return warn("kvm", "/dev/kvm is there and of no use", why or f"the node says {what}", "Mend virtualization, then `educloud host refresh` that node.")


def enclosure(trouble: str) -> Finding:
    """Whether an account without rights can enclose a program; ``trouble``: what the kernel says to it."""
    if not trouble:
        return ok("enclosure", "uploads can be converted behind walls")
    return fail("enclosure", "Uploads cannot be converted behind walls, so none is taken", trouble,
                "Allow user namespaces: user.max_user_namespaces, kernel.unprivileged_userns_clone=1, "
                "kernel.apparmor_restrict_unprivileged_userns=0.")


def network(*, has_bridges: bool, has_tun: bool, forwards: bool, roles: set[str]) -> list[Finding]:
    """What the kernel must offer to guests' networks."""
    if not roles & {"cc", "nc"}:
        return []
    found = [
        ok("network", "the kernel has bridges") if has_bridges else
        fail("network", "The kernel has no bridges", "neither loaded nor to be found as a module", "modprobe bridge, or a kernel that has it."),
        ok("network", "guests can reach other networks through this host (ip_forward)") if forwards else
        warn("network", "Guests reach only this host and each other", "net.ipv4.ip_forward is 0", "sysctl -w net.ipv4.ip_forward=1, if they shall reach more."),
    ]
    if "nc" in roles:
        found.append(
            ok("network", "/dev/net/tun is there") if has_tun else
            fail("network", "/dev/net/tun is not there", "guests get no network card", "modprobe tun; in a container, let the device in."),
        )
    return found


def connections(count: int, most: int) -> Finding:
    """How full the kernel's table of connections is; 0 of 0: it keeps none."""
    if not most:
        return ok("connections", "the kernel keeps no table of connections")
    if count < _CONNECTIONS_MANY * most:
        return ok("connections", f"{count} of {most} connections")
    step = f"Find who opens so many (conntrack -L), or have more: sysctl net.netfilter.nf_conntrack_max={2 * most}"
    if count < _CONNECTIONS_FULL * most:
        return warn("connections", f"The table of connections is filling: {count} of {most}", "once it is full, nothing new reaches guests", step)
    return fail("connections", f"The table of connections is full: {count} of {most}", "the kernel drops what is new until others end", step)


def secrets(modes: Iterable[tuple[str, int]]) -> list[Finding]:
    """Files with secrets and their modes: for their owner only."""
    known = list(modes)
    open_ = [
        fail("secrets", f"{path} is open to others", f"its mode is {mode & 0o777:04o}", f"chmod 600 {path}; who could read it may know it: make a new one.")
        for path, mode in known if mode & 0o077
    ]
    return open_ or ([ok("secrets", f"{len(known)} files, for their owners only")] if known else [])
