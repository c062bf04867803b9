"""People: list, add, one with group, roles and a new password, delete."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import (
    access_roles,
    directory_links,
    grants,
    groups,
    lock_out,
    people,
    pictures,
    right_pictures,
    second_step,
    tokens,
)
from clc.web.listing import listed, matching
from clc.web.page import Form, at_field, go, page, show
from clc.web.pages import ends, limits, rights, words
from clc.web.pages.account import sign_ins
from clc.web.pages.rights import NEEDS
from luhyaapi import ids
from luhyaapi.contracts.vocabulary import InstanceState, Verb
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Account, Grant, Group, Instance

_SHOWN_INSTANCES = 100
_SHOWN_GRANTS = 100


def _filtered(request: HttpRequest, chosen: dict[str, str]) -> QuerySet[Account]:
    rows = people.known(request.user)
    if chosen["q"]:
        rows = rows.filter(matching(chosen["q"], "username", "display_name"))
    if chosen["role"]:
        rows = rows.filter(Q(access_role=chosen["role"]) | Q(pk__in=grants.over(request.user).filter(role=chosen["role"]).values("account")))
    if not chosen["group"]:
        return rows
    try:
        at = groups.resolve(request.user, chosen["group"])
    except Refused:
        return rows.none()
    return rows.filter(group__in=groups.below(scope.visible_to(request.user, Group), at.path).values("pk"))


def _page(request: HttpRequest, **more: Any) -> HttpResponse:
    chosen = {name: request.GET.get(name, "").strip()[:700] for name in ("q", "group", "role")}
    machines = Count("instance", filter=~Q(instance__state=InstanceState.DELETED))
    found = listed(request, _filtered(request, chosen).select_related("group").annotate(machines=machines), "username")
    rows = [{"username": a.username, "display_name": a.display_name, "role": people.ALL if a.is_admin else a.access_role_id,
             "group": groups.shown(a.group.path), "instances": a.machines, "active": a.is_active, "last_login_at": a.last_login} for a in found.rows]
    return show(request, "people/list.html", rows=rows, next_url=found.next_url, previous_url=found.previous_url, filters=chosen,
                known_roles=list(access_roles.known().values_list("name", flat=True)), home_group=groups.shown(request.user.group.path),
                **rights.choices(request, Verb.CREATE), **more)


@page("people/", "people", title=_("People"), icon="users", rank=60, needs=NEEDS)
def index(request: HttpRequest) -> HttpResponse:
    """Everybody whom one manages."""
    return _page(request)


@page("people/add/", "person_add", needs=NEEDS, under="people", methods=("GET", "POST"), back="people", fields={"path": "group"})
def add(request: HttpRequest) -> HttpResponse:
    """A new account; a password we made is shown this once, so there is no redirect."""
    if request.method == "GET":
        return HttpResponseRedirect(reverse("people"))
    values = Form.of(request).values
    given = request.POST.get("password", "")
    password = given or ids.secret()
    group = _group(request, values.get("group", "").strip()) if values.get("group", "").strip() else ""
    if "service" in values:
        robot = people.add_service(request.user, values.get("username", "").strip(), values.get("role", "user"), group)
        return go(request, reverse("person", args=[robot.username]))
    account = people.add(request.user, values.get("username", "").strip(), password, values.get("role", "user"), group)
    return _page(request, created={"username": account.username, "password": "" if given else password})


def _group(request: HttpRequest, text: str) -> str:
    """The id of a group somebody typed; what is wrong with it is told at its field."""
    with at_field("group"):
        if not text:
            raise Refused("invalid", "The path of a group is not possible", "a segment is empty: there is a dot at an end, or two beside each other")
        return groups.resolve(request.user, text).pk


@page("people/of/<str:ident>/", "person", needs=NEEDS, under="people")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One account with its roles and its instances."""
    return _detail(request, people.find(request.user, ident))


def _detail(request: HttpRequest, found: Account, **more: Any) -> HttpResponse:
    theirs = scope.visible_to(request.user, Instance).filter(owner=found).exclude(state=InstanceState.DELETED)
    shown = pictures.person(found)
    may = scope.verbs_on(request.user, [found])[found.pk]
    from clc.web.pages.departures import under_way

    return show(request, "people/detail.html", directory=directory_links.link_of(found), under_way=under_way(found),
                person=shown | {"group": groups.shown(shown["group"])}, may={str(verb): verb in may for verb in Verb},
                grants=_grants(grants.over(request.user).filter(account=found).order_by("group__path", "role")[:_SHOWN_GRANTS]),
                why=rights.why(request, found),
                command="educloud admin password" if found.pk == request.user.pk else f"educloud user password {found.username}",
                instances=words.instances(theirs.order_by("-created_at")[:_SHOWN_INSTANCES]), **rights.choices(request, Verb.WRITE),
                **sign_ins(request, found), **limits.card(request, account=found), **ends.card(request, account=found), **more)


