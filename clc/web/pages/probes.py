"""Whether a machine's network is in order: asked by a button, told link by link."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from clc.services import instances, probes
from clc.web.page import page, show
from clc.web.pages import words


@page("instances/<str:ident>/check/network/", "instance_network", under="instances", methods=("GET", "HEAD", "POST"))
def network(request: HttpRequest, ident: str) -> HttpResponse:
    """A button, and what was found after it was pressed."""
    row = instances.resolve(request.user, ident)
    checked = words.network_check(probes.check(request.user, row.pk)) if request.method == "POST" else None
    return show(request, "instances/network.html", instance=words.instance(row), checked=checked, command=f"educloud network doctor {row.pk}")
