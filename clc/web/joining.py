"""The door for hosts that want in, and what watches this process: health, readiness, figures."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import DatabaseError, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from rest_framework.exceptions import APIException

from clc.services import hosts, pictures
from clc.services.own import own
from clc.web.rest import PROBLEM, BearerToken, form_of, note, translate
from luhyaapi.contracts.reports import JoinAsked
from luhyaapi.contracts.vocabulary import HostState, Role
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire.link import DownLink
from luhyadb import memory
from luhyadb.models import Account, Host, JoinToken

BODY_AT_MOST = 32 * 1024
WAITING_AT_MOST = 100
FIELDS = {"request": 64, "role": 10, "name": 63, "csr": 8192, "token": 300, "address": 100}
_NEEDED = ("request", "role", "name", "csr")
_REQUEST = re.compile(r"[A-Za-z0-9_-]{20,64}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,90}")
NO_TOKEN = hashlib.sha256(b"").hexdigest()
links: list[DownLink] = []
"""The last one is the way to the children's accounts; made at first use, or registered by whoever runs us."""


def downlink() -> DownLink:
    """The broker of our children, only to make and remove their accounts. Raises Refused(not_found) without its password."""
    if not links:
        from luhyaapi.wire.amqp import AmqpDownLink

        links.append(AmqpDownLink(settings.EDUCLOUD.broker, own().id, children=list))
    return links[-1]


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


def _only(request: HttpRequest, *methods: str) -> None:
    if request.method not in methods:
        raise Refused("unsupported", "This address does not do that", f"it answers {', '.join(methods)}")


# joining


def _sent(request: HttpRequest) -> dict[str, str]:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit()) or len(length) > 9 or int(length) > BODY_AT_MOST:
        raise Refused("invalid", "The request is too large", f"at most {BODY_AT_MOST} bytes are read here")
    try:
        form = json.loads(request.read(BODY_AT_MOST + 1))
    except (ValueError, RecursionError) as e:
        raise Refused("invalid", "The request is not JSON", str(e)[:200]) from e
    if not isinstance(form, dict):
        raise Refused("invalid", "The request is not a JSON object")
    for name, value in form.items():
        if name not in FIELDS:
            raise Refused("invalid", f"There is no field {name[:40]!r}", f"known are {', '.join(FIELDS)}", field=name[:40])
        if not isinstance(value, str) or len(value) > FIELDS[name]:
            raise Refused("invalid", f"{name} is not possible", f"a text of at most {FIELDS[name]} signs is expected", field=name)
    for name in _NEEDED:
        if not form.get(name):
            raise Refused("invalid", f"{name} is missing", field=name)
    return form


def _checked(form: dict[str, str]) -> JoinAsked:
    address = form.get("address", "")
    for name, value, pattern in (("request", form["request"], _REQUEST), ("name", form["name"], _NAME), ("address", address, _ADDRESS)):
        if (value or name != "address") and not pattern.fullmatch(value):
            raise Refused("invalid", f"{name} is not possible", f"{value[:40]!r} does not look like one", field=name)
    if form["role"] not in [str(r) for r in Role if r is not Role.CLC]:
        raise Refused("invalid", "role is not possible", f"{form['role']!r} does not join here", field="role")
    _check_csr(form["csr"])
    token = form.get("token", "").strip()
    return JoinAsked(request=form["request"], role=Role(form["role"]), name=form["name"], csr=form["csr"], address=address,
                     proof=hosts.proof_of(token) if token else NO_TOKEN)


def _check_csr(text: str) -> None:
    """A request that could never be signed would wait for ever. Raises Refused(invalid)."""
    try:
        asked = x509.load_pem_x509_csr(text.encode())
        good = asked.is_signature_valid and isinstance(asked.public_key(), Ed25519PublicKey)
    except Exception as e:
        raise Refused("invalid", "csr is not possible", f"it cannot be read: {type(e).__name__}", field="csr") from e
    if not good:
        raise Refused("invalid", "csr is not possible", "it is not signed by an Ed25519 key of its own", field="csr")


@_answers
def join(request: HttpRequest) -> HttpResponse:
    """POST ``{request, role, name, csr, token?, address?}``: 202 ``{state}``; with a good token admitted, else waiting."""
    _only(request, "POST")
    report = _checked(_sent(request))
    with memory.atomic():
        known = Host.objects.filter(request=report.request).first()
        if known is not None and (known.csr, known.role) != (report.csr, report.role):
            raise Refused("conflict", "This request to join is known with another key")
        if known is None and not JoinToken.objects.filter(proof=report.proof, used_by="").exists() and _crowded():
            raise Unavailable("busy", "Too many hosts wait for approval", f"{WAITING_AT_MOST} do", hint="Bring a join token, or approve those.")
        host = hosts.join_asked(report, own().id)
    return JsonResponse({"state": str(host.state)}, status=202)


def _crowded() -> bool:
    return Host.objects.filter(state=HostState.NEW).count() >= WAITING_AT_MOST


@_answers
def joined(request: HttpRequest, wanted: str) -> HttpResponse:
    """GET: 202 ``{state: new}`` while it waits, 200 the membership once admitted; refused (409) after the host's first hello."""
    _only(request, "GET")
    if not _REQUEST.fullmatch(wanted):
        raise Refused("not_found", "There is no such request to join")
    host = Host.objects.filter(request=wanted, boss=own().id).exclude(state=HostState.RETIRED).first()
    if host is not None and (host.boot or host.state not in (HostState.NEW, HostState.DOWN)):
        raise Refused("state", "This host has joined already", "its membership is given out until it first says hello",
                      hint="Remove the host and join anew if its membership was lost.")
    if host is not None and not host.certificate:
        return JsonResponse({"state": str(host.state)}, status=202)
    form = hosts.membership(wanted, downlink())
    return JsonResponse(form) if form else JsonResponse({"state": str(HostState.NEW)}, status=202)


# watching


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
