"""Who this CLC is: its host id, its key, its certificate authority; made once at installation."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from luhyaapi import files, ids
from luhyaapi.errors import Refused
from luhyaapi.wire import identity


@dataclass(frozen=True)
class Own:
    """Our CLC. ``authority_key`` signs certificates of hosts."""

    membership: identity.Membership
    key: Ed25519PrivateKey
    authority: str
    authority_key: identity.Signer

    @property
    def id(self) -> str:
        """Our host id."""
        return self.membership.host


def _folders(state: Path) -> tuple[Path, Path]:
    return state / "identity", state / "authority"


def make(state: Path) -> Own:
    """Make key, authority and id where they are not there yet."""
    own, root = _folders(state)
    key, root_key = identity.own_key(own), identity.tls_key(root / "key.pem")
    file = root / "certificate.pem"
    if not file.exists():
        files.write_atomic(file, identity.make_authority(root_key).encode(), 0o644)
    authority = file.read_text()
    if identity.Membership.load(own) is None:
        me = ids.new("clc")
        certificate = identity.certify(root_key, authority, identity.request(key, me), me)
        identity.Membership(me, certificate, authority, "", "", "").save(own)
    return load(state)


def make_tls(state: Path, names: set[str]) -> None:
    """Have a certificate for our doors that is good for ``names`` (host names, addresses); the one there may be already."""
    own, _ = _folders(state)
    key = identity.tls_key(own / identity.TLS_KEY_FILE)
    file = own / identity.TLS_FILE
    if file.exists() and names <= identity.names_in(file.read_text()):
        return
    me = load(state)
    made = identity.certify_tls(me.authority_key, me.authority, identity.request(key, me.id), me.id, sorted(names))
    files.write_atomic(file, made.encode(), 0o644)


def load(state: Path) -> Own:
    """What :func:`make` made. Raises Refused(not_found) before installation."""
    own, root = _folders(state)
    membership = identity.Membership.load(own)
    if membership is None:
        raise Refused("not_found", "This CLC has no identity yet", "run the installation first")
    return Own(membership, identity.own_key(own), (root / "certificate.pem").read_text(), identity.tls_key(root / "key.pem"))


@functools.cache
def _cached(state: Path) -> Own:
    return load(state)


def own() -> Own:
    """Our CLC, loaded once."""
    return _cached(settings.EDUCLOUD.host.state)
