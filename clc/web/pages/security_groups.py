"""Security groups: list, make, one with its rules and members, delete."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import security_groups
from clc.web.listing import listed
from clc.web.page import Form, go, page, show
from clc.web.pages import words
from clc.web.pages.access import lines
from luhyadb import scope
from luhyadb.models import SecurityGroup

_SHOWN_INSTANCES = 100


@page("security-groups/", "security_groups", title=_("Security groups"), icon="shield-check", rank=36)
def index(request: HttpRequest) -> HttpResponse:
    """All groups one may see, and a form for one more."""
    found = listed(request, scope.visible_to(request.user, SecurityGroup).select_related("owner"), "name", "id")
    return show(request, "security_groups/list.html", rows=words.groups(found.rows), next_url=found.next_url, previous_url=found.previous_url)


@page("security-groups/add/", "security_group_add", under="security_groups", methods=("POST",), back="security_groups")
def add(request: HttpRequest) -> HttpResponse:
    """A new group."""
    given = Form.of(request).values
    row = security_groups.create(request.user, given.get("name", "").strip(), lines(given.get("rules", "")))
    messages.success(request, gettext("The security group %(name)s is made") % {"name": row.name})
    return go(request, reverse("security_groups"))


@page("security-groups/<str:ident>/", "security_group", under="security_groups")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One group: its rules, and the machines in it."""
    row = security_groups.resolve(request.user, ident)
    mine = scope.visible_to(request.user, security_groups.members(row).model).filter(pk__in=security_groups.members(row).values("pk"))
    return show(request, "security_groups/detail.html", group=words.groups([row])[0], instances=words.instances(mine[:_SHOWN_INSTANCES]),
                command=f"educloud security-group rule add {row.name} tcp:22:10.0.0.0/8")


@page("security-groups/<str:ident>/rules/", "security_group_rules", under="security_groups", methods=("POST",), back="security_group")
def rules(request: HttpRequest, ident: str) -> HttpResponse:
    """Other rules for all that are in it."""
    row = security_groups.set_rules(request.user, ident, lines(request.POST.get("rules", "")))
    messages.success(request, gettext("The rules of %(name)s are changed") % {"name": row.name})
    return go(request, reverse("security_group", args=[row.pk]))


@page("security-groups/<str:ident>/delete/", "security_group_delete", under="security_groups", methods=("POST",), back="security_group")
def delete(request: HttpRequest, ident: str) -> HttpResponse:
    """Have it be no more."""
    row = security_groups.delete(request.user, ident)
    messages.success(request, gettext("The security group %(name)s is deleted") % {"name": row.name})
    return go(request, reverse("security_groups"))
