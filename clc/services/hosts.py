"""Admit, watch, drain and remove hosts: the only writer of Host and JoinToken."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from clc.services import events, groups, queue
from clc.services.own import own
from clc.services.sentences import counted
from luhyaapi import clock, ids, log
from luhyaapi.command.send import Order
from luhyaapi.contracts.base import Command
from luhyaapi.contracts.commands import HostAdmit, HostDrain, HostLost, HostRefresh, HostRefuse, HostRemove
from luhyaapi.contracts.reports import Hello, JoinAsked
from luhyaapi.contracts.vocabulary import HostState, InstanceState, Kind, Role
from luhyaapi.errors import Refused
from luhyaapi.machines import HOST
from luhyaapi.wire import identity
from luhyaapi.wire.link import DownLink
from luhyaapi.wire.topology import boss_of
from luhyadb import memory, outbox, scope
from luhyadb.models import Account, Host, Instance, JoinToken, Outbox

_log = log.get(__name__)
TOKEN_LIFE_S = 24 * 3600.0
_DOUBTED_S = 3600.0
_DOUBTED_AT_ONCE = 100
_MARK = "ejt"
_AT_ONCE = 500


def proof_of(token: str) -> str:
    """What is kept of a token. Raises Refused(invalid) for something that is no token."""
    parts = token.strip().split(".")
    if len(parts) != 3 or parts[0] != _MARK:
        raise Refused("invalid", "This is not a join token", "it has the form ejt.<secret>.<fingerprint>")
    return hashlib.sha256(parts[1].encode()).hexdigest()


def make_token(account: Account | None, role: str) -> tuple[str, float]:
    """A one-time token for one host of a role, and when it ends. It carries our authority's fingerprint."""
    if account is not None:
        scope.require_admin(account)
    if role not in [r for r in Role if r is not Role.CLC]:
        raise Refused("invalid", "No host can join as that", f"roles are walrus, cc, nc, sc; not {role[:20]!r}")
    token = f"{_MARK}.{ids.secret()}.{identity.fingerprint(own().authority)}"
    expires_at = clock.now() + TOKEN_LIFE_S
    with memory.atomic():
        JoinToken.objects.create(proof=proof_of(token), role=role, expires_at=expires_at)
        events.record("host", role, "permission to join given", role=role, until=clock.rfc3339(expires_at))
    return token, expires_at


def boss_door(role: str) -> str:
    """The door a new host of that role knocks at: ours, or that of the first cluster."""
    cluster = Host.objects.filter(role=Role.CC).exclude(state=HostState.RETIRED).order_by("pk").first()
    if role in (Role.NC, Role.SC) and cluster is not None and cluster.address:
        return str(cluster.address)
    return str(settings.EDUCLOUD.host.door)


def join_asked(report: JoinAsked, boss: str) -> Host:
    """Somebody below ``boss`` asks to be let in: admitted with a good token, else kept for an administrator."""
    host = Host.objects.filter(request=report.request).first()
    if host is None:
        if boss_of(report.role) != ids.role_of(boss):
            raise Refused("invalid", f"A {report.role} does not join below {boss}", f"its boss is a {boss_of(report.role)}")
        host = Host.objects.create(
            id=ids.new(report.role), role=report.role, name=report.name, boss=boss, address=report.address,
            request=report.request, csr=report.csr, tls_csr=report.tls, created_at=clock.now(),
        )
        events.record("host", host.id, "host asks to join", host=host.id, role=str(report.role), name=report.name)
    if host.state == HostState.NEW and _spend(report.proof, host):
        admit(host)
    return host


def _spend(proof: str, host: Host) -> bool:
    """Whether the token was good; it is good once, for its role, in time."""
    good = JoinToken.objects.filter(proof=proof, role=host.role, used_by="", expires_at__gt=clock.now())
    return bool(good.update(used_by=host.id))


def admit(host: Host) -> None:
    """Sign the host's certificate; below a CC the CC makes its account."""
    _move(host, "admit", certificate=identity.certify(own().authority_key, own().authority, host.csr, host.id))
    if ids.role_of(host.boss) == Role.CC:
        outbox.send(_admission(host), host.boss, sender=own().id, task=ids.new("tsk"), deadline=clock.now() + TOKEN_LIFE_S)


def _admission(host: Host) -> HostAdmit:
    return HostAdmit(
        request=host.request, host=host.id, role=Role(host.role), name=host.name, certificate=host.certificate,
        authority=own().authority, tls=_tls(host),
    )


