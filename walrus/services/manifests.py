"""Manifests: what the store says of a file that is here, sealed with its own key."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


@dataclass(frozen=True)
class Manifest:
    """A file that is here: its sha256, ``size`` in bytes, the digest of its ``index``, bytes of a ``block``, when it came."""

    sha256: str
    size: int
    index: str
    block: int
    created_at: float


def seal(manifest: Manifest, key: Ed25519PrivateKey) -> bytes:
    """A manifest as it is kept."""
    text = json.dumps(asdict(manifest), sort_keys=True)
    return json.dumps({"manifest": text, "signature": base64.b64encode(key.sign(text.encode())).decode()}).encode()


def opened(data: bytes, key: Ed25519PublicKey) -> Manifest | None:
    """The manifest in what was kept; None when it is damaged, or not of that key."""
    try:
        sealed = json.loads(data)
        key.verify(base64.b64decode(sealed["signature"], validate=True), sealed["manifest"].encode())
        return Manifest(**json.loads(sealed["manifest"]))
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature):
        return None
