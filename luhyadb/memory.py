"""Which database a piece of work belongs to: the CLC and each CC remember apart, also inside one process."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections, models, transaction

from luhyaapi import errors, points
from luhyaapi.errors import Bug, Unavailable

_role: contextvars.ContextVar[str | None] = contextvars.ContextVar("educloud_role", default=None)
_working: contextvars.ContextVar[str | None] = contextvars.ContextVar("educloud_working", default=None)
_failures: contextvars.ContextVar[list[Exception] | None] = contextvars.ContextVar("educloud_failures", default=None)
T = TypeVar("T")
P = ParamSpec("P")
BOTH = "both"
_DEADLOCK, _DEADLOCKS = 1213, 8
"""What MariaDB says of one (ER_LOCK_DEADLOCK), and how often it is tried again."""
AWAY = (OperationalError, InterfaceError)
"""The database is gone, is full, or chose this transaction to break a deadlock: nothing of it happened, later it may."""
errors.learn(AWAY, lambda error: Unavailable("busy", "The database does not take it now", str(error)[:200]))


def current() -> str:
    """The role whose memory is open: ``clc`` or ``cc``."""
    return _role.get() or settings.EDUCLOUD_ROLE


def alias(role: str | None = None) -> str:
    """The database alias of a role; the role of this process owns ``default``."""
    role = role or current()
    return "default" if role == settings.EDUCLOUD_ROLE else role


@contextlib.contextmanager
def of(role: str) -> Iterator[None]:
    """Open a role's memory for the work inside."""
    token = _role.set(role)
    try:
        yield
    finally:
        _role.reset(token)


@contextlib.contextmanager
def thread_of(role: str) -> Iterator[None]:
    """As ``of``, for a thread of our own: a stale connection is closed before. Inside such a piece of work nothing is looked at again."""
    if _working.get() == role:
        yield
        return
    with of(role):
        token = _working.set(role)
        connection = connections[alias()]
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
        try:
            yield
        finally:
            _working.reset(token)


@contextlib.contextmanager
def atomic() -> Iterator[None]:
    """All or nothing, in the open memory."""
    using = alias()
    if connections[using].in_atomic_block:
        with transaction.atomic(using=using):
            yield
        return
    points.at("database: before write")
    failures: list[Exception] = []
    token = _failures.set(failures)
    try:
        with transaction.atomic(using=using):
            transaction.on_commit(lambda: points.at("database: after commit"), using=using)
            yield
            points.at("database: before commit")
    finally:
        _failures.reset(token)
    if failures:
        raise failures[0]


def unlocked(work: Callable[[], T]) -> T:
    """Do a transaction of its own, again when the database chose it to break a deadlock: nothing of it happened then."""
    for _ in range(_DEADLOCKS):
        try:
            return work()
        except OperationalError as e:
            if e.args[:1] != (_DEADLOCK,) or connections[alias()].in_atomic_block:
                raise
    return work()


def whole(work: Callable[P, T]) -> Callable[P, T]:
    """It happens in one transaction, and is done again when the database chose it to break a deadlock."""

    @functools.wraps(work)
    def done(*args: P.args, **kwargs: P.kwargs) -> T:
        def once() -> T:
            with atomic():
                return work(*args, **kwargs)

        return unlocked(once)

    return done


def on_commit(call: Callable[..., object]) -> None:
    """After the surrounding transaction is durable. One that fails keeps no other from being called; the first failure is raised."""
    failures = _failures.get()

    def attempt() -> None:
        try:
            call()
        except Exception as e:
            if failures is None:
                raise
            failures.append(e)

    transaction.on_commit(attempt, using=alias())


class Router:
    """Sends each table to its home; a question to somebody else's table is a Bug."""

    def _route(self, model: type[models.Model]) -> str:
        home = getattr(model, "home", "clc")
        if home not in (BOTH, current()):
            raise Bug(f"{model.__name__} belongs to the {home}", f"asked by the {current()}")
        return alias()

    def db_for_read(self, model: type[models.Model], **_hints: Any) -> str:
        return self._route(model)

    def db_for_write(self, model: type[models.Model], **_hints: Any) -> str:
        return self._route(model)

    def allow_relation(self, one: models.Model, two: models.Model, **_hints: Any) -> bool:
        return getattr(one, "home", "clc") == getattr(two, "home", "clc")
