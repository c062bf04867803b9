"""Passkeys: key pairs on people's devices that sign in without a password (WebAuthn): the only writer of Passkey and SpentChallenge.

A device signs a challenge of ours for the address of the console and nobody else's, once it has seen a finger, a face or a PIN. What a begun
ceremony is about lies sealed in a cookie of the browser it began in, so beginning one costs no row; a challenge that was answered is remembered until
it would have ended.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import signing
from django.db.models import QuerySet

from clc.services import events, grants, lock_out, refusals
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import Result, Verb
from luhyaapi.errors import Refused
from luhyadb import memory
from luhyadb.models import Account, Passkey, SpentChallenge

if TYPE_CHECKING:
    from fido2.server import Fido2Server

LIFE_S = 300.0
"""A challenge is good for so long."""
AT_MOST = 20
"""Passkeys of one account."""
REGISTER, SIGN_IN = "register", "sign in"
_SALT = "passkeys"
_NAME_AT_MOST, _ANSWER_AT_MOST = 63, 20_000
_REFUSED = "The passkey was not accepted"


@dataclass(frozen=True)
class Ceremony:
    """What a browser hands to its device, and what it brings back sealed together with the answer."""

    options: dict[str, Any]
    sealed: str


def origin() -> str:
    """Where passkeys are good: the public address of the console; empty where they are not possible."""
    try:
        return _address()[0]
    except Refused:
        return ""


def _address() -> tuple[str, str]:
    """Scheme with host and port, and the host alone. Raises Refused(state) where passkeys are not possible, with the reason."""
    what, at = "Passkeys are not possible here", urlsplit(settings.EDUCLOUD.console.public_url)
    host = at.hostname or ""
    if not host:
        raise Refused("state", what, "the console does not know the address that people use", hint="An administrator sets console.public_url.")
    if at.scheme != "https" and not (at.scheme == "http" and host == "localhost"):
        raise Refused("state", what, "browsers have them for https addresses only", hint="Serve the console by TLS, and set console.public_url.")
    if _is_number(host):
        raise Refused("state", what, "browsers have them for names only, and the console's address is a number",
                      hint="Give it a name, and set console.public_url.")
    return f"{at.scheme}://{at.netloc.rpartition('@')[2].lower()}", host


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _server() -> Fido2Server:
    from fido2.server import Fido2Server
    from fido2.webauthn import AttestationConveyancePreference, PublicKeyCredentialRpEntity

    at, host = _address()
    return Fido2Server(PublicKeyCredentialRpEntity(name="eduCloud", id=host), attestation=AttestationConveyancePreference.NONE, verify_origin=lambda o: o == at)


def _handle(account: Account) -> bytes:
    """By what a device knows the account: nothing that tells who it is."""
    return f"account-{account.pk}".encode()


def begin_registration(account: Account) -> Ceremony:
    """A new key pair for an account whose password was just asked for. Raises Refused(state | quota)."""
    from fido2.webauthn import PublicKeyCredentialUserEntity, ResidentKeyRequirement, UserVerificationRequirement

    server = _server()
    mine = list(Passkey.objects.filter(account=account))
    _check_room(len(mine))
    user = PublicKeyCredentialUserEntity(name=account.username, id=_handle(account), display_name=account.display_name or account.username)
    options, state = server.register_begin(
        user, [_credential(row) for row in mine], ResidentKeyRequirement.REQUIRED, UserVerificationRequirement.REQUIRED, challenge=ids.random_bytes(32))
    return _begun(dict(options), state, REGISTER, account)


def _check_room(there: int) -> None:
    if there >= AT_MOST:
        raise Refused("quota", "You have too many passkeys", f"{AT_MOST} are possible", hint="Remove some that nobody uses.")


def begin_sign_in(account: Account | None = None) -> Ceremony:
    """A sign-in by a passkey; of ``account``, where its password was right already. Raises Refused(state)."""
    from fido2.webauthn import UserVerificationRequirement

    known = [_credential(row) for row in Passkey.objects.filter(account=account)] if account else None
    options, state = _server().authenticate_begin(known, UserVerificationRequirement.REQUIRED, challenge=ids.random_bytes(32))
    return _begun(dict(options), state, SIGN_IN, account)


def _begun(options: dict[str, Any], state: Mapping[str, Any], purpose: str, account: Account | None) -> Ceremony:
    about = {"challenge": state["challenge"], "purpose": purpose, "account": account.pk if account else 0, "until": clock.now() + LIFE_S}
    return Ceremony(dict(options["publicKey"]), signing.dumps(about, salt=_SALT))


def _opened(sealed: str, purpose: str, account: Account | None) -> dict[str, Any]:
    """What a ceremony is about. Raises Refused(state) for one that is over, or of another kind, or somebody else's."""
    try:
        about: dict[str, Any] = signing.loads(sealed, salt=_SALT)
    except signing.BadSignature:
        about = {}
    if about.get("purpose") != purpose or about["until"] <= clock.now() or about["account"] != (account.pk if account else 0):
        raise Refused("state", "This took too long, or began elsewhere", hint="Try again.")
    return about | {"user_verification": "required"}


