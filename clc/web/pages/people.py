"""People: list and add."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from clc.services import people
from clc.web.listing import listed
from clc.web.page import Form, page, show
from luhyaapi import ids
from luhyaapi.contracts.vocabulary import InstanceState
from luhyaapi.errors import Trouble
from luhyadb import scope
from luhyadb.models import Account


def _page(request: HttpRequest, form: Form, status: int = 200, **more: Any) -> HttpResponse:
    machines = Count("instance", filter=~Q(instance__state=InstanceState.DELETED))
    found = listed(request, scope.visible_to(request.user, Account).annotate(machines=machines), "username")
    rows = [{"username": a.username, "is_admin": a.is_admin, "instances": a.machines, "last_login_at": a.last_login} for a in found.rows]
    return show(request, "people/list.html", status, rows=rows, form=form, next_url=found.next_url,
                previous_url=found.previous_url, **more)


@page("people/", "people", title=_("People"), icon="users", rank=60, admin_only=True)
def index(request: HttpRequest) -> HttpResponse:
    """Everybody."""
    return _page(request, Form({}, {}))


@page("people/add/", "person_add", admin_only=True, under="people", methods=("GET", "POST"))
def add(request: HttpRequest) -> HttpResponse:
    """A new account; a password we made is shown this once, so there is no redirect."""
    if request.method == "GET":
        return HttpResponseRedirect(reverse("people"))
    form = Form.of(request)
    given = request.POST.get("password", "")
    password = given or ids.secret()
    try:
        account = people.add(request.user, form.values.get("username", "").strip(), password, form.values.get("role", "user"))
    except Trouble as error:
        shown = form.blame(error)
        return _page(request, form, 422, error=shown)
    return _page(request, Form({}, {}), created={"username": account.username, "password": "" if given else password})
