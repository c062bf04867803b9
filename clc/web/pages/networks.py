"""Networks beside the clusters' own: list, make, give up; who has a card in one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import cards, networks, pools
from clc.web.listing import listed
from clc.web.page import Form, go, page, show
from clc.web.pages import words
from luhyaapi.contracts.vocabulary import HostState, Role
from luhyadb import scope
from luhyadb.models import Host, Network

_SHOWN_INSTANCES = 100


@page("networks/", "networks", title=_("Networks"), icon="topology-star-3", rank=35, admin_only=True)
def index(request: HttpRequest) -> HttpResponse:
    """All networks, and a form for one more."""
    rows = scope.visible_to(request.user, Network).filter(retired_at=0)
    found = listed(request, rows, "cluster__name", "number", "id")
    clusters = scope.visible_to(request.user, Host).filter(role=Role.CC).exclude(state__in=[HostState.RETIRED, HostState.NEW]).order_by("name")
    return show(request, "networks/list.html", rows=words.networks(found.rows), next_url=found.next_url, previous_url=found.previous_url,
                clusters=list(clusters), own=words.own_networks(clusters))


@page("networks/add/", "network_add", admin_only=True, under="networks", methods=("POST",), back="networks")
def add(request: HttpRequest) -> HttpResponse:
    """A new network."""
    given = {name: value.strip() for name, value in Form.of(request).values.items()}
    ranges = tuple(line.strip() for line in given.pop("ranges", "").splitlines() if line.strip())
    wanted: dict[str, Any] = {name: given.get(name, "") for name in ("cluster", "name", "subnet", "subnet6", "mode", "gateway")}
    row = networks.create(request.user, networks.Ask(**wanted, ranges=ranges, way_out="no_way_out" not in given, isolated="isolated" in given))
    messages.success(request, gettext("The network %(name)s is made") % {"name": row.name})
    return go(request, reverse("networks"))


@page("networks/<str:ident>/", "network", admin_only=True, under="networks")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One network and the machines in it."""
    pool = pools.resolve(request.user, ident)
    instances = words.instances(cards.users(pool.network)[:_SHOWN_INSTANCES]) if pool.network else []
    shown = words.networks([pool.network]) if pool.network else words.own_networks([pool.cluster])
    return show(request, "networks/detail.html", network=shown[0], instances=instances, is_own=pool.network is None,
                command=f"educloud instance run --image IMAGE --network {pool.name}")


@page("networks/<str:ident>/delete/", "network_delete", admin_only=True, under="networks", methods=("POST",), back="network")
def delete(request: HttpRequest, ident: str) -> HttpResponse:
    """Give it up."""
    row = networks.retire(request.user, ident)
    messages.success(request, gettext("The network %(name)s is given up") % {"name": row.name})
    return go(request, reverse("networks"))
