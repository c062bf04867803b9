"""Looking into directories: step by step whether one can be used, who is gone from it, and all its people at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clc.drivers.base import PeopleDirectory, Person
from clc.services import directories, directory_people, events, groups, provider_sign_in
from clc.services.batches import Action
from clc.services.directory_lines import lines
from luhyaapi import clock, log
from luhyaapi.contracts.vocabulary import DirectoryKind
from luhyaapi.errors import Refused, Trouble
from luhyadb import memory, paths
from luhyadb.models import Account, Directory, DirectoryAccount, Group
from luhyadb.ready_made import key_of

EVERY_S = 900.0
AT_MOST = 10_000
DAY_S = 24 * 3600.0
_SHARE = 10
"""One of so many may be gone within a day; more wait for an administrator's word."""
_TOLD = 50
_AT_ONCE = 100
_log = log.get(__name__)


@dataclass(frozen=True)
class Step:
    """One thing that works, or the first that does not, and what to do about that."""

    ok: bool
    text: str
    why: str = ""
    hint: str = ""


def look_into(by: Account, name: str, person: str = "") -> list[Step]:
    """Whether a directory can be used, a step at a time up to the first that fails; and of a person, by name, where they belong.

    Raises Refused(forbidden | not_found).
    """
    row = directories.find(by, name)
    done: list[Step] = []

    def walk(driver: PeopleDirectory) -> None:
        done.extend(Step(ok=True, text=each) for each in driver.steps())
        if person:
            done.extend(_about(row, person, driver.named(person)))

    try:
        if row.kind == DirectoryKind.OIDC:
            done.extend(Step(ok=True, text=each) for each in provider_sign_in.steps(row))
        else:
            lines.ask(row, walk, patient=True)
    except Trouble as e:
        done.append(Step(ok=False, text=e.what, why=e.why, hint=e.hint))
    return done


def _about(row: Directory, name: str, person: Person | None) -> list[Step]:
    if person is None:
        return [Step(ok=False, text=f"nobody is called {name[:63]}", why="the filter finds nobody of exactly that name",
                     hint="Check the filter, the search base and the name.")]
    found = [Step(ok=True, text=f"the filter finds {person.place}")]
    link = DirectoryAccount.objects.select_related("account").filter(directory=row, key=directory_people.key(person.subject)).first()
    if link is None and Account.objects.filter(username__iexact=person.name).exists():
        return [*found, Step(ok=False, text=f"{person.name} cannot sign in", why="another account here has that name",
                             hint="Rename one of the two, or delete the account.")]
    try:
        place = directory_people.Table(row).place(person)
    except Refused as e:
        groups_of = person.values.get("memberof", ())
        more = f"; their groups: {', '.join(groups_of)}" if groups_of else ""
        return [*found, Step(ok=False, text=f"{person.name} belongs nowhere", why=f"{e.why}{more}"[:500], hint=e.hint)]
    if place.missing:
        found.append(Step(ok=False, text=f"there is no group {place.missing} yet", hint="Bring the people of the directory in, or make the group."))
    where = groups.shown(place.path)
    return [*found, Step(ok=True, text=f"{person.name} belongs to {where} as {place.role}, by {place.because}")] if place.group else found


# who is gone


@dataclass(frozen=True)
class Checked:
    """How the accounts of a directory were found: how many there are, which were deactivated, which wait for an administrator's word."""

    accounts: int
    deactivated: Sequence[str] = ()
    held: Sequence[str] = ()


