"""Signatures that this process made are known to fit: they are made as ever, and only those of others are proved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import luhyaapi.agent
import luhyadb.boss
from luhyaapi.wire import identity

_READERS = (luhyaapi.agent, luhyadb.boss)
_made: set[tuple[bytes, bytes, bytes]] = set()
"""Public key, signature and what was signed, of this seed."""


class Pen:
    """A private key that remembers what it signed."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """As the key itself."""
        signature = self._key.sign(data)
        _made.add((self._public, signature, data))
        return signature

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


class Eye:
    """A public key that knows again what a pen of this process signed."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self._public = key.public_bytes_raw()

    def verify(self, signature: bytes, data: bytes) -> None:
        """As the key itself. Raises InvalidSignature."""
        if (self._public, signature, data) not in _made:
            self._key.verify(signature, data)


@contextmanager
def remembered() -> Iterator[None]:
    """Whoever reads messages has such eyes while this is open."""
    _made.clear()
    before = [(reader, reader.public_key) for reader in _READERS]
    for reader in _READERS:
        reader.public_key = lambda *certificates: Eye(identity.public_key(*certificates))
    try:
        yield
    finally:
        for reader, real in before:
            reader.public_key = real
        _made.clear()
