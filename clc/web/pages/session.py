"""Signing in, with its second step, and out, and the language."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import auth
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.i18n import set_language

from clc.services import account_requests, passkeys, people, provider_sign_in, second_step, sessions, sign_in
from clc.web.page import Form, page, show
from luhyaapi.errors import CODES, Trouble
from luhyadb.models import Account

_HALF = "half_signed_in"


def home(account: Any) -> str:
    """Where somebody belongs after signing in."""
    return str(reverse("overview" if account.is_admin else "portal"))


def address(request: HttpRequest) -> str:
    """From where somebody asks."""
    return str(request.META.get("REMOTE_ADDR", ""))


@page("login/", "login", is_open=True, methods=("GET", "HEAD", "POST"))
def login(request: HttpRequest) -> HttpResponse:
    """The door; afterwards to the page that was asked for."""
    asked = request.POST.get("next") or request.GET.get("next", "")
    target = asked if url_has_allowed_host_and_scheme(asked, {request.get_host()}, request.is_secure()) else ""
    if request.method != "POST":
        if request.user.is_authenticated:
            return HttpResponseRedirect(target or home(request.user))
        return show(request, "login.html", next=target, form=Form({}, {}), out_of=request.GET.get("out", "")[:32], **_offers())
    try:
        account = sign_in.by_password(request.POST.get("username", "")[:150], request.POST.get("password", "")[:1024], address(request))
    except Trouble as error:
        return refused(request, "login.html", error, next=target)
    return proved(request, account, target)


def proved(request: HttpRequest, account: Account, target: str) -> HttpResponse:
    """In, or first to the second step, with somebody whose password was right or for whom a provider vouches."""
    if not second_step.is_on(account):
        return entered(request, account, target)
    request.session[_HALF] = sign_in.halved(account) | {"next": target}
    return HttpResponseRedirect(reverse("login_code"))


@page("login/code/", "login_code", is_open=True, methods=("GET", "HEAD", "POST"))
def code(request: HttpRequest) -> HttpResponse:
    """The second step of somebody whose password was right, within five minutes."""
    half, account = request.session.get(_HALF, {}), half_signed_in(request)
    if account is None:
        return HttpResponseRedirect(reverse("login"))
    if request.method != "POST":
        return show(request, "login_code.html", form=Form({}, {}), **_offers(account))
    try:
        sign_in.by_code(account, request.POST.get("code", "")[:40], address(request))
    except Trouble as error:
        return refused(request, "login_code.html", error, account)
    return entered(request, account, half["next"])


def half_signed_in(request: HttpRequest) -> Account | None:
    """Whose password was right, as long as the second step may follow."""
    half = request.session.get(_HALF, {})
    return sign_in.half(half) if half else None


def _offers(account: Account | None = None) -> dict[str, Any]:
    """What else the door offers: where passkeys sign in (of ``account``, if it has one), providers, and asking for an account."""
    if account is not None:
        return {"passkey_origin": passkeys.origin() if passkeys.of(account).exists() else ""}
    return {"passkey_origin": passkeys.origin(), "providers": provider_sign_in.buttons(), "takes_requests": account_requests.places().exists()}


def refused(request: HttpRequest, template: str, error: Trouble, half: Account | None = None, **more: Any) -> HttpResponse:
    """The page of a sign-in again, with what went wrong; of the second step, for who is half signed in."""
    return show(request, template, CODES[error.code].http, form=Form.of(request), error=error.wire(), **_offers(half), **more)


def entered(request: HttpRequest, account: Account, target: str) -> HttpResponse:
    """In; to ``target``, or where somebody belongs."""
    target = request.session.pop(_HALF, {}).get("next", "") or target
    auth.login(request, account)
    request.session.set_expiry(None)
    sessions.signed_in(request.session, account, address(request), request.headers.get("User-Agent", ""))
    answer = HttpResponseRedirect(reverse("account_password") if account.must_change_password else target or home(account))
    if account.language:
        answer.set_cookie(settings.LANGUAGE_COOKIE_NAME, account.language, samesite="Lax")
    return answer


@page("logout/", "logout", is_open=True, methods=("POST",))
def logout(request: HttpRequest) -> HttpResponse:
    """Out, and to the door."""
    if request.user.is_authenticated:
        sessions.signed_out(request.user)
    provider = provider_sign_in.left(request.session)
    auth.logout(request)
    return HttpResponseRedirect(reverse("login") + (f"?{urlencode({'out': provider})}" if provider else ""))


@page("language/", "set_language", is_open=True, methods=("POST",))
def language(request: HttpRequest) -> HttpResponse:
    """Another language, kept with the account too."""
    code = request.POST.get("language", "")
    if request.user.is_authenticated and code in dict(settings.LANGUAGES):
        people.set_profile(request.user, language=code)
    return set_language(request)
