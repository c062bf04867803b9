"""PeopleDirectory: people somebody else keeps, as an LDAP server does, and the laws every driver of one keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from luhyaapi.contracts.base import Model
from luhyaapi.errors import Unavailable

NAME = "{name}"
"""Stands in a filter for the name that somebody typed."""
DN = "{dn}"
_ATTRIBUTE = r"[A-Za-z][A-Za-z0-9;-]{0,62}"
_NAMED = re.compile(rf"\(({_ATTRIBUTE})={re.escape(NAME)}\)")
_SHORT = Field(max_length=500)


@dataclass(frozen=True)
class Person:
    """Somebody as a directory knows them. ``subject`` never changes; ``units``: the organizational units they lie in, the uppermost first.

    ``values``: attributes or claims by their names in small letters. ``place``: where they are found there, for people to read.
    """

    subject: str
    name: str
    display: str = ""
    mail: str = ""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    units: tuple[str, ...] = ()
    place: str = ""


class LdapSettings(Model):
    """How an LDAP server is asked. ``plain``: neither TLS nor StartTLS, said by somebody who knows what that means."""

    uri: str = _SHORT
    plain: bool = False
    ca: str = Field(default="", max_length=20_000)
    bind_dn: str = Field(default="", max_length=500)
    base: str = _SHORT
    filter: str = Field(default="(&(objectClass=person)(uid={name}))", max_length=500)
    id_attribute: str = Field(default="entryUUID", pattern=f"^{_ATTRIBUTE}$")
    name_attribute: str = Field(default="uid", pattern=f"^{_ATTRIBUTE}$")
    display_attribute: str = Field(default="cn", pattern=f"^{_ATTRIBUTE}$")
    mail_attribute: str = Field(default="mail", pattern=f"^{_ATTRIBUTE}$")
    groups_attribute: str = Field(default="memberOf", pattern=f"^{_ATTRIBUTE}$")
    group_filter: str = Field(default="", max_length=500)
    timeout_s: float = Field(default=5, ge=0.5, le=15)

    @field_validator("uri")
    @classmethod
    def _is_address(cls, uri: str) -> str:
        at = urlsplit(uri)
        if not at.hostname or at.path.strip("/") or at.query or at.fragment or "@" in at.netloc or not uri.isprintable() or " " in uri:
            raise ValueError("give ldaps://HOST or ldap://HOST, with a port if it is another")
        if at.port == 0:
            raise ValueError("no server has the port 0")
        return uri

    @field_validator("filter", "group_filter")
    @classmethod
    def _is_filter(cls, text: str) -> str:
        if text and (not text.startswith("(") or not text.endswith(")") or text.count("(") != text.count(")") or not text.isprintable()):
            raise ValueError("a filter stands in brackets, each of which is closed")
        return text

    @model_validator(mode="after")
    def _names_somebody(self) -> LdapSettings:
        if not _NAMED.search(self.filter):
            raise ValueError("the filter says nowhere (ATTRIBUTE={name})")
        if self.group_filter and NAME not in self.group_filter and DN not in self.group_filter:
            raise ValueError("the filter of groups has neither {name} nor {dn}")
        if self.plain and self.uri.startswith("ldaps:"):
            raise ValueError("ldaps:// is not plain")
        return self

    @property
    def typed(self) -> tuple[str, ...]:
        """The attributes by which somebody may call themselves."""
        return tuple(dict.fromkeys((self.name_attribute, *_NAMED.findall(self.filter))))


_CLAIM_PATTERN = r"^[A-Za-z0-9_.:/-]{1,100}$"


class OidcSettings(Model):
    """How an OpenID provider is spoken to; ``title`` is what its button says. ``plain``: it has no TLS, and is on this machine."""

    issuer: str = _SHORT
    plain: bool = False
    ca: str = Field(default="", max_length=20_000)
    client_id: str = Field(min_length=1, max_length=200)
    title: str = Field(default="", max_length=60)
    scopes: str = Field(default="openid profile email", max_length=200)
    name_claim: str = Field(default="preferred_username", pattern=_CLAIM_PATTERN)
    display_claim: str = Field(default="name", pattern=_CLAIM_PATTERN)
    mail_claim: str = Field(default="email", pattern=_CLAIM_PATTERN)
    timeout_s: float = Field(default=5, ge=0.5, le=15)

    @field_validator("title", "scopes", "client_id")
    @classmethod
    def _is_readable(cls, text: str) -> str:
        if not text.isprintable():
            raise ValueError("it holds control characters")
        return text

    @field_validator("scopes")
    @classmethod
    def _is_openid(cls, text: str) -> str:
        if "openid" not in text.split():
            raise ValueError("openid is among the scopes")
        return text

    @model_validator(mode="after")
    def _is_address(self) -> OidcSettings:
        at = urlsplit(self.issuer)
        schemes = ("http",) if self.plain else ("https",)
        if at.scheme not in schemes or not at.hostname or at.query or at.fragment or "@" in at.netloc or not self.issuer.isprintable() or " " in self.issuer:
            raise ValueError("the issuer is an address that begins with https://, without a question mark")
        if self.plain and at.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("a provider without TLS is one of this machine alone")
        return self


class PeopleDirectory(Protocol):
    """Five verbs; each ends within twice the timeout of the settings, one that asks for many within that for each part.

    Raises Unavailable(directory_down) when it does not answer, or not as it should, Failed(missing) when what speaks to it is not installed.
    ``signed_in``: who that is, if the password is theirs; None for a wrong one and for a name that nobody or more than one has. An empty
    password is wrong. The name is, but for its case, one that stands in the entry: what a directory takes for the same is not the same here. The same
    is asked of the directory whether there is such a name or not.
    ``named`` and ``known``: who is there now and may sign in, by a name and by subjects; ``everybody``: all of them, raising Refused(invalid) above
    ``at_most``. ``steps`` makes its way to the people, a step at a time, and raises where it ends.
    """

    def signed_in(self, name: str, password: str) -> Person | None: ...
    def named(self, name: str) -> Person | None: ...
    def known(self, subjects: Iterable[str]) -> dict[str, Person]: ...
    def everybody(self, at_most: int) -> list[Person]: ...
    def steps(self) -> Iterator[str]: ...


def down(why: str, hint: str = "") -> Unavailable:
    """The directory does not answer as it should; which one it is says who asked."""
    return Unavailable("directory_down", "The directory does not answer", why, **({"hint": hint} if hint else {}))


def is_typable(name: str) -> bool:
    """Whether somebody may be called so at all: nothing else reaches a directory."""
    return bool(name) and name == name.strip() and name.isprintable() and len(name) <= 150


def is_called(person_names: Iterable[str], typed: str) -> bool:
    """Whether one of these names is the one that was typed."""
    return typed.casefold() in {each.casefold() for each in person_names}


def same(value: str) -> str:
    """By what a value of an attribute is compared: case, and spaces around the commas of a DN, mean nothing."""
    return ",".join(part.strip() for part in value.casefold().split(","))
