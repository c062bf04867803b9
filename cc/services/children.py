"""The hosts below this CC: let in, watched, forgotten: the only writer of Child; and the joining requests of its door."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from pydantic import TypeAdapter

from cc.services import pool, roll
from cc.services.office import Office
from cc.services.placement import NodeView
from luhyaapi import clock, log
from luhyaapi.contracts.commands import HostAdmit
from luhyaapi.contracts.reports import Hello, JoinAsked
from luhyaapi.contracts.specs import Name
from luhyaapi.contracts.vocabulary import HostState, Role
from luhyaapi.errors import Refused
from luhyaapi.files import write_atomic
from luhyaapi.wire import identity
from luhyadb import memory
from luhyadb.models import Child, Placement

_log = log.get(__name__)
_NAME = TypeAdapter(Name)
_REQUEST = re.compile(r"[A-Za-z0-9_-]{20,64}")
_ADDRESS = re.compile(r"[a-z]{1,10}://[A-Za-z0-9.:\[\]_-]{1,80}")
_WAITING_AT_MOST = 64
_WAITS_S, _TOLD_S = 24 * 3600.0, 3600.0


def ask(office: Office, form: object, remote: str) -> dict[str, str]:
    """Somebody at the door wants to join; the CLC decides. Raises Refused(invalid | quota)."""
    if not isinstance(form, dict):
        raise Refused("invalid", "The request to join cannot be read")
    request, token = str(form.get("request", "")), str(form.get("token", ""))
    if not _REQUEST.fullmatch(request):
        raise Refused("invalid", "The request to join has no good name", "20 to 64 letters, digits, - and _")
    file = _file(office, request)
    if not file.exists() and _waiting(office) >= _WAITING_AT_MOST:
        raise Refused("quota", "Too many hosts wait to join")
    # Only a hash goes up: the token itself is for our eyes.
    secret = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        report = JoinAsked(
            request=request, role=Role(str(form.get("role"))), name=_NAME.validate_python(form.get("name")), csr=str(form.get("csr"))[:4000],
            tls=str(form.get("tls") or "")[:4000],
            proof=hashlib.sha256(secret.encode()).hexdigest(), address=str(form.get("address") or remote)[:100],
        )
    except ValueError as e:
        raise Refused("invalid", "The request to join cannot be read", str(e)[:200]) from e
    if report.role not in (Role.NC, Role.SC):
        raise Refused("invalid", f"A {report.role} does not join below a cluster", "nodes and storage do")
    if not file.exists():
        write_atomic(file, json.dumps({"state": HostState.NEW}).encode())
    office.agent.report(report)
    return {"state": HostState.NEW}


def answer(office: Office, request: str) -> dict[str, str] | None:
    """What a joining host gets; None while it waits. Raises Refused(not_found | forbidden)."""
    if not _REQUEST.fullmatch(request) or not _file(office, request).exists():
        raise Refused("not_found", "There is no such request to join")
    form: dict[str, str] = json.loads(_file(office, request).read_text())
    if form.get("state") == HostState.RETIRED:
        raise Refused("forbidden", "The administrator refused this host", form.get("why", ""))
    return None if form.get("state") == HostState.NEW else form


def admit(office: Office, order: HostAdmit) -> None:
    """Make a child's account and keep what it will fetch; said again, also after it was fetched, it is the same account."""
    agent = office.agent
    if agent.down is None:
        raise Refused("unsupported", "This host has no broker")
    with memory.atomic():
        pool.turn()
        Child.objects.update_or_create(
            pk=order.host, defaults={"role": order.role, "name": order.name, "certificate": order.certificate},
        )
    account = agent.down.admit(order.host, identity.derived(agent.key, "broker", order.host, order.request))
    own = agent.membership
    write_atomic(_file(office, order.request), json.dumps({
        "host": order.host, "certificate": order.certificate, "authority": order.authority, "boss": agent.me,
        "boss_certificate": own.certificate, "broker": account.url, "broker_name": account.name, "tls": order.tls,
        "streams": f"{agent.settings.host.address}:{agent.settings.host.stream_port}",
    }).encode())
    _log.info("child let in", host=order.host)


