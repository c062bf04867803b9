"""Signing in at an OpenID provider: there, back, once more to prove it, and out."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from clc.services import provider_sign_in
from clc.web.page import page
from clc.web.pages.session import proved, refused
from luhyaapi.errors import Trouble
from luhyadb.models import Directory

_LONGEST = 4000


def _back(request: HttpRequest, row: Directory) -> str:
    """Where a provider sends people back to: at the address they came by, which is one of ours."""
    return str(request.build_absolute_uri(reverse("login_return", args=[row.name])))


@page("login/with/<str:ident>/", "login_with", is_open=True)
def there(request: HttpRequest, ident: str) -> HttpResponse:
    """To the provider; afterwards to the page that was asked for."""
    asked = request.GET.get("next", "")[:_LONGEST]
    target = asked if url_has_allowed_host_and_scheme(asked, {request.get_host()}, request.is_secure()) else ""
    if not request.user.is_authenticated:
        request.session.set_expiry(int(provider_sign_in.WITHIN_S))  # whoever only asks leaves nothing for long
    try:
        row = provider_sign_in.named(ident)
        return HttpResponseRedirect(provider_sign_in.begin(request.session, row, _back(request, row), target))
    except Trouble as error:
        return refused(request, "login.html", error)


@page("login/with/<str:ident>/return/", "login_return", is_open=True)
def back(request: HttpRequest, ident: str) -> HttpResponse:
    """From the provider."""
    answer = {name: str(value)[:_LONGEST] for name, value in request.GET.items()}
    try:
        row = provider_sign_in.named(ident)
        account, target, was_again = provider_sign_in.finish(request.session, row, answer, _back(request, row))
    except Trouble as error:
        return refused(request, "login.html", error)
    if was_again and request.user.is_authenticated:
        return HttpResponseRedirect(reverse("account"))
    provider_sign_in.entered(request.session, row)
    return proved(request, account, target)


@page("account/again/", "login_again", under="account")
def again(request: HttpRequest) -> HttpResponse:
    """To one's own provider, to prove that it is still oneself."""
    row = provider_sign_in.of(request.user)
    if row is None:
        return HttpResponseRedirect(reverse("account"))
    return HttpResponseRedirect(provider_sign_in.begin(request.session, row, _back(request, row), "", again=request.user))


@page("login/with/<str:ident>/out/", "login_out", is_open=True)
def out(request: HttpRequest, ident: str) -> HttpResponse:
    """To where one signs out at the provider too."""
    try:
        url = provider_sign_in.farewell(provider_sign_in.named(ident), request.build_absolute_uri(reverse("login")))
    except Trouble as error:
        return refused(request, "login.html", error)
    return HttpResponseRedirect(url or reverse("login"))
