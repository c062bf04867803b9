"""Signing in by a passkey, and one's own passkeys."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext

from clc.services import passkeys, people, sign_in, sign_in_pictures
from clc.web.page import Form, go, page, refusal
from clc.web.pages import session
from clc.web.pages.rights import NEEDS
from luhyaapi.errors import Trouble
from luhyadb.models import Account

_COOKIE = f"educloud_passkey_{settings.EDUCLOUD.console.port}"


def _begun(ceremony: passkeys.Ceremony) -> HttpResponse:
    answer = JsonResponse(ceremony.options)
    answer.set_cookie(_COOKIE, ceremony.sealed, max_age=int(passkeys.LIFE_S), httponly=True, samesite="Strict", secure=settings.SESSION_COOKIE_SECURE)
    return answer


def _sealed(request: HttpRequest) -> str:
    return str(request.COOKIES.get(_COOKIE, ""))


def _over(answer: HttpResponse) -> HttpResponse:
    answer.delete_cookie(_COOKIE, samesite="Strict")
    return answer


def of(account: Account) -> dict[str, Any]:
    """For a page about an account: its passkeys, and where they are good."""
    return {"passkeys": [sign_in_pictures.passkey(row) for row in passkeys.of(account)], "passkey_origin": passkeys.origin()}


@page("login/passkey/begin/", "login_passkey_begin", is_open=True, methods=("POST",))
def begin(request: HttpRequest) -> HttpResponse:
    """What the device shall sign; of the account whose password was right, where one was."""
    try:
        return _begun(passkeys.begin_sign_in(session.half_signed_in(request)))
    except Trouble as error:
        return refusal(request, error)


@page("login/passkey/", "login_passkey", is_open=True, methods=("POST",))
def enter(request: HttpRequest) -> HttpResponse:
    """What it signed: the whole sign-in."""
    half = session.half_signed_in(request)
    asked = request.POST.get("next", "")
    target = asked if url_has_allowed_host_and_scheme(asked, {request.get_host()}, request.is_secure()) else ""
    try:
        account = passkeys.signed_in_by(_sealed(request), request.POST.get("answer", ""), session.address(request), half)
    except Trouble as error:
        return _over(session.refused(request, "login_code.html" if half else "login.html", error, half, next=target))
    return _over(session.entered(request, account, target))


@page("account/passkeys/begin/", "account_passkey_begin", under="account", methods=("POST",), back="account")
def begin_registration(request: HttpRequest) -> HttpResponse:
    """What a new key pair is for; the password is asked for here."""
    sign_in.again(request.user, request.POST.get("current_password", "")[:1024], session.address(request))
    return _begun(passkeys.begin_registration(request.user))


@page("account/passkeys/add/", "account_passkey_add", under="account", methods=("POST",), back="account", fields={"name": "passkey_name"})
def add(request: HttpRequest) -> HttpResponse:
    """The public half of a new key pair."""
    row = passkeys.register(request.user, Form.of(request).values.get("passkey_name", ""), _sealed(request), request.POST.get("answer", ""))
    messages.success(request, gettext("The passkey %(name)s is added") % {"name": row.name})
    return _over(go(request, reverse("account")))


@page("account/passkeys/<str:ident>/rename/", "account_passkey_rename", under="account", methods=("POST",), back="account", fields={"name": "passkey_name"})
def rename(request: HttpRequest, ident: str) -> HttpResponse:
    """Another name."""
    passkeys.rename(request.user, ident, Form.of(request).values.get("passkey_name", ""))
    return go(request, reverse("account"))


@page("account/passkeys/<str:ident>/remove/", "account_passkey_remove", under="account", methods=("POST",), back="account")
def remove(request: HttpRequest, ident: str) -> HttpResponse:
    """It signs in no more."""
    sign_in.again(request.user, request.POST.get("current_password", "")[:1024], session.address(request))
    passkeys.remove(request.user, ident)
    messages.success(request, gettext("The passkey is removed"))
    return go(request, reverse("account"))


@page("people/of/<str:ident>/passkeys/", "person_passkeys_remove", needs=NEEDS, under="people", methods=("POST",), back="person")
def remove_for(request: HttpRequest, ident: str) -> HttpResponse:
    """The device is lost."""
    passkeys.remove_for(request.user, people.find(request.user, ident))
    return go(request, reverse("person", kwargs={"ident": ident}))
