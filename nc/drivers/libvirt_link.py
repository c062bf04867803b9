"""The one open connection to libvirt: opened again when dead, every call with a limit, errors as ours."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import libvirt

from luhyaapi import clock, log
from luhyaapi.errors import Failed, Trouble, Unavailable
from luhyaapi.process import Loop

_log = log.get(__name__)
T = TypeVar("T")

KEEPALIVE_S = 5
KEEPALIVE_MISSES = 3
STUCK_CALLS = 8
_ABSENT = {libvirt.VIR_ERR_NO_DOMAIN}
_DEAD_CODES = {
    libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_AUTH_CANCELLED, libvirt.VIR_ERR_AUTH_UNAVAILABLE, libvirt.VIR_ERR_OPERATION_TIMEOUT,
}
_ENDS_A_STORY = {libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED}
_DEAD_DOMAINS = {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}


class Absent(Exception):  # noqa: N818 - an answer, not an error
    """libvirt answered that there is no such domain."""


class _Events:
    """libvirt's event loop, once per process and begun before the first connection: without it no news and no keepalive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Loop | None = None

    def begin(self) -> None:
        with self._lock:
            if self._loop:
                return
            libvirt.virEventRegisterDefaultImpl()
            libvirt.registerErrorHandler(lambda *_: None, None)
            libvirt.virEventAddTimeout(1000, lambda *_: None, None)
            self._loop = Loop("libvirt events", libvirt.virEventRunDefaultImpl, 0).start()


_events = _Events()


class _Call:
    """One call in a thread of its own, so that a libvirt that hangs hangs that thread only."""

    def __init__(self, call: Callable[[], Any], guest: str = "") -> None:
        self._call = call
        self.guest = guest
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="libvirt call", daemon=True).start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error
        self._done.set()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def result(self, timeout_s: float) -> Any:
        if not clock.wait(self._done, timeout_s):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value


