"""Ed25519 over the exact bytes, one key pair per role and host; tickets for bytes are signed the same way."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from prometheus_client import Counter
from pydantic import ValidationError
from pydantic_core import from_json

from luhyaapi import clock, log
from luhyaapi.contracts.base import Envelope
from luhyaapi.errors import Refused

MAX_MESSAGE_BYTES = 1024 * 1024
REFUSED = Counter("educloud_refused_messages_total", "Messages refused at the door", ["reason"])
Lookup = Callable[[str], Ed25519PublicKey | None]
_log = log.get(__name__)
_SKEW_S = 300.0


def seal(envelope: Envelope, key: Ed25519PrivateKey) -> bytes:
    """The envelope as it travels: its exact bytes and a signature over them."""
    text = envelope.model_dump_json()
    signature = base64.b64encode(key.sign(text.encode())).decode()
    return json.dumps({"signed": text, "signature": signature}).encode()


def open_sealed(message: bytes, lookup: Lookup) -> Envelope:
    """The envelope of a message whose signature fits its sender.

    Raises Refused(invalid | unsigned | forged); every refusal is counted and logged.
    """
    try:
        sealed = read(message)
        return proved(sealed, lookup(sealed.envelope.sender))
    except Refused as e:
        refuse(e)
        raise


@dataclass(frozen=True)
class Sealed:
    """A message as it was read: nothing of it is proved yet."""

    envelope: Envelope
    text: str
    signature: Any


def read(message: bytes) -> Sealed:
    """What a message claims. Raises Refused(invalid)."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise Refused("invalid", "A message is too large", f"{len(message)} bytes")
    try:
        outer = from_json(message)
        text, signature = outer["signed"], outer.get("signature")
        envelope = Envelope.model_validate_json(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError) as e:
        raise Refused("invalid", "A message cannot be read", type(e).__name__) from e
    return Sealed(envelope, text, signature)


def proved(sealed: Sealed, key: Ed25519PublicKey | None) -> Envelope:
    """The envelope, proved to be its sender's. Raises Refused(unsigned | forged)."""
    envelope = sealed.envelope
    if not sealed.signature:
        raise Refused("unsigned", "A message bears no signature", f"it claims to come from {envelope.sender}")
    if key is None:
        raise Refused("forged", "A message comes from nobody we know", envelope.sender)
    try:
        key.verify(base64.b64decode(sealed.signature, validate=True), sealed.text.encode())
    except (InvalidSignature, binascii.Error, TypeError, ValueError) as e:
        raise Refused("forged", "A signature does not fit", f"claimed sender {envelope.sender}") from e
    return envelope


def check_address(envelope: Envelope, me: str, boss: str) -> None:
    """Raises Refused(misaddressed | expired) unless the envelope is an order of ``boss`` to ``me``, in time."""
    now = clock.now()
    try:
        if envelope.to != me or envelope.sender not in (boss, me):
            raise Refused("misaddressed", "An order is not for us", f"{envelope.sender} to {envelope.to}")
        if now > envelope.expires_at:
            raise Refused("expired", "An order came too late", f"{now - envelope.expires_at:.0f} s after its end")
        if envelope.issued_at > now + _SKEW_S:
            raise Refused("expired", "An order comes from the future", f"{envelope.issued_at - now:.0f} s ahead")
    except Refused as e:
        refuse(e, envelope)
        raise


def refuse(error: Refused, envelope: Envelope | None = None) -> None:
    """Count and log one refused message."""
    REFUSED.labels(error.code).inc()
    about = {"kind": envelope.kind, "claimed_sender": envelope.sender, "message": envelope.id} if envelope else {}
    _log.warning("message refused", code=error.code, what=error.what, why=error.why, **about)


def refusals() -> dict[str, int]:
    """Refused messages of this process, by reason."""
    return {s.labels["reason"]: int(s.value) for m in REFUSED.collect() for s in m.samples if s.name.endswith("_total")}


def make_ticket(key: Ed25519PrivateKey, claims: dict[str, Any], lifetime_s: float = 3600) -> str:
    """A text that proves ``claims`` (for example ``{"get": sha256, "to": host}``) until it expires."""
    body = json.dumps({**claims, "exp": clock.now() + lifetime_s}, sort_keys=True).encode()
    return f"{_b64(body)}.{_b64(key.sign(body))}"


def open_ticket(key: Ed25519PublicKey, text: str) -> dict[str, Any]:
    """The claims of a ticket. Raises Refused(forged | expired)."""
    try:
        body, signature = (base64.urlsafe_b64decode(p + "=" * (-len(p) % 4)) for p in text.split("."))
        key.verify(signature, body)
        claims: dict[str, Any] = json.loads(body)
    except (ValueError, InvalidSignature) as e:
        raise Refused("forged", "The ticket is not valid") from e
    if clock.now() > claims.get("exp", 0):
        raise Refused("expired", "The ticket has expired")
    return claims


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
