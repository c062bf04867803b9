"""Prefetches: an image is brought to clusters and nodes before a class needs it; who has not got it in time is said."""

from __future__ import annotations

from collections.abc import Sequence

from clc.services import events, hosts, image_uses, images, tasks
from clc.services.own import own
from luhyaapi import clock
from luhyaapi.contracts.commands import ImagePrefetch
from luhyaapi.contracts.vocabulary import HostState, Role
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.machines import TASK
from luhyaapi.wire.signing import make_ticket
from luhyadb import memory, scope
from luhyadb.models import Account, Event, Host, Task

KIND = ImagePrefetch.kind
ALL = "all"
AHEAD_S = 3 * 86400.0
"""No prefetch is for a moment further away."""
LATE_S = 4 * 3600.0
"""One that is late goes on for so long."""
KEPT_S = 6 * 3600.0
"""What was prefetched is not evicted until so long after the moment it was wanted for."""
_LATE = "the time passed, and it is not on every host"


def prefetch(account: Account, image: str, names: Sequence[str], by: float | None = None) -> Task:
    """Have the newest version of an image (``name:version`` for a certain one) on hosts, named by name or id, or ``all``.

    ``by``: when it shall be there, seconds since 1970; None: now. Raises Refused(forbidden | invalid | not_found | state), Unavailable(host_silent).
    """
    scope.require_admin(account)
    version = images.runnable(account, image)
    now = clock.now()
    if by is not None and not now <= by <= now + AHEAD_S:
        raise Refused("invalid", "The time is not possible", "give a moment of the next three days", field="by")
    by = now if by is None else by
    wanted = _by_cluster(account, names)
    store = next(iter(hosts.hosts_of(Role.WALRUS)), None)
    if store is None or not store.address:
        raise Unavailable("host_silent", "The image store does not answer now")
    ref, until = images.reference(version), by + LATE_S
    orders = {}
    for cluster, nodes in wanted.items():
        ticket = make_ticket(own().key, {"get": [b.sha256 for b in ref.blobs], "to": cluster.pk}, until - now)
        orders[cluster] = ImagePrefetch(
            image=ref.image, ref=ref, url=f"{store.address}/walrus/api/1.0", ticket=ticket, nodes=tuple(sorted(nodes)), by=by, keep_until=by + KEPT_S,
        )
    with memory.atomic():
        task = tasks.open_task(KIND, account, ref.image, version.image.name, until - now)
        tasks.foresee(task, [host for cluster, nodes in wanted.items() for host in (cluster.pk, *sorted(nodes))])
        tasks.send_each(task, orders, until)
    task.refresh_from_db()
    return task


def _by_cluster(account: Account, names: Sequence[str]) -> dict[Host, set[str]]:
    """The clusters that are wanted, or whose nodes are, each with those of its nodes."""
    there = {h.pk: h for h in scope.visible_to(account, Host).filter(role__in=[Role.CC, Role.NC]).exclude(state__in=[HostState.NEW, HostState.RETIRED])}
    chosen = list(there.values()) if ALL in names else [host for name in names for host in _called(name, there)]
    if not chosen:
        raise Refused("invalid", "No host is named", "give names or ids of clusters and nodes, or all", field="hosts")
    found: dict[Host, set[str]] = {}
    for host in chosen:
        cluster = host if host.role == Role.CC else there.get(host.boss)
        if cluster is not None:
            nodes = found.setdefault(cluster, set())
            if host is not cluster:
                nodes.add(host.pk)
    return found


def _called(name: str, there: dict[str, Host]) -> list[Host]:
    found = [host for host in there.values() if name in (host.pk, host.name)]
    if not found:
        raise Refused("not_found", f"There is no cluster or node {name[:63]!r}", "list them by `educloud host list`", field="hosts")
    return found


def lacking(task: Task) -> list[str]:
    """The names of the hosts that have it not, though its time passed."""
    order = image_uses.prefetch_of(task)
    if order is None or clock.now() < order.by:
        return []
    missing = [step.host for step in task.steps.all() if step.state != "done"]
    return sorted(Host.objects.filter(pk__in=missing).values_list("name", flat=True))


def warn() -> int:
    """Say once of each prefetch that its time passed and it is not everywhere; how many."""
    said = 0
    for task in Task.objects.filter(kind=KIND).exclude(state__in=TASK.final):
        if not Event.objects.filter(task=task.pk, what=_LATE).exists() and (names := lacking(task)):
            events.record("task", task.pk, _LATE, owner_id=task.owner_id, task=task.pk, lacking=names)
            said += 1
    return said
