"""One request for a file of a stranger by libcurl. Only addresses the rules let are connected to, whatever names stand for."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import pycurl

from luhyaapi.errors import Failed, Refused, Trouble, Unavailable
from luhyaapi.transfer import asking
from luhyaapi.transfer.fetch.answers import Pages, Replies
from luhyaapi.transfer.fetch.half import Half, Version
from luhyaapi.transfer.fetch.names import suggested
from luhyaapi.transfer.fetch.places import Place
from luhyaapi.transfer.fetch.rules import Rules, address_refused, port_refused
from luhyaapi.transfer.fetch.watch import Watch

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) to the addresses of that host; none when it is not known."""

_PROTOCOLS = {"http": pycurl.PROTO_HTTP, "https": pycurl.PROTO_HTTPS, "ftp": pycurl.PROTO_FTP}
_SAID_NO = frozenset({
    pycurl.E_REMOTE_ACCESS_DENIED, pycurl.E_LOGIN_DENIED, pycurl.E_FTP_COULDNT_RETR_FILE, pycurl.E_REMOTE_FILE_NOT_FOUND,
})
_NOT_FROM_THERE = frozenset({pycurl.E_BAD_DOWNLOAD_RESUME, pycurl.E_FTP_COULDNT_USE_REST})
_WHAT_CAME = "The other side's answer cannot be accepted"
_FINAL: dict[int, tuple[str, str]] = {
    pycurl.E_PEER_FAILED_VERIFICATION: ("forbidden", "The other side does not prove its name"),
    pycurl.E_UNSUPPORTED_PROTOCOL: ("invalid", _WHAT_CAME),
    pycurl.E_URL_MALFORMAT: ("invalid", _WHAT_CAME),
    pycurl.E_FTP_WEIRD_SERVER_REPLY: ("invalid", _WHAT_CAME),
    pycurl.E_BAD_CONTENT_ENCODING: ("invalid", _WHAT_CAME),
}