def _grants(rows: QuerySet[Grant]) -> list[words.Shown]:
    return [each | {"group": groups.shown(each["group"])} for each in right_pictures.grants(rows)]


@page("people/of/<str:ident>/place/", "person_place", needs=NEEDS, under="people", methods=("POST",), back="person")
def place(request: HttpRequest, ident: str) -> HttpResponse:
    """Another group, or another role there."""
    values = Form.of(request).values
    found = people.place(request.user, ident, values.get("role", ""), _group(request, values.get("group", "").strip()))
    said = gettext("%(name)s is %(role)s in %(group)s now")
    messages.success(request, said % {"name": found.username, "role": found.access_role_id, "group": groups.shown(found.group.path)})
    return go(request, reverse("person", args=[found.username]) if scope.visible_to(request.user, Account).filter(pk=found.pk).exists() else reverse("people"))


@page("people/of/<str:ident>/grants/add/", "grant_give", needs=NEEDS, under="people", methods=("POST",), back="person",
      fields={"group": "at", "role": "given_role"})
def give(request: HttpRequest, ident: str) -> HttpResponse:
    """One role more, over a group."""
    values = Form.of(request).values
    found = people.find(request.user, ident)
    at = _group(request, values.get("at", "").strip())
    with at_field("role"):
        role = access_roles.find(values.get("given_role", ""))
    grants.give(request.user, found, role.pk, at)
    messages.success(request, gettext("%(name)s has one role more: %(role)s") % {"name": found.username, "role": role.pk})
    return go(request, reverse("person", args=[found.username]))


@page("people/of/<str:ident>/grants/<str:grant>/take/", "grant_take", needs=NEEDS, under="people", methods=("POST",), back="person")
def take(request: HttpRequest, ident: str, grant: str) -> HttpResponse:
    """One role less."""
    found = people.find(request.user, ident)
    with at_field("grant"):
        taken = grants.take(request.user, grant)
    messages.success(request, gettext("%(name)s has one role less: %(role)s") % {"name": found.username, "role": taken.role_id})
    return go(request, reverse("person", args=[found.username]))


@page("people/of/<str:ident>/password/", "person_password", needs=NEEDS, under="people", methods=("POST",), back="person")
def password(request: HttpRequest, ident: str) -> HttpResponse:
    """A new password; one we made is shown this once, so there is no redirect."""
    found = people.find(request.user, ident)
    given = request.POST.get("password", "")
    chosen = given or ids.secret()
    people.set_password(found, chosen, by=request.user)
    return _detail(request, found, reset={"password": "" if given else chosen})


@page("people/of/<str:ident>/tokens/add/", "person_token_add", needs=NEEDS, under="people", methods=("POST",), back="person", fields={"name": "token_name"})
def add_token(request: HttpRequest, ident: str) -> HttpResponse:
    """A token of a program's account; it is shown this once, so there is no redirect."""
    values = Form.of(request).values
    found = people.service(request.user, ident)
    row, text = tokens.make(found, values.get("token_name", ""), values.get("scope", tokens.ALL), by=request.user)
    return _detail(request, found, made={"name": row.name, "token": text})


@page("people/of/<str:ident>/deactivate/", "person_deactivate", needs=NEEDS, under="people", methods=("POST",), back="person")
def deactivate(request: HttpRequest, ident: str) -> HttpResponse:
    """Nobody signs in to it for now."""
    people.deactivate(request.user, ident)
    return go(request, reverse("person", kwargs={"ident": ident}))


@page("people/of/<str:ident>/reactivate/", "person_reactivate", needs=NEEDS, under="people", methods=("POST",), back="person")
def reactivate(request: HttpRequest, ident: str) -> HttpResponse:
    """Whose it is signs in again."""
    people.reactivate(request.user, ident)
    return go(request, reverse("person", kwargs={"ident": ident}))


@page("people/of/<str:ident>/unlock/", "person_unlock", needs=NEEDS, under="people", methods=("POST",), back="person")
def unlock(request: HttpRequest, ident: str) -> HttpResponse:
    """Nobody waits for it any more."""
    lock_out.lift(request.user, people.find(request.user, ident))
    return go(request, reverse("person", kwargs={"ident": ident}))


@page("people/of/<str:ident>/second-step/", "person_second_step_remove", needs=NEEDS, under="people", methods=("POST",), back="person")
def remove_second_step(request: HttpRequest, ident: str) -> HttpResponse:
    """The phone is lost."""
    second_step.remove_for(request.user, people.find(request.user, ident))
    return go(request, reverse("person", kwargs={"ident": ident}))
