"""The image store's door, as the API uses it: bytes pass through in pieces and are never held whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse

from clc.services import hosts
from clc.services.own import own
from clc.web.api.afar import afar
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import CODES, Trouble, Unavailable, from_wire
from luhyaapi.transfer.base import Trust
from luhyaapi.wire import tls
from luhyaapi.wire.identity import role_name
from luhyaapi.wire.signing import make_ticket

PIECE = 256 * 1024
_TIMEOUT = httpx.Timeout(connect=3, read=60, write=60, pool=3)
_PASSED_ON = ("Content-Length", "Content-Range", "ETag", "Accept-Ranges", "Cache-Control")
transport: list[Callable[[], httpx.BaseTransport]] = []
"""The last one makes the way to the store; empty: the network."""


def _client() -> httpx.Client:
    return tls.http(_trusted(), transport=transport[-1]() if transport else None, timeout=_TIMEOUT)


def _trusted() -> Trust | None:
    """Whom the store must prove to be, where it is on another host."""
    host = settings.EDUCLOUD.host
    return tls.trust(host.identity, role_name(Role.WALRUS)) if host.tls else None


def _silent(error: Exception) -> Unavailable:
    return Unavailable("host_silent", "The image store does not answer now", f"{type(error).__name__}: {error}")


def _refused(answer: httpx.Response) -> Trouble:
    try:
        form = answer.json()
        known = isinstance(form, dict) and form.get("code") in CODES
    except ValueError:
        known = False
    if not known:
        return Unavailable("host_silent", "The image store answered what it should not", f"HTTP {answer.status_code}")
    return from_wire({k: str(form.get(k) or "") for k in ("code", "what", "why", "hint")})


def ask(method: str, door: str, ticket: str, **more: Any) -> dict[str, Any]:
    """The store's JSON answer. Raises the store's own error, Unavailable(host_silent)."""
    try:
        with _client() as client:
            headers = {"Authorization": f"Ticket {ticket}", **more.pop("headers", {})}
            answer = client.request(method, door, headers=headers, extensions=tls.asking(_trusted()), **more)
    except httpx.HTTPError as e:
        raise _silent(e) from e
    if answer.is_error:
        raise _refused(answer)
    try:
        form = answer.json()
    except ValueError as e:
        raise _silent(e) from e
    return form if isinstance(form, dict) else {}


def begin(door: str, ticket: str, parts: list[dict[str, Any]]) -> dict[str, int]:
    """Room for a new upload; what has arrived of it: bytes by part. Said again it is harmless."""
    return _received(ask("POST", door, ticket, json={"parts": [{"part": str(p["part"]), "size": int(p["size"])} for p in parts]}))


def arrived(door: str, ticket: str) -> dict[str, int]:
    """What has arrived of an upload: bytes by part."""
    return _received(ask("GET", door, ticket))


def abandon(door: str, ticket: str) -> None:
    """Have the bytes of an upload no more. Said again it is harmless."""
    ask("DELETE", door, ticket)


def _received(form: dict[str, Any]) -> dict[str, int]:
    return {str(k): int(v) for k, v in dict(form.get("received") or {}).items()}


def send(door: str, ticket: str, part: str, offset: int, body: Any, length: int) -> int:
    """Pass ``length`` bytes on; how many of that part have arrived in all. Raises Unavailable(transfer) when the sender stops."""
    headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
    form = ask("PUT", f"{door}/{part}", ticket, params={"offset": offset}, content=_pieces(body, length), headers=headers)
    return int(form.get("received") or 0)


def _pieces(body: Any, length: int) -> Iterator[bytes]:
    left = length
    while left > 0:
        data = body.read(min(PIECE, left))
        if not data:
            raise Unavailable("transfer", "The sender stopped in the middle", f"{left} bytes are missing")
        left -= len(data)
        yield data


def blob(request: HttpRequest, sha256: str, name: str, ending: str = "") -> StreamingHttpResponse:
    """The bytes of a blob (``/qcow2``: of a disk as that) as an answer, or the range that was asked for. Raises the store's error, Unavailable(host_silent)."""
    store = next(iter(hosts.hosts_of(Role.WALRUS)), None)
    if store is None or not store.address:
        raise Unavailable("host_silent", "The image store does not answer now")
    headers = {"Authorization": "Ticket " + make_ticket(own().key, {"get": [sha256], "to": own().id}), "Accept-Encoding": "identity"}
    headers |= {h: request.headers[h] for h in ("Range", "If-Range") if h in request.headers}
    with contextlib.ExitStack() as open_:
        client = open_.enter_context(_client())
        method = "HEAD" if request.method == "HEAD" else "GET"
        asked = client.build_request(method, f"{store.address}/walrus/api/1.0/blobs/{sha256}{ending}", headers=headers, extensions=tls.asking(_trusted()))
        try:
            answer = client.send(asked, stream=True)
            open_.callback(answer.close)
            if answer.is_error and answer.status_code != 416:
                answer.read()
                raise _refused(answer)
        except httpx.HTTPError as e:
            raise _silent(e) from e
        kept = open_.pop_all()
    pieces = _read(answer, kept)
    told = StreamingHttpResponse(
        afar(request, pieces), status=answer.status_code, content_type="application/octet-stream",
        headers={h: answer.headers[h] for h in _PASSED_ON if h in answer.headers},
    )
    told.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    told._resource_closers.append(kept.close)  # noqa: SLF001 - Django closes an iterator, and the connection is more than that
    return told


def _read(answer: httpx.Response, kept: contextlib.ExitStack) -> Iterator[bytes]:
    with kept:
        yield from answer.iter_raw(PIECE)