def _spend(about: Mapping[str, Any]) -> None:
    """Nobody answers a challenge twice. In a transaction. Raises Refused(unauthenticated)."""
    digest = hashlib.sha256(about["challenge"].encode()).hexdigest()
    if not SpentChallenge.objects.get_or_create(digest=digest, defaults={"until": about["until"]})[1]:
        raise Refused("unauthenticated", _REFUSED, "it was used already", hint="Try again.")


def register(account: Account, name: str, sealed: str, answer: str) -> Passkey:
    """Keep the public half of a new key pair. Raises Refused(invalid | state | quota | exists | unauthenticated)."""
    from fido2.cose import CoseKey

    called = _name(name)
    about = _opened(sealed, REGISTER, account)
    try:
        made = _server().register_complete(about, _read(answer)).credential_data
        if made is None or made.public_key.get(3) not in CoseKey.supported_algorithms():
            raise ValueError("its algorithm is none we know")
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError, LookupError) as e:
        raise Refused("invalid", _REFUSED, _why(e), hint="Try again.") from e
    with memory.atomic():
        _spend(about)
        Account.objects.select_for_update().get(pk=account.pk)
        _check_room(Passkey.objects.filter(account=account).count())
        digest = _digest(made.credential_id)
        if Passkey.objects.filter(digest=digest).exists():
            raise Refused("exists", "This passkey is known already")
        row = Passkey.objects.create(id=ids.new("pky"), account=account, name=called, digest=digest, created_at=clock.now(),
                                     credential=base64.b64encode(bytes(made)).decode())
        _note(row, "passkey added", account)
    return row


def signed_in_by(sealed: str, answer: str, address: str, account: Account | None = None) -> Account:
    """Whose passkey signed; it has to be one of ``account``, where the ceremony was begun for one. An attempt that fails counts as a wrong password.

    Raises Refused(unauthenticated | state | locked_out | invalid).
    """
    about = _opened(sealed, SIGN_IN, account)
    sent = _read(answer)
    digest = _digest(_bytes(sent.get("rawId") or sent.get("id")))
    known = Passkey.objects.select_related("account").filter(digest=digest).first()
    with lock_out.attempt(known.account.username if known else digest, address):
        try:
            with memory.atomic():
                return _checked(about, sent, digest, account)
        except Refused as error:
            refusals.sign_in(known.account.username if known else "")
            if known and error.params.get("copied"):
                events.record("user", str(known.account_id), "passkey counted back", owner=known.account, name=known.name, result=Result.REFUSED)
            raise


def _checked(about: dict[str, Any], sent: dict[str, Any], digest: str, account: Account | None) -> Account:
    from fido2.webauthn import AuthenticationResponse

    row = Passkey.objects.select_for_update().select_related("account").filter(digest=digest).first()
    if row is None or not row.account.is_active or (account is not None and row.account_id != account.pk):
        raise Refused("unauthenticated", _REFUSED, "nobody here has it", hint="Sign in by your password; a passkey is added on your account's page.")
    try:
        _server().authenticate_complete(about, [_credential(row)], sent)
        said = AuthenticationResponse.from_dict(sent).response
        if said.user_handle not in (None, b"", _handle(row.account)):
            raise ValueError("it is another account's")
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError, LookupError, NotImplementedError) as e:
        raise Refused("unauthenticated", _REFUSED, _why(e), hint="Try again, or sign in by your password.") from e
    _spend(about)
    count = said.authenticator_data.counter
    if (count or row.count) and count <= row.count:
        raise Refused("unauthenticated", _REFUSED, "its counter went back: there may be a copy of it", copied=True,
                      hint="Sign in by your password, remove this passkey and add a new one.")
    row.count, row.used_at = count, clock.now()
    row.save(update_fields=["count", "used_at"])
    return row.account


