"""Signing in and out, and the language."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import auth
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.i18n import set_language

from clc.services import people, refusals
from clc.web.api.attempts import Attempts
from clc.web.page import Form, page, show
from luhyaapi.errors import Refused, Trouble

attempts = Attempts()


def home(account: Any) -> str:
    """Where somebody belongs after signing in."""
    return str(reverse("overview" if account.is_admin else "portal"))


@page("login/", "login", is_open=True, methods=("GET", "HEAD", "POST"))
def login(request: HttpRequest) -> HttpResponse:
    """The door; afterwards to the page that was asked for."""
    asked = request.POST.get("next") or request.GET.get("next", "")
    target = asked if url_has_allowed_host_and_scheme(asked, {request.get_host()}, request.is_secure()) else ""
    if request.method != "POST":
        if request.user.is_authenticated:
            return HttpResponseRedirect(target or home(request.user))
        return show(request, "login.html", next=target, form=Form({}, {}))
    name = request.POST.get("username", "")[:150]
    try:
        account = _sign_in(request, name, request.POST.get("password", ""))
    except Trouble as error:
        return show(request, "login.html", 429 if error.code == "busy" else 401, next=target, form=Form.of(request), error=error.wire())
    answer = HttpResponseRedirect(target or home(account))
    if account.language:
        answer.set_cookie(settings.LANGUAGE_COOKIE_NAME, account.language, samesite="Lax")
    return answer


def _sign_in(request: HttpRequest, name: str, password: str) -> Any:
    with attempts.of((request.META.get("REMOTE_ADDR", ""), name.lower())):
        account = auth.authenticate(request, username=name, password=password)
        if account is None:
            refusals.sign_in(name)
            hint = gettext("Check both; an administrator can set a new password.")
            raise Refused("unauthenticated", gettext("Name or password is wrong"), hint=hint)
    auth.login(request, account)
    people.signed_in(account)
    return account


@page("logout/", "logout", is_open=True, methods=("POST",))
def logout(request: HttpRequest) -> HttpResponse:
    """Out, and to the door."""
    if request.user.is_authenticated:
        people.signed_out(request.user)
    auth.logout(request)
    return HttpResponseRedirect(reverse("login"))


@page("language/", "set_language", is_open=True, methods=("POST",))
def language(request: HttpRequest) -> HttpResponse:
    """Another language, kept with the account too."""
    code = request.POST.get("language", "")
    if request.user.is_authenticated and code in dict(settings.LANGUAGES):
        people.set_language(request.user, code)
    return set_language(request)


