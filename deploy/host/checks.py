"""What must hold before a cloud is started here; each refusal says what to do."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from pathlib import Path

import psutil

from deploy.host import configs, console, enclose, ground, tools
from deploy.host.plan import Plan
from luhyaapi.errors import Refused

PROGRAMS = {
    "clc": ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/bin/memcached"),
    "walrus": ("/usr/bin/qemu-img", "/usr/bin/bwrap"),
    "cc": ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/sbin/dnsmasq", "/usr/sbin/ip"),
    "nc": ("/usr/sbin/libvirtd", "/usr/bin/virsh", "/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-img", "/usr/sbin/ip"),
    "sc": (),
}
"""What a role needs from Debian packages."""
_FOR_BRIDGES = {"/usr/sbin/dnsmasq", "/usr/sbin/ip"}
_LEAST_FREE_MIB = 2048


def preconditions(plan: Plan) -> None:
    """Raises Refused with everything named that stands in the way."""
    if missing := absent(plan):
        raise Refused("invalid", "Programs are not installed", ", ".join(missing), hint="`make up` (or `make join`) installs them.")
    _known()
    settings(plan)
    if "broker" in plan.services:
        _localhost()
    free_mib = shutil.disk_usage(plan.home).free // 2**20
    if free_mib < _LEAST_FREE_MIB:
        raise Refused("quota", f"{plan.home} has {free_mib} MiB free", f"{_LEAST_FREE_MIB} are needed at least")
    foreign = strangers(plan)
    if foreign:
        raise Refused(
            "conflict", "Ports of this cloud are taken by somebody else", "; ".join(foreign),
            hint="Stop that program, or choose other ports by EDUCLOUD_PORT_BASE.",
        )


def settings(plan: Plan) -> None:
    """Raises Refused(invalid) for what an operator cannot set for a role alone, and for a certificate that is not there."""
    if "clc" in plan.roles:
        console.of(plan)
    for role in plan.roles:
        for group, fields in ground.chosen(plan, role).items():
            for field in sorted(set(fields) & set(configs.OWNED.get(group, ()))):
                by = configs.CHOSEN_BY.get(field, "EDUCLOUD_HOME and EDUCLOUD_PORT_BASE")
                raise Refused("invalid", f"{plan.own_settings(role)} sets {group}.{field}", "`make up` chooses it for all programs of this host",
                              hint=f"Take the line out; it follows from {by}. Nothing was changed.")


def absent(plan: Plan) -> list[str]:
    """Programs of Debian packages that are neither installed nor unpacked."""
    if plan.profile.is_simulated:
        return []
    needed = dict.fromkeys(p for role in plan.roles for p in PROGRAMS[role] if plan.profile.is_roots or p not in _FOR_BRIDGES)
    return [p for p in needed if not Path(tools.at(plan, p)).exists()]


def _known() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError as e:
        raise Refused("invalid", f"This machine knows no user {os.geteuid()}", "libvirt asks for the name",
                      hint="Call as a user who stands in /etc/passwd.") from e


def _localhost() -> None:
    try:
        found = {row[4][0] for row in socket.getaddrinfo("localhost", None, socket.AF_INET)}
    except OSError:
        found = set()
    if "127.0.0.1" not in found:
        raise Refused("invalid", "localhost is not 127.0.0.1 here", hint="Add the line `127.0.0.1 localhost` to /etc/hosts.")


def strangers(plan: Plan) -> list[str]:
    """Ports of the plan on which a program listens that is not of this cloud."""
    names = {port: name for name, port in plan.ports.table.items()}
    there = [row for row in psutil.net_connections("tcp") if row.status == psutil.CONN_LISTEN and row.laddr.port in names]
    # Asked after the ports: of ours, one that began meanwhile is known, and one that just ended has no name any more.
    mine = enclose.ours(str(plan.home))
    found = set()
    for row in there:
        command = enclose.command(row.pid) if row.pid else ""
        if row.pid in mine or (row.pid and not command):
            continue
        who = f"{command}, process {row.pid}" if row.pid else "a process not visible from here"
        found.add(f"{row.laddr.port} ({names[row.laddr.port]}): {who}")
    return sorted(found)
