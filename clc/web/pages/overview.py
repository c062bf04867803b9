"""The overview: five roles, what they stand on, capacity, recent tasks, what needs a look."""

from __future__ import annotations

from typing import Any

from django.db.models import Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import pictures
from clc.services.pictures import MIB
from clc.web.page import page, show
from clc.web.pages import words
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import Accelerator, Health, HostState, InstanceState, Role, TaskState
from luhyadb import scope
from luhyadb.models import Host, Instance, Task

_RECENT = 8
_FAILING_AT_MOST = 5
_FAILING_SINCE_S = 24 * 3600.0
_HERE = (HostState.UP, HostState.DRAINING)


@page("", "overview", title=_("Overview"), icon="layout-dashboard", rank=10)
def overview(request: HttpRequest) -> HttpResponse:
    """The whole cloud for an administrator; everybody else belongs to the portal."""
    if not request.user.is_admin:
        return HttpResponseRedirect(reverse("portal"))
    status = pictures.status()
    hosts = status["hosts"]
    recent = scope.visible_to(request.user, Task).select_related("owner").order_by("-created_at", "id")[:_RECENT]
    return show(
        request, "overview.html", roles=_roles(status), parts=_parts(status), capacity=capacity(hosts), tasks=words.tasks(recent),
        failing=_failing(request.user),
        simulated=any(h["facts"].get("accelerator") == Accelerator.SIMULATED for h in hosts if h["role"] == Role.NC),
    )


@page("overview/roles/", "overview_roles", under="overview", admin_only=True)
def roles(request: HttpRequest) -> HttpResponse:
    """The five roles alone."""
    return show(request, "overview/_roles.html", roles=_roles(pictures.status()))


def _roles(status: dict[str, Any]) -> list[dict[str, Any]]:
    health = {part["name"]: Health(part["health"]) for part in status["parts"]}
    return [_role(role, [h for h in status["hosts"] if h["role"] == role], health.get(role, Health.OK)) for role in Role]


def _role(role: Role, hosts: list[dict[str, Any]], health: Health) -> dict[str, Any]:
    up = [h for h in hosts if h["state"] in _HERE]
    ages = [h["last_heartbeat_age_s"] for h in hosts if h["last_heartbeat_age_s"] is not None]
    waiting = sum(h["state"] == HostState.NEW for h in hosts)
    missing = [h["name"] for h in hosts if h["state"] in (HostState.SILENT, HostState.DOWN)]
    if not hosts:
        line = gettext("none has joined")
    elif missing:
        line = gettext("does not answer: %(names)s") % {"names": ", ".join(missing[:3])}
    elif waiting:
        line = gettext("%(n)d waits for approval") % {"n": waiting}
    else:
        line = ", ".join(h["name"] for h in up[:3])
    return {"role": role, "up": len(up), "total": len(hosts), "health": health, "line": line,
            "last_heartbeat_age_s": min(ages, default=None)}


def _parts(status: dict[str, Any]) -> list[dict[str, Any]]:
    """What the roles stand on: all parts that are no role."""
    return [part | {"health": Health(part["health"])} for part in status["parts"] if part["name"] not in set(map(str, Role))]


def capacity(hosts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """What the nodes offer and what running machines take; None where nobody has told."""
    hosts = pictures.hosts(Host.objects.filter(role__in=[Role.NC, Role.WALRUS])) if hosts is None else hosts
    nodes = [h["facts"] for h in hosts if h["role"] == Role.NC and h["state"] in _HERE]
    stores = [h["facts"] for h in hosts if h["role"] == Role.WALRUS and "disk_used_bytes" in h["facts"]]
    rows = Instance.objects.exclude(state__in=[InstanceState.STOPPED, InstanceState.DELETED]).exclude(node="").order_by()
    used = rows.aggregate(cpus=Sum("cpus"), memory=Sum("memory_mib"))
    cpus, memory = sum(n["cpus"] for n in nodes), sum(n["memory_bytes"] for n in nodes)
    cpus_used, memory_used = used["cpus"] or 0, (used["memory"] or 0) * MIB
    return {
        "cpus_used": cpus_used, "cpus_total": cpus, "cpus_free": max(cpus - cpus_used, 0),
        "memory_used_bytes": memory_used, "memory_total_bytes": memory, "memory_free_bytes": max(memory - memory_used, 0),
        "addresses_used": rows.exclude(nics=[]).count(), "addresses_total": None,
        "store_used_bytes": sum(s["disk_used_bytes"] for s in stores) if stores else None,
        "store_total_bytes": sum(s["machine_disk_bytes"] for s in stores) if stores else None,
    }


def _failing(account: Any) -> list[dict[str, Any]]:
    """Machines that failed, and tasks that failed today."""
    machines = scope.visible_to(account, Instance).filter(state=InstanceState.FAILED).order_by("-changed_at")[:_FAILING_AT_MOST]
    found = [
        {"url": reverse("instance", args=[i.pk]), "title": i.name, "id": i.pk, "error": i.error or {"what": "?"}, "at": i.changed_at}
        for i in machines
    ]
    told = {i.task for i in machines}
    ended = scope.visible_to(account, Task).filter(
        state__in=[TaskState.FAILED, TaskState.LOST], created_at__gt=clock.now() - _FAILING_SINCE_S,
    ).exclude(error=None).order_by("-created_at")[:_FAILING_AT_MOST]
    found += [
        {"url": reverse("task", args=[t.pk]), "title": t.subject_name or t.kind, "id": t.pk, "error": t.error,
         "at": t.ended_at or t.created_at} for t in ended if t.pk not in told
    ]
    return found[:_FAILING_AT_MOST]
