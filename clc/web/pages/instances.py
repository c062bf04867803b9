"""Instances: list, run, one with its tabs, its screen, and what can be done to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from clc.services import instance_asks, instances, renewals, sizes
from clc.web.listing import filters, listed, matching
from clc.web.live import console_log, live
from clc.web.page import Form, form_of, go, is_fragment, page, show, toast
from clc.web.pages import access, ends, limits, shares, words
from clc.web.pages.overview import capacity
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import ImageState, InstanceState, Verb
from luhyaapi.errors import Refused, Trouble
from luhyadb import scope
from luhyadb.models import Image, ImageVersion, Instance, Network, Task

_SIZE = re.compile(r"^([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGT])(?:i?B)?|B)?$", re.IGNORECASE)
_MEMORY = (sizes.MIN_MEMORY_MIB * sizes.MIB, sizes.MAX_MEMORY_MIB * sizes.MIB)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_LOG_WITHIN_S = 6.0
_LOG_SHOWN_BYTES = 512 * 1024
_SHOWN_TASKS = 50
_SHOWN_IMAGES = 200


def _rows(request: HttpRequest, chosen: dict[str, str]) -> QuerySet[Instance]:
    rows = scope.visible_to(request.user, Instance).select_related("owner", "image__image")
    rows = rows.filter(state=chosen["state"]) if chosen["state"] else rows.exclude(state=InstanceState.DELETED)
    if chosen["q"]:
        rows = rows.annotate(addresses=Cast("nics", TextField())).filter(matching(chosen["q"], "name", "id", "addresses"))
    return rows


def _list(request: HttpRequest, template: str) -> HttpResponse:
    chosen = filters(request, InstanceState)
    found = listed(request, _rows(request, chosen), "-created_at", "id")
    return show(request, template, rows=words.instances(found.rows, request.user), filters=chosen, next_url=found.next_url,
                previous_url=found.previous_url)


@page("instances/", "instances", title=_("Instances"), icon="device-desktop", rank=20)
def index(request: HttpRequest) -> HttpResponse:
    """All that somebody may see."""
    return _list(request, "instances/list.html")


@page("instances/rows/", "instance_rows", under="instances")
def rows(request: HttpRequest) -> HttpResponse:
    """The list alone."""
    return _list(request, "instances/_rows.html")


@page("instances/<str:ident>/row/", "instance_row", under="instances")
def row(request: HttpRequest, ident: str) -> HttpResponse:
    """One row of the list."""
    found = scope.one(request.user, Instance, pk=ident)
    if found.state == InstanceState.DELETED:
        raise Refused("not_found", f"There is no instance {ident!r}")
    return show(request, "instances/_row.html", i=words.instance(found, request.user))


@page("instances/run/", "instance_run", under="instances", methods=("GET", "HEAD", "POST"),
      fields={"memory_bytes": "memory", "data_disk_bytes": "data_disk", "ssh_keys": "ssh_key", "networks": "network", "groups": "group"})
def run(request: HttpRequest) -> HttpResponse:
    """The form, and what comes of it."""
    if request.method == "POST":
        made = instances.run(request.user, _ask(Form.of(request).values))
        messages.success(request, ngettext("%(n)d machine starts", "%(n)d machines start", len(made)) % {"n": len(made)})
        return go(request, reverse("instance", args=[made[0].pk]) if len(made) == 1 else reverse("instances"))
    form = form_of(request)
    form.values.setdefault("image", request.GET.get("image", ""))
    return show(request, "instances/run.html", images=runnable_images(request), capacity=capacity(),
                networks=words.networks(scope.visible_to(request.user, Network).filter(retired_at=0).order_by("name")[:_SHOWN_IMAGES]),
                groups=access.own_groups(request.user), **limits.left(request))


def runnable_images(request: HttpRequest) -> list[words.Shown]:
    """The images somebody may run."""
    published = ImageVersion.objects.filter(state=ImageState.PUBLISHED).values("image")
    rows = scope.visible_to(request.user, Image, Verb.EXECUTE).filter(retired=False, pk__in=published).select_related("owner", "group")
    return words.images(rows.order_by("name")[:_SHOWN_IMAGES])


def _ask(values: dict[str, str]) -> instance_asks.Ask:
    return instance_asks.Ask(
        image=values.get("image", ""), name=values.get("name", "").strip(), cpus=_whole("cpus", values),
        memory_bytes=_memory(values.get("memory", "")), persistence=values.get("persistence", ""),
        data_disk_bytes=_bytes(values.get("data_disk", ""), "data_disk_bytes"), count=_whole("count", values) or 1, kind=values.get("kind", ""),
        networks=tuple(filter(None, (values.get("network", ""),))), groups=tuple(filter(None, (values.get("group", ""),))),
        # a browser sends its own line ends, which a script's first line does not bear
        user_data=values.get("user_data", "").replace("\r\n", "\n"),
        first_boot_offline=bool(values.get("first_boot_offline")), expires=values.get("expires", ""),
        ssh_keys=tuple(line for line in values.get("ssh_key", "").splitlines() if line.strip()),
    )


def _whole(field: str, values: dict[str, str]) -> int | None:
    text = values.get(field, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused("invalid", gettext("This is not a whole number"), text[:40], field=field)
    return int(text)


def _bytes(text: str, field: str) -> int | None:
    if not text.strip():
        return None
    found = _SIZE.match(text.strip()[:40])
    if found is None:
        raise Refused("invalid", gettext("This is not a size"), gettext("For example 512M or 2G"), field=field)
    return int(float(found[1]) * 1024 ** _POWERS[(found[2] or "").upper()])


def _memory(text: str) -> int | None:
    size = _bytes(text, "memory_bytes")
    if size is not None and not _MEMORY[0] <= size <= _MEMORY[1]:
        raise Refused("invalid", gettext("This is too little or too much memory"), gettext("Between 64M and 1T"), field="memory_bytes")
    return size


@page("instances/<str:ident>/", "instance", under="instances")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One machine, by tab: overview, screen, serial, log, tasks."""
    found = instances.resolve(request.user, ident)
    shown = words.instance(found, request.user)
    tab = request.GET.get("tab", "overview")
    more: dict[str, Any] = ends.ending(found)
    if tab == "log":
        more["log"] = _log(request, found)
    elif tab == "tasks":
        mine = scope.visible_to(request.user, Task).filter(subject=found.pk).order_by("-created_at")
        more["tasks"] = words.tasks(mine[:_SHOWN_TASKS])
    elif tab != "screen" and found.state != InstanceState.DELETED and shown["may"]["write"]:
        more |= access.card(request, found) | {"sharing": shares.card(request, "instance", found)}
    return show(request, "instances/detail.html", instance=shown, tab=tab, **more)


