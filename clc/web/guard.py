"""Around every request: an id, strict headers, and an answer with a code for whatever goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseForbidden,
    HttpResponseNotFound,
    HttpResponseServerError,
    JsonResponse,
)
from django.template.loader import render_to_string
from django.urls import is_valid_path

from clc.services import origins
from clc.services.sentences import said
from clc.web.rest import PROBLEM, form_of, note, translate
from luhyaapi import ids, log
from luhyaapi.contracts.vocabulary import Via
from luhyaapi.errors import Bug, Refused, Trouble

_log = log.get(__name__)
Answer = Callable[[HttpRequest], HttpResponse]
_SANE = re.compile(r"[A-Za-z0-9._-]{8,64}")
_API = ("/api/", "/clc/api/")
_DOCS = "/api/docs/"
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'{sockets}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_BARE = {HttpResponseNotFound: "not_found", HttpResponseForbidden: "forbidden", HttpResponseBadRequest: "invalid"}


class Guard:
    """The outermost layer: ``request.request_id``, security headers, no bare error page."""

    def __init__(self, get_response: Answer) -> None:
        self._inner = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, whatever happens inside."""
        asked = request.headers.get("X-Request-Id", "")
        request.request_id = asked if _SANE.fullmatch(asked) else ids.secret()
        with log.bound(request=request.request_id), origins.of(origin_of(request)):
            _with_slash(request)
            answer = _dressed(request, self._inner(request))
        answer.headers["X-Request-Id"] = request.request_id
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers.setdefault("Content-Security-Policy", _policy(request))
        return answer


def origin_of(request: HttpRequest) -> origins.Origin:
    """Where what a request changes comes from. Who asks is looked up inside, by whatever signs in there."""
    def asker() -> origins.Asker:
        account, token = getattr(request, "user", None), getattr(request, "auth", None)
        known = account if getattr(account, "is_authenticated", False) else None
        return origins.Asker(known, str(getattr(token, "pk", "")))

    via = Via.API if request.path.startswith(_API) else Via.PAGE
    return origins.Origin(via, str(request.META.get("REMOTE_ADDR", "")), request.request_id, asker)


def _with_slash(request: HttpRequest) -> None:
    """An address of the API without its last slash is the same address; a redirect would lose the body of a POST."""
    path = request.path_info
    if path.startswith(_API) and not path.endswith("/") and not is_valid_path(path) and is_valid_path(f"{path}/"):
        request.path_info, request.path = f"{path}/", f"{request.path}/"


def _policy(request: HttpRequest) -> str:
    try:
        host = request.get_host()
    except SuspiciousOperation:
        host = ""
    styles = " 'unsafe-inline'" if request.path.startswith(_DOCS) else ""
    return _POLICY.format(styles=styles, sockets=f" ws://{host} wss://{host}" if host else "")


def _dressed(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """Django's own bare answers (no such address, CSRF, a crash) in our form."""
    if type(answer) is HttpResponseServerError:
        return told(request, Bug("Something unexpected happened"), 500)
    code = _BARE.get(type(answer))
    if code is None or answer.headers.get("Content-Type", "").startswith(PROBLEM):
        return answer
    return told(request, _bare(code, request), answer.status_code)


def _bare(code: str, request: HttpRequest) -> Trouble:
    if code == "forbidden":
        return Refused("forbidden", "The form is too old or came from elsewhere", "its CSRF token is missing or does not fit",
                       hint="Load the page again, then send it again.")
    if code == "invalid":
        return Refused("invalid", "The request is not valid")
    return Refused("not_found", "There is nothing at this address", request.path[:200])


class Problems:
    """The innermost layer: errors of page views become pages, notes or problem documents, by who asks."""

    def __init__(self, get_response: Answer) -> None:
        self._inner = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        return self._inner(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse:
        """The answer to an exception of a view."""
        trouble, status = translate(error)
        if status >= 500:
            note(error, trouble)
        return told(request, trouble, status)


def told(request: HttpRequest, trouble: Trouble, status: int) -> HttpResponse:
    """An error in the form its reader understands: problem document, note of a fragment, or page."""
    request_id = str(getattr(request, "request_id", ""))
    form = form_of(trouble, status, request_id)
    if request.path.startswith(_API):
        return JsonResponse(form, status=status, content_type=PROBLEM)
    try:
        return _fragment(request, form, status) if _is_fragment(request) else _page(request, form, status)
    except Exception:
        # The page that tells of a fault must not fail by the same fault.
        _log.exception("error page failed")
        return HttpResponse(_plain(form), status=status)


def _is_fragment(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true" and request.headers.get("HX-Boosted") != "true"


def _fragment(request: HttpRequest, form: dict[str, Any], status: int) -> HttpResponse:
    toast = {"kind": "error", "title": said(form["what"]), "text": " ".join(said(form[k]) for k in ("why", "hint") if form[k])}
    text = render_to_string("clc/_toast.html", {"toast": toast, "error": form}, request)
    return HttpResponse(text, status=status, headers={"HX-Reswap": "none"})


def _page(request: HttpRequest, form: dict[str, Any], status: int) -> HttpResponse:
    text = render_to_string("clc/error.html", {"error": form, "status": status, "request_id": form.get("request", "")}, request)
    return HttpResponse(text, status=status)


def _plain(form: dict[str, Any]) -> str:
    lines = "".join(f"<p>{escape(str(form[k]))}</p>" for k in ("why", "hint") if form.get(k))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(form["what"])}</title><h1>{escape(form["what"])}</h1>'
        f'{lines}<p><code>{escape(form["code"])} {escape(str(form.get("request", "")))}</code></p></html>'
    )
