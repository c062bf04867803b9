"""The memcached projection: the last picture of everything, disposable at any time; only the CLC touches it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Mapping
from typing import Any

from pymemcache.client.base import PooledClient
from pymemcache.exceptions import MemcacheError

from luhyaapi import clock, log

_log = log.get(__name__)
BEATS = 10
_LONGEST = 200


class Board:
    """Pictures by key, for example ``host:nc-…``; each carries ``at``. A board that is away reads as empty and is no error."""

    def __init__(self, host: str, port: int, beat_s: float) -> None:
        self._life_s = max(int(beat_s * BEATS), 1)
        self._local: dict[str, tuple[float, str]] | None = None if port else {}
        self._client = PooledClient((host, port), connect_timeout=0.5, timeout=1, max_pool_size=8) if port else None
        self._lock = threading.Lock()

    def write(self, key: str, picture: dict[str, Any]) -> None:
        """Keep a picture for ten beats."""
        self.write_texts({key: json.dumps({**picture, "at": picture.get("at") or clock.now()})})

    def write_texts(self, texts: Mapping[str, str]) -> None:
        """Keep many pictures, JSON objects that say ``at``, in one go and without waiting for an answer."""
        if self._local is not None:
            until = clock.now() + self._life_s
            with self._lock:
                self._local.update((key, (until, text)) for key, text in texts.items())
            return
        try:
            assert self._client is not None  # noqa: S101 - one of the two is always there
            self._client.set_many({_place(key): text.encode() for key, text in texts.items()}, expire=self._life_s, noreply=True)
        except (MemcacheError, OSError) as e:
            _log.debug("board does not answer", why=str(e))

    def read(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        """The pictures there are, by key."""
        if not keys:
            return {}
        if self._local is not None:
            with self._lock:
                return {k: json.loads(v[1]) for k in keys if (v := self._local.get(k)) and v[0] > clock.now()}
        try:
            assert self._client is not None  # noqa: S101
            places = {_place(k): k for k in keys}
            found = self._client.get_many(list(places))
        except (MemcacheError, OSError) as e:
            _log.debug("board does not answer", why=str(e))
            return {}
        return {places[p]: picture for p, v in found.items() if (picture := _picture(v)) is not None}

    def clear(self) -> None:
        """Forget everything."""
        if self._local is not None:
            self._local.clear()
        elif self._client is not None:
            with contextlib.suppress(MemcacheError, OSError):
                self._client.flush_all()

    def is_alive(self) -> bool:
        """Whether the board answers."""
        if self._client is None:
            return True
        try:
            self._client.version()
        except (MemcacheError, OSError):
            return False
        return True


def _place(key: str) -> str:
    """A name memcached takes: short, without blanks."""
    if len(key) <= _LONGEST and key.isascii() and key.isprintable() and " " not in key:
        return f"edu:{key}"
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"edu:#{digest}"


def _picture(value: bytes) -> dict[str, Any] | None:
    try:
        picture = json.loads(value)
    except ValueError:
        return None
    return picture if isinstance(picture, dict) else None
