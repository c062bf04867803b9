"""Where a user, or a redirect, sends us: URLs taken apart strictly and put together anew, so that nobody reads them otherwise."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from luhyaapi.errors import Refused
from luhyaapi.transfer.fetch.rules import WELL_KNOWN, Rules, address_refused, port_refused

_LONGEST = 8 * 1024
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_CONTROL_BYTES = re.compile(rb"[\x00-\x1f\x7f]")
_USERINFO = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%-]*")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*:[^\[\]]*\](:\d*)?)|([^\[\]]*)")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_PATH_SAFE = "/%:@!$&'()*+,=~-._"
_WHAT = "That URL may not be fetched"


@dataclass(frozen=True)
class Place:
    """A URL that may be asked for. ``host`` is a name or an address, never an odd spelling of one; ``path`` and ``query`` are quoted."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def literal(self) -> bool:
        """Whether the host is an address."""
        return _address(self.host) is not None

    @property
    def url(self) -> str:
        """What libcurl gets, without credentials."""
        return self.shown + (f"?{self.query}" if self.query else "")

    @property
    def shown(self) -> str:
        """For people: without credentials, and without the query, which often is one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == WELL_KNOWN[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Whom credentials are for."""
        return self.scheme, self.host, self.port

    @property
    def digest(self) -> str:
        """Names the place without telling it. The query is no part of it: a signed one differs each time."""
        return hashlib.sha256(self.shown.encode()).hexdigest()


def parse(url: str, rules: Rules) -> Place:
    """The place a user named. Raises Refused(invalid) naming the rule it breaks, Refused(forbidden) for an address that is not allowed."""
    if len(url) > _LONGEST:
        raise Refused("invalid", _WHAT, f"it is longer than {_LONGEST} characters")
    if _CONTROL.search(url):
        raise Refused("invalid", _WHAT, "it has control characters in it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise Refused("invalid", _WHAT, "its host or port cannot be read") from e
    userinfo, _, host_and_port = parts.netloc.rpartition("@")
    if parts.scheme not in WELL_KNOWN:
        raise Refused("invalid", _WHAT, f"only {', '.join(WELL_KNOWN)} are fetched")
    if not _HOST_AND_PORT.fullmatch(host_and_port):
        raise Refused("invalid", _WHAT, "its host or port cannot be read")
    if not _USERINFO.fullmatch(userinfo):
        raise Refused("invalid", _WHAT, "its user name or password has characters that must be written as %XX")
    place = Place(
        parts.scheme, _host(parts.hostname or ""), WELL_KNOWN[parts.scheme] if port is None else port,
        quote(parts.path, safe=_PATH_SAFE + (";" if parts.scheme != "ftp" else "")) or "/",
        quote(parts.query, safe=_PATH_SAFE + "?;"), _plain(parts.username), _plain(parts.password),
    )
    _check(place, rules)
    return place


def redirected(place: Place, location: str, rules: Rules) -> Place:
    """Where a redirect from ``place`` leads; credentials stay with their origin. Raises as :func:`parse` does."""
    try:
        there = parse(urljoin(place.url, _as_utf8(location)), rules)
    except ValueError as e:
        raise Refused("invalid", _WHAT, "it redirects to what is no URL") from e
    if there.user or there.password:
        raise Refused("invalid", _WHAT, "it redirects to a URL with credentials")
    if (place.scheme, there.scheme) not in (("http", "http"), ("http", "https"), ("https", "https")):
        raise Refused("invalid", _WHAT, f"it redirects from {place.scheme} to {there.scheme}")
    return replace(there, user=place.user, password=place.password) if there.origin == place.origin else there


def _check(place: Place, rules: Rules) -> None:
    why = port_refused(place.port, place.scheme)
    if not why and place.scheme == "ftp":
        if place.path.endswith("/"):
            why = "it names a folder, not a file"
        elif _CONTROL_BYTES.search(unquote_to_bytes(place.path)):
            why = "its path has control characters in it"
    if why:
        raise Refused("invalid", _WHAT, why)
    if place.literal and (why := address_refused(place.host, rules)):
        raise Refused("forbidden", _WHAT, f"{place.host}: {why}")


def _host(text: str) -> str:
    """A name as DNS writes it, or an address as everybody writes it: 127.1, 0x7f000001 and 2130706433 are 127.0.0.1."""
    try:
        if not text.isascii():
            text = text.encode("idna").decode("ascii").lower()
    except UnicodeError as e:
        raise Refused("invalid", _WHAT, "its host is no name of a host") from e
    text = text.removesuffix(".")
    if ":" in text:
        address = _address(text)
        if address is None or "%" in text:
            raise Refused("invalid", _WHAT, "its host is no address")
        return address
    if not _NAME.fullmatch(text):
        raise Refused("invalid", _WHAT, "its host is no name of a host")
    try:
        return socket.inet_ntoa(socket.inet_aton(text))
    except OSError:
        return text


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _plain(secret: str | None) -> str:
    """A user name or password as the other side wants it."""
    raw = unquote_to_bytes(secret or "")
    if _CONTROL_BYTES.search(raw):
        raise Refused("invalid", _WHAT, "its user name or password has control characters in it")
    return raw.decode("utf-8", "replace")


def _as_utf8(header: str) -> str:
    """Headers are read as latin-1; most of those that are not ASCII are UTF-8."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header
