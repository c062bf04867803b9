"""What the other side says before the bytes, and what of it proves that a later answer speaks of the same file."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer import asking
from luhyaapi.transfer.asking import Span

_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
_SETTLED_S = 60
_MOVED = frozenset({301, 302, 303, 307, 308})
_MODIFIED = re.compile(rb"213 (\d{14})\b")
_SIZE = re.compile(rb"213 (\d{1,13})\s*")


class Pages(asking.Answer):
    """The head of an HTTP answer."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.complete = False
        self._start = start

    def line(self, line: bytes) -> bool:
        """See :class:`luhyaapi.transfer.asking.Answer`; ``complete`` is whether it was the last one of a head."""
        self.complete = not line.strip()
        return super().line(line)

    @property
    def validator(self) -> str:
        """What If-Range takes: a strong ETag, or a Last-Modified a minute older than the answer; "" when there is neither."""
        etag = self.headers.get("etag", "")
        if _STRONG.fullmatch(etag):
            return etag
        modified, date = self.headers.get("last-modified", ""), self.headers.get("date", "")
        if not (_DATE.fullmatch(modified) and _DATE.fullmatch(date)):
            return ""
        try:
            age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
        except ValueError:
            return ""
        # a file may change twice within the second of its stamp
        return modified if age.total_seconds() >= _SETTLED_S else ""

    @property
    def moved(self) -> bool:
        """Whether it is a redirect."""
        return self.status in _MOVED

    @property
    def disposition(self) -> str:
        """What it says of the file's name."""
        return self.headers.get("content-disposition", "")

    def span(self) -> Span:
        """Which bytes follow. Raises Failed(digest) for others than were asked for, Refused(invalid) for an encoding."""
        if self.headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise Refused("invalid", "The other side's answer cannot be accepted", "its bytes are encoded in a way nobody asked for")
        span = super().span()
        if self.status == asking.PARTIAL and (not self._start or span.start != self._start):
            raise Failed("digest", "Other bytes came than asked for", f"a part from {span.start} instead of {self._start}")
        return span


class Replies(asking.Answer):
    """What an FTP server says while libcurl asks for a file: time (MDTM), size, and whether it gives it."""

    complete = moved = False
    disposition = ""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.validator = ""
        self._code = 0
        self._size = -1
        self._start = start

    def line(self, line: bytes) -> bool:
        """See :class:`luhyaapi.transfer.asking.Answer`."""
        if re.match(rb"\d{3} ", line):
            self._code = int(line[:3])
        if found := _MODIFIED.match(line):
            self.validator = f"MDTM {found[1].decode()}"
        elif found := _SIZE.fullmatch(line):
            self._size = int(found[1])
        return super().line(line)

    @property
    def gives(self) -> bool:
        """What comes on the second connection is the file."""
        return True

    def span(self) -> Span:
        """From where we asked for, of what it says the size is."""
        return Span(self._start, self._size)

    def refusal(self) -> Refused | Unavailable:
        """What its last words mean when it gives nothing."""
        said = f"FTP reply {self._code}"
        if self._code < 500:
            return Unavailable("transfer", "The other side cannot send now", said)
        return Refused("forbidden" if self._code in (530, 532) else "not_found", "The other side does not give these bytes", said)
