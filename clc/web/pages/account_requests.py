"""Asking for an account, looking at what became of it, and deciding."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import account_requests, groups, request_pictures
from clc.web.listing import listed
from clc.web.page import Form, go, page, show
from clc.web.pages import rights
from clc.web.pages.session import address
from luhyaapi.contracts.vocabulary import Kind, RequestState, Verb
from luhyaapi.errors import CODES, Refused, Trouble

_TEXTS = ("username", "group", "display_name", "email", "reason")


def _waiting(request: HttpRequest) -> int:
    return account_requests.waiting(request.user)


def _form(request: HttpRequest, form: Form, status: int = 200, **more: Any) -> HttpResponse:
    places = [groups.shown(each.path) for each in account_requests.places()]
    if not places:
        raise Refused("not_found", "There is no such page")
    return show(request, "request.html", status, places=places, form=form, length=settings.EDUCLOUD.accounts.password_length, **more)


@page("request/", "request", is_open=True, methods=("GET", "HEAD", "POST"))
def ask(request: HttpRequest) -> HttpResponse:
    """The form; the code is shown this once, so there is no redirect."""
    if request.user.is_authenticated:
        return HttpResponseRedirect(reverse("portal"))
    if request.method != "POST":
        return _form(request, Form({}, {}))
    form = Form.of(request)
    try:
        password = request.POST.get("password", "")[:1024]
        if password != request.POST.get("password_again", ""):
            raise Refused("invalid", "The two passwords differ", field="password_again")
        texts = {name: form.values.get(name, "").strip()[:4000] for name in _TEXTS}
        code = account_requests.ask(account_requests.Ask(password=password, **texts), address(request))
    except Trouble as error:
        return _form(request, form, CODES[error.code].http, error=form.blame(error))
    return show(request, "request_state.html", code=code, form=Form({}, {}))


@page("request/state/", "request_state", is_open=True, methods=("GET", "HEAD", "POST"))
def state(request: HttpRequest) -> HttpResponse:
    """What became of it; the code is sent, and stands in no address."""
    if request.method != "POST":
        return show(request, "request_state.html", form=Form({}, {}))
    try:
        found = request_pictures.mine(account_requests.looked_at(request.POST.get("code", "")[:100]))
    except Trouble as error:
        form = Form.of(request)
        return show(request, "request_state.html", CODES[error.code].http, form=form, error=form.blame(error))
    return show(request, "request_state.html", found=found, form=Form({}, {}))


@page("requests/", "requests", title=_("Requests"), icon="user-plus", rank=62, needs=(Kind.ACCOUNT, Verb.CREATE), badge=_waiting)
def index(request: HttpRequest) -> HttpResponse:
    """Those one may decide: what waits, or all."""
    everything = request.GET.get("all") == "1"
    rows = account_requests.known(request.user)
    found = listed(request, rows if everything else rows.filter(state=RequestState.WAITING), "-created_at", "id")
    return show(request, "people/requests.html", rows=request_pictures.requests(found.rows), everything=everything, next_url=found.next_url,
                previous_url=found.previous_url, open_groups=[groups.shown(each.path) for each in account_requests.places()],
                command="educloud user request list", **rights.choices(request, Verb.CREATE))


@page("requests/<str:ident>/approve/", "request_approve", needs=(Kind.ACCOUNT, Verb.CREATE), under="requests", methods=("POST",), back="requests")
def approve(request: HttpRequest, ident: str) -> HttpResponse:
    """An account more."""
    values = Form.of(request).values
    account = account_requests.approve(request.user, ident, values.get("role", "user"), values.get("group", "").strip(), values.get("username", "").strip())
    messages.success(request, gettext("%(name)s has an account now") % {"name": account.username})
    return go(request, reverse("requests"))


@page("requests/<str:ident>/refuse/", "request_refuse", needs=(Kind.ACCOUNT, Verb.CREATE), under="requests", methods=("POST",), back="requests")
def refuse(request: HttpRequest, ident: str) -> HttpResponse:
    """None, and why."""
    row = account_requests.refuse(request.user, ident, Form.of(request).values.get("why", ""))
    messages.success(request, gettext("The request of %(name)s is refused") % {"name": row.username})
    return go(request, reverse("requests"))


@page("groups/<str:ident>/requests/", "group_requests", admin_only=True, under="groups", methods=("POST",), back="group")
def takes(request: HttpRequest, ident: str) -> HttpResponse:
    """Whether anybody may ask for an account in a group."""
    row = groups.take_requests(request.user, ident, on=request.POST.get("on") == "1")
    return go(request, reverse("group", args=[row.pk]))
