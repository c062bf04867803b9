"""What all requests by libcurl have in common: bounded headers, the meaning of a status, pieces of CHUNK."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pycurl

from luhyaapi.errors import Failed, Refused, Trouble, Unavailable
from luhyaapi.transfer.base import CHUNK

OK, PARTIAL, NOT_SATISFIABLE = 200, 206, 416
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_LENGTH = re.compile(r"\d{1,18}")
_CONNECT_S = 10
_BUFFER = 512 * 1024
_LINES_AT_MOST = 200
_HEADER_BYTES_AT_MOST = 64 * 1024


@dataclass(frozen=True)
class Span:
    """What the other side says it sends: from byte ``start`` on; ``total`` bytes in the whole, -1 unknown."""

    start: int
    total: int = -1


class Answer:
    """Status and headers of an HTTP answer; an interim answer is forgotten when the next one begins, its size is not."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._lines = self._bytes = 0

    def line(self, line: bytes) -> bool:
        """Take one line of the head; false when it was one, or a byte, too many."""
        self._lines += 1
        self._bytes += len(line)
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            words = text.split()
            self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
            self.headers.clear()
        elif ":" in text:
            name, value = text.split(":", 1)
            self.headers[name.strip().lower()] = value.strip()
        return self._lines <= _LINES_AT_MOST and self._bytes <= _HEADER_BYTES_AT_MOST

    @property
    def gives(self) -> bool:
        """Whether bytes of the file follow."""
        return self.status in (OK, PARTIAL)

    def span(self) -> Span:
        """Which bytes follow. Raises Failed(digest) for a part that does not say which."""
        if self.status == PARTIAL:
            found = _CONTENT_RANGE.fullmatch(self.headers.get("content-range", ""))
            if not found:
                raise Failed("digest", "The other side sent a part without saying which")
            return Span(int(found[1]), int(found[3]))
        length = self.headers.get("content-length", "")
        return Span(0, int(length) if _LENGTH.fullmatch(length) else -1)

    def refusal(self) -> Trouble:
        """What a status that gives no bytes means."""
        said = f"HTTP status {self.status}"
        if self.status == NOT_SATISFIABLE:
            return Failed("digest", "The other side has fewer bytes than we have", said)
        if self.status in (408, 425, 429) or self.status >= 500:
            return Unavailable("transfer", "The other side cannot send now", said)
        codes = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "not_found"}
        return Refused(codes.get(self.status, "invalid"), "The other side does not give these bytes", said)


class Pieces:
    """Gathers what comes into pieces of about ``at_least`` bytes before it is handed on."""

    def __init__(self, take: Callable[[bytes], None], at_least: int = CHUNK) -> None:
        self._take, self._at_least = take, at_least
        self._buffer = bytearray()

    @property
    def held(self) -> int:
        """Bytes not yet handed on."""
        return len(self._buffer)

    def add(self, data: bytes) -> None:
        """Take ``data``; raises what the taker raises."""
        self._buffer += data
        if len(self._buffer) >= self._at_least:
            self.flush()

    def flush(self) -> None:
        """Hand on what is left."""
        buffer, self._buffer = self._buffer, bytearray()
        if buffer:
            self._take(bytes(buffer))


def listen(
    curl: pycurl.Curl, header: Callable[[bytes], int | None], write: Callable[[bytes], int | None], tick: Callable[..., int],
) -> None:
    """Have libcurl tell us everything (``tick`` about once a second when nothing comes), use no proxy and no signals."""
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.CONNECTTIMEOUT, _CONNECT_S)
    curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
    curl.setopt(pycurl.HEADERFUNCTION, header)
    curl.setopt(pycurl.WRITEFUNCTION, write)
    curl.setopt(pycurl.NOPROGRESS, 0)
    curl.setopt(pycurl.XFERINFOFUNCTION, tick)


def perform(curl: pycurl.Curl) -> tuple[int, str]:
    """Do it; libcurl's error as (number, sentence), (0, "") when there was none."""
    try:
        curl.perform()
    except pycurl.error as e:
        return int(e.args[0]), str(e.args[1] if len(e.args) > 1 else e)
    return 0, ""
