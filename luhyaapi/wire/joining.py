"""How a host joins: it makes its key, shows the one-time token at the boss's door, and fetches what it was granted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import clock, ids, log
from luhyaapi.conf import Settings
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire import identity
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.topology import boss_of

_log = log.get(__name__)
ASK_EVERY_S = 1.0


def membership(settings: Settings, stopped: Callable[[], bool] = lambda: False) -> Membership:
    """What this host holds, joining first where needed; waits as long as it takes. Raises Refused when turned away."""
    folder = settings.host.state / "identity"
    told = ""
    while True:
        held = Membership.load(folder)
        if held is not None:
            return held
        if stopped():
            raise Unavailable("interrupted", "The role stops before it joined")
        try:
            granted = _ask(settings, folder)
            if granted is not None:
                granted.save(folder)
                _log.info("joined", host=granted.host, boss=granted.boss)
                (folder / "request").unlink(missing_ok=True)
                continue
            why = "waits for an administrator"
        except Unavailable as e:
            why = e.why or e.what
        if why != told:
            _log.info("joining", why=why)
            told = why
        clock.sleep(ASK_EVERY_S)


def _ask(settings: Settings, folder: Path) -> Membership | None:
    role, name = settings.host.role, settings.host.name or os.uname().nodename
    key = identity.own_key(folder)
    file = folder / "request"
    if not file.exists():
        identity.write_atomic(file, f"r{ids.secret()}".encode())
    request = file.read_text().strip()
    door = f"{settings.boss.door}/{boss_of(role)}/api/1.0/join/"
    token = _token(settings)
    form = {
        "request": request, "role": str(role), "name": name, "token": token,
        "csr": identity.request(key, name), "address": settings.host.address,
    }
    answer = _call("GET", f"{door}{request}/")
    if answer.status_code == 404:
        _understood(_call("POST", door, form))
        answer = _call("GET", f"{door}{request}/")
    found = _understood(answer)
    if answer.status_code != 200:
        return None
    granted = Membership(**{k: str(found.get(k, "")) for k in Membership.__dataclass_fields__})
    _check(granted, token, key)
    return granted


def _token(settings: Settings) -> str:
    file = settings.boss.token_file
    return file.read_text().strip() if file and file.exists() else ""


def _check(granted: Membership, token: str, key: Ed25519PrivateKey) -> None:
    """The authority is the one the token named, and signed our own key for our id and the boss's for its id."""
    if token and identity.fingerprint(granted.authority) != token.rsplit(".", 1)[-1]:
        raise Refused("forged", "The door shows another authority than the token names", "somebody stands in between")
    mine = identity.public_key(granted.certificate, granted.authority)
    if mine.public_bytes_raw() != key.public_key().public_bytes_raw():
        raise Refused("forged", "The certificate is for another key")
    identity.public_key(granted.boss_certificate, granted.authority)
    for host, certificate in ((granted.host, granted.certificate), (granted.boss, granted.boss_certificate)):
        if identity.bound_to(certificate) != host:
            raise Refused("forged", f"The certificate shown for {host} is another host's", identity.bound_to(certificate))


def _call(method: str, url: str, form: dict[str, str] | None = None) -> httpx.Response:
    try:
        return httpx.request(method, url, json=form, timeout=10, trust_env=False)
    except httpx.HTTPError as e:
        raise Unavailable("host_silent", "The boss does not answer", f"{url.split('/join', maxsplit=1)[0]}: {e}") from e


def _understood(answer: httpx.Response) -> dict[str, str]:
    try:
        form = answer.json()
    except json.JSONDecodeError as e:
        raise Unavailable("host_silent", "The boss's door answers strangely", f"HTTP {answer.status_code}") from e
    if answer.status_code >= 500 or answer.status_code == 429:
        raise Unavailable("host_silent", form.get("what", "The boss cannot answer now"), form.get("why", ""))
    if answer.is_error:
        raise Refused(form.get("code", "forbidden"), form.get("what", "The boss refused"), form.get("why", ""))
    return dict(form)
