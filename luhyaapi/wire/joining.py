"""How a host joins: it makes its keys, shows the one-time token at the boss's door, and fetches what it was granted.

A door on another host speaks TLS. Before it is told the token, it must prove to be of the boss's role by the authority
whose fingerprint the token carries; that authority's certificate is public and fetched first. Without a token the first
authority seen is believed, and its fingerprint written to the log for the administrator who approves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import clock, files, ids, log
from luhyaapi.conf import Settings
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.transfer.base import Trust
from luhyaapi.wire import identity, tls
from luhyaapi.wire.identity import Membership
from luhyaapi.wire.topology import boss_of

_log = log.get(__name__)
ASK_EVERY_S = 1.0
MACHINE_FILE = "machine.json"
BOARD, CARD = "board ", "card "
"""What the marks of boards and cards begin with."""
_REACHED = (Role.CC, Role.WALRUS, Role.NC)
"""Roles whose doors other hosts come to."""


def membership(settings: Settings, stopped: Callable[[], bool] = lambda: False, marks: AbstractSet[str] = frozenset()) -> Membership:
    """What this host holds, joining first where needed; waits as long as it takes. ``marks``: what only this machine has.

    Raises Refused when turned away, Refused(conflict) for the identity of another machine, Refused(state) for one without the
    certificate that its doors need.
    """
    folder = settings.host.identity
    told = ""
    while True:
        held = Membership.load(folder)
        if held is not None:
            if why := of_another(folder, marks):
                raise Refused("conflict", "This identity belongs to another machine", why, hint=what_to_do(folder))
            if _speaks_tls(settings) and not (folder / identity.TLS_FILE).exists():
                raise Refused("state", "This role has no certificate for its doors", "it joined while no other host reached them",
                              hint="`make up` on the host of the CLC gets it one; on another host the role joins anew, with a token.")
            _remember(folder, marks)
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


def of_another(folder: Path, marks: AbstractSet[str]) -> str:
    """Why an identity is not of the machine with these marks; empty when it may be.

    One mark in common is enough: cards and boards are replaced. The address of a virtual card is none, since a copy of its machine
    keeps it. Where a board cannot be read nothing is said, and the broker lets in one of two.
    """
    known = _marks_in(folder)
    if not (_boards(known) and _boards(marks)) or any(not _is_virtual(mark) for mark in known & marks):
        return ""
    return f"it was used on the machine with {', '.join(sorted(known))}; here is {', '.join(sorted(marks))}"


def what_to_do(folder: Path) -> str:
    """The next step of whoever has the identity of another machine."""
    return (
        f"A copy of a host joins anew: empty {folder} and the state beside it, and give it a token. "
        f"If this is that host and its old machine is gone for good, remove {folder / MACHINE_FILE}."
    )


def _marks_in(folder: Path) -> set[str]:
    try:
        known = json.loads((folder / MACHINE_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return set()
    return set(map(str, known)) if isinstance(known, list) else set()


def _remember(folder: Path, marks: AbstractSet[str]) -> None:
    """Whose board we may not read now keeps the one that was known. A disk without room must keep no host from starting."""
    known = _marks_in(folder)
    now = set(marks) if _boards(marks) else marks | _boards(known)
    if marks and now != known:
        try:
            files.write_atomic(folder / MACHINE_FILE, json.dumps(sorted(now)).encode())
        except OSError as e:
            _log.warning("the marks of this machine are not remembered", why=str(e))


def _boards(marks: AbstractSet[str]) -> set[str]:
    return {mark for mark in marks if mark.startswith(BOARD)}


def _is_virtual(mark: str) -> bool:
    """Whether a mark is the address of a card that no maker gave it: the second of its bits says so (IEEE 802)."""
    return mark.startswith(CARD) and mark[len(CARD) + 1 : len(CARD) + 2] in tuple("2367abef")


def _ask(settings: Settings, folder: Path) -> Membership | None:
    role, name = settings.host.role, _name(settings)
    key = identity.own_key(folder)
    file = folder / "request"
    if not file.exists():
        files.write_atomic(file, f"r{ids.secret()}".encode())
    request = file.read_text().strip()
    token = _token(settings)
    door = _Door(settings, folder, token)
    form = {
        "request": request, "role": str(role), "name": name, "token": token,
        "csr": identity.request(key, name), "address": settings.host.address, "tls": tls_request(settings),
    }
    answer = door.call("GET", f"join/{request}/")
    if answer.status_code == 404:
        _understood(door.call("POST", "join/", form))
        answer = door.call("GET", f"join/{request}/")
    found = _understood(answer)
    if answer.status_code != 200:
        return None
    granted = Membership(**{k: str(found.get(k, "")) for k in Membership.__dataclass_fields__})
    _check(granted, token, key)
    if granted.tls and identity.names_in(granted.tls) != {granted.host, identity.role_name(role)}:
        raise Refused("forged", "The certificate for our doors is another host's")
    return granted


def tls_request(settings: Settings) -> str:
    """The signing request for our own doors (PEM), the same each time: a P-256 signature has chance in it. Empty: they speak no TLS."""
    if not _speaks_tls(settings):
        return ""
    folder = settings.host.identity
    file = folder / "tls-request.pem"
    if not file.exists():
        made = identity.request(identity.tls_key(folder / identity.TLS_KEY_FILE), _name(settings))
        files.write_atomic(file, made.encode())
    return file.read_text()


def _speaks_tls(settings: Settings) -> bool:
    return settings.host.tls and settings.host.role in _REACHED


def _name(settings: Settings) -> str:
    return settings.host.name or os.uname().nodename


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


class _Door:
    """The boss's door."""

    def __init__(self, settings: Settings, folder: Path, token: str) -> None:
        boss = boss_of(settings.host.role)
        self._base = f"{settings.boss.door}/{boss}/api/1.0"
        self._trust: Trust | None = None
        if settings.boss.door.startswith("https:"):
            self._trust = tls.trust(folder, identity.role_name(boss or ""))
            self._meet(token)

    def _meet(self, token: str) -> None:
        """Have the authority's certificate, checked by the token."""
        assert self._trust is not None  # noqa: S101 - only such a door is met
        file = self._trust.authority
        wanted = token.rsplit(".", 1)[-1]
        if file.exists() and (not wanted or identity.fingerprint(file.read_text()) == wanted):
            return
        shown = _understood(self.call("GET", "authority/", proved=False)).get("authority", "")
        found = identity.fingerprint(shown)
        if wanted and found != wanted:
            raise Refused("forged", "The door shows another authority than the token names", "somebody stands in between")
        if not wanted:
            _log.warning("the boss's authority is believed unseen, no token names it", sha256=found)
        files.write_atomic(file, shown.encode(), 0o644)

    def call(self, method: str, path: str, form: dict[str, str] | None = None, *, proved: bool = True) -> httpx.Response:
        """One request. Raises Unavailable(host_silent)."""
        url = f"{self._base}/{path}"
        try:
            with tls.http(self._trust) if proved else tls.http_unproved() as client:
                return client.request(method, url, json=form, timeout=10, extensions=tls.asking(self._trust if proved else None))
        except httpx.HTTPError as e:
            raise Unavailable("host_silent", "The boss does not answer", f"{self._base}: {e}") from e


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
