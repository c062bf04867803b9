"""Bytes over a role's door: blobs down in ranges, uploads up in pieces, both opened by a ticket."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from luhyaapi.errors import Refused
from luhyaapi.transfer.giver import Giver, answer
from luhyaapi.transfer.pushing import BODY_AT_MOST
from luhyaapi.wire.http import Answer, Pieces, Request, Route, json_answer, json_route, route

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SHA256 = "(?P<sha256>[0-9a-f]{64})"
_UPLOAD = "(?P<upload>[A-Za-z0-9][A-Za-z0-9_-]{0,63})"
_PART = "(?P<part>[a-z]{1,16})"
_UNSATISFIABLE = (-1, -1)
_PIECE = 256 * 1024
PIECE_AT_MOST = 64 * 1024 * 1024

Authorize = Callable[[str, str, str], object]
"""``authorize(ticket, subject, action)`` raises Refused. Subject: a blob's sha256 for ``get``, an upload's id for ``put``."""


class Stream(Protocol):
    """Where the bytes of a piece come from."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; empty at the end."""


class Blobs(Protocol):
    """Who gives plain bytes. Raises Refused(not_found)."""

    def size(self, sha256: str) -> int:
        """Bytes of a file."""

    def read(self, sha256: str, start: int, length: int) -> Iterator[bytes]:
        """That much of it."""


class Drafts(Protocol):
    """Who takes files that are pushed up, or passes them on. Raises Refused(not_found)."""

    def begin(self, draft: str, size: int, name: str, index: bytes) -> dict[str, Any]:
        """Begin with a squeezed index, or find it begun; which blocks are lacking (see :func:`luhyaapi.transfer.pushing.lacks`)."""

    def take(self, draft: str, data: bytes) -> None:
        """Take frames; what they hold is on the disk then."""


class Traces(Protocol):
    """Who knows which blocks of a file guests read first."""

    def of(self, sha256: str) -> list[int]:
        """Their numbers, in order; empty when it is not known."""


class Uploads(Protocol):
    """Who takes uploads: see ``walrus.services.library.Library``."""

    def open_upload(self, upload_id: str, parts: Sequence[tuple[str, int]]) -> None:
        """Begin, or find it begun."""

    def write(self, upload_id: str, part: str, offset: int, stream: Stream, length: int) -> int:
        """Take a piece; bytes received of that part."""

    def received(self, upload_id: str) -> dict[str, int]:
        """Bytes received of each part."""

    def abandon(self, upload_id: str) -> None:
        """Forget it."""


def block_routes(role: str, giver: Giver, authorize: Authorize) -> list[Route]:
    """GET ``/<role>/api/1.0/blobs/<sha256>/index`` and ``.../blocks?want=0-15,17``: what a download asks for, with flat memory."""
    def serve(request: Request) -> Answer:
        sha256 = request.params["sha256"]
        authorize(request.ticket, sha256, "get")
        return Answer(200, Pieces(answer(giver, sha256, request.params["what"], request.query)))

    return [route("GET", rf"/{role}/api/1\.0/blobs/{_SHA256}/(?P<what>index|blocks)", serve)]


def trace_routes(role: str, traces: Traces, authorize: Authorize) -> list[Route]:
    """GET ``/<role>/api/1.0/blobs/<sha256>/trace``: the numbers of the blocks that guests read first, in order, as JSON."""
    def serve(request: Request) -> Answer:
        sha256 = request.params["sha256"]
        authorize(request.ticket, sha256, "get")
        found = traces.of(sha256)
        if not found:
            raise Refused("not_found", "No guest has read this image here", sha256)
        return json_answer(found)

    return [route("GET", rf"/{role}/api/1\.0/blobs/{_SHA256}/trace", serve)]


def blob_routes(role: str, blobs: Blobs, authorize: Authorize, ending: str = "") -> list[Route]:
    """GET and HEAD ``/<role>/api/1.0/blobs/<sha256><ending>``: the bytes, with Range (one), ETag and flat memory."""
    def serve(request: Request) -> Answer:
        sha256 = request.params["sha256"]
        authorize(request.ticket, sha256, "get")
        return _span_answer(blobs, sha256, f"{sha256}{ending}", request)

    return [route("GET", rf"/{role}/api/1\.0/blobs/{_SHA256}{re.escape(ending)}", serve)]