def _log(request: HttpRequest, found: Instance) -> dict[str, Any]:
    async def read() -> bytes:
        text = b""
        async for piece in console_log.pieces(live.door, request.user, found.pk, _LOG_WITHIN_S):
            text = (text + piece)[-_LOG_SHOWN_BYTES:]
        return text

    try:
        return {"text": async_to_sync(read)().decode(errors="replace"), "at": clock.now()}
    except Trouble as error:
        return {"error": error.wire()}


@page("instances/<str:ident>/screen/", "instance_screen", under="instances")
def screen(request: HttpRequest, ident: str) -> HttpResponse:
    """Its screen on a page of its own."""
    return show(request, "instances/screen.html", instance=words.instance(instances.resolve(request.user, ident)))


@page("instances/<str:ident>/serial/", "instance_serial", under="instances")
def serial(request: HttpRequest, ident: str) -> HttpResponse:
    """Its serial console on a page of its own."""
    return show(request, "instances/serial.html", instance=words.instance(instances.resolve(request.user, ident)))


_VERBS: dict[str, Callable[[Any, str], Instance]] = {
    "start": instances.start, "stop": instances.stop, "reboot": instances.reboot, "delete": instances.delete, "connect": instances.connect,
    "restore": renewals.restore,
    "renew": lambda account, ident: renewals.restore(account, ident, renewals.NEWEST),
}


@page("instances/<str:ident>/<str:verb>/", "instance_action", under="instances", methods=("POST",), back="instance")
def action(request: HttpRequest, ident: str, verb: str) -> HttpResponse:
    """Start, stop, reboot, delete it, give it its network, or give it a new system disk."""
    if verb not in _VERBS:
        raise Refused("not_found", "There is nothing at this address")
    found = _VERBS[verb](request.user, ident)
    said = {
        "start": gettext("%(name)s starts"), "stop": gettext("%(name)s stops"), "reboot": gettext("%(name)s restarts"),
        "delete": gettext("%(name)s is deleted"), "restore": gettext("%(name)s gets a new system disk"),
        "renew": gettext("%(name)s is put on the newest version"), "connect": gettext("%(name)s gets its network"),
    }[verb] % {"name": found.name}
    if is_fragment(request):
        return toast(request, said, url=reverse("task", args=[found.task]) if found.task else "")
    messages.success(request, said)
    return go(request, reverse("instances") if verb == "delete" else reverse("instance", args=[found.pk]))
