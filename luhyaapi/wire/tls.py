"""TLS between hosts: who must prove what to whom, and a secured connection as a plain socket.

Every certificate stands for a host's id and its role (``cc.educloud``), never for an address: addresses are declared by
hosts, ids are given by the CLC. So whoever connects says which of the two the other side must prove.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from pathlib import Path

import httpx

from luhyaapi import log
from luhyaapi.conf import Host
from luhyaapi.errors import Unavailable
from luhyaapi.transfer.base import Trust
from luhyaapi.wire import identity

_log = log.get(__name__)
_BUFFER = 64 * 1024


def proving(trusted: Trust) -> ssl.SSLContext:
    """Settings of a connection that has the other side prove its name, which is asked for with ``server_hostname``."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(trusted.authority)
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The end of one direction is TCP's: without this OpenSSL would take it for a fault and refuse the other direction.
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


def trust(folder: Path, name: str) -> Trust:
    """Trust in the authority of the membership kept in ``folder``."""
    return Trust(folder / identity.AUTHORITY_FILE, name)


def unproved() -> ssl.SSLContext:
    """Settings of a connection to somebody who cannot prove anything yet: only for what is public and checked by other means."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def serving(folder: Path) -> ssl.SSLContext:
    """Settings of a door, with the certificate of the membership kept in ``folder``."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / identity.TLS_FILE, folder / identity.TLS_KEY_FILE)
    return context


def doors(host: Host) -> ssl.SSLContext | None:
    """Settings of a role's own doors; None when it stays on its machine and speaks in the clear."""
    return serving(host.identity) if host.tls else None


def http(trusted: Trust | None, **more: object) -> httpx.Client:
    """A client of another role's door. Its requests must name whom they ask for: see :func:`asking`."""
    return httpx.Client(verify=proving(trusted) if trusted else True, trust_env=False, **more)  # type: ignore[arg-type]


def http_unproved() -> httpx.Client:
    """A client of a door that cannot prove anything yet; see :func:`unproved`."""
    return httpx.Client(verify=unproved(), trust_env=False)


def asking(trusted: Trust | None) -> dict[str, str]:
    """What a request of such a client carries as ``extensions``."""
    return {"sni_hostname": trusted.name} if trusted else {}


def connect(sock: socket.socket, trusted: Trust) -> socket.socket:
    """The connected ``sock`` after the other side's proof, as a plain socket. Raises Unavailable(host_silent)."""
    try:
        return plain(proving(trusted).wrap_socket(sock, server_hostname=trusted.name))
    except OSError as e:
        sock.close()
        raise Unavailable("host_silent", "The other side does not prove who it is", f"{trusted.name}: {e}") from e


def plain(secured: ssl.SSLSocket) -> socket.socket:
    """A socket of this process that carries what ``secured`` carries; each side may end its direction alone.

    An end is the TCP connection's, not TLS's own: whoever cuts a stream between the hosts could as well hold it.
    """
    near, far = socket.socketpair()
    threading.Thread(target=_Carrier(secured, far).run, name="tls", daemon=True).start()
    return near


class _Carrier:
    """Bytes between a TLS connection and a plain socket. One thread only: a TLS connection is not safe for two."""

    def __init__(self, secured: ssl.SSLSocket, far: socket.socket) -> None:
        self._secured, self._far = secured, far
        self._out, self._in = b"", b""
        self._out_ended = self._in_ended = False

    def run(self) -> None:
        try:
            self._secured.setblocking(False)
            self._far.setblocking(False)
            while not (self._out_ended and self._in_ended):
                self._wait()
                self._step()
        except OSError as e:
            _log.debug("secured stream broke", why=str(e))
        finally:
            self._secured.close()
            self._far.close()

    def _wait(self) -> None:
        poll = select.poll()
        secured = far = 0
        if not self._in_ended and not self._in:
            if self._secured.pending():
                return
            secured |= select.POLLIN
        if self._out:
            secured |= select.POLLOUT
        elif not self._out_ended:
            far |= select.POLLIN
        if self._in:
            far |= select.POLLOUT
        # Without a wish the socket is not watched at all: a hang-up would be told again and again.
        for sock, wish in ((self._secured, secured), (self._far, far)):
            if wish:
                poll.register(sock, wish)
        poll.poll()

    def _step(self) -> None:
        if not self._out and not self._out_ended:
            self._out = self._read_far()
        if self._out:
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._out = self._out[self._secured.send(self._out):]
        if not self._in and not self._in_ended:
            self._in = self._read_secured()
        if self._in:
            with contextlib.suppress(BlockingIOError):
                self._in = self._in[self._far.send(self._in):]

    def _read_far(self) -> bytes:
        try:
            data = self._far.recv(_BUFFER)
        except BlockingIOError:
            return b""
        if not data:
            self._out_ended = True
            # The socket's own shutdown: that of the TLS connection would forget its keys, and the other direction goes on.
            socket.socket.shutdown(self._secured, socket.SHUT_WR)
        return data

    def _read_secured(self) -> bytes:
        try:
            data = self._secured.recv(_BUFFER)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        if not data:
            self._in_ended = True
            self._far.shutdown(socket.SHUT_WR)
        return data
