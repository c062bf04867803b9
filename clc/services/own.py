"""Who this CLC is: its host id, its key, its certificate authority; made once at installation."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from luhyaapi import ids
from luhyaapi.errors import Refused
from luhyaapi.wire import identity


@dataclass(frozen=True)
class Own:
    """Our CLC. ``authority_key`` signs certificates of hosts."""

    membership: identity.Membership
    key: Ed25519PrivateKey
    authority: str
    authority_key: Ed25519PrivateKey

    @property
    def id(self) -> str:
        """Our host id."""
        return self.membership.host


def _folders(state: Path) -> tuple[Path, Path]:
    return state / "identity", state / "authority"


def make(state: Path) -> Own:
    """Make key, authority and id where they are not there yet."""
    own, root = _folders(state)
    key, root_key = identity.own_key(own), identity.own_key(root)
    file = root / "certificate.pem"
    if not file.exists():
        identity.write_atomic(file, identity.make_authority(root_key).encode(), 0o644)
    authority = file.read_text()
    if identity.Membership.load(own) is None:
        me = ids.new("clc")
        certificate = identity.certify(root_key, authority, identity.request(key, me), me)
        identity.Membership(me, certificate, authority, "", "", "").save(own)
    return load(state)


def load(state: Path) -> Own:
    """What :func:`make` made. Raises Refused(not_found) before installation."""
    own, root = _folders(state)
    membership = identity.Membership.load(own)
    if membership is None:
        raise Refused("not_found", "This CLC has no identity yet", "run the installation first")
    return Own(membership, identity.own_key(own), (root / "certificate.pem").read_text(), identity.own_key(root))


@functools.cache
def _cached(state: Path) -> Own:
    return load(state)


def own() -> Own:
    """Our CLC, loaded once."""
    return _cached(settings.EDUCLOUD.host.state)
