"""One's own account: password, second step, browsers that are signed in, tokens."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import auth, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import (
    directory_links,
    people,
    provider_sign_in,
    second_step,
    sessions,
    sign_in,
    sign_in_pictures,
    tokens,
)
from clc.web.page import Form, go, page, show
from clc.web.pages.session import address, home
from luhyaapi.errors import Refused
from luhyadb.models import Account

_SHOWN_AT_MOST = 100


def sign_ins(request: HttpRequest, account: Account) -> dict[str, Any]:
    """What an account is signed in with, for a page about it."""
    here = sessions.ident_of(request.session)
    return {
        "sessions": [sign_in_pictures.session(r, here) for r in sessions.of(request.user, account)[:_SHOWN_AT_MOST]],
        "tokens": [sign_in_pictures.token(r, "") for r in tokens.of(request.user, account)[:_SHOWN_AT_MOST]],
    }


def _again(request: HttpRequest) -> None:
    if provider_sign_in.is_proved(request.session, request.user):
        return
    sign_in.again(request.user, request.POST.get("current_password", "")[:1024], address(request))


def _page(request: HttpRequest, **more: Any) -> HttpResponse:
    from clc.web.pages import passkeys

    link, is_proved = directory_links.link_of(request.user), provider_sign_in.is_proved(request.session, request.user)
    return show(request, "account/detail.html", directory=link, is_proved=is_proved, second_step=sign_in_pictures.second_step_of(request.user),
                **sign_ins(request, request.user), **passkeys.of(request.user), **more)


@page("account/", "account", title=_("My account"))
def index(request: HttpRequest) -> HttpResponse:
    """How one signs in, and with what one is signed in."""
    return _page(request)


@page("account/profile/", "account_profile", under="account", methods=("POST",), back="account", fields={"language": "profile_language"})
def profile(request: HttpRequest) -> HttpResponse:
    """What one says of oneself."""
    values = Form.of(request).values
    people.set_profile(request.user, display_name=values.get("display_name", ""), email=values.get("email", ""), language=values.get("profile_language", ""))
    messages.success(request, gettext("Your profile is saved"))
    answer = go(request, reverse("account"))
    if request.user.language:
        answer.set_cookie(settings.LANGUAGE_COOKIE_NAME, request.user.language, samesite="Lax")
    else:
        answer.delete_cookie(settings.LANGUAGE_COOKIE_NAME, samesite="Lax")
    return answer


@page("account/password/", "account_password", under="account", methods=("GET", "HEAD", "POST"), new_password=True)
def password(request: HttpRequest) -> HttpResponse:
    """Another password; this browser stays signed in, and nothing else does."""
    directory_links.require_own_password(request.user)
    if request.method != "POST":
        return show(request, "account/password.html", length=settings.EDUCLOUD.accounts.password_length)
    chosen = request.POST.get("password", "")[:1024]
    if chosen != request.POST.get("password_again", ""):
        raise Refused("invalid", "The two passwords differ", field="password_again")
    _again(request)
    people.set_password(request.user, chosen)
    auth.update_session_auth_hash(request, request.user)
    sessions.began(request.session, address(request), request.headers.get("User-Agent", ""))
    messages.success(request, gettext("Your password is changed"))
    return HttpResponseRedirect(home(request.user))


@page("account/tokens/add/", "account_token_add", under="account", methods=("POST",), back="account")
def add_token(request: HttpRequest) -> HttpResponse:
    """A new token; it is shown this once, so there is no redirect."""
    values = Form.of(request).values
    days = values.get("days", "")
    if not (days.isascii() and days.isdigit() and len(days) < 5):
        raise Refused("invalid", "The end of the token is not possible", "it is to come, and at most 365 days away", field="days")
    row, text = tokens.make(request.user, values.get("name", ""), values.get("scope", tokens.ALL), int(days) * tokens.DAY_S)
    return _page(request, made={"name": row.name, "token": text})


@page("account/tokens/<str:ident>/revoke/", "account_token_revoke", under="account", methods=("POST",), back="account")
def revoke_token(request: HttpRequest, ident: str) -> HttpResponse:
    """A token ends; an administrator comes here from somebody's page too."""
    tokens.revoke(request.user, ident)
    messages.success(request, gettext("The token is revoked"))
    return go(request, reverse("account"))


@page("account/sessions/end-others/", "account_sessions_end", under="account", methods=("POST",), back="account")
def end_others(request: HttpRequest) -> HttpResponse:
    """Every other browser is signed out."""
    sessions.end_others(request.user, sessions.ident_of(request.session))
    messages.success(request, gettext("All other browsers are signed out"))
    return go(request, reverse("account"))


@page("account/sessions/<str:ident>/end/", "account_session_end", under="account", methods=("POST",), back="account")
def end_session(request: HttpRequest, ident: str) -> HttpResponse:
    """A browser is signed out; an administrator comes here from somebody's page too."""
    is_this = ident == sessions.ident_of(request.session)
    sessions.end(request.user, ident)
    if is_this:
        auth.logout(request)
        return HttpResponseRedirect(reverse("login"))
    messages.success(request, gettext("The browser is signed out"))
    return go(request, reverse("account"))


@page("account/second-step/enrol/", "account_second_step_enrol", under="account", methods=("POST",), back="account")
def enrol(request: HttpRequest) -> HttpResponse:
    """A secret for an app."""
    _again(request)
    second_step.enrol(request.user)
    return HttpResponseRedirect(reverse("account_second_step"))


@page("account/second-step/", "account_second_step", under="account")
def enrolment(request: HttpRequest) -> HttpResponse:
    """What the app has to know, until its first code is confirmed."""
    found = second_step.pending(request.user)
    return show(request, "account/second_step.html", enrolment=found) if found else HttpResponseRedirect(reverse("account"))


@page("account/second-step/confirm/", "account_second_step_confirm", under="account", methods=("POST",), back="account_second_step")
def confirm(request: HttpRequest) -> HttpResponse:
    """It is on; the recovery codes are shown this once, so there is no redirect."""
    return _page(request, codes=second_step.confirm(request.user, request.POST.get("code", "")[:40]))


@page("account/second-step/remove/", "account_second_step_remove", under="account", methods=("POST",), back="account")
def remove(request: HttpRequest) -> HttpResponse:
    """No second step any more."""
    _again(request)
    second_step.remove(request.user)
    messages.success(request, gettext("The second step is off"))
    return go(request, reverse("account"))


@page("account/second-step/recovery-codes/", "account_recovery_codes", under="account", methods=("POST",), back="account")
def recovery_codes(request: HttpRequest) -> HttpResponse:
    """Other recovery codes, shown this once."""
    _again(request)
    return _page(request, codes=second_step.new_recovery_codes(request.user))
