"""The second step: codes of an authenticator app by RFC 6238, and recovery codes: the only writer of SecondStep."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from clc.services import events, grants
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import Verb
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account, SecondStep

STEP_S, DIGITS, SKEW = 30, 6, 1
RECOVERY_CODES = 10
_ISSUER = "eduCloud"
_CODE = re.compile(rf"[0-9]{{{DIGITS}}}")


def code_at(secret: bytes, step: int) -> str:
    """The code of a time step (RFC 4226, section 5.3)."""
    mac = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    at = mac[-1] & 15
    return str((int.from_bytes(mac[at : at + 4], "big") & 0x7FFFFFFF) % 10**DIGITS).zfill(DIGITS)


@dataclass(frozen=True)
class Enrolment:
    """What an app has to know, shown once: as text, as address, and as a picture (SVG)."""

    secret: str
    uri: str

    @property
    def qr(self) -> str:
        """A QR code of the address, to stand in an ``img``."""
        import qrcode
        from qrcode.image.svg import SvgPathFillImage

        out = io.BytesIO()
        qrcode.make(self.uri, image_factory=SvgPathFillImage, border=2).save(out)
        return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def _box() -> Fernet:
    key = hmac.new(settings.SECRET_KEY.encode(), b"secrets of second steps", hashlib.sha256).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def is_on(account: Account) -> bool:
    """Whether signing in needs a code."""
    return SecondStep.objects.filter(account=account, confirmed_at__gt=0).exists()


def codes_left(account: Account) -> int:
    """How many recovery codes are left."""
    row = SecondStep.objects.filter(account=account).first()
    return len(row.recovery) if row else 0


def enrol(account: Account) -> Enrolment:
    """A new secret; it is asked for once :func:`confirm` saw a code of it. Raises Refused(state)."""
    secret = ids.random_bytes(20)
    with memory.atomic():
        if is_on(account):
            raise Refused("state", "The second step is on already", hint="Turn it off first, then on again.")
        SecondStep.objects.update_or_create(account=account, defaults={
            "secret": _box().encrypt(secret).decode(), "confirmed_at": 0, "last_used": 0, "recovery": [],
        })
    return _enrolment(account, secret)


def pending(account: Account) -> Enrolment | None:
    """The enrolment that waits for its first code."""
    row = SecondStep.objects.filter(account=account, confirmed_at=0).first()
    return _enrolment(account, _secret(row)) if row else None


def _enrolment(account: Account, secret: bytes) -> Enrolment:
    text = base64.b32encode(secret).decode()
    label = quote(f"{_ISSUER}:{account.username}")
    return Enrolment(text, f"otpauth://totp/{label}?{urlencode({'secret': text, 'issuer': _ISSUER})}")


def confirm(account: Account, code: str) -> list[str]:
    """The app shows the right code: from now on it is asked for. The recovery codes, told this once. Raises Refused(state | invalid)."""
    with memory.atomic():
        row = SecondStep.objects.select_for_update().filter(account=account, confirmed_at=0).first()
        if row is None:
            raise Refused("state", "No second step is being turned on", hint="Begin anew.")
        step = _step_of(row, code)
        if not step:
            raise Refused("invalid", "The code is wrong", "it is not the one the app shows now", field="code",
                          hint="Check that the phone's clock is right, then give the next code.")
        codes = _recovery_codes()
        row.confirmed_at, row.last_used, row.recovery = clock.now(), step, [_digest(c) for c in codes]
        row.save()
        _note(account, "second step turned on", account)
    return codes


def new_recovery_codes(account: Account) -> list[str]:
    """Other recovery codes; older ones are worth nothing. Raises Refused(state)."""
    codes = _recovery_codes()
    with memory.atomic():
        if not SecondStep.objects.filter(account=account, confirmed_at__gt=0).update(recovery=[_digest(c) for c in codes]):
            raise Refused("state", "The second step is not on")
        _note(account, "recovery codes made", account)
    return codes


def check(account: Account, code: str) -> None:
    """Take a code, of the app or for recovery, once. Raises Refused(second_step) without one, Refused(unauthenticated) for a wrong one."""
    if not is_on(account):
        return
    if not code.strip():
        raise Refused("second_step", "A code of the second step is needed")
    with memory.atomic():
        row = SecondStep.objects.select_for_update().filter(account=account, confirmed_at__gt=0).first()
        if row is None:
            return
        step = _step_of(row, code)
        spent = "" if step else next((h for h in row.recovery if hmac.compare_digest(h, _digest(code))), "")
        if not step and not spent:
            raise Refused("unauthenticated", "The code is wrong", "it is not the one the app shows now, or was used already",
                          hint="Wait for the next code; or give one of your recovery codes.")
        row.last_used = step or row.last_used
        row.recovery = [h for h in row.recovery if h != spent]
        row.save(update_fields=["last_used", "recovery"])
        if spent:
            events.record("user", str(account.pk), "recovery code used", owner=account, left=len(row.recovery), actor=account)


def remove(account: Account) -> None:
    """Signing in needs no code of one's own any more. Raises Refused(state)."""
    _remove(account, account)


def remove_for(by: Account, account: Account) -> None:
    """Turn it off for somebody who lost the phone. Raises Refused(forbidden), also for one's own, and Refused(state)."""
    grants.check_managed(by, account, Verb.WRITE)
    if by.pk == account.pk:
        raise Refused("forbidden", "Nobody turns off their own second step here", "that needs the password",
                      hint="Turn it off on your account's page, or ask another administrator.")
    _remove(account, by)


def _remove(account: Account, by: Account) -> None:
    with memory.atomic():
        if not SecondStep.objects.filter(account=account).delete()[0]:
            raise Refused("state", "The second step is not on")
        _note(account, "second step turned off", by)


def forget(account: Account) -> None:
    """An account is no more: nor is its app."""
    SecondStep.objects.filter(account=account).delete()


def _note(account: Account, what: str, by: Account) -> None:
    events.record("user", str(account.pk), what, owner=account, name=account.username, actor=by)


def _secret(row: SecondStep) -> bytes:
    try:
        return _box().decrypt(row.secret.encode())
    except InvalidToken as e:
        raise Refused("state", "The second step cannot be checked any more", "the console's secret has changed",
                      hint="An administrator can turn it off.") from e


def _step_of(row: SecondStep, code: str) -> int:
    """The time step a code is of, when it may still be used; 0 for none. The same work for every code."""
    typed = "".join(code.split())
    secret, now = _secret(row), int(clock.now() // STEP_S)
    found = 0
    for step in range(now - SKEW, now + SKEW + 1):
        if hmac.compare_digest(code_at(secret, step), typed if _CODE.fullmatch(typed) else "-") and step > row.last_used:
            found = step
    return found


def _recovery_codes() -> list[str]:
    texts = [base64.b32encode(ids.random_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES)]
    return ["-".join(text[n : n + 4] for n in range(0, 16, 4)) for text in texts]


def _digest(code: str) -> str:
    plain = "".join(c for c in code.lower() if c.isalnum())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
