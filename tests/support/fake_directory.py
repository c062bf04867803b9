"""A directory of people in memory: a driver that is registered as ``fake://NAME``, and what a test changes in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from clc import drivers
from clc.drivers.base import LdapSettings, Person, down, is_called, is_typable
from luhyaapi.errors import Refused

BASE = "dc=school,dc=test"


@dataclass
class Bed:
    """One directory. ``asked``: what reached it, the latest last; ``fails``: why it does not answer."""

    name: str = "school"
    people: dict[str, tuple[Person, str]] = field(default_factory=dict)
    groups: dict[str, set[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fails: str = ""
    bind_secret: str = "let me search"

    @property
    def uri(self) -> str:
        return f"fake://{self.name}"

    @property
    def secret(self) -> str:
        return self.bind_secret

    def settings(self, **more: object) -> dict[str, object]:
        return {"uri": self.uri, "base": BASE, "bind_dn": f"cn=reader,{BASE}", "filter": "(&(objectClass=person)(|(uid={name})(mail={name})))", **more}

    def driver(self, **more: object) -> drivers.PeopleDirectory:
        secret = str(more.pop("secret", self.secret))
        return drivers.DIRECTORIES["fake"](LdapSettings.model_validate(self.settings(**more)), secret, ())

    def person(self, name: str, password: str, *, units: tuple[str, ...] = (), display: str = "", mail: str = "") -> str:
        dn = ",".join([f"uid={name}", *(f"ou={unit}" for unit in reversed(units)), BASE])
        subject = str(uuid.uuid4())
        values = {"uid": (name,), "cn": (display or name,)} | ({"mail": (mail,)} if mail else {})
        self.people[name] = Person(subject, name, display or name, mail, values, units, dn), password
        return dn

    def rename(self, name: str, new: str) -> None:
        person, password = self.people.pop(name)
        dn = person.place.replace(f"uid={name},", f"uid={new},", 1)
        self.people[new] = replace(person, name=new, place=dn, values={**person.values, "uid": (new,)}), password
        for members in self.groups.values():
            if person.place in members:
                members.remove(person.place)
                members.add(dn)

    def remove(self, name: str) -> None:
        self.people.pop(name)

    def group(self, name: str, *members: str) -> str:
        dn = f"cn={name},ou=groups,{BASE}"
        self.groups[dn] = {self.people[each][0].place for each in members}
        return dn

    def stop(self) -> None:
        self.fails = "Can't contact LDAP server"

    def start(self) -> None:
        self.fails = ""


class FakeDirectory:
    """The driver of a :class:`Bed`."""

    def __init__(self, bed: Bed, settings: LdapSettings, secret: str) -> None:
        self._bed, self._settings, self._secret = bed, settings, secret

    def _open(self, what: str) -> None:
        self._bed.asked.append(what)
        if self._bed.fails:
            raise down(self._bed.fails)
        if self._secret != self._bed.bind_secret:
            raise down(f"it does not know {self._settings.bind_dn} with that password", "Correct the bind DN or its password.")

    def _seen(self) -> list[tuple[Person, str]]:
        if self._settings.base != BASE:
            raise down(f"there is no {self._settings.base}, or we may not see it", "Correct the search base, or let the bind DN read it.")
        return [(replace(person, values={**person.values, "memberof": tuple(dn for dn, those in self._bed.groups.items() if person.place in those)}), password)
                for person, password in self._bed.people.values()]

    def _of(self, name: str) -> tuple[Person, str] | None:
        if not is_typable(name):
            return None
        found = [each for each in self._seen() if is_called([each[0].name, each[0].mail], name)]
        return found[0] if len(found) == 1 else None

    def signed_in(self, name: str, password: str) -> Person | None:
        if not password or not is_typable(name):
            return None
        self._open(f"sign in {name}")
        found = self._of(name)
        return found[0] if found and found[1] == password else None

    def named(self, name: str) -> Person | None:
        self._open(f"name {name}")
        found = self._of(name)
        return found[0] if found else None

    def known(self, subjects: Iterable[str]) -> dict[str, Person]:
        self._open("known")
        wanted = set(subjects)
        return {person.subject: person for person, _ in self._seen() if person.subject in wanted}

    def everybody(self, at_most: int) -> list[Person]:
        self._open("everybody")
        found = [person for person, _ in self._seen()]
        if len(found) > at_most:
            raise Refused("invalid", "The directory has too many people", f"more than {at_most}")
        return found

    def steps(self) -> Iterator[str]:
        if self._bed.fails:
            raise down(self._bed.fails)
        yield f"{self._bed.name} port 636 can be reached"
        yield f"{self._settings.uri} answers, with a certificate that is trusted"
        self._open("steps")
        yield f"it lets {self._settings.bind_dn} in"
        found = self._seen()
        yield f"the search base {self._settings.base} is there"
        if not found:
            raise down("nobody fits its filter", "Look at the search base and the filter.")
        yield f"{len(found)} people"


def registered(monkeypatch: object, *beds: Bed) -> None:
    """Have these be directories for the length of a test."""
    known = {bed.name: bed for bed in beds}

    def make(settings: LdapSettings, secret: str, _further: object) -> FakeDirectory:
        return FakeDirectory(known[settings.uri.partition("://")[2]], settings, secret)

    monkeypatch.setitem(drivers.DIRECTORIES, "fake", make)
