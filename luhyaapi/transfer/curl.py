"""http and https by libcurl: bytes only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from urllib.parse import urlsplit

import pycurl

from luhyaapi.errors import Refused, Trouble, Unavailable, from_wire
from luhyaapi.transfer.base import CHUNK, Cancelled, Source

_CONNECT_S = 10
_SILENCE_S = 30
_KEEP = 16 * 1024
_BUFFER = 512 * 1024
_HEADERS_AT_MOST = 200
_OK = 200


class Curl:
    """GET. A connection that stays silent for 30 s counts as cut; redirects and proxies are not followed."""

    schemes = frozenset({"http", "https"})

    def get(self, source: Source, take: Callable[[bytes], None], stopped: Cancelled) -> None:
        """See :class:`luhyaapi.transfer.base.Transfer`."""
        _Get(source, take, stopped).run()


class _Get:
    def __init__(self, source: Source, take: Callable[[bytes], None], stopped: Cancelled) -> None:
        self._source, self._take, self._stopped = source, take, stopped
        self._headers = 0
        self._status = 0
        self._buffer = bytearray()
        self._answer = b""
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it, then raise what went wrong."""
        curl = pycurl.Curl()
        try:
            self._set(curl)
            cut = ""
            try:
                curl.perform()
            except pycurl.error as e:
                cut = str(e.args[1] if len(e.args) > 1 else e)
        finally:
            curl.close()
        self._finish(cut)

    def _set(self, curl: pycurl.Curl) -> None:
        curl.setopt(pycurl.URL, self._proving(curl))
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in self._source.headers.items()])
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.CONNECTTIMEOUT, _CONNECT_S)
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        curl.setopt(pycurl.LOW_SPEED_TIME, _SILENCE_S)
        curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        curl.setopt(pycurl.HEADERFUNCTION, self._header)
        curl.setopt(pycurl.WRITEFUNCTION, self._write)
        curl.setopt(pycurl.NOPROGRESS, 0)
        curl.setopt(pycurl.XFERINFOFUNCTION, self._tick)

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
        if line.startswith(b"HTTP/"):
            words = line.split()
            self._status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
            self._headers = 0
        self._headers += 1
        return -1 if self._headers > _HEADERS_AT_MOST else None

    def _write(self, data: bytes) -> int | None:
        if self._status != _OK:
            self._answer = (self._answer + data)[:_KEEP]
            return None
        try:
            self._buffer += data
            if len(self._buffer) >= CHUNK:
                self._flush()
        except BaseException as e:
            self._error = e
            return -1
        return None

    def _flush(self) -> None:
        buffer, self._buffer = self._buffer, bytearray()
        if buffer:
            self._take(bytes(buffer))

    def _tick(self, *_sizes: int) -> int:
        return 1 if self._stopped() else 0

    def _finish(self, cut: str) -> None:
        if self._error is None and self._status == _OK:
            # what came before a cut is good: the next attempt goes on from there
            self._flush()
        if self._error is not None:
            raise self._error
        if self._stopped():
            raise Refused("cancelled", "The transfer was cancelled")
        if self._status and self._status != _OK:
            raise self._refusal()
        if cut or not self._status:
            raise Unavailable("transfer", "The transfer was cut", cut or "the other side sent no answer")

    def _refusal(self) -> Trouble:
        form: object = None
        with contextlib.suppress(ValueError):
            form = json.loads(self._answer)
        if isinstance(form, dict) and isinstance(form.get("code"), str):
            return from_wire({k: v for k, v in form.items() if isinstance(v, str)})
        said = f"HTTP status {self._status}"
        if self._status in (408, 425, 429) or self._status >= 500:
            return Unavailable("transfer", "The other side cannot send now", said)
        codes = {401: "forbidden", 403: "forbidden", 404: "not_found"}
        return Refused(codes.get(self._status, "invalid"), "The other side does not give these bytes", said)