def membership(request: str, down: DownLink) -> dict[str, str] | None:
    """What an admitted direct child gets, with its broker account; None while it waits. Raises Refused(not_found)."""
    host = Host.objects.filter(request=request, boss=own().id).exclude(state=HostState.RETIRED).first()
    if host is None:
        raise Refused("not_found", "There is no such request to join")
    if not host.certificate:
        return None
    if host.boot or host.last_heard:
        raise Refused("state", "This host has joined already", "what it was granted is given once")
    account = down.admit(host.id, identity.derived(own().key, "broker", host.id, request))
    return {
        "host": host.id, "certificate": host.certificate, "authority": own().authority, "boss": own().id,
        "boss_certificate": own().membership.certificate, "broker": account.url, "broker_name": account.name,
        "streams": f"{settings.EDUCLOUD.host.address}:{settings.EDUCLOUD.host.stream_port}", "tls": _tls(host),
    }


def _tls(host: Host) -> str:
    """The certificate of a host's doors, where it has some that others reach."""
    return identity.certify_tls(own().authority_key, own().authority, host.tls_csr, host.id) if host.tls_csr else ""


def approve(account: Account, host_id: str) -> Host:
    """Let a waiting host in."""
    scope.require_admin(account)
    with memory.atomic():
        host = _held(account, host_id)
        if host.state != HostState.NEW:
            raise Refused("state", f"{host.name} does not wait for approval", f"it is {host.state}")
        admit(host)
    return host


def hello(report: Hello) -> None:
    """A host started or reconnected."""
    host = Host.objects.select_for_update().filter(pk=report.host).exclude(state=HostState.RETIRED).first()
    if host is None or host.role != report.role:
        _log.warning("hello of an unknown host", host=report.host)
        return
    facts: dict[str, Any] = {
        "name": report.name or host.name, "version": report.version, "boot": report.boot, "address": report.address,
        "hypervisor": report.hypervisor, "accelerator": report.accelerator, "accelerator_why": report.accelerator_why,
        "speaks": report.speaks, "subnet": report.subnet, "subnet6": report.subnet6, "cpus": report.capacity.cpus, "memory_mib": report.capacity.memory_mib,
        "disk_mib": report.capacity.disk_mib, "last_heard": clock.now(),
    }
    _move(host, "hello", **facts)
    if host.role == Role.NC:
        queue.freed(host.boss)


class SignsOfLife:
    """When hosts were last heard of, into the database: of each every ``every_s`` seconds, of all at most once a second.

    One seen for the first time counts as saved some part of that ago, so that not all are written in the same moment for ever.
    """

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._saved: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._written_at = 0.0

    def heard(self, host_ids: Iterable[str]) -> None:
        """They were heard of just now."""
        now, every_s = clock.now(), self.every_s
        for host in host_ids:
            if abs(now - self._saved.setdefault(host, now - every_s * _part(host))) >= every_s:
                self._saved[host] = self._due[host] = now
        if self._due and abs(now - self._written_at) >= min(every_s, 1.0):
            self._write(now)

    def _write(self, now: float) -> None:
        due = list(self._due)
        for n in range(0, len(due), _AT_ONCE):
            rows = Host.objects.filter(pk__in=due[n:n + _AT_ONCE], last_heard__lt=now)
            rows.exclude(state__in=[HostState.RETIRED, HostState.NEW]).update(last_heard=now)
        self._due.clear()
        self._written_at = now


def _part(host: str) -> float:
    """Zero to one, always the same for a host, evenly spread over many."""
    return zlib.crc32(host.encode()) % 1000 / 1000


def awake(last_heard: dict[str, float], limit_s: float) -> None:
    """A silent host that was heard again is up again."""
    for pk in _quiet().values_list("pk", flat=True):
        if clock.now() - last_heard.get(pk, 0) <= limit_s:
            _back(pk, last_heard=last_heard[pk])


def _quiet() -> QuerySet[Host]:
    return Host.objects.filter(state__in=[HostState.SILENT, HostState.DOWN])


def _back(pk: str, **changes: Any) -> None:
    """Heard again; what became of its instances meanwhile it is asked to say."""
    with memory.atomic():
        host = _quiet().select_for_update().filter(pk=pk).first()
        if host is None:
            return  # it was removed in this moment
        _move(host, "hello", **changes)
        _ask(host)
        queue.freed(host.boss)


def ask(host_id: str) -> None:
    """Have a host say how it and its instances are, in the open transaction; one that is not there is not asked."""
    host = Host.objects.filter(pk=host_id).exclude(state=HostState.RETIRED).first()
    if host is not None:
        _ask(host)


def ask_again() -> int:
    """Ask the nodes that answer, and have instances nobody knows about, once more: a question may get lost; how many.

    Of an order that had no answer in time nobody knows either, whether its node heard it.
    """
    placed = Instance.objects.exclude(node="")
    failed = placed.filter(state=InstanceState.FAILED, changed_at__gt=clock.now() - _DOUBTED_S)
    unknown: dict[str, list[str]] = {row.node: [] for row in failed if (row.error or {}).get("code") == "timeout"}
    for row in placed.filter(state=InstanceState.UNKNOWN):
        unknown.setdefault(row.node, []).append(row.pk)
    if not unknown:
        return 0
    waiting = set(Outbox.objects.values_list("to", flat=True))
    asked = 0
    for host in Host.objects.filter(pk__in=unknown, state__in=[HostState.UP, HostState.DRAINING]):
        if host.boss not in waiting:
            with memory.atomic():
                _ask(host, unknown[host.pk])
            asked += 1
    return asked