def check(row: Directory, *, by: Account | None = None) -> Checked:
    """Bring the accounts of a directory up to date, and deactivate those it knows no more: with ``by``, who says so, however many.

    Raises Unavailable(directory_down): then nothing has changed.
    """
    links = list(DirectoryAccount.objects.filter(directory=row, account__is_active=True).select_related("account", "account__group", "directory"))
    there = lines.ask(row, lambda driver: driver.known([each.subject for each in links]), patient=by is not None)
    missing: list[DirectoryAccount] = []
    table = directory_people.Table(row)
    for link in links:
        person = there.get(link.subject)
        try:
            if person is None:
                missing.append(link)
            elif not directory_people.is_as_it_was(link, person, place := table.place(person)):
                directory_people.settle(row, person, place)
        except Refused:
            missing.append(link)
    lately = DirectoryAccount.objects.filter(directory=row, gone_at__gt=clock.now() - DAY_S).count()
    names = [each.account.username for each in missing]
    if by is None and missing and len(missing) + lately > max(1, len(links) // _SHARE):
        if row.checked.get("held") != names[:_TOLD]:
            events.record("directory", row.pk, "people missing", name=row.name, missing=len(missing), of=len(links))
        directories.found(row, accounts=len(links), missing=len(missing), held=names[:_TOLD])
        return Checked(len(links), held=names)
    for link in missing:
        directory_people.gone(link)
    directories.found(row, accounts=len(links) - len(missing), missing=0, held=[])
    return Checked(len(links) - len(missing), deactivated=names)


def tend() -> None:
    """Check every directory that is due; one that does not answer keeps no other from being checked."""
    for row in directories.in_use(DirectoryKind.LDAP):
        if row.checked_at > clock.now() - EVERY_S:
            continue
        try:
            check(row)
        except Trouble as e:
            directories.found(row, f"{e.what}: {e.why}" if e.why else e.what, **{k: v for k, v in row.checked.items() if k != "trouble"})
            _log.warning("a directory could not be checked", directory=row.name, why=str(e)[:300])


# everybody


@dataclass(frozen=True)
class Looked:
    """Somebody of a directory, and what becomes of their account."""

    username: str
    action: Action
    why: str = ""
    group: str = ""
    role: str = ""


@dataclass(frozen=True)
class Batch:
    """All people of a directory, and the groups that are made for them."""

    looked: Sequence[Looked]
    new_groups: Sequence[str]

    def counts(self) -> dict[str, int]:
        """How many become what."""
        return {str(each): sum(one.action is each for one in self.looked) for each in Action}


def bring_in(by: Account, name: str, *, preview: bool) -> Batch:
    """Make and move the accounts of all people of a directory who have a place here; who has none is told, and stays where they are.

    Groups that units name are made. With ``preview`` nothing is changed. Raises Refused(forbidden | not_found | invalid), Unavailable(directory_down).
    """
    row = directories.find(by, name)
    everybody = lines.ask(row, lambda driver: driver.everybody(AT_MOST), patient=True)
    table = directory_people.Table(row)
    places: list[tuple[Person, directory_people.Place | Refused]] = []
    for person in everybody:
        try:
            places.append((person, table.place(person)))
        except Refused as e:
            places.append((person, e))
    new = sorted({path for _, place in places if isinstance(place, directory_people.Place) and place.missing for path in _missing(place.missing)})
    looked = _looked(row, places)
    if not preview:
        with memory.atomic():
            for path in new:
                groups.create(by, path)
        table = directory_people.Table(row)
        wanted = [person for (person, _place), each in zip(places, looked, strict=True) if each.action in (Action.ADD, Action.MOVE)]
        for at in range(0, len(wanted), _AT_ONCE):
            with memory.atomic():
                for person in wanted[at : at + _AT_ONCE]:
                    directory_people.settle(row, person, table.place(person))
        events.record("directory", row.pk, "people brought in", owner=by, actor=by, name=row.name, counts=Batch(looked, new).counts())
    return Batch(looked, new)


def _looked(row: Directory, places: Sequence[tuple[Person, directory_people.Place | Refused]]) -> list[Looked]:
    links = {each.key: each for each in DirectoryAccount.objects.filter(directory=row).select_related("account", "account__group")}
    names = {each.casefold() for each in Account.objects.values_list("username", flat=True)}
    found = []
    for person, place in places:
        if isinstance(place, Refused):
            found.append(Looked(person.name, Action.WRONG, place.why))
            continue
        link = links.get(directory_people.key(person.subject))
        path, role = place.missing or place.path, place.role
        if link is None:
            why = directory_people.why_not(person, names)
            found.append(Looked(person.name, Action.WRONG if why else Action.ADD, why, path, role))
            names.add(person.name.casefold())
        elif not link.account.is_active and not link.gone_at:
            found.append(Looked(person.name, Action.WRONG, f"{link.account.username} is deactivated"))
        elif (link.account.group.path, link.account.access_role_id) == (path, role) and link.account.is_active:
            found.append(Looked(person.name, Action.SAME, "", path, role))
        else:
            found.append(Looked(person.name, Action.MOVE, f"it is {link.account.access_role_id} in {groups.shown(link.account.group.path)}", path, role))
    return found


def _missing(path: str) -> list[str]:
    every = [".".join(paths.segments(path)[:n]) for n in range(1, len(paths.segments(path)) + 1)]
    there = set(Group.objects.filter(key__in=[key_of(each) for each in every]).values_list("path", flat=True))
    return [each for each in every if each not in there]
