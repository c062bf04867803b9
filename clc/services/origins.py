"""Who asks for what is done now, and from where: said once where it enters, read where an event is recorded."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from luhyaapi.contracts.vocabulary import Via
from luhyadb.models import Account


@dataclass(frozen=True)
class Asker:
    """An account, and the id of the token it came with; never the token."""

    account: Account | None = None
    token: str = ""


def nobody() -> Asker:
    """No account: a host, or the cloud itself."""
    return Asker()


@dataclass(frozen=True)
class Origin:
    """Where a change comes from. ``place``: the address of a client, the id of a host, the name of a machine.

    ``asker`` is only called when an event is recorded: whoever changes nothing need not be known.
    """

    via: Via = Via.CLOUD
    place: str = ""
    request: str = ""
    asker: Callable[[], Asker] = nobody


_origin: contextvars.ContextVar[Origin] = contextvars.ContextVar("educloud_origin", default=Origin())  # noqa: B039 - it is frozen


def current() -> Origin:
    """Where the work at hand comes from; the cloud itself where nobody said."""
    return _origin.get()


@contextlib.contextmanager
def of(origin: Origin) -> Iterator[None]:
    """The work inside comes from there."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)