def _ask(host: Host, doubtful: Sequence[str] = ()) -> None:
    to = host.id if host.boss == own().id else host.boss
    outbox.send(HostRefresh(host=host.id, doubtful=tuple(doubtful[:_DOUBTED_AT_ONCE])), to, sender=own().id, task=ids.new("tsk"))


def silence(last_heard: dict[str, float], limit_s: float, listening_since: float) -> list[str]:
    """Mark hosts silent that were not heard of for ``limit_s`` while we listened; their instances become unknown, never more."""
    gone = []
    rows = Host.objects.filter(state__in=[HostState.UP, HostState.DRAINING]).exclude(pk=own().id)
    before = clock.now() - limit_s
    quiet = [pk for pk, saved in rows.values_list("pk", "last_heard") if max(last_heard.get(pk, 0), saved, listening_since) < before]
    for pk in quiet[:_AT_ONCE]:
        with memory.atomic():
            host = rows.select_for_update().filter(pk=pk).first()
            if host is None:
                continue  # it was removed in this moment
            _move(host, "silence")
            _forget_guests(host)
        gone.append(pk)
    return gone


def _forget_guests(host: Host) -> None:
    from clc.services import instances

    below = [host.pk] if host.role == Role.NC else list(Host.objects.filter(boss=host.pk).values_list("pk", flat=True))
    for row in Instance.objects.filter(node__in=below, state__in=[
        InstanceState.STARTING, InstanceState.RUNNING, InstanceState.STOPPING,
    ]):
        instances.move(row, "host_silent", what=f"its host {host.name} is silent")


def drain(account: Account, host_id: str, *, on: bool) -> Host:
    """Place nothing new there, or again."""
    scope.require_admin(account)
    with memory.atomic():
        host = _held(account, host_id)
        if host.role != Role.NC:
            raise Refused("invalid", "Only a node can be drained", f"{host.name} is a {host.role}")
        _move(host, "drain" if on else "resume", drained=on)
        queue.freed(host.boss)
        outbox.send(HostDrain(host=host.id, on=on), host.boss, sender=own().id, task=ids.new("tsk"))
    return host


def known(account: Account) -> QuerySet[Host]:
    """The hosts somebody may see. Raises Refused(forbidden) for who may see none."""
    if not scope.able(account).get(Kind.HOST):
        raise Refused("forbidden", "Only who manages hosts may do this")
    return scope.visible_to(account, Host)


def place(account: Account, host_id: str, path: str) -> Host:
    """Have a host belong to a group: whoever has a right over hosts there sees it. Raises Refused(forbidden | not_found | invalid)."""
    scope.require_admin(account)
    with memory.atomic():
        host, group = scope.one(account, Host, pk=host_id), groups.belongs_to(account, path, field="group")
        before, host.group = host.group, group
        Host.objects.filter(pk=host.pk).update(group=group)
        events.record("host", host.pk, "host placed in a group", owner=None, name=host.name, before={"group": before.path}, after={"group": group.path})
    return host


def refresh(account: Account, host_id: str) -> Host:
    """Have a host send all its facts now."""
    scope.require_admin(account)
    with memory.atomic():
        host = scope.one(account, Host, pk=host_id)
        if host.id != own().id:
            _ask(host)
    return host


def remove(account: Account, host_id: str) -> Host:
    """Forget a host that runs nothing any more. Raises Refused(state) while it has guests or children."""
    scope.require_admin(account)
    with memory.atomic():
        host = _held(account, host_id)
        if host.id == own().id:
            raise Refused("state", "The cloud controller cannot remove itself")
        guests = Instance.objects.filter(node=host.id).exclude(state=InstanceState.DELETED).count()
        children = Host.objects.filter(boss=host.id).exclude(state=HostState.RETIRED).count()
        if guests or children:
            users = " and ".join(counted(n, noun) for n, noun in ((guests, "instance"), (children, "host")) if n)
            raise Refused("state", f"{host.name} is still in use", f"needed by {users}",
                          hint="Delete them first; drain keeps new ones away. If its machine is gone for good: `educloud host remove --lost`.")
        was_new = host.state == HostState.NEW
        _move(host, "retire")
        if host.boss != own().id:
            order = HostRefuse(request=host.request, why="removed") if was_new else HostRemove(host=host.id)
            outbox.send(order, host.boss, sender=own().id, task=ids.new("tsk"), deadline=clock.now() + TOKEN_LIFE_S)
    return host


