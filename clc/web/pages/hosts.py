"""Hosts: list, one with its facts, tokens to join, and what can be done to it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import groups, hosts, losses
from clc.web.listing import filters, listed, matching
from clc.web.page import Form, go, page, show
from clc.web.pages import rights, words
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import HostState, InstanceState, Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Host, Instance

NEEDS = (Kind.HOST, Verb.READ)
_SHOWN_INSTANCES = 100


@page("hosts/", "hosts", title=_("Hosts"), icon="server-2", rank=50, needs=NEEDS)
def index(request: HttpRequest) -> HttpResponse:
    """All that have joined or wait."""
    chosen = filters(request, HostState)
    rows = scope.visible_to(request.user, Host)
    rows = rows.filter(state=chosen["state"]) if chosen["state"] else rows.exclude(state=HostState.RETIRED)
    if chosen["q"]:
        rows = rows.filter(matching(chosen["q"], "name", "id", "address"))
    found = listed(request, rows, "role", "name", "id")
    return show(request, "hosts/list.html", rows=words.hosts(found.rows), filters=chosen, next_url=found.next_url,
                previous_url=found.previous_url)


@page("hosts/token/", "host_token", admin_only=True, under="hosts", methods=("GET", "HEAD", "POST"))
def token(request: HttpRequest) -> HttpResponse:
    """A permission to join, shown once."""
    if request.method != "POST":
        return show(request, "hosts/token.html")
    form = Form.of(request)
    role = form.values.get("role", "")
    made, expires_at = hosts.make_token(request.user, role)
    join = {"command": f"make join ROLE={role} BOSS={hosts.boss_door(role)} TOKEN={made}", "expires_at": clock.rfc3339(expires_at)}
    return show(request, "hosts/token.html", form=form, join=join)


@page("hosts/<str:ident>/", "host", needs=NEEDS, under="hosts")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One host."""
    found = scope.one(request.user, Host, pk=ident)
    shown = words.host(found)
    shown["group"] = groups.shown(shown["group"])
    here = scope.visible_to(request.user, Instance).filter(node=found.pk).exclude(state=InstanceState.DELETED)
    return show(request, "hosts/detail.html", host=shown, fact_rows=_fact_rows(shown["facts"]),
                instances=words.instances(here.order_by("-created_at")[:_SHOWN_INSTANCES]), **rights.choices(request, Verb.READ))


def _fact_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    services = ", ".join(f"{name}: {line}" for name, line in sorted((facts.get("services") or {}).items()))
    refused = ", ".join(f"{code}: {number}" for code, number in sorted((facts.get("refused") or {}).items()))
    rows = [
        (gettext("Version"), facts.get("version")), (gettext("Address"), facts.get("address")),
        (gettext("Hypervisor"), facts.get("hypervisor")), (gettext("Load"), facts.get("load")),
        (gettext("Services"), services), (gettext("Refused messages"), refused),
    ]
    return [(title, str(value)) for title, value in rows if value not in (None, "")]


@page("hosts/<str:ident>/place/", "host_place", admin_only=True, under="hosts", methods=("POST",), back="host", fields={"group": "group"})
def place(request: HttpRequest, ident: str) -> HttpResponse:
    """Another group."""
    found = hosts.place(request.user, ident, Form.of(request).values.get("group", "").strip())
    messages.success(request, gettext("%(name)s belongs to %(group)s now") % {"name": found.name, "group": groups.shown(found.group.path)})
    return go(request, reverse("host", args=[found.pk]))


_VERBS = ("approve", "refresh", "drain", "resume", "remove", "lost")


@page("hosts/<str:ident>/<str:verb>/", "host_action", admin_only=True, under="hosts", methods=("POST",), back="host")
def action(request: HttpRequest, ident: str, verb: str) -> HttpResponse:
    """Approve, refresh, drain, resume, remove it, or give it up."""
    found = scope.one(request.user, Host, pk=ident)
    if verb not in _VERBS:
        raise Refused("not_found", "There is nothing at this address")
    messages.success(request, _act(request, found, verb))
    return go(request, reverse("hosts") if verb in ("remove", "lost") else reverse("host", args=[ident]))


def _act(request: HttpRequest, found: Host, verb: str) -> str:
    me, name = request.user, {"name": found.name}
    match verb:
        case "approve":
            hosts.approve(me, found.pk)
            return str(gettext("%(name)s may join") % name)
        case "refresh":
            hosts.refresh(me, found.pk)
            return str(gettext("%(name)s is asked for fresh facts") % name)
        case "remove":
            hosts.remove(me, found.pk)
            return str(gettext("%(name)s is removed") % name)
        case "lost":
            losses.lost(me, found.pk)
            return str(gettext("%(name)s is removed, and what was on it is given up") % name)
        case _:
            hosts.drain(me, found.pk, on=verb == "drain")
            said = gettext("%(name)s takes no new machine") if verb == "drain" else gettext("%(name)s takes machines again")
            return str(said % name)