class Link:
    """Calls libvirt. ``ask(call)`` gives ``call`` the connection and answers what it answers."""

    def __init__(self, uri: str, timeout_s: float = 30.0) -> None:
        self._uri = uri
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._connection: Any = None
        self._stuck: list[_Call] = []
        self._callback: Callable[[str], None] | None = None
        self._heard_by: dict[Any, int] = {}
        self.killed: set[str] = set()
        """Domains whose process this host told to end, as far as was heard while somebody watched."""

    def ask(self, call: Callable[[Any], T], *, what: str, timeout_s: float | None = None) -> T:
        """Answer of ``call(connection)`` within ``timeout_s`` (default: the link's).

        Raises Absent, Unavailable(hypervisor_down), Failed(hypervisor).
        """
        connection = self._open()
        try:
            answer: T = self._within(lambda: call(connection), timeout_s or self._timeout_s)
        except TimeoutError:
            self._drop(connection)
            raise Unavailable(
                "hypervisor_down", what, f"libvirt did not answer in {timeout_s or self._timeout_s:.0f} s",
            ) from None
        except libvirt.libvirtError as error:
            raise self._understood(error, connection, what) from error
        return answer

    def ask_guest(self, guest: str, call: Callable[[Any], T], *, what: str, timeout_s: float | None = None) -> T:
        """The same for what the process of ``guest`` has to answer too, which may hang alone.

        It has a connection of its own: a call that hangs holds up others that share one. While it hangs, no other is begun.
        """
        limit_s = timeout_s or self._timeout_s
        try:
            answer: T = self._within(lambda: self._alone(call), limit_s, guest)
        except TimeoutError:
            raise _deaf(what, f"the guest's process did not answer in {limit_s:.0f} s") from None
        except libvirt.libvirtError as error:
            raise self._understood(error, None, what) from error
        return answer

    def _alone(self, call: Callable[[Any], T]) -> T:
        _events.begin()
        connection = libvirt.open(self._uri)
        try:
            return call(connection)
        finally:
            with contextlib.suppress(libvirt.libvirtError):
                connection.close()

    def watch(self, callback: Callable[[str], None]) -> None:
        """Tell ``callback`` the name of each domain whose life changes; empty text when the connection did."""
        with self._lock:
            self._callback = callback
            connection = self._connection
        if connection is not None:
            self._within(lambda: self._register(connection), self._timeout_s)

    def close(self) -> None:
        """End the connection; the next call opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            self._abandon(connection)

    def _open(self) -> Any:
        # who waits for somebody else's attempt waits no longer than for an own one
        if not self._opening.acquire(timeout=self._timeout_s):
            raise self._down(f"no connection in {self._timeout_s:.0f} s")
        try:
            connection = self._connection
            if connection is not None and connection.isAlive():
                return connection
            _events.begin()
            connection = self._within(self._connect, self._timeout_s)
            with self._lock:
                self._connection = connection
        except TimeoutError:
            raise self._down(f"no connection in {self._timeout_s:.0f} s") from None
        except libvirt.libvirtError as error:
            raise self._down(_words(error)) from error
        finally:
            self._opening.release()
        if self._callback:
            self._callback("")
        return connection

    def _down(self, why: str) -> Unavailable:
        return Unavailable("hypervisor_down", f"{self._uri} does not answer", why)

    def _connect(self) -> Any:
        connection = libvirt.open(self._uri)
        offers: tuple[Callable[[], Any], ...] = (
            lambda: connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_MISSES),
            lambda: connection.registerCloseCallback(self._closed, None),
        )
        for offer in offers:
            try:
                offer()
            except libvirt.libvirtError as error:
                # hypervisors libvirt drives inside this process have no connection to watch
                _log.debug("libvirt does not watch this connection", uri=self._uri, why=_words(error))
        if self._callback:
            self._register(connection)
        return connection

    def _register(self, connection: Any) -> None:
        self._heard_by[connection] = connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._changed, None)

    def _changed(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        name = domain.name()
        if event == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN and detail == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST:
            self.killed.add(name)
        elif event in _ENDS_A_STORY or (event == libvirt.VIR_DOMAIN_EVENT_STOPPED and detail != libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN):
            self.killed.discard(name)
        if self._callback:
            self._callback(name)

    def _closed(self, connection: Any, reason: int, _opaque: Any) -> None:
        _log.warning("libvirt connection closed", uri=self._uri, reason=reason)
        self._drop(connection)
        if self._callback:
            self._callback("")

    def _within(self, call: Callable[[], Any], timeout_s: float, guest: str = "") -> Any:
        with self._lock:
            self._stuck = [c for c in self._stuck if not c.done]
            hang = [c.guest for c in self._stuck]
        if hang.count("") >= STUCK_CALLS:
            raise self._down(f"{STUCK_CALLS} calls hang in it")
        if guest and guest in hang:
            raise _deaf(f"{guest} does not answer", "an earlier call hangs in the guest's process")
        running = _Call(call, guest)
        try:
            return running.result(timeout_s)
        except TimeoutError:
            with self._lock:
                self._stuck.append(running)
            raise

    def _drop(self, connection: Any) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        self._abandon(connection)

    def _abandon(self, connection: Any) -> None:
        # closing speaks to libvirt as well, so it may hang as well: nobody waits for it
        hears = self._heard_by.pop(connection, None)

        def close() -> None:
            # each of these holds the connection open
            ways = ([lambda: connection.domainEventDeregisterAny(hears)] if hears is not None else []) + [connection.unregisterCloseCallback, connection.close]
            for way in ways:
                try:
                    way()
                except libvirt.libvirtError as error:
                    _log.debug("libvirt connection not closed", why=str(error))

        _Call(close)

    def _understood(self, error: libvirt.libvirtError, connection: Any, what: str) -> Trouble | Absent:
        code, domain = error.get_error_code(), error.get_error_domain()
        if code in _ABSENT:
            return Absent(what)
        if code in _DEAD_CODES or domain in _DEAD_DOMAINS or (connection is not None and not connection.isAlive()):
            if connection is not None and code != libvirt.VIR_ERR_OPERATION_TIMEOUT:
                self._drop(connection)
            return Unavailable("hypervisor_down", what, _words(error))
        return Failed("hypervisor", what, _words(error))


def _deaf(what: str, why: str) -> Unavailable:
    return Unavailable("hypervisor_down", what, why, hint="Its disk may hang: look at the storage of its node, or stop the instance without grace.")


def _words(error: libvirt.libvirtError) -> str:
    return str(error.get_error_message() or error)
