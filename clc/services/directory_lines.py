"""Asking directories, which may hang: few at once, none again right after it did not answer, and every error says which one it was."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from clc.drivers import DIRECTORIES
from clc.drivers.base import LdapSettings, PeopleDirectory, down
from clc.services import directories
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import DirectoryKind
from luhyaapi.errors import Refused, Unavailable
from luhyadb.models import Directory

T = TypeVar("T")
AT_ONCE = 4
REST_S = 10.0
"""So long nobody waits for one that did not answer."""


class Lines:
    """How many talk to which directory, and which did not answer lately."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[str, threading.BoundedSemaphore] = {}
        self._silent: dict[str, tuple[float, Unavailable]] = {}

    def ask(self, row: Directory, question: Callable[[PeopleDirectory], T], *, patient: bool = False) -> T:
        """The answer of a directory of people. Raises as :meth:`turn`, Failed(missing)."""
        with self.turn(row, patient=patient):
            return question(driver(row))

    @contextlib.contextmanager
    def turn(self, row: Directory, *, patient: bool = False) -> Iterator[None]:
        """Around a conversation. ``patient``: also with one that is resting, as whoever tests it wants. Raises Unavailable(directory_down)."""
        self._require_awake(row, patient=patient)
        with self._lock:
            slots = self._slots.setdefault(row.pk, threading.BoundedSemaphore(AT_ONCE))
        if not slots.acquire(blocking=False):
            raise _named(row, Unavailable("directory_down", "", "too many wait for it already"))
        try:
            yield
        except Unavailable as e:
            named = _named(row, e)
            with self._lock:
                self._silent[row.pk] = clock.monotonic() + REST_S, named
            raise named from e
        finally:
            slots.release()
        self.wake(row)

    def wake(self, row: Directory) -> None:
        """Ask it again at once: it answered, or is another one now."""
        with self._lock:
            self._silent.pop(row.pk, None)

    def _require_awake(self, row: Directory, *, patient: bool) -> None:
        until, error = self._silent.get(row.pk, (0.0, None))
        if error is not None and until > clock.monotonic() and not patient:
            raise error


lines = Lines()


def driver(row: Directory) -> PeopleDirectory:
    """What speaks to a directory of people. Raises Refused(unsupported) for a provider, which knows only who comes from it; Failed(missing)."""
    settings = directories.settings_of(row)
    if row.kind != DirectoryKind.LDAP or not isinstance(settings, LdapSettings):
        raise Refused("unsupported", "A provider cannot be asked for its people", f"{row.name} knows who somebody is when they sign in there")
    return DIRECTORIES[urlsplit(settings.uri).scheme](settings, _secret(row), directories.compared(row))


def _secret(row: Directory) -> str:
    try:
        return directories.secret_of(row)
    except Refused as e:
        raise down(e.why, "An administrator gives the password of the bind DN again.") from e


def _named(row: Directory, error: Unavailable) -> Unavailable:
    return Unavailable("directory_down", f"The directory {row.name} does not answer", error.why, hint=error.hint)
