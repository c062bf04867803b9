"""What watches this process asks: health, readiness, figures."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from django.db import DatabaseError, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from rest_framework.exceptions import APIException

from clc.services import pictures
from clc.web.rest import PROBLEM, BearerToken, admit, form_of, note, translate
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account


def _answers(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Errors of a plain view as problem documents."""

    @csrf_exempt  # type: ignore[untyped-decorator]
    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Exception as error:
            trouble, status = translate(error)
            if status >= 500:
                note(error, trouble)
            return JsonResponse(form_of(trouble, status, getattr(request, "request_id", "")), status=status, content_type=PROBLEM)

    return handle


@_answers
def healthz(_request: HttpRequest) -> HttpResponse:
    """Whether this process lives."""
    return JsonResponse({"ok": True})


@_answers
def readyz(_request: HttpRequest) -> HttpResponse:
    """200 when database and board answer, else 503; the broker is told of and never holds anything up."""
    reasons, lines = [], []
    try:
        with connections[memory.alias("clc")].cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as e:
        reasons.append(f"database: does not answer: {type(e).__name__}")
    for part in pictures.services():
        told = f"{part['name']}: {part['line']}"
        lines.append(told)
        if part["name"] == "board" and part["health"] != "ok":
            reasons.append(told)
    return JsonResponse({"ready": not reasons, "reasons": reasons, "lines": lines}, status=503 if reasons else 200)


@_answers
def metrics(request: HttpRequest) -> HttpResponse:
    """Figures for Prometheus: for this machine, and for administrators."""
    if not _is_local(request):
        account = _account(request)
        if account is None:
            raise Refused("unauthenticated", "Sign in to see the figures")
        admit(account, None, reads=True)
        if not account.is_admin:
            raise Refused("forbidden", "Only an administrator may see the figures")
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def _is_local(request: HttpRequest) -> bool:
    """Whether it comes from this very machine, and not through a proxy on it."""
    try:
        local = ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        local = False
    return local and "X-Forwarded-For" not in request.headers and "Forwarded" not in request.headers


def _account(request: HttpRequest) -> Account | None:
    try:
        found = BearerToken().authenticate(request)
    except APIException:
        return None
    who = found[0] if found else getattr(request, "user", None)
    return who if isinstance(who, Account) and who.is_active else None
