"""First boots without a network: who runs offline is listened to until its guest says that it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from luhyaapi import clock, log
from luhyaapi.errors import Refused, Trouble
from luhyaapi.wire.ends import open_socket

DONE = b"done"
_PIECE = 256
_WITHIN_S = 1.0
_PACE_S = 0.2
"""A guest that says something else all the time is listened to no more often."""
_log = log.get(__name__)


class FirstBoots:
    """``is_awaited`` answers whether that guest still shall say so, ``done`` is called once it did; it may raise any Trouble."""

    def __init__(self, is_awaited: Callable[[str], bool], done: Callable[[str], None]) -> None:
        self._is_awaited, self._done = is_awaited, done
        self._heard: set[str] = set()
        self._lock = threading.Lock()

    def listen(self, instance: str, at: Path) -> None:
        """Listen to a guest that runs, at its socket; again it is listened to already."""
        with self._lock:
            if instance in self._heard:
                return
            self._heard.add(instance)
        threading.Thread(target=self._serve, args=(instance, at), name="first-boot", daemon=True).start()

    def _serve(self, instance: str, at: Path) -> None:
        try:
            if self._hear(instance, at):
                _log.info("a first boot is done", instance=instance)
                self._done(instance)
        except Refused as e:
            _log.info("a first boot cannot be listened to", instance=instance, why=str(e))
        except Trouble as e:
            _log.warning("a guest whose first boot is done could not be connected; it is tried again", instance=instance, why=str(e))
        finally:
            with self._lock:
                self._heard.discard(instance)

    def _hear(self, instance: str, at: Path) -> bool:
        """Whether the guest said it, before it ended or was not waited for any more."""
        with open_socket(at) as guest:
            guest.settimeout(_WITHIN_S)
            said = b""
            while self._is_awaited(instance):
                try:
                    piece = guest.recv(_PIECE)
                except TimeoutError:
                    continue
                except OSError:
                    return False
                if not piece:
                    return False
                *lines, said = (said + piece)[-_PIECE:].split(b"\n")
                if DONE in (line.strip() for line in lines):
                    return True
                clock.sleep(_PACE_S)
        return False