def refuse(office: Office, request: str, why: str) -> None:
    """Turn a joining host away."""
    if _REQUEST.fullmatch(request):
        write_atomic(_file(office, request), json.dumps({"state": HostState.RETIRED, "why": why}).encode())


def remove(office: Office, host: str) -> None:
    """Forget a child; its account and queues go too. Raises Refused(state) while something is placed there; nothing new is, then."""
    drain(host, on=True)
    with memory.atomic():
        pool.alone()
        if placed := Placement.objects.filter(node=host).count():
            raise Refused("state", "This host is still in use", f"{placed} instances have their place there")
    forget(office, host)
    with memory.atomic():
        delete(host)


def delete(host: str) -> None:
    """No host of ours any more. In a transaction of the caller's."""
    pool.turn()
    Child.objects.filter(pk=host).delete()


def forget(office: Office, host: str) -> None:
    """Its account and queues go, and what is known of it."""
    if office.agent.down is not None:
        office.agent.down.remove(host)
    office.forget(host)


def hello(report: Hello) -> None:
    """A child started or reconnected."""
    pool.turn()
    Child.objects.filter(pk=report.host).update(
        name=report.name, cpus=report.capacity.cpus, memory_mib=report.capacity.memory_mib,
        disk_mib=report.capacity.disk_mib, speaks=report.speaks, hypervisor=report.hypervisor, last_heard=clock.now(),
        # other nodes are told to fetch from there
        address=report.address if _ADDRESS.fullmatch(report.address) else "",
    )


def heard(office: Office, hosts: list[str]) -> None:
    """Save that children were heard of just now, those whose last time is old enough."""
    now, every_s = clock.now(), office.agent.settings.beat.save_s
    due = [host for host in hosts if abs(now - office.saved.get(host, 0)) >= every_s]
    if due:
        Child.objects.filter(pk__in=due, last_heard__lt=now).update(last_heard=now)
        office.saved.update(dict.fromkeys(due, now))


def joined(office: Office, host: str) -> None:
    """A child works now: what it fetched at the door, with its password, is not kept."""
    for file in office.joins.glob("*.json"):
        if json.loads(file.read_text()).get("host") == host:
            file.unlink()


def drain(host: str, *, on: bool) -> None:
    """Place nothing new there, or again."""
    with memory.atomic():
        pool.turn()
        Child.objects.filter(pk=host).update(draining=on)


def nodes(office: Office, *, without: str = "") -> list[NodeView]:
    """The nodes as placement sees them: capacity from Hello, use from placements, the rest from the last heartbeat.

    The use does not count the instance ``without``.
    """
    since = office.agent.listening_since() or clock.now()
    return [node.view(office, since) for node in roll.read(without).values()]


def is_silent(office: Office, child: Child) -> bool:
    """Whether a child was not heard of for some beats, while we listened."""
    beat = office.agent.settings.beat
    heard = office.agent.relay.heard.get(child.pk, child.last_heard)
    return clock.now() - max(heard, office.agent.listening_since() or clock.now()) > beat.every_s * beat.silent_after


def speaks(host: str) -> dict[str, int]:
    """What a child understands; empty when unknown."""
    row = Child.objects.filter(pk=host).values_list("speaks", flat=True).first()
    return dict(row or {})


def _waiting(office: Office) -> int:
    """Requests that wait for an answer; those nobody came back for are forgotten."""
    waiting = 0
    for file in office.joins.glob("*.json"):
        try:
            age_s, state = clock.now() - file.stat().st_mtime, json.loads(file.read_text()).get("state")
        except FileNotFoundError:
            continue
        if (state == HostState.NEW and age_s > _WAITS_S) or (state == HostState.RETIRED and age_s > _TOLD_S):
            file.unlink(missing_ok=True)
        elif state == HostState.NEW:
            waiting += 1
    return waiting


def _file(office: Office, request: str) -> Path:
    return office.joins / f"{request}.json"
