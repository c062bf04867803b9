"""People: list, add, one with a new password, delete."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import lock_out, people, pictures, second_step
from clc.web.listing import listed
from clc.web.page import Form, go, page, show
from clc.web.pages import words
from clc.web.pages.account import sign_ins
from luhyaapi import ids
from luhyaapi.contracts.vocabulary import InstanceState
from luhyadb import scope
from luhyadb.models import Account, Instance

_SHOWN_INSTANCES = 100


def _page(request: HttpRequest, **more: Any) -> HttpResponse:
    machines = Count("instance", filter=~Q(instance__state=InstanceState.DELETED))
    found = listed(request, people.known(request.user).annotate(machines=machines), "username")
    rows = [{"username": a.username, "is_admin": a.is_admin, "active": a.is_active, "instances": a.machines, "last_login_at": a.last_login} for a in found.rows]
    return show(request, "people/list.html", rows=rows, next_url=found.next_url, previous_url=found.previous_url, **more)


@page("people/", "people", title=_("People"), icon="users", rank=60, admin_only=True)
def index(request: HttpRequest) -> HttpResponse:
    """Everybody."""
    return _page(request)


@page("people/add/", "person_add", admin_only=True, under="people", methods=("GET", "POST"), back="people")
def add(request: HttpRequest) -> HttpResponse:
    """A new account; a password we made is shown this once, so there is no redirect."""
    if request.method == "GET":
        return HttpResponseRedirect(reverse("people"))
    values = Form.of(request).values
    given = request.POST.get("password", "")
    password = given or ids.secret()
    account = people.add(request.user, values.get("username", "").strip(), password, values.get("role", "user"))
    return _page(request, created={"username": account.username, "password": "" if given else password})


@page("people/of/<str:ident>/", "person", admin_only=True, under="people")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One account with its instances."""
    return _detail(request, people.find(request.user, ident))


def _detail(request: HttpRequest, found: Account, **more: Any) -> HttpResponse:
    theirs = scope.visible_to(request.user, Instance).filter(owner=found).exclude(state=InstanceState.DELETED)
    return show(request, "people/detail.html", person=pictures.person(found),
                command="educloud admin password" if found.pk == request.user.pk else f"educloud user password {found.username}",
                instances=words.instances(theirs.order_by("-created_at")[:_SHOWN_INSTANCES]), **sign_ins(request, found), **more)


@page("people/of/<str:ident>/password/", "person_password", admin_only=True, under="people", methods=("POST",), back="person")
def password(request: HttpRequest, ident: str) -> HttpResponse:
    """A new password; one we made is shown this once, so there is no redirect."""
    found = people.find(request.user, ident)
    given = request.POST.get("password", "")
    chosen = given or ids.secret()
    people.set_password(found, chosen, by=request.user)
    return _detail(request, found, reset={"password": "" if given else chosen})


@page("people/of/<str:ident>/delete/", "person_delete", admin_only=True, under="people", methods=("POST",), back="person")
def delete(request: HttpRequest, ident: str) -> HttpResponse:
    """Have an account be no more."""
    found = people.find(request.user, ident)
    people.delete(request.user, ident)
    messages.success(request, gettext("%(name)s is deleted") % {"name": found.username})
    return go(request, reverse("people"))


@page("people/of/<str:ident>/deactivate/", "person_deactivate", admin_only=True, under="people", methods=("POST",), back="person")
def deactivate(request: HttpRequest, ident: str) -> HttpResponse:
    """Nobody signs in to it for now."""
    people.deactivate(request.user, ident)
    return go(request, reverse("person", kwargs={"ident": ident}))


@page("people/of/<str:ident>/reactivate/", "person_reactivate", admin_only=True, under="people", methods=("POST",), back="person")
def reactivate(request: HttpRequest, ident: str) -> HttpResponse:
    """Whose it is signs in again."""
    people.reactivate(request.user, ident)
    return go(request, reverse("person", kwargs={"ident": ident}))


@page("people/of/<str:ident>/unlock/", "person_unlock", admin_only=True, under="people", methods=("POST",), back="person")
def unlock(request: HttpRequest, ident: str) -> HttpResponse:
    """Nobody waits for it any more."""
    lock_out.lift(request.user, people.find(request.user, ident))
    return go(request, reverse("person", kwargs={"ident": ident}))


@page("people/of/<str:ident>/second-step/", "person_second_step_remove", admin_only=True, under="people", methods=("POST",), back="person")
def remove_second_step(request: HttpRequest, ident: str) -> HttpResponse:
    """The phone is lost."""
    second_step.remove_for(request.user, people.find(request.user, ident))
    return go(request, reverse("person", kwargs={"ident": ident}))
