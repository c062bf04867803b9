"""A block store in a folder, for the benchmarks."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from walrus.drivers.local import LocalStore
from walrus.services.blockstore import BlockStore

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def opened(folder: Path) -> BlockStore:
    """Its objects in ``folder/objects``; opened again it has what it had."""
    return BlockStore(LocalStore(folder / "objects", 0), folder / "places", KEY, 1 << 20, 0)