def upload_routes(role: str, uploads: Uploads, authorize: Authorize) -> list[Route]:
    """Uploads in pieces below ``/<role>/api/1.0/uploads/<upload>``.

    POST there with ``{"parts": [{"part", "size"}]}`` begins; GET tells ``{"received": {part: bytes}}``; DELETE forgets;
    PUT ``.../<part>?offset=N`` with at most 64 MiB adds a piece and answers ``{"received": bytes}`` of that part.
    """
    base = rf"/{role}/api/1\.0/uploads/{_UPLOAD}"

    def allowed(request: Request) -> str:
        upload = request.params["upload"]
        authorize(request.ticket, upload, "put")
        return upload

    def begin(value: object, request: Request) -> dict[str, dict[str, int]]:
        upload = allowed(request)
        uploads.open_upload(upload, _parts(value))
        return {"received": uploads.received(upload)}

    def tell(request: Request) -> Answer:
        return json_answer({"received": uploads.received(allowed(request))})

    def forget(request: Request) -> Answer:
        uploads.abandon(allowed(request))
        return json_answer({})

    def add(request: Request) -> Answer:
        upload, offset = allowed(request), request.query.get("offset", "")
        if not re.fullmatch("[0-9]{1,18}", offset):
            raise Refused("invalid", "The offset is missing", "?offset=N tells where the piece belongs")
        received = uploads.write(upload, request.params["part"], int(offset), request.body, request.body.length)
        return json_answer({"received": received})

    return [
        json_route(base, begin),
        route("GET", base, tell),
        route("DELETE", base, forget),
        route("PUT", f"{base}/{_PART}", add, body_at_most=PIECE_AT_MOST),
    ]


def draft_routes(role: str, drafts: Drafts, authorize: Authorize) -> list[Route]:
    """A file that is pushed up, below ``/<role>/api/1.0/drafts/<draft>``; see :mod:`luhyaapi.transfer.pushing`.

    PUT ``.../index?size=N&name=<digest>`` begins it, again after a cut, and answers which blocks are lacking: ``{"lacking": "0-15,17"}``.
    PUT ``.../blocks`` brings frames.
    """
    base = rf"/{role}/api/1\.0/drafts/{_UPLOAD}"

    def begin(request: Request) -> Answer:
        authorize(request.ticket, request.params["upload"], "bring")
        size, name = request.query.get("size", ""), request.query.get("name", "")
        if not re.fullmatch("[0-9]{1,15}", size) or not re.fullmatch("[0-9a-f]{64}", name):
            raise Refused("invalid", "The file is not described", "?size=N&name=<digest of its index> tell")
        return json_answer(drafts.begin(request.params["upload"], int(size), name, _whole(request)))

    def take(request: Request) -> Answer:
        authorize(request.ticket, request.params["upload"], "bring")
        drafts.take(request.params["upload"], _whole(request))
        return json_answer({})

    return [
        route("PUT", f"{base}/index", begin, body_at_most=PIECE_AT_MOST),
        route("PUT", f"{base}/blocks", take, body_at_most=BODY_AT_MOST),
    ]


def _whole(request: Request) -> bytes:
    data = bytearray()
    while piece := request.body.read(_PIECE):
        data += piece
    return bytes(data)


def _parts(value: object) -> list[tuple[str, int]]:
    parts = value.get("parts") if isinstance(value, dict) else None
    if not isinstance(parts, list) or not all(
        isinstance(p, dict) and isinstance(p.get("part"), str) and type(p.get("size")) is int for p in parts
    ):
        raise Refused("invalid", "The upload is not described", '{"parts": [{"part": "disk", "size": bytes}]} is expected')
    return [(p["part"], p["size"]) for p in parts]


def _span_answer(blobs: Blobs, sha256: str, tag: str, request: Request) -> Answer:
    size = blobs.size(sha256)
    headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes", "Cache-Control": "private, immutable"}
    span = _wanted(request, tag, size)
    if span == _UNSATISFIABLE:
        return Answer(416, headers={**headers, "Content-Range": f"bytes */{size}"})
    if span is None:
        return Answer(200, Pieces(blobs.read(sha256, 0, size), size), headers=headers)
    start, end = span
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return Answer(206, Pieces(blobs.read(sha256, start, end - start), end - start), headers=headers)


def _wanted(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """The wanted bytes as (start, end); None: all of them; _UNSATISFIABLE: there are no such bytes."""
    text = request.headers.get("range", "")
    if not text or request.headers.get("if-range", f'"{tag}"').strip('"') != tag:
        return None
    found = _RANGE.fullmatch(text.replace(" ", ""))
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        last = min(int(found[2]), size)
        return (size - last, size) if last else _UNSATISFIABLE
    start = int(found[1])
    end = min(int(found[2]) + 1, size) if found[2] else size
    if found[2] and int(found[2]) < start:
        return None
    return (start, end) if start < size else _UNSATISFIABLE
