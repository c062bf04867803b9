"""Take the cloud down: guests first and gently, then every process, then what the roles put into the kernel."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from deploy.host import account, enclose, guests
from deploy.host.firsts import phase
from deploy.host.plan import Plan
from deploy.host.profiles import MARK
from deploy.host.supervision import Supervision
from luhyaapi import process
from luhyaapi.errors import Failed, Refused, Trouble
from nc.drivers.metadata_bridge import rules_of


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
    if _is_ours(plan):
        process.run(["/usr/sbin/ip", "link", "delete", plan.bridge], timeout_s=10)
        if "nc" in plan.roles:
            with contextlib.suppress(Failed):  # nothing here could have made any
                rules_of(plan.bridge).down()
    try:
        process.run(["/usr/sbin/nft", "delete", "table", "inet", plan.table], timeout_s=10, check=False)
    except Trouble:
        return  # no nft here, so no table of ours


def _is_ours(plan: Plan) -> bool:
    # The CC writes its folder, cut to the kernel's limit, into the bridge's alias.
    try:
        alias = Path(f"/sys/class/net/{plan.bridge}/ifalias").read_text("utf-8").strip()
    except OSError:
        return False
    if "cc" not in plan.roles:
        # A node on its own makes the bridge without a mark; on a host of ours nobody else uses its name.
        return not alias and "nc" in plan.roles
    return bool(alias) and f"educloud {plan.dnsmasq_pid.parent}".startswith(alias)