def lose(account: Account, host_id: str) -> Host:
    """Remove a host by the word that its machine is gone for good; its cluster is told. In a transaction of the caller's.

    Raises Refused(forbidden | not_found), Refused(state) for the CLC, for one that is heard of, and for one with hosts below it.
    """
    scope.require_admin(account)
    host = _held(account, host_id)
    if host.state not in (HostState.SILENT, HostState.DOWN, HostState.RETIRED):
        raise Refused("state", f"{host.name} is not lost", f"it is {host.state}",
                      hint="Only a silent host can be given up; one that answers is drained, and removed when nothing is on it.")
    if below := Host.objects.filter(boss=host.id).exclude(state=HostState.RETIRED).count():
        raise Refused("state", f"{host.name} is still in use", f"needed by {counted(below, 'host')}", hint="Remove those first.")
    if host.state == HostState.RETIRED:
        Host.objects.filter(pk=host.pk).update(lost=True)
    else:
        _move(host, "retire", lost=True)
    events.record("host", host.pk, "host lost", host=host.pk, name=host.name)
    if host.boss != own().id:
        outbox.send(HostLost(host=host.id), host.boss, sender=own().id, task=ids.new("tsk"), deadline=clock.now() + TOKEN_LIFE_S)
    return host


def lost(host_id: str) -> Host | None:
    """The host with that id, if its machine is gone for good."""
    return Host.objects.filter(pk=host_id, lost=True).first() if host_id else None


def repair(pictures: dict[str, dict[str, Any]]) -> int:
    """Say to clusters again what got lost on the way: whom to let in, to drain, to forget. ``pictures``: their facts by host; how many orders."""
    said = 0
    for cluster in hosts_of(Role.CC):
        children = pictures.get(cluster.pk, {}).get("children")
        if children is None:
            continue
        for host in Host.objects.filter(boss=cluster.pk).exclude(certificate="", state=HostState.NEW):
            order = _missing(host, children)
            if order is not None and not _is_waiting(order, host.pk, cluster.pk):
                outbox.send(order, cluster.pk, sender=own().id, task=ids.new("tsk"))
                said += 1
    return said


def _is_waiting(order: Command, host: str, to: str) -> bool:
    """Whether an order of that kind about that host was not posted yet; those about its instances are no such."""
    texts = Outbox.objects.filter(to=to, order__contains=host).values_list("order", flat=True)
    return any(Order.model_validate_json(text).kind == order.kind for text in texts)


def _missing(host: Host, children: dict[str, bool]) -> Command | None:
    """The order a cluster that has these children (draining or not) has not heard about a host."""
    if host.state == HostState.RETIRED:
        forget = HostLost if host.lost else HostRemove
        return forget(host=host.pk) if host.pk in children else None
    if host.pk not in children:
        return _admission(host) if host.certificate else None
    return HostDrain(host=host.pk, on=host.drained) if children[host.pk] != host.drained else None


def close_accounts(down: DownLink) -> int:
    """Close the broker accounts of removed children of ours; how many. Again until the broker did it."""
    closed = 0
    for host in Host.objects.filter(state=HostState.RETIRED, boss=own().id).exclude(certificate=""):
        down.remove(host.id)
        Host.objects.filter(pk=host.pk).update(certificate="")
        closed += 1
    return closed


def _held(account: Account, host_id: str) -> Host:
    """The host as it is, which nobody else changes until this transaction ends."""
    return Host.objects.select_for_update().get(pk=scope.one(account, Host, pk=host_id).pk)


def _move(host: Host, event: str, **changes: Any) -> None:
    """Move a host by its life cycle, by compare and set. Raises Refused(state), Refused(conflict) when it was moved at the same moment."""
    new = HOST.advance(host.state, event)
    if event == "hello" and host.drained:
        new = HOST.advance(new, "drain")
    if not Host.objects.filter(pk=host.pk, state=host.state).update(state=new, **changes):
        raise Refused("conflict", "This host changed at the same moment", f"it was {host.state}", hint="Try again.")
    if new != host.state:
        events.record("host", host.pk, f"host {new}", host=host.pk, before={"state": host.state}, after={"state": new})
    host.refresh_from_db()


def ensure_own(name: str) -> Host:
    """The CLC's own row."""
    me = own()
    host, _ = Host.objects.get_or_create(
        pk=me.id, defaults={"role": Role.CLC, "name": name, "state": HostState.UP, "certificate": me.membership.certificate,
                            "created_at": clock.now(), "last_heard": clock.now()},
    )
    return host


def hosts_of(role: Role) -> list[Host]:
    """Hosts of a role that may work now, by id."""
    return list(Host.objects.filter(role=role, state__in=[HostState.UP, HostState.DRAINING]).order_by("pk"))
