"""Signing in at an OpenID provider: what a browser's session keeps meanwhile, and the proof that it is still the same person."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import asdict
from typing import Any

from clc.drivers.base import OidcSettings, down
from clc.drivers.oidc_provider import Asked, Provider
from clc.services import directories, directory_links, directory_people, refusals
from clc.services.directory_lines import lines
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import DirectoryKind
from luhyaapi.errors import Refused
from luhyadb.models import Account, Directory

WITHIN_S = 600.0
PROVED_S = 300.0
_ASKED, _PROVED, _FROM = "asked_providers", "proved_at_provider", "provider"
_TABS = 5
Session = MutableMapping[str, Any]


def buttons() -> list[dict[str, str]]:
    """The providers to offer on the sign-in page."""
    return [{"name": row.name, "title": row.settings.get("title") or row.name} for row in directories.in_use(DirectoryKind.OIDC)]


def named(name: str) -> Directory:
    """The provider of that name, if it is turned on. Raises Refused(not_found)."""
    found = next((row for row in directories.in_use(DirectoryKind.OIDC) if row.name == name), None)
    if found is None:
        raise Refused("not_found", "There is no such provider")
    return found


def of(account: Account) -> Directory | None:
    """The provider an account signs in at; None for one with a password."""
    link = directory_links.link_of(account)
    return link.directory if link and link.directory.kind == DirectoryKind.OIDC else None


def begin(session: Session, row: Directory, redirect_uri: str, target: str, again: Account | None = None) -> str:
    """Where to send the browser; afterwards it goes to ``target``. ``again``: who shall prove that it is still them. Raises Unavailable(directory_down)."""
    with lines.turn(row):
        url, asked = _provider(row).begin(redirect_uri, again=again is not None)
    kept = [each for each in session.get(_ASKED, ()) if each["since"] > clock.now() - WITHIN_S]
    session[_ASKED] = [*kept, asdict(asked) | {"row": row.pk, "target": target, "account": again.pk if again else None}][-_TABS:]
    return url


def finish(session: Session, row: Directory, answer: Mapping[str, str], redirect_uri: str) -> tuple[Account, str, bool]:
    """Who came back, where they want to go, and whether it was to prove again who they are.

    Raises Refused(unauthenticated | forbidden), Unavailable(directory_down).
    """
    kept = _taken(session, row, answer.get("state", ""))
    asked = Asked(**{name: kept[name] for name in Asked.__dataclass_fields__})
    try:
        with lines.turn(row):
            person = _provider(row).finish(asked, answer, redirect_uri)
        account = directory_people.settle(row, person, directory_people.Table(row).place(person))
    except Refused as e:
        refusals.without_place(row.name, e)
        raise
    if asked.again:
        if account.pk != kept["account"]:
            raise Refused("forbidden", "That is somebody else", f"you are signed in as another person than {account.username}",
                          hint="Sign in at the provider as who you are here.")
        session[_PROVED] = {"account": account.pk, "at": clock.now()}
    return account, str(kept["target"]), asked.again


def _taken(session: Session, row: Directory, state: str) -> dict[str, Any]:
    """What was kept of a sign-in, once, by the state that came back from the same provider."""
    every = list(session.get(_ASKED, ()))
    found = next((each for each in every if hmac.compare_digest(each["state"].encode(), state.encode("utf-8", "replace"))), None)
    if found is None or found["row"] != row.pk or found["since"] < clock.now() - WITHIN_S:
        raise Refused("unauthenticated", "This sign-in did not begin here", "it is too old, was used already, or began in another browser",
                      hint="Sign in again from the beginning.")
    session[_ASKED] = [each for each in every if each is not found]
    return dict(found)


def entered(session: Session, row: Directory) -> None:
    """Remember where this browser's owner came from, for when they sign out."""
    session[_FROM] = row.name


def left(session: Mapping[str, Any]) -> str:
    """The name of the provider where the owner of a session is signed in still; empty for none."""
    return str(session.get(_FROM, ""))


def farewell(row: Directory, back: str) -> str:
    """Where one signs out at the provider too; empty where one cannot."""
    with lines.turn(row):
        return _provider(row).farewell(back)


def is_proved(session: Mapping[str, Any], account: Account) -> bool:
    """Whether who is signed in here showed at the provider, within five minutes, that it is still them."""
    proved = session.get(_PROVED) or {}
    return proved.get("account") == account.pk and proved["at"] > clock.now() - PROVED_S


def steps(row: Directory) -> Iterator[str]:
    """Whether a provider can be used, a step at a time. Raises Unavailable(directory_down)."""
    with lines.turn(row, patient=True):
        yield from _provider(row).steps()
    yield f"register /login/with/{row.name}/return/ below this console's address there, as where people come back to"


def _provider(row: Directory) -> Provider:
    settings = directories.settings_of(row)
    if not isinstance(settings, OidcSettings):
        raise Refused("not_found", "There is no such provider")
    try:
        secret = directories.secret_of(row)
    except Refused as e:
        raise down(e.why, "An administrator gives the secret of the client again.") from e
    return Provider(settings, secret)
