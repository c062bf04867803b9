"""Take the cloud down: guests first and gently, then every process, then what the roles put into the kernel."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.host import account, boot, enclose, guests
from deploy.host.firsts import phase
from deploy.host.plan import Plan
from deploy.host.profiles import MARK
from deploy.host.supervision import Supervision
from luhyaapi import process
from luhyaapi.conf import rules_of
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.edge import RULES, vxlan
from luhyaapi.errors import Failed, Refused, Trouble


def down(plan: Plan) -> None:
    """Nothing of this cloud runs any more; its state stays."""
    supervision = Supervision(plan)
    with phase("roles stopped"):
        # Before the guests: else the node's reconciler would start them again.
        _stop_roles(plan, supervision)
    with phase("guests stopped"):
        if "libvirtd" in plan.services:
            guests.stop_all(plan)
    with phase("services stopped"):
        supervision.shutdown()
        _end(list(enclose.ours(str(plan.home))))
    if plan.profile.is_roots:
        with phase("bridge, addresses, rules removed"):
            _clear_network(plan)


def reset(plan: Plan, environ: Mapping[str, str]) -> None:
    """``down``, and its state is gone. Raises Refused(invalid) for a folder that ``up`` did not make."""
    if any(plan.home.iterdir()) and not (plan.home / MARK).exists():
        raise Refused("invalid", f"{plan.home} is not a folder of eduCloud", "it has no mark of ours, so nothing was deleted")
    down(plan)
    boot.remove(plan)
    account.drop_entry(plan, account.caller(environ))
    with phase("state deleted"):
        shutil.rmtree(plan.home)


def _stop_roles(plan: Plan, supervision: Supervision) -> None:
    if supervision.answers():
        with ThreadPoolExecutor(len(plan.role_programs)) as beside:
            list(beside.map(supervision.stop, plan.role_programs))
    left = [pid for pid, name in enclose.ours(str(plan.home)).items() if name in plan.role_programs or name == "demo"]
    for pid in list(left):
        try:
            # A program run by the image build carries no mark, but is its child.
            left += [child.pid for child in psutil.Process(pid).children(recursive=True) if "qemu-system" not in child.name()]
        except psutil.Error:
            continue
    _end(left)


def _end(pids: list[int]) -> None:
    stuck = [pid for pid in dict.fromkeys(pids) if process.alive(pid) and not process.end(pid, grace_s=15.0)]
    if stuck:
        raise Failed("timeout", "Processes did not end", ", ".join(f"{enclose.command(p)} {p}" for p in stuck))


def _clear_network(plan: Plan) -> None:
    pid = guests.number(plan.dnsmasq_pid)
    if pid and enclose.command(pid) == "dnsmasq":
        process.end(pid)
    for bridge in _bridges(plan):
        for vni, of in vxlan.links().items():
            if of == bridge:
                vxlan.remove(vni)
        process.run(["/usr/sbin/ip", "link", "delete", bridge], timeout_s=10)
    for role in {Role.CC, Role.NC} & set(map(Role, plan.roles)):
        for driver in ("nftables", "iptables"):
            with suppress(Trouble):  # a program that is not here left nothing here
                RULES[driver](rules_of(role, plan.bridge)).down()


def _bridges(plan: Plan) -> list[str]:
    names = [link.name for link in Path("/sys/class/net").iterdir() if re.fullmatch(rf"{re.escape(plan.bridge)}(-\d+)?", link.name)]
    return [name for name in names if _is_ours(plan, name)]


def _is_ours(plan: Plan, bridge: str) -> bool:
    # The CC writes its folder, cut to the kernel's limit, into the bridge's alias; one that the node made first has none.
    try:
        alias = Path(f"/sys/class/net/{bridge}/ifalias").read_text("utf-8").strip()
    except OSError:
        return False
    if not alias:
        return "nc" in plan.roles
    homes = [f"educloud {plan.home}/{role}/edge" for role in ("cc", "nc") if role in plan.roles]
    return any(home.startswith(alias) or alias.startswith(f"{home}/") for home in homes)