class Request:
    """Asks ``place`` once, for what ``half`` lacks, and puts what comes there."""

    def __init__(self, place: Place, rules: Rules, half: Half, watch: Watch, resolve: Resolve | None) -> None:
        self.name = ""
        self._place, self._rules, self._half, self._watch, self._resolve = place, rules, half, watch, resolve
        goes_on = half.version.validator and half.version.place == place.digest
        self._from = half.position if goes_on else 0
        self._answer: Pages | Replies = Replies(self._from) if place.scheme == "ftp" else Pages(self._from)
        self._started = False
        self._pieces = asking.Pieces(half.take)
        self._forbidden = ""
        self._error: BaseException | None = None

    def run(self) -> str:
        """Have all bytes in the half file and return "", or return where a redirect leads.

        Raises Unavailable(transfer) when it was cut, Refused and Failed for the rest, and what half and watch raise.
        """
        self._watch.connect()
        curl = pycurl.Curl()
        try:
            self._set(curl)
            number, said = asking.perform(curl)
        finally:
            curl.close()
        return self._finish(number, said)

    def _set(self, curl: pycurl.Curl) -> None:
        place = self._place
        curl.setopt(pycurl.URL, place.url)
        curl.setopt(pycurl.PROTOCOLS, _PROTOCOLS[place.scheme])
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        curl.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
        if place.user or place.password:
            curl.setopt(pycurl.USERNAME, place.user)
            curl.setopt(pycurl.PASSWORD, place.password)
        curl.setopt(pycurl.MAX_RECV_SPEED_LARGE, self._rules.rate)
        if self._resolve and not place.literal:
            curl.setopt(pycurl.RESOLVE, [self._resolved(self._resolve)])
        if place.scheme == "ftp":
            curl.setopt(pycurl.FTP_SKIP_PASV_IP, 1)
            curl.setopt(pycurl.OPT_FILETIME, 1)
            curl.setopt(pycurl.RESUME_FROM_LARGE, self._from)
        else:
            self._set_http(curl)
        asking.listen(curl, self._header, self._write, self._tick)

    def _set_http(self, curl: pycurl.Curl) -> None:
        headers = ["Accept-Encoding: identity", "User-Agent: eduCloud"]
        if self._from:
            headers.append(f"If-Range: {self._half.version.validator}")
            curl.setopt(pycurl.RANGE, f"{self._from}-")
        curl.setopt(pycurl.HTTPHEADER, headers)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.HTTP_CONTENT_DECODING, 0)
        curl.setopt(pycurl.HTTP09_ALLOWED, 0)
        curl.setopt(pycurl.HTTPAUTH, pycurl.HTTPAUTH_BASIC)
        if self._place.scheme == "https":
            system = ssl.get_default_verify_paths()
            curl.setopt(pycurl.SSL_VERIFYPEER, 1)
            curl.setopt(pycurl.SSL_VERIFYHOST, 2)
            curl.setopt(pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2)
            curl.setopt(pycurl.CAPATH, system.openssl_capath)
            curl.setopt(pycurl.CAINFO, str(self._rules.authority or system.openssl_cafile))

    def _resolved(self, resolve: Resolve) -> str:
        place = self._place
        addresses = [f"[{each}]" if ":" in each else each for each in resolve(place.host, place.port)]
        if not addresses:
            raise Unavailable("transfer", "The transfer was cut", f"nobody knows the host {place.host}")
        return f"{place.host}:{place.port}:{','.join(addresses)}"

    def _open_socket(self, _purpose: int, address: tuple[int, int, int, Any]) -> socket.socket | int:
        """Called with the address that is connected to next, for each connection, an FTP server's second ones too."""
        family, kind, protocol, (host, port, *_) = address
        why = address_refused(host, self._rules) or port_refused(port, self._place.scheme)
        if why:
            # passed over when an address of the same name after it answers; FTP's second connection has no other
            self._forbidden = f"{self._place.host} leads to {host}: {why}"
            return int(pycurl.SOCKET_BAD)
        self._forbidden = ""
        return socket.socket(family, kind, protocol)

    def _header(self, line: bytes) -> int | None:
        try:
            if not self._answer.line(line):
                raise Refused("invalid", _WHAT_CAME, "its head is too long")
            if self._answer.complete and self._answer.gives:
                self._start()
        except BaseException as e:
            self._error = e
            return -1
        return None

    def _write(self, data: bytes) -> int | None:
        if not self._answer.gives:
            return -1
        try:
            self._watch.came(len(data))
            self._start()
            self._pieces.add(data)
        except BaseException as e:
            self._error = e
            return -1
        return None

    def _tick(self, *_sizes: int) -> int:
        try:
            self._watch.look_idle()
            if self._started:
                self._watch.tell(self._half.position + self._pieces.held, self._half.version.total)
        except BaseException as e:
            self._error = e
            return 1
        return 0

    def _start(self) -> None:
        if self._started:
            return
        answer, span = self._answer, self._answer.span()
        if span.start and answer.validator != self._half.version.validator:
            raise self._anew("the file changed meanwhile")
        self._half.begin(span, Version(self._place.digest, answer.validator, span.total))
        self.name = suggested(answer.disposition, self._place.path)
        self._started = True

    def _anew(self, why: str) -> Unavailable:
        self._half.forget()
        return Unavailable("transfer", "The transfer was cut", why)

    def _finish(self, number: int, said: str) -> str:
        if self._started and (self._error is None or isinstance(self._error, Unavailable)):
            # what came before a cut is good: the next request goes on from there
            self._pieces.flush()
        if self._error is not None:
            raise self._error
        if not self._answer.gives and self._answer.status and number in (0, pycurl.E_WRITE_ERROR):
            return self._elsewhere()
        if number:
            raise self._trouble(number, said)
        self._start()
        if self._half.version.total not in (-1, self._half.position):
            raise Unavailable("transfer", "The transfer was cut", "the other side stopped early")
        return ""

    def _elsewhere(self) -> str:
        answer = self._answer
        if answer.status == asking.NOT_SATISFIABLE and self._from:
            raise self._anew("the other side has fewer bytes than we have")
        if not answer.moved:
            raise answer.refusal()
        location = answer.headers.get("location", "")
        if not location:
            raise Refused("invalid", _WHAT_CAME, "it redirects to nowhere")
        return location

    def _trouble(self, number: int, said: str) -> Trouble:
        if self._forbidden:
            return Refused("forbidden", "That URL may not be fetched", self._forbidden)
        if number in _SAID_NO:
            return self._answer.refusal()
        why = "".join(c if c.isprintable() else "?" for c in said)[:200]
        if number in _NOT_FROM_THERE:
            return self._anew(why)
        if number == pycurl.E_SSL_CACERT_BADFILE:
            return Failed("missing", "No authority can be trusted", f"install ca-certificates ({why})")
        if number in _FINAL:
            return Refused(*_FINAL[number], why)
        return Unavailable("transfer", "The transfer was cut", why)
