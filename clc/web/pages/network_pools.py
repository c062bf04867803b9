"""What is lent of a network, as a map and as a list; what is reserved of it, one by one or from an ethers file; other ranges."""

from __future__ import annotations

from ipaddress import IPv4Address

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext

from clc.services import leases, networks, pools, ports, reservations, usage_map
from clc.web.listing import listed
from clc.web.page import Form, go, page, show
from clc.web.pages import words
from luhyaapi.errors import Unavailable

_SHOWN = 100


@page("networks/<str:ident>/addresses/", "network_addresses", admin_only=True, under="networks")
def addresses(request: HttpRequest, ident: str) -> HttpResponse:
    """How its addresses stand, and who has them: its cluster is asked."""
    pool = pools.resolve(request.user, ident)
    try:
        _pool, facts = leases.read(request.user, ident, _place(request), _SHOWN, usage=True)
    except Unavailable as e:
        return show(request, "networks/addresses.html", pool=pool, trouble=e.wire(), command=f"educloud network leases {pool.ident}")
    return show(request, "networks/addresses.html", pool=pool, map=usage_map.drawn(pool.subnet, facts.usage), leases=words.leases(leases.pictures(facts)),
                next_after=facts.leases[-1].address if facts.more else "", command=f"educloud network leases {pool.ident}")


def _place(request: HttpRequest) -> str:
    """Behind which address the list goes on; what is none is left out."""
    try:
        return str(IPv4Address(request.GET.get("after", "")))
    except ValueError:
        return ""


@page("networks/<str:ident>/reservations/", "network_reservations", admin_only=True, under="networks")
def reserved(request: HttpRequest, ident: str) -> HttpResponse:
    """What is reserved, and forms for more."""
    pool = pools.resolve(request.user, ident)
    found = listed(request, reservations.of(pool).select_related("owner"), "number", "id")
    return show(request, "networks/reservations.html", pool=pool, rows=found.rows, next_url=found.next_url, previous_url=found.previous_url,
                wanted={name: request.GET.get(name, "")[:17] for name in ("address", "mac")}, command=f"educloud network import-ethers {pool.ident} FILE")


@page("networks/<str:ident>/reservations/add/", "network_reserve", admin_only=True, under="networks", methods=("POST",), back="network_reservations")
def reserve(request: HttpRequest, ident: str) -> HttpResponse:
    """One more."""
    given = {name: value.strip() for name, value in Form.of(request).values.items()}
    row = reservations.add(request.user, ident, reservations.Ask(*(given.get(name, "") for name in ("address", "mac", "owner", "name"))))
    messages.success(request, gettext("%(address)s is reserved") % {"address": row.address})
    return go(request, reverse("network_reservations", args=[ident]))


@page("networks/<str:ident>/reservations/import/", "network_ethers", admin_only=True, under="networks", methods=("POST",), back="network_reservations",
      fields={"owner": "ethers_owner"})
def ethers(request: HttpRequest, ident: str) -> HttpResponse:
    """All of a file."""
    given = Form.of(request).values
    made = reservations.bring_in(request.user, ident, given.get("ethers", ""), given.get("ethers_owner", "").strip())
    messages.success(request, ngettext("%(n)d address is reserved", "%(n)d addresses are reserved", len(made)) % {"n": len(made)})
    return go(request, reverse("network_reservations", args=[ident]))


@page("networks/<str:ident>/reservations/remove/", "network_unreserve", admin_only=True, under="networks", methods=("POST",), back="network_reservations",
      fields={"address": ""})
def unreserve(request: HttpRequest, ident: str) -> HttpResponse:
    """One less."""
    row = reservations.remove(request.user, ident, request.POST.get("address", ""))
    messages.success(request, gettext("%(address)s is reserved no more") % {"address": row.address})
    return go(request, reverse("network_reservations", args=[ident]))


@page("networks/<str:ident>/ranges/", "network_ranges", admin_only=True, under="networks", methods=("POST",), back="network")
def ranges(request: HttpRequest, ident: str) -> HttpResponse:
    """Something else is lent from now on."""
    lines = [line.strip() for line in Form.of(request).values.get("ranges", "").splitlines() if line.strip()]
    row = networks.set_ranges(request.user, ident, lines)
    messages.success(request, gettext("The ranges of %(name)s are changed") % {"name": row.name})
    return go(request, reverse("network", args=[ident]))


@page("networks/<str:ident>/ports/", "network_ports", admin_only=True, under="networks", methods=("POST",), back="network")
def lent_ports(request: HttpRequest, ident: str) -> HttpResponse:
    """Other ports lead to guests from now on."""
    row = ports.lend(request.user, ident, Form.of(request).values.get("ports", ""))
    messages.success(request, gettext("The ports of %(name)s are changed") % {"name": row.name})
    return go(request, reverse("network", args=[ident]))
