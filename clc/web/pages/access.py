"""The card "Reached from outside" of an instance: forwards, rules, groups, its public address; and what its forms do."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext

from clc.services import access, elastic, forwards, instances, remote_desktop, rules, security_groups
from clc.web.page import Form, go, page
from clc.web.pages import words
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import Account, ElasticAddress, Instance, SecurityGroup

_SHOWN_GROUPS = 200
_HOUR_S = 3600
_SPANS = (1, 2, 8, 24, 24 * 7)
"""Hours a forward may be asked for on the page."""


def own_groups(account: Account, owner: int | None = None) -> list[words.Shown]:
    """The groups somebody may put an instance in, which is theirs or ``owner``'s."""
    rows = scope.visible_to(account, SecurityGroup).filter(owner__in={account.pk, owner or account.pk}).select_related("owner")
    return words.groups(rows[:_SHOWN_GROUPS])


def card(request: HttpRequest, row: Instance) -> dict[str, Any]:
    """What the card of an instance shows."""
    free = scope.visible_to(request.user, ElasticAddress).filter(owner=row.owner, instance=None, cluster=row.cluster or None)
    hours = [{"seconds": n * _HOUR_S, "n": n if n < 48 else n // 24, "in_days": n >= 48} for n in _SPANS]
    shown, groups = words.reached(row), own_groups(request.user, row.owner_id)
    groups += [each for each in shown["groups"] if each["id"] not in {g["id"] for g in groups}]
    return {
        "reached": shown, "own_groups": groups, "spans": hours, "has_remote_desktop": remote_desktop.reached_at(row) is not None,
        "free_addresses": words.addresses(free.select_related("cluster", "owner")[:_SHOWN_GROUPS]),
    }


def lines(text: str) -> list[dict[str, str]]:
    """Rules as they were typed, a line each."""
    return [rules.parse(line) for line in text.splitlines() if line.strip()]


def _back(request: HttpRequest, row: Instance, said: str) -> HttpResponse:
    messages.success(request, said)
    return go(request, f"{reverse('instance', args=[row.pk])}#reached")


@page("instances/<str:ident>/access/remote-desktop/", "remote_desktop", under="instances", back="instance")
def rdp(request: HttpRequest, ident: str) -> HttpResponse:
    """The file that viewers of remote desktops open."""
    row = instances.resolve(request.user, ident)
    name = {"Content-Disposition": f'attachment; filename="{row.name}.rdp"'}
    return HttpResponse(remote_desktop.file(row).encode(), content_type="application/x-rdp", headers=name)


@page("instances/<str:ident>/access/forward/", "forward_add", under="instances", methods=("POST",), back="instance")
def forward(request: HttpRequest, ident: str) -> HttpResponse:
    """One port more."""
    row = instances.resolve(request.user, ident)
    given = {name: value.strip() for name, value in Form.of(request).values.items()}
    port, span = (_whole(name, given.get(name, "")) for name in ("guest_port", "for_s"))
    sources = given.get("sources", "").replace(",", " ").split()
    made = forwards.add(request.user, row.pk, forwards.Ask(port or 0, given.get("protocol", ""), sources, for_s=span))
    return _back(request, row, gettext("Port %(port)d is being opened") % {"port": made.guest_port})


def _whole(field: str, text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused("invalid", gettext("This is not a whole number"), text[:40], field=field)
    return int(text)


@page("instances/<str:ident>/access/close/", "forward_delete", under="instances", methods=("POST",), back="instance",
      fields={"forward": ""})
def close(request: HttpRequest, ident: str) -> HttpResponse:
    """One port less."""
    row = instances.resolve(request.user, ident)
    try:
        ended = forwards.delete(request.user, row.pk, request.POST.get("forward", ""))
    except Refused as e:
        raise Refused(e.code, e.what, e.why, field="forward") from e
    return _back(request, row, gettext("Port %(port)d is closed") % {"port": ended.guest_port})


@page("instances/<str:ident>/access/rules/", "instance_rules", under="instances", methods=("POST",), back="instance")
def change(request: HttpRequest, ident: str) -> HttpResponse:
    """Its own rules, and the groups it is in."""
    row = instances.resolve(request.user, ident)
    with memory.atomic():
        access.set_rules(request.user, row.pk, lines(request.POST.get("rules", "")))
        security_groups.set_groups(request.user, row.pk, request.POST.getlist("groups"))
    return _back(request, row, gettext("What may reach %(name)s is changed") % {"name": row.name})


@page("instances/<str:ident>/access/address/", "instance_address", under="instances", methods=("POST",), back="instance")
def lead(request: HttpRequest, ident: str) -> HttpResponse:
    """A public address leads here, or here no more."""
    row = instances.resolve(request.user, ident)
    address = request.POST.get("address", "")
    if request.POST.get("away"):
        found = elastic.dissociate(request.user, address)
        return _back(request, row, gettext("%(address)s leads nowhere now") % {"address": found.address})
    with memory.atomic():
        found = elastic.associate(request.user, address or elastic.allocate(request.user, row.cluster).pk, row.pk)
    return _back(request, row, gettext("%(address)s leads to %(name)s") % {"address": found.address, "name": row.name})