def of(account: Account) -> QuerySet[Passkey]:
    """The passkeys of an account."""
    return Passkey.objects.filter(account=account)


def rename(account: Account, ident: str, name: str) -> Passkey:
    """Call one of one's own otherwise. Raises Refused(not_found | invalid)."""
    called = _name(name)
    with memory.atomic():
        row = _mine(account, ident)
        before, row.name = row.name, called
        row.save(update_fields=["name"])
        if before != called:
            _note(row, "passkey renamed", account, before={"name": before}, after={"name": called})
    return row


def remove(account: Account, ident: str) -> None:
    """One of one's own signs in no more. Raises Refused(not_found)."""
    with memory.atomic():
        row = _mine(account, ident)
        _note(row, "passkey removed", account)
        row.delete()


def remove_for(by: Account, account: Account) -> int:
    """Remove all of somebody who lost the device; how many. Raises Refused(forbidden), also for one's own, and Refused(state)."""
    grants.check_managed(by, account, Verb.WRITE)
    if by.pk == account.pk:
        raise Refused("forbidden", "Nobody removes their own passkeys here", "that needs the password",
                      hint="Remove them on your account's page, or ask another administrator.")
    with memory.atomic():
        rows = list(Passkey.objects.select_for_update().filter(account=account))
        if not rows:
            raise Refused("state", f"{account.username} has no passkey")
        for row in rows:
            _note(row, "passkey removed", by)
            row.delete()
    return len(rows)


def forget(account: Account) -> None:
    """An account is no more: nor are its passkeys. In a transaction of the caller's."""
    Passkey.objects.filter(account=account).delete()


def tidy() -> None:
    """Forget challenges that have ended."""
    SpentChallenge.objects.filter(until__lt=clock.now()).delete()


def _mine(account: Account, ident: str) -> Passkey:
    row = Passkey.objects.select_for_update().filter(account=account, pk=ident).first()
    if row is None:
        raise Refused("not_found", f"You have no passkey {ident[:40]!r}")
    return row


def _note(row: Passkey, what: str, by: Account, **more: Any) -> None:
    events.record("user", str(row.account_id), what, owner_id=row.account_id, actor=by, passkey=row.pk, name=row.name, **more)


def _name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > _NAME_AT_MOST or not name.isprintable():
        raise Refused("invalid", "The name of the passkey is not possible", f"1 to {_NAME_AT_MOST} printable signs", field="name")
    return name


def _read(answer: str) -> dict[str, Any]:
    """What a device said. Raises Refused(invalid)."""
    try:
        found = json.loads(answer) if len(answer) <= _ANSWER_AT_MOST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused("invalid", "The answer of the passkey cannot be read", hint="Try again.")
    return found


def _bytes(text: object) -> bytes:
    try:
        return base64.urlsafe_b64decode(f"{text}===") if isinstance(text, str) else b""
    except ValueError:
        return b""


def _digest(credential: bytes) -> str:
    return hashlib.sha256(credential).hexdigest()


def _credential(row: Passkey) -> Any:
    from fido2.webauthn import AttestedCredentialData

    return AttestedCredentialData(base64.b64decode(row.credential))


_TOLD = {
    "Invalid origin in CollectedClientData.": "it was asked for at another address",
    "Wrong RP ID hash in response.": "it is for another address",
    "Wrong challenge in response.": "it answers something else",
    "Invalid signature.": "its signature is wrong",
}


def _why(error: Exception) -> str:
    """What the library says, in our words."""
    text = str(error)
    return "the device did not ask who it is" if "erif" in text and "flag" in text else _TOLD.get(text, "its answer cannot be read")
