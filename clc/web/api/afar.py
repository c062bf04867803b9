"""A long answer in pieces, as the server at hand takes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

T = TypeVar("T", str, bytes)


def afar(request: HttpRequest, pieces: Iterator[T]) -> Iterator[T] | AsyncIterator[T]:
    """The pieces; for a server that reads asynchronously one by one: it would else gather the whole answer in memory."""
    return _one_by_one(pieces) if isinstance(request, ASGIRequest) else pieces


async def _one_by_one(pieces: Iterator[T]) -> AsyncIterator[T]:
    def following() -> T | None:
        return next(pieces, None)

    while (data := await sync_to_async(following, thread_sensitive=False)()) is not None:
        yield data
