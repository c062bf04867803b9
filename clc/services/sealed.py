"""Secrets that must be read to be used, kept so that a copy of the database alone opens nothing: sealed by keys told from the console's secret."""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from luhyaapi.errors import Refused


def _box(what_for: str) -> Fernet:
    key = hmac.new(settings.SECRET_KEY.encode(), what_for.encode(), hashlib.sha256).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def seal(what_for: str, secret: str) -> str:
    """The form to keep; empty for no secret."""
    return _box(what_for).encrypt(secret.encode()).decode() if secret else ""


def opened(what_for: str, kept: str) -> str:
    """The secret again. Raises Refused(state) when the console's secret is another one now."""
    try:
        return _box(what_for).decrypt(kept.encode()).decode() if kept else ""
    except InvalidToken as e:
        raise Refused("state", "A secret cannot be read any more", "the console's secret has changed", hint="An administrator gives it again.") from e
