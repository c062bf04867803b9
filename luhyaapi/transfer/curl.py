"""http and https by libcurl: bytes only. Each thread keeps its connections, so that many small requests are one handshake."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import pycurl

from luhyaapi.errors import Failed, Refused, Trouble, Unavailable, from_wire
from luhyaapi.transfer import asking
from luhyaapi.transfer.base import CHUNK, Cancelled, Source

_SILENCE_S = 30
_KEEP = 16 * 1024
_PIECE = 256 * 1024
"""Small: what came is verified and passed on to the next one in a row."""
_kept = threading.local()


class Curl:
    """GET and PUT. A connection that stays silent for 30 s counts as cut; redirects and proxies are not followed."""

    schemes = frozenset({"http", "https"})

    def get(self, source: Source, take: Callable[[bytes], None], stopped: Cancelled) -> None:
        """See :class:`luhyaapi.transfer.base.Transfer`."""
        _Request(source, take, stopped).run()

    def put(self, source: Source, body: bytes, stopped: Cancelled) -> bytes:
        """See :class:`luhyaapi.transfer.base.Transfer`."""
        answer = bytearray()

        def take(data: bytes) -> None:
            answer.extend(data)
            if len(answer) > 2 * CHUNK:
                raise Failed("transfer", "The other side answered more than was asked")

        _Request(source, take, stopped, body).run()
        return bytes(answer)


def _handle() -> pycurl.Curl:
    """The one of this thread."""
    if not hasattr(_kept, "curl"):
        _kept.curl = pycurl.Curl()
    curl: pycurl.Curl = _kept.curl
    return curl


class _Request:
    def __init__(self, source: Source, take: Callable[[bytes], None], stopped: Cancelled, body: bytes | None = None) -> None:
        self._source, self._stopped, self._body = source, stopped, body
        self._answer, self._pieces = asking.Answer(), asking.Pieces(take, _PIECE)
        self._said = b""
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it, then raise what went wrong."""
        curl = _handle()
        try:
            self._set(curl)
            _, cut = asking.perform(curl)
        finally:
            curl.reset()  # what was set and sent is let go, the connections stay
        self._finish(cut)

    def _set(self, curl: pycurl.Curl) -> None:
        curl.setopt(pycurl.URL, self._proving(curl))
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in self._source.headers.items()] + ["Expect:"])
        if self._body is not None:
            curl.setopt(pycurl.UPLOAD, 1)
            curl.setopt(pycurl.READDATA, io.BytesIO(self._body))
            curl.setopt(pycurl.INFILESIZE_LARGE, len(self._body))
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        curl.setopt(pycurl.LOW_SPEED_TIME, _SILENCE_S)
        asking.listen(curl, self._header, self._write, self._tick)

    def _proving(self, curl: pycurl.Curl) -> str:
        """The address to ask: with a trust it names whom we want, and the way there is given beside it."""
        url, trust = self._source.url, self._source.trust
        parts = urlsplit(url)
        if trust is None or parts.scheme != "https":
            return url
        port = parts.port or 443
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        curl.setopt(pycurl.CAINFO, str(trust.authority))
        curl.setopt(pycurl.CONNECT_TO, [f"{trust.name}:{port}:{host}:{port}"])
        return parts._replace(netloc=f"{trust.name}:{port}").geturl()

    def _header(self, line: bytes) -> int | None:
        return None if self._answer.line(line) else -1

    def _write(self, data: bytes) -> int | None:
        if self._answer.status != asking.OK:
            self._said = (self._said + data)[:_KEEP]
            return None
        try:
            self._pieces.add(data)
        except BaseException as e:
            self._error = e
            return -1
        return None

    def _tick(self, *_sizes: int) -> int:
        return 1 if self._stopped() else 0

    def _finish(self, cut: str) -> None:
        if self._error is None and self._answer.status == asking.OK:
            # what came before a cut is good: the next attempt goes on from there
            self._pieces.flush()
        if self._error is not None:
            raise self._error
        if self._stopped():
            raise Refused("cancelled", "The transfer was cancelled")
        if self._answer.status not in (0, asking.OK):
            raise self._refusal()
        if cut or not self._answer.status:
            raise Unavailable("transfer", "The transfer was cut", cut or "the other side sent no answer")

    def _refusal(self) -> Trouble:
        form: object = None
        with contextlib.suppress(ValueError):
            form = json.loads(self._said)
        if isinstance(form, dict) and isinstance(form.get("code"), str):
            return from_wire({k: v for k, v in form.items() if isinstance(v, str)})
        return self._answer.refusal()
