"""Access roles: what each gives, as a matrix of kinds and verbs, and who has it; those of one's own are made, changed and given up."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import access_roles, grants, groups, right_pictures
from clc.web.listing import listed
from clc.web.page import Form, form_of, go, page, show
from clc.web.pages.rights import NEEDS
from clc.web.pages.words import Shown
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyadb import scope
from luhyadb.models import Account

_SHOWN_PEOPLE = 100


def _matrix(given: Mapping[str, list[str]]) -> list[Shown]:
    """A row a kind: its verbs, which of them are given, and which by that all are."""
    return [
        {"kind": kind, "cells": [
            {"verb": verb, "name": f"{kind}:{verb}", "on": verb in given.get(kind, ()), "implied": Verb.FULL in given.get(kind, ())} for verb in Verb
        ]} for kind in Kind
    ]


def _chosen(values: Mapping[str, str]) -> dict[str, list[str]]:
    """What the boxes of a matrix say."""
    return {str(kind): found for kind in Kind if (found := [str(verb) for verb in Verb if f"{kind}:{verb}" in values])}


@page("access-roles/", "access_roles", title=_("Access roles"), icon="key", rank=62, needs=NEEDS)
def index(request: HttpRequest) -> HttpResponse:
    """All of them, and for administrators a form for one more."""
    found = listed(request, access_roles.known(), "name")
    rows = [each | {"given": [{"kind": Kind(kind), "verbs": [Verb(verb) for verb in verbs]} for kind, verbs in each["permissions"].items()]}
            for each in right_pictures.roles(request.user, found.rows)]
    return show(request, "rights/roles.html", rows=rows, next_url=found.next_url, previous_url=found.previous_url, verbs=list(Verb),
                matrix=_matrix(_chosen(form_of(request).values)))


@page("access-roles/add/", "access_role_add", admin_only=True, under="access_roles", methods=("POST",), back="access_roles")
def add(request: HttpRequest) -> HttpResponse:
    """One of one's own."""
    values = Form.of(request).values
    row = access_roles.create(request.user, values.get("name", "").strip(), _chosen(values), values.get("description", "").strip())
    messages.success(request, gettext("The access role %(name)s is made") % {"name": row.pk})
    return go(request, reverse("access_roles"))


@page("access-roles/<str:ident>/", "access_role", needs=NEEDS, under="access_roles")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One of them: what it gives, and who of those one sees has it where."""
    row, me = access_roles.find(ident), request.user
    values = form_of(request).values
    given = grants.over(me).filter(role=row, account__is_active=True).select_related("account", "group").order_by("account__username")
    own = scope.visible_to(me, Account).filter(access_role=row, is_active=True).select_related("group").order_by("username")
    holders = [{"username": each.username, "group": groups.shown(each.group.path), "given": False} for each in own[:_SHOWN_PEOPLE]]
    holders += [{"username": each.account.username, "group": groups.shown(each.group.path), "given": True} for each in given[:_SHOWN_PEOPLE]]
    shown = right_pictures.roles(request.user, [row])[0]
    return show(request, "rights/role.html", role=shown, holders=holders, verbs=list(Verb), may_change=me.is_admin and not row.ready_made,
                matrix=_matrix(_chosen(values) if values else shown["permissions"]), command=f"educloud access-role give {row.pk} USER PATH")


@page("access-roles/<str:ident>/change/", "access_role_change", admin_only=True, under="access_roles", methods=("POST",), back="access_role")
def change(request: HttpRequest, ident: str) -> HttpResponse:
    """Other permissions."""
    row = access_roles.change(request.user, ident, _chosen(Form.of(request).values))
    messages.success(request, gettext("The access role %(name)s is changed") % {"name": row.pk})
    return go(request, reverse("access_role", args=[row.pk]))


@page("access-roles/<str:ident>/delete/", "access_role_delete", admin_only=True, under="access_roles", methods=("POST",), back="access_role")
def delete(request: HttpRequest, ident: str) -> HttpResponse:
    """Give it up."""
    access_roles.delete(request.user, ident)
    messages.success(request, gettext("The access role %(name)s is given up") % {"name": ident})
    return go(request, reverse("access_roles"))
