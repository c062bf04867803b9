"""A device with passkeys, in software: it does what the standard says of a platform authenticator, and on demand what it must not."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256
from fido2.webauthn import AttestedCredentialData, AuthenticatorData

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "===")


@dataclass
class SoftAuthenticator:
    """``origin``: where its browser is; ``counts``: whether its counter moves; ``verifies``: whether it asks who it is."""

    origin: str
    counts: bool = True
    verifies: bool = True
    keys: dict[bytes, tuple[ec.EllipticCurvePrivateKey, bytes]] = field(default_factory=dict)
    count: int = 0
    serial: int = 0

    def _flags(self, more: int = 0) -> int:
        return PRESENT | (VERIFIED if self.verifies else 0) | more

    def _told(self, kind: str, challenge: str, **more: Any) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False, **more}).encode()

    def create(self, options: dict[str, Any], *, rp: str = "", credential: bytes = b"") -> str:
        """A new key pair for what the console asks: the answer a browser would send."""
        for known in options.get("excludeCredentials") or []:
            assert unb64(known["id"]) not in self.keys, "InvalidStateError"
        self.serial += 1
        key = ec.generate_private_key(ec.SECP256R1())
        ident = credential or hashlib.sha256(f"{self.origin}{self.serial}{options['challenge']}".encode()).digest()
        self.keys[ident] = key, unb64(options["user"]["id"])
        attested = AttestedCredentialData.create(b"\0" * 16, ident, ES256.from_cryptography_key(key.public_key()))
        data = AuthenticatorData.create(hashlib.sha256((rp or options["rp"]["id"]).encode()).digest(), self._flags(ATTESTED), self.count, attested)
        told = self._told("webauthn.create", options["challenge"])
        statement = cbor.encode({"fmt": "none", "attStmt": {}, "authData": bytes(data)})
        return json.dumps({"id": b64(ident), "rawId": b64(ident), "type": "public-key", "clientExtensionResults": {},
                           "response": {"clientDataJSON": b64(told), "attestationObject": b64(statement)}})

    def get(self, options: dict[str, Any], *, rp: str = "", kind: str = "webauthn.get", challenge: str = "", handle: bytes | None = None,
            spoil: bool = False, ident: bytes = b"") -> str:
        """A signature over what the console asks. ``spoil``: a wrong one."""
        allowed = [unb64(one["id"]) for one in options.get("allowCredentials") or []] or list(self.keys)
        ident = ident or next(one for one in allowed if one in self.keys)
        key, known = self.keys[ident]
        self.count += self.counts
        data = AuthenticatorData.create(hashlib.sha256((rp or options["rpId"]).encode()).digest(), self._flags(), self.count)
        told = self._told(kind, challenge or options["challenge"])
        signature = key.sign(bytes(data) + hashlib.sha256(told + (b"x" if spoil else b"")).digest(), ec.ECDSA(hashes.SHA256()))
        return json.dumps({"id": b64(ident), "rawId": b64(ident), "type": "public-key", "clientExtensionResults": {}, "response": {
            "clientDataJSON": b64(told), "authenticatorData": b64(bytes(data)), "signature": b64(signature),
            "userHandle": b64(known if handle is None else handle)}})
