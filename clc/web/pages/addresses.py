"""Public addresses: one's own, and for administrators all, with the ranges they bring in."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from clc.services import elastic, instances
from clc.web.listing import listed
from clc.web.page import Form, go, page, show
from clc.web.pages import words
from luhyaapi.contracts.vocabulary import HostState, Role
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Account, ElasticAddress, Host


@page("addresses/", "addresses", title=_("Public addresses"), icon="world", rank=37)
def index(request: HttpRequest) -> HttpResponse:
    """All one may see, and forms for more."""
    rows = scope.visible_to(request.user, ElasticAddress).filter(retired_at=0).select_related("cluster", "owner", "instance")
    found = listed(request, rows, "number", "id")
    clusters = scope.visible_to(request.user, Host).filter(role=Role.CC).exclude(state__in=[HostState.RETIRED, HostState.NEW]).order_by("name")
    return show(request, "addresses/list.html", rows=words.addresses(found.rows), next_url=found.next_url, previous_url=found.previous_url,
                clusters=list(clusters), each=0 if request.user.is_admin else elastic.EACH)


@page("addresses/allocate/", "address_allocate", under="addresses", methods=("POST",), back="addresses")
def allocate(request: HttpRequest) -> HttpResponse:
    """One more for oneself."""
    row = elastic.allocate(request.user, request.POST.get("cluster", "").strip())
    messages.success(request, gettext("%(address)s is yours") % {"address": row.address})
    return go(request, reverse("addresses"))


@page("addresses/add/", "address_add", admin_only=True, under="addresses", methods=("POST",), back="addresses")
def add(request: HttpRequest) -> HttpResponse:
    """More for everybody."""
    given = Form.of(request).values
    ranges = [line.strip() for line in given.get("ranges", "").splitlines() if line.strip()]
    made = elastic.add(request.user, given.get("cluster", ""), ranges)
    messages.success(request, ngettext("%(n)d public address is added", "%(n)d public addresses are added", len(made)) % {"n": len(made)})
    return go(request, reverse("addresses"))


@page("addresses/<str:ident>/lead/", "address_lead", under="addresses", methods=("POST",), back="addresses", fields={"instance": ""})
def lead(request: HttpRequest, ident: str) -> HttpResponse:
    """It leads to a machine."""
    try:
        target = instances.resolve(request.user, request.POST.get("instance", "").strip())
    except Refused as e:
        raise Refused(e.code, e.what, e.why, field="instance") from e
    row = elastic.associate(request.user, ident, target.pk)
    messages.success(request, gettext("%(address)s leads to %(name)s") % {"address": row.address, "name": target.name})
    return go(request, reverse("addresses"))


_VERBS: dict[str, Callable[[Account, str], ElasticAddress]] = {
    "dissociate": elastic.dissociate, "release": elastic.release, "retire": elastic.retire,
}


@page("addresses/<str:ident>/<str:verb>/", "address_action", under="addresses", methods=("POST",), back="addresses")
def action(request: HttpRequest, ident: str, verb: str) -> HttpResponse:
    """It leads nowhere, is given back, is taken away."""
    if verb not in _VERBS:
        raise Refused("not_found", "There is nothing at this address")
    row = _VERBS[verb](request.user, ident)
    told = {
        "dissociate": gettext("%(address)s leads nowhere now"), "release": gettext("%(address)s is given back"),
        "retire": gettext("%(address)s is taken away"),
    }[verb]
    messages.success(request, told % {"address": row.address})
    return go(request, reverse("addresses"))
